"""Event counters: every cycle and every normal access is of one sort."""

from __future__ import annotations

from collections import Counter

import pytest

from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Event, Reg, event_counter
from tests.agree.bench import Bench

CYCLES = (Event.PIM_CYCLES, Event.REFRESH_CYCLES, Event.BUSY_CYCLES, Event.IDLE_CYCLES)


def events_since(bench: Bench, before: list[dict[Event, int]]) -> list[Counter[Event]]:
    after = bench.driver.events()
    return [Counter(new) - Counter(old) for old, new in zip(before, after, strict=True)]


def keeps_time(bench: Bench) -> bool:
    """Normal traffic takes time: the golden device's stands still meanwhile."""
    return not bench.golden


def test_cycles_are_of_four_sorts(bench: Bench) -> None:
    bench.driver.wait(bench.driver.submit(bench.long_macro(0)))
    least = bench.driver.cycles()
    events = bench.driver.events()
    most = bench.driver.cycles()
    for channel in events:
        assert least <= sum(channel[event] for event in CYCLES) <= most


def stop_refresh(bench: Bench) -> None:
    """None comes any more, and the last one is over."""
    bench.driver.set_refresh(False)
    bench.transport.wait_interrupt(1_000)


def test_a_macro_has_its_channels_for_its_time(bench: Bench) -> None:
    stop_refresh(bench)
    before = bench.driver.events()
    done = bench.driver.wait(bench.driver.submit(bench.long_macro(0)))
    for channel in events_since(bench, before):
        # The macro's time has its way through the queue and its completion in it, the channel's the closing after it.
        assert abs(channel[Event.PIM_CYCLES] - done.cycles) < 150
        assert channel[Event.REFRESH_CYCLES] == channel[Event.BUSY_CYCLES] == 0


def test_refresh_has_its_time(bench: Bench) -> None:
    stop_refresh(bench)
    before, counts = bench.driver.events(), bench.driver.command_counts()
    bench.driver.set_refresh(True)
    for _ in range(4):
        bench.driver.wait(bench.driver.submit(bench.long_macro(0)))
    stop_refresh(bench)
    refreshes = bench.driver.command_counts()[MicroOp.REFAB.name] - counts[MicroOp.REFAB.name]
    spent = sum(channel[Event.REFRESH_CYCLES] for channel in events_since(bench, before))
    assert spent == refreshes * bench.config.timing.cycles("tRFCab") > 0


def test_hits_misses_and_conflicts(bench: Bench) -> None:
    """One channel, one bank: a miss, hits on the same row, a conflict."""
    if not keeps_time(bench):
        pytest.skip("the golden device does not count normal traffic")
    geometry = bench.config.geometry
    stop_refresh(bench)
    before = bench.driver.events()
    channel = geometry.channels - 1
    for row, columns in ((4, 5), (6, 1), (4, 2), (4, 3)):
        for column in range(columns):
            bench.transport.read_memory(geometry.address(row, channel, 1, column), 32)
    found = events_since(bench, before)
    assert found[channel][Event.ROW_MISS] == 1
    assert found[channel][Event.ROW_CONFLICT] == 2
    assert found[channel][Event.ROW_HIT] == 8
    assert found[channel][Event.BUSY_CYCLES] > 0
    # One is under way at a time, and each waits for a few commands at most.
    assert 0 < found[channel][Event.OCCUPANCY] < 100 * 11
    bench.transport.wait_interrupt(1_000)
    assert events_since(bench, before)[channel][Event.OCCUPANCY] == found[channel][Event.OCCUPANCY]
    for other in found[:channel]:
        assert not any(other[event] for event in Event if event not in CYCLES)
        assert other[Event.BUSY_CYCLES] == 0


def test_counters_ignore_writes(bench: Bench) -> None:
    offset = event_counter(0, Event.ROW_HIT)
    for word in (offset, offset + 4):
        bench.transport.write_register(word, 0xFFFFFFFF)
        assert bench.transport.read_register(word) == 0
    assert bench.read(Reg.ERRORS) == 0
