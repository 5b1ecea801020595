"""The device of these tests: a card or board that the environment names, or a transcript of what one answered.

``IANUS_CARD`` is the beginning of a card's device files (or the socket of ``ianus serve``), ``IANUS_PORT`` a serial
port, ``IANUS_CARD_CONFIG`` the device's configuration. With ``IANUS_TRANSCRIPTS`` a directory keeps a transcript for
each test; without a device the tests run from those that are there.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_runtime.transport import UART, XDMA, Transport, open_transport
from host_runtime.transport.transcript import Recorded, Replayed
from pim_model.spec.config import Config, config


@pytest.fixture
def shape() -> Config:
    return config(os.environ.get("IANUS_CARD_CONFIG", "tiny"))


@pytest.fixture
def device(request: pytest.FixtureRequest, shape: Config) -> Iterator[Transport]:
    card, port = os.environ.get("IANUS_CARD"), os.environ.get("IANUS_PORT")
    folder = os.environ.get("IANUS_TRANSCRIPTS")
    path = Path(folder or ".") / f"{re.sub(r'[^A-Za-z0-9]+', '-', request.node.name)}.jsonl"
    if card is None and port is None:
        if folder is None or not path.is_file():
            pytest.skip("no hardware (IANUS_CARD or IANUS_PORT), and no transcript of it (IANUS_TRANSCRIPTS)")
        with Replayed(path) as replayed:
            yield replayed
            assert replayed.left == 0, "the program asks for less than when the transcript was written"
        return
    transport = open_transport(XDMA if card else UART, shape, port=port, card=card)
    with Recorded(transport, path) if folder else transport as opened:
        yield opened
