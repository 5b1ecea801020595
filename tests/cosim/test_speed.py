"""The comparison of `ianus bench`, on the small configuration."""

from __future__ import annotations

import pytest

from pim_model.spec.config import config
from sim.bench.speed import cocotb_cycles_per_second

pytestmark = pytest.mark.cosim


def test_cocotb_speed_is_measured_while_multiplying() -> None:
    rate = cocotb_cycles_per_second(config("tiny"), 1_000)
    assert 100 < rate < 10_000_000, "cycles a second of a cocotb run"
    assert cocotb_cycles_per_second("tiny", 500) > 100
