"""A stream of MATVECs beside a stream of normal accesses, both without an end: what each costs the other.

With one row buffer a bank nothing of one goes on inside the other; ``top_turns.py`` has how long they wait. With dual
row buffers, the formulas of hdl/README.md, "Normal traffic beside MATVECs". In cycles, c and D as in ``top_turns.py``,

    T    a row of MACABs and its turn-around: tMACPRE, tRP, tRCDMAC
    c'   c + 4 T: PRE, ACT and column each wait for the next turn-around, and once for the other direction to end
    D'   (Q + 1) c', Q the queue, and the refreshes that fall into that time, each with a c' more for a row it closes

a macro begins on all channels at most ``D + close`` after the one before it has ended, and from there takes as long as
alone, but for tRFC, ``close`` and T at each refresh (channels may meet it a row apart); an access is accepted at most
``D + D'`` after it stands before its controller, and a read has its data ``2 AGE + D'`` later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cocotb

from hdl.controller.queue import AGE
from pim_model.schedule import place
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.registers import Irq, Reg
from pim_model.spec.timing_rules import Scope
from sim.bench.bursts import Burst
from sim.bench.cases.top_turns import (
    CYCLES,
    PIPELINE,
    READ_ROWS,
    WRITE_ROWS,
    Bounds,
    complete,
    conflicts,
    pages,
    product,
    run_macros,
    run_traffic,
)
from sim.bench.top_bench import TopBench

PAGES_SHARE = 0.2
"""Normal accesses a cycle of a channel in whole pages, at the least, while MATVECs run on dual row buffers."""


@dataclass(frozen=True)
class SharedBounds:
    """Longest waits in cycles, with dual row buffers."""

    turns: Bounds
    config: Config

    @property
    def row(self) -> int:
        timing = self.config.timing
        return self.config.geometry.columns + sum(
            timing.between(*pair, Scope.BANK)
            for pair in ((Op.MACAB, Op.PREP), (Op.PREP, Op.ACTAB), (Op.ACTAB, Op.MACAB))
        )

    @property
    def access(self) -> int:
        return self.turns.access + 4 * self.row

    @property
    def refresh(self) -> int:
        return self.turns.close + self.config.timing.cycles("tRFCab")

    @property
    def drain(self) -> int:
        cycles, each = (self.config.normal_queue + 1) * self.access, self.refresh + self.access
        return cycles + each * (1 + cycles // (self.config.timing.refresh_interval - each))

    @property
    def macro(self) -> int:
        return self.turns.drain + self.turns.close + PIPELINE

    @property
    def accepted(self) -> int:
        return self.turns.drain + self.drain + PIPELINE

    @property
    def read(self) -> int:
        return self.accepted + 2 * AGE + self.drain


@dataclass(frozen=True)
class Span:
    """One macro: from the first activation of the channel that begins last to the last result of any."""

    first: int
    last: int
    refreshes: int
    """Of the channel that has most, one that still goes on at ``first`` included."""
    accesses: float
    """RDs and WRs meanwhile, of a channel in the mean."""


def _spans(bench: TopBench, macro: MatVec) -> list[Span]:
    results = macro.groups(bench.config)
    rows = results * macro.tiles(bench.config)
    logs, recovery = [channel.log for channel in bench.channels], bench.config.timing.cycles("tRFCab")
    opened = [[entry.cycle for entry in log if entry.micro.op is Op.ACTAB][::rows] for log in logs]
    read = [
        [entry.cycle for entry in log if entry.micro.op is Op.RDMAC][results - 1 :: results] for log in logs
    ]
    spans = []
    for firsts, lasts in zip(zip(*opened, strict=False), zip(*read, strict=False), strict=False):
        first, last = max(firsts), max(lasts)
        refreshes = [
            sum(entry.micro.op is Op.REFAB and first - recovery <= entry.cycle <= last for entry in log)
            for log in logs
        ]
        accesses = [
            sum(entry.micro.op in (Op.RD, Op.WR) and first <= entry.cycle <= last for entry in log)
            for log in logs
        ]
        spans.append(Span(first, last, max(refreshes), sum(accesses) / len(logs)))
    return spans


def _alone(config: Config, macro: MatVec) -> int:
    """What a span is with nothing beside it: the golden schedule's, each command at its earliest cycle."""
    placed = place(config, macro)
    return max(cycle for cycle, _, micro in placed if micro.op is Op.RDMAC) - min(
        cycle for cycle, _, micro in placed if micro.op is Op.ACTAB
    )


async def _beside(dut: Any, stream: Callable[[TopBench, range], Iterator[Burst]], share: float) -> None:
    bench = TopBench(dut)
    await bench.begin(flow=False, bursts=True)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    macro, config = product(bench), bench.config
    start = bench.cycle
    end = start + CYCLES * bench.rounds
    traffic = cocotb.start_soon(run_traffic(bench, stream(bench, READ_ROWS), stream(bench, WRITE_ROWS), end))
    done = await run_macros(bench, macro.encode(), end)
    await traffic
    spans = _measure(bench, macro, share)
    if config.dual_row_buffer:
        _hold_to_bounds(bench, macro, spans, start, end)
    assert done > 10, f"only {done} macros completed"
    while bench.due:
        await bench.wait_irq()
        await complete(bench)
    await bench.within(100_000, cocotb.start_soon(bench.bursts.settled()))
    await bench.finish()


def _measure(bench: TopBench, macro: MatVec, share: float) -> list[Span]:
    """The macros; what share of their time normal accesses had is held to its floor."""
    spans = _spans(bench, macro)
    inside, time = sum(span.accesses for span in spans), sum(span.last - span.first for span in spans)
    plain = [span.last - span.first for span in spans if not span.refreshes]
    period = (spans[-1].first - spans[1].first) / (len(spans) - 2)
    cocotb.log.info(
        f"{len(spans)} macros, one each {period:.0f} cycles; alone {_alone(bench.config, macro)}, here at most "
        f"{max(plain, default=0)} without refresh; {inside / time:.3f} normal accesses a cycle of a channel meanwhile"
    )
    if bench.config.dual_row_buffer:
        assert inside / time > share, f"{inside} normal accesses in {time} cycles"
    else:
        assert not inside, "a normal access inside a macro"
    return spans


def _hold_to_bounds(bench: TopBench, macro: MatVec, spans: list[Span], start: int, end: int) -> None:
    alone = _alone(bench.config, macro)
    bounds = SharedBounds(Bounds(bench.config.timing, bench.config.normal_queue, 0, alone), bench.config)
    for span in spans:
        limit = alone + span.refreshes * (bounds.refresh + bounds.row)
        assert span.last - span.first <= limit, f"{span}: a macro takes at most {limit} cycles"
    gaps = [later.first - span.last for span, later in pairwise(spans)]
    watched = bench.bursts.watched
    beats = {name: [cycle for cycle in watched.cycles[name] if cycle < end] for name in ("r", "w")}
    waits = {name: [b - a for a, b in pairwise([start, *cycles, end])] for name, cycles in beats.items()}
    for name, found, limit in (
        ("macros", gaps, bounds.macro),
        ("reads", waits["r"], bounds.read),
        ("writes", waits["w"], bounds.accepted),
    ):
        assert found, f"{name}: none made progress"
        cocotb.log.info("%s: %d, longest wait %d, bound %d", name, len(found), max(found), limit)
        assert max(found) <= limit, f"{name}: a wait of {max(found)} cycles, at most {limit}"


@cocotb.test()
async def macros_beside_pages(dut: Any) -> None:
    """Reads and writes of whole pages."""
    await _beside(dut, pages, PAGES_SHARE)


@cocotb.test()
async def macros_beside_conflicts(dut: Any) -> None:
    """As bad as accesses can be: a row conflict each, on one channel, in both directions."""
    await _beside(dut, conflicts, 0)
