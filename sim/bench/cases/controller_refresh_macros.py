# Ref: hdl/controller/refresh.py, pim_model/checker_refresh.py
"""Refresh of one controller around macros: what is owed or pulled in when one begins, and in one of many intervals.

The golden checker behind the bus judges the deadline of every bank in all of them.
"""

from __future__ import annotations

from itertools import chain, pairwise, repeat
from typing import Any

import cocotb

from hdl.controller.scheduler import REST
from pim_model.spec.config import RefreshPolicy
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from sim.bench.controller_bench import ControllerBench
from sim.bench.refreshes import Refreshes

INTERVALS = 14


def _macro(bench: ControllerBench, tag: int, *, groups: int, tokens: int) -> MatVec:
    geometry = bench.config.geometry
    return MatVec(
        tag=tag, rows=groups * geometry.outputs, columns=2 * geometry.elements, tokens=tokens, weight_row=8,
        input_offset=0, output_offset=0,
    )  # fmt: skip


async def _macro_on_debts(bench: ControllerBench, tag: int, late: int = 0) -> None:
    """A short macro: what is owed when it begins is refreshed before its first row is opened.

    ``late``: cycles by which register commands come later than its rows; else some go before the refresh.
    """
    bench.steps.pauses = chain(repeat(True, late), repeat(False))
    start, before = bench.cycle, len(bench.device.log)
    refreshes = Refreshes(bench)
    owed = [refreshes.ended(bank, start) - len(cycles) for bank, cycles in enumerate(refreshes.cycles)]
    await bench.within(60_000, cocotb.start_soon(bench.run_macro(_macro(bench, tag, groups=1, tokens=1))))
    first = next(
        entry for entry in bench.device.log[before:] if entry.micro.op in (Op.REFAB, Op.ACTAB, Op.REFPB)
    )
    assert max(owed) < 1 or first.micro.op is not Op.ACTAB, f"{owed} owed at cycle {start}, then {first}"


@cocotb.test()
async def one_an_interval_in_macros(dut: Any) -> None:
    """In a macro of many intervals each refresh of all banks goes at the first row boundary after it is owed."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    geometry, interval = bench.config.geometry, bench.config.timing.refresh_interval
    macro = _macro(bench, 0, groups=20, tokens=24)
    await bench.within(100 * interval, cocotb.start_soon(bench.run_macro(macro)))
    assert bench.cycle > INTERVALS * interval
    assert not bench.device.counts[Op.REFPB]
    opens = [entry.cycle for entry in bench.device.log if entry.micro.op is Op.ACTAB]
    longest = max(later - first for first, later in pairwise(opens))
    refreshes = [entry.cycle for entry in bench.device.log if entry.micro.op is Op.REFAB]
    step = interval // geometry.banks if bench.config.refresh is RefreshPolicy.PER_BANK else interval
    late = [cycle - step - turn * interval for turn, cycle in enumerate(refreshes)]
    cocotb.log.info(
        "%d refreshes, %d to %d cycles late; a row takes %d", len(late), min(late), max(late), longest
    )
    assert min(late) >= 0
    assert max(late) <= longest
    bench.results.finish()


@cocotb.test()
async def owed_when_a_macro_begins(dut: Any) -> None:
    """Reads or writes of one bank that postponed its refreshes for up to eight intervals, then a macro; also after a
    rest that was too short to make up for all."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    interval, rng = bench.config.timing.refresh_interval, bench.rng("rests")
    last, tag = bench.config.geometry.banks - 1, 0
    for write in (0, 1):
        for intervals in (0, 3, 0.7, 7.2):
            busy = bench.cycle + int(intervals * interval)
            await bench.saturate(busy, batch=20, write=write, bank=0)
            await _macro_on_debts(bench, tag := tag + 1, late=interval // 2)
    for _ in range(8):
        await bench.saturate(bench.cycle + 4 * interval, batch=20, bank=last)
        await bench.within(5_000, cocotb.start_soon(bench.settled()))
        await bench.idle(rng.randrange(REST, 2 * REST + 300))
        await _macro_on_debts(bench, tag := tag + 1)
    await bench.within(5_000, cocotb.start_soon(bench.settled()))
    bench.finish(refreshed=False)


@cocotb.test()
async def pulled_in_before_macros(dut: Any) -> None:
    """Refreshes pulled in are used up by a macro as intervals end; but none comes later than eight after the last."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    interval = bench.config.timing.refresh_interval
    whole = 20 * max(bench.config.timing.cycles("tRFCab"), bench.config.timing.cycles("tRFCpb"))
    groups, length = 14, 0
    for tag, (pause, most) in enumerate([(whole, 0.0), (whole, 7.0), (REST + whole // 10, 5.0)]):
        await bench.saturate(bench.cycle + 2 * interval)  # nothing is pulled in any more
        await bench.within(5_000, cocotb.start_soon(bench.settled()))
        await bench.idle(pause)
        if most:  # the first one says how long a group takes
            groups = int(most * interval * 14 / length)
        start, before = bench.cycle, Refreshes(bench)
        macro = _macro(bench, tag, groups=groups, tokens=24)
        await bench.within(100 * interval, cocotb.start_soon(bench.run_macro(macro)))
        length = length or bench.cycle - start
        cocotb.log.info("a macro of %.2f intervals", (bench.cycle - start) / interval)
        inside = [entry for entry in bench.device.log if entry.cycle > start]
        opens = [entry.cycle for entry in inside if entry.micro.op is Op.ACTAB]
        row = max(later - first for first, later in pairwise(opens))
        refreshes = [entry.cycle for entry in inside if entry.micro.op is Op.REFAB]
        due = min(before.due(bank, start) for bank in range(before.banks))
        if refreshes:
            assert due <= refreshes[0] <= due + row, f"due {due}, first at {refreshes[0]}"
        else:
            assert bench.cycle <= due + row, f"due {due}, but none came"
        await bench.idle(whole)
    bench.finish(refreshed=False)
