"""Soft reset at any moment, refresh, leftovers of another process."""

from __future__ import annotations

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import ConfigMismatch
from host_runtime.reference import golden_linear
from pim_model.spec.config import config
from pim_model.spec.registers import Control, Irq, Reg
from pim_model.spec.timing import POSTPONED
from tests.agree.bench import Bench


def check_usable(bench: Bench) -> None:
    """A product from nothing: memory, buffer, macro, completion, counters."""
    weights, x = bench.bits(20, 40), bench.bits(1, 40)
    bench.place(weights, 20)
    bench.write_buffer(0, x)
    bench.driver.wait(bench.driver.submit(bench.macro(rows=20, columns=40, weight_row=20)))
    np.testing.assert_array_equal(bench.read_buffer(512, 20), golden_linear(bench.numerics, weights, x)[0])
    assert bench.driver.violations() == 0
    assert bench.read(Reg.COMPLETION) == 0


@pytest.mark.parametrize("count", [0, 1, 2, 20])
def test_soft_reset_drops_what_was_submitted(bench: Bench, count: int) -> None:
    driver = bench.driver
    for tag in range(min(count, bench.config.macro_queue)):
        bench.push(bench.long_macro(tag))
    driver.soft_reset()
    assert bench.read(Reg.STATUS) == 0
    assert bench.read(Reg.MACRO_SPACE) == bench.config.macro_queue
    assert not bench.transport.wait_interrupt(50_000), "a dropped macro must not complete"
    check_usable(bench)


@pytest.mark.parametrize("pause", [0, 1, 7, 40, 97, 150, 333, 1001, 2950])
def test_soft_reset_at_any_moment_of_a_macro(bench: Bench, pause: int) -> None:
    bench.driver.set_refresh(True)
    bench.write(Reg.IRQ_ENABLE, 0)
    bench.push(bench.long_macro(1))
    bench.push(bench.long_macro(2))
    bench.transport.wait_interrupt(pause)
    bench.driver.soft_reset()
    assert not bench.transport.wait_interrupt(50_000)
    check_usable(bench)


def test_soft_reset_drops_completions(bench: Bench) -> None:
    driver = bench.driver
    bench.push(bench.macro(tag=1))
    bench.push(bench.macro(tag=2))
    assert bench.transport.wait_interrupt(1_000_000)
    driver.soft_reset()
    assert bench.read(Reg.COMPLETION) == 0
    assert bench.read(Reg.IRQ_STATUS) == 0
    assert not bench.transport.wait_interrupt(50_000)
    check_usable(bench)


def test_soft_reset_keeps_memory_and_buffer(bench: Bench) -> None:
    geometry = bench.config.geometry
    memory, buffer = bench.bytes(500), bench.any_bits(300)
    bench.transport.write_memory(geometry.address(5) + 3, memory)
    bench.write_buffer(96, buffer)
    bench.driver.soft_reset()
    assert bench.transport.read_memory(geometry.address(5) + 3, 500) == memory
    np.testing.assert_array_equal(bench.read_buffer(96, 300), buffer)


def test_many_resets_in_a_row(bench: Bench) -> None:
    for turn in range(10):
        if turn % 2:
            bench.push(bench.long_macro(turn))
        bench.driver.soft_reset()
    check_usable(bench)


def test_soft_reset_clears_an_overflow(bench: Bench) -> None:
    driver = bench.driver
    for tag in range(bench.config.macro_queue + 4):
        bench.push(bench.long_macro(tag))
    assert bench.read(Reg.IRQ_STATUS) & Irq.ERROR
    driver.soft_reset()
    assert bench.read(Reg.STATUS) == 0
    assert bench.read(Reg.IRQ_STATUS) == 0
    check_usable(bench)


def test_opening_clears_what_a_killed_process_left(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, Irq.COMPLETION)
    for tag in range(3):
        bench.push(bench.macro(tag=tag))
    assert bench.transport.wait_interrupt(1_000_000)
    fresh = Driver(bench.transport, bench.config)
    assert fresh.outstanding == ()
    tag = fresh.submit(bench.macro())
    assert fresh.wait(tag).tag == tag
    assert fresh.drain() == []


def test_driver_refuses_another_shape(bench: Bench) -> None:
    other = {"tiny": "ianus", "ianus": "tiny"}[bench.config.name]
    with pytest.raises(ConfigMismatch, match="channels must be"):
        Driver(bench.transport, config(other))
    with pytest.raises(ConfigMismatch, match="timing must be"):
        Driver(bench.transport, config(bench.config.name, "aim_simulator"))


def test_refresh_can_be_turned_off_and_on(bench: Bench) -> None:
    driver = bench.driver
    interval = bench.config.timing.refresh_interval
    geometry = bench.config.geometry
    groups = min(16, geometry.weight_rows)
    turns = 3 * interval // (groups * geometry.columns) + 2  # at a column a cycle: three intervals at least

    def work() -> int:
        with bench.commands() as counts:
            for _ in range(turns):
                driver.wait(driver.submit(bench.long_macro(0)))
        return counts.get("REFAB", 0)

    driver.set_refresh(False)
    assert bench.read(Reg.CONTROL) == 0
    assert work() == 0
    driver.set_refresh(True)
    assert bench.read(Reg.CONTROL) == Control.REFRESH
    assert work() >= 2 * geometry.channels
    assert driver.violations() == 0


def test_refresh_keeps_pace(bench: Bench) -> None:
    """As many refreshes as intervals have passed, give or take what may be postponed or pulled in."""
    driver, channels = bench.driver, bench.config.geometry.channels
    interval = bench.config.timing.refresh_interval
    start = driver.cycles()
    with bench.commands() as counts:
        while driver.cycles() < start + 24 * interval:
            driver.wait(driver.submit(bench.long_macro(0)))
        passed = (driver.cycles() - start) // interval
    assert abs(counts["REFAB"] / channels - passed) <= POSTPONED + 1
    assert driver.violations() == 0
