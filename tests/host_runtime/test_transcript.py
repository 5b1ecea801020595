"""A run recorded and given back: the same bits and errors, and the first difference is told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import AccessError, LinkDown, TransportError
from host_runtime.ops import Pim
from host_runtime.transport import Transport
from host_runtime.transport.model import ModelTransport
from host_runtime.transport.transcript import Recorded, Replayed, ReplayMismatch
from host_runtime.transport.xdma import XdmaTransport
from pim_model.spec.config import config
from pim_model.spec.registers import Reg
from tests.agree.fake_xdma import PATH, FakeXdma, Outcome

TINY = config("tiny")


def program(transport: Transport, value: int = 3) -> list[int]:
    """A product, an access that is refused, a reset."""
    pim = Pim(driver := Driver(transport, TINY), TINY, preload=False)
    weights = np.full((5, 20), value, np.float32)
    y = pim.linear(pim.upload(weights), np.full((2, 20), 0x3F80, np.uint16))
    with pytest.raises(AccessError, match="refused to read a register at 0x38"):
        transport.read_register(0x38)
    driver.soft_reset()
    transport.preload(0, b"bytes")
    assert transport.peek(0, 5) == b"bytes"
    return [int(each) for each in y.reshape(-1)]


def test_the_same_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Recorded(ModelTransport(TINY), path) as transport:
        first = program(transport)
    with Replayed(path) as replayed:
        assert replayed.of == "model"
        assert program(replayed) == first
        assert replayed.left == 0
        with pytest.raises(ReplayMismatch, match=r"run.jsonl: read_register\(0x0\) comes after its end$"):
            replayed.read_register(Reg.ID)
    assert first == [0x4270] * 10  # 60


def test_the_first_difference_is_told(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    with Recorded(ModelTransport(TINY), path) as transport:
        program(transport)
    with (
        Replayed(path) as replayed,
        pytest.raises(ReplayMismatch, match=r"has write_memory\(0x0, \d+ bytes\), and"),
    ):
        program(replayed, 4)
    lines = path.read_text().splitlines()
    for number in range(1, len(lines), 7):  # a transcript with any line left out
        path.write_text("\n".join([*lines[:number], *lines[number + 1 :]]))
        with Replayed(path) as replayed, pytest.raises((ReplayMismatch, AssertionError)):
            whole(replayed)


def whole(replayed: Replayed) -> None:
    program(replayed)
    assert replayed.left == 0


def test_errors_come_again(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    card = FakeXdma(
        ModelTransport(TINY), lambda n, call: Outcome(dies=True) if call.offset == Reg.STATUS else None
    )
    with Recorded(XdmaTransport(PATH, card), path) as transport, pytest.raises(LinkDown) as caught:
        Driver(transport, TINY)
    with Replayed(path) as replayed, pytest.raises(LinkDown) as again:
        Driver(replayed, TINY)
    assert str(again.value) == str(caught.value)
    assert card.opened == {}
    last = json.loads(path.read_text().splitlines()[-1])
    last["error"] = ["ErrorOfATransportsOwn", "text"]
    path.write_text("\n".join([*path.read_text().splitlines()[:-1], json.dumps(last)]))
    with Replayed(path) as replayed, pytest.raises(TransportError, match=r"^text$"):
        Driver(replayed, TINY)


@pytest.mark.parametrize("text", ["", "[]\n", '{"format": "ianus transcript 2"}\n', "no JSON"])
def test_other_files_are_refused(text: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"file must be a transcript"):
        Replayed(path)
