"""Dual row buffers: normal traffic beside MATVECs, and what the tests of other configurations ask of them too."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import ConfigMismatch
from pim_model.spec.config import config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Feature, Reg
from tests.agree.bench import Bench
from tests.agree.conftest import MARKS, require
from tests.agree.test_counters import (
    CYCLES,
    events_since,
    keeps_time,
    stop_refresh,
    test_a_macro_has_its_channels_for_its_time,
    test_cycles_are_of_four_sorts,
    test_hits_misses_and_conflicts,
    test_refresh_has_its_time,
)
from tests.agree.test_mixed import Pair, test_random_mixture, test_soft_reset_in_the_midst

__all__ = [
    "test_a_macro_has_its_channels_for_its_time",
    "test_cycles_are_of_four_sorts",
    "test_hits_misses_and_conflicts",
    "test_random_mixture",
    "test_refresh_has_its_time",
    "test_soft_reset_in_the_midst",
]

GROUPS, TILES = 10, 2
FREE_ROW = GROUPS * TILES
"""DRAM rows from here on are no macro's."""


@pytest.fixture(params=[pytest.param(name, marks=MARKS.get(name, ())) for name in ("model", "verilator")])
def bench(request: pytest.FixtureRequest, rng: np.random.Generator) -> Iterator[Bench]:
    require(request.param)
    with Bench.open(request.param, "tiny_dual", rng) as opened:
        yield opened


def product(bench: Bench, tokens: int):
    """A macro of some thousand cycles on the rows below ``FREE_ROW``."""
    geometry = bench.config.geometry
    return bench.macro(
        tag=0,
        rows=GROUPS * geometry.outputs,
        columns=TILES * geometry.elements,
        tokens=tokens,
        output_offset=8192,
    )


def running(bench: Bench) -> bool:
    return not bench.read(Reg.COMPLETION) >> 31


def test_feature_is_told(bench: Bench) -> None:
    assert bench.read(Reg.FEATURES) == Feature.DUAL_ROW_BUFFER
    with pytest.raises(ConfigMismatch, match="dual_row_buffer must be False, not True"):
        Driver(bench.transport, config("tiny"))


@pytest.mark.parametrize("tokens", [1, 2])
@pytest.mark.parametrize("refresh", [True, False])
def test_traffic_goes_on_beside_a_macro(bench: Bench, tokens: int, refresh: bool) -> None:
    """Reads and writes in any mixture, in any rows but the macro's; the macro's results and every byte are right."""
    pair = Pair(bench, refresh=refresh)
    geometry, rng = bench.config.geometry, bench.rng
    weights = bench.bits(FREE_ROW * geometry.slab_bytes // 2).astype("<u2").tobytes()
    bench.transport.preload(0, weights)
    pair.golden.write_memory(0, weights)
    first, end = FREE_ROW * geometry.slab_bytes, (FREE_ROW + 8) * geometry.slab_bytes
    beside = 0
    for _ in range(8):
        pair.submit(product(bench, tokens))
        accesses = 0
        while (keeps_time(bench) and running(bench)) or accesses < 4:
            size = int(rng.choice([32, 100, 1000, 4000]))
            address = int(rng.integers(first, end - size))
            if rng.random() < 0.5:
                pair.read(address, size)
            else:
                pair.write(address, rng.bytes(size))
            accesses += 1
            beside += running(bench)
        pair.settle()
    pair.compare()
    size = (FREE_ROW + 8) * geometry.slab_bytes
    assert bench.transport.peek(0, size) == pair.golden.storage.read(0, size)
    if keeps_time(bench):
        assert beside > 40, f"only {beside} accesses were made while a macro ran"
        counts = bench.driver.command_counts()
        assert counts["PREP"] == counts["ACTAB"]
    assert bench.driver.violations() == 0


def test_a_macro_sees_what_was_written_before_it(bench: Bench) -> None:
    """Writes that take turns between its row and another one are slow, and still queued when it starts."""
    pair = Pair(bench, refresh=False)
    geometry, rng = bench.config.geometry, bench.rng
    rows = [geometry.address(row) for row in range(FREE_ROW + 1)]
    for round_ in range(6):
        weights = bench.bits(FREE_ROW * geometry.slab_bytes // 2).astype("<u2").tobytes()
        bench.transport.preload(0, weights)
        pair.golden.write_memory(0, weights)
        for column in range(geometry.columns):
            for row in (FREE_ROW, round_ % TILES):
                data = bench.bits(COLUMN_BYTES // 2).astype("<u2").tobytes()
                pair.write(rows[row] + column * COLUMN_BYTES, data)
        pair.submit(product(bench, int(rng.integers(1, 3))))
        pair.compare()


def test_a_row_that_a_macro_reads_can_be_read(bench: Bench) -> None:
    """All tokens on one row, which the macro wants all the time: a read of it is served long before the macro ends."""
    if not keeps_time(bench):
        pytest.skip("normal traffic takes no time here")
    geometry = bench.config.geometry
    data = bench.bytes(geometry.slab_bytes)
    bench.transport.preload(0, data)
    macro = bench.macro(tag=0, rows=geometry.outputs, columns=32, tokens=120, output_offset=8192)
    alone = bench.driver.wait(bench.driver.submit(macro)).cycles
    tag = bench.driver.submit(macro)
    waits = []
    for word in range(0, geometry.slab_bytes, 20 * COLUMN_BYTES):
        before = bench.driver.cycles()
        assert bench.transport.read_memory(word, COLUMN_BYTES) == data[word : word + COLUMN_BYTES]
        waits.append(bench.driver.cycles() - before)
        if not running(bench):
            break
    assert max(waits[:-1]) < alone / 2, f"{waits} of {alone}"
    assert len(waits) > 2
    beside = bench.driver.wait(tag).cycles
    assert beside < 1.5 * alone, f"{alone} cycles alone, {beside} beside reads of its row"
    assert bench.driver.violations() == 0


def test_counters_beside_a_macro(bench: Bench) -> None:
    """Every cycle is still of one sort, every access of one, also those that a macro let in."""
    if not keeps_time(bench):
        pytest.skip("the golden device does not count normal traffic")
    geometry = bench.config.geometry
    stop_refresh(bench)
    before, counts = bench.driver.events(), bench.driver.command_counts()
    start = bench.driver.cycles()
    tag = bench.driver.submit(product(bench, 2))
    while running(bench):
        bench.transport.read_memory(geometry.address(FREE_ROW), 2048)
    bench.driver.wait(tag)
    found, elapsed = events_since(bench, before), bench.driver.cycles() - start
    after = bench.driver.command_counts()
    accesses = sum(
        after[op.name] - counts.get(op.name, 0) for op in (MicroOp.RD, MicroOp.WR) if op.name in after
    )
    sorts = [event for event in found[0] if event.name.startswith("ROW_")]
    assert sum(channel[event] for channel in found for event in sorts) == accesses > 100
    for channel in found:
        assert abs(sum(channel[event] for event in CYCLES) - elapsed) < 300
