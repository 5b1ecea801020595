"""The per-bank refresh policy: the random mixture and the soft resets of ``test_mixed.py`` on a device that has it."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import ConfigMismatch
from pim_model.spec.config import RefreshPolicy, config
from pim_model.spec.registers import Reg
from tests.agree.bench import Bench
from tests.agree.conftest import MARKS, require
from tests.agree.test_mixed import test_random_mixture, test_soft_reset_in_the_midst

__all__ = ["test_random_mixture", "test_soft_reset_in_the_midst"]


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in ("model", "verilator")])
def bench(request: pytest.FixtureRequest, rng: np.random.Generator) -> Iterator[Bench]:
    require(request.param)
    with Bench.open(request.param, "tiny_refpb", rng) as opened:
        yield opened


def test_policy_is_told(bench: Bench) -> None:
    assert bench.read(Reg.TIMING) >> 8 == RefreshPolicy.PER_BANK
    with pytest.raises(ConfigMismatch, match="refresh must be 0, not 1"):
        Driver(bench.transport, config("tiny"))


def test_single_banks_are_refreshed_between_macros(bench: Bench) -> None:
    """At rest one bank after the other, eight ahead; a macro then needs none for eight intervals."""
    channels, banks = bench.config.geometry.channels, bench.config.geometry.banks
    bench.driver.set_refresh(True)
    with bench.commands() as counts:
        assert not bench.transport.wait_interrupt(bench.config.timing.refresh_interval)
    if bench.golden:  # whose time stands still
        assert counts == {}
    else:
        assert counts["REFPB"] >= 8 * banks * channels
        assert "REFAB" not in counts
    assert bench.driver.violations() == 0
