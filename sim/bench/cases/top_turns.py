"""A stream of macros beside a stream of normal accesses, both without an end: no wait is longer than the stated bound.

The formulas are those of hdl/README.md, "Whose turn it is between macros". In cycles, with

    c    an access that closes a row and opens another: to PRE, tRP, tRCD, for the worst pair of directions
    D    what a controller has accepted: (Q + 1) c, Q its queue, and the refreshes that fall into that time
    L    the longest macro, alone, and a refresh for each tREFI of it
    P    the macros that were pushed before an access came: the queue, two at the decoder, IN_FLIGHT that run

a macro begins at most ``TURN + D + close`` after the end of the one before it, and an access is accepted at most
``P L + D`` after it stands before its controller. Its data is there at most ``2 AGE + D`` later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import count, pairwise
from typing import Any

import cocotb

from hdl.controller.queue import AGE
from hdl.pcu.collector import IN_FLIGHT
from hdl.pcu.pcu import TURN
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.registers import COMPLETION_VALID, Irq, Reg
from pim_model.spec.timing import Timing
from pim_model.spec.timing_rules import Scope
from sim.bench.bursts import PAGE, Burst
from sim.bench.top_bench import TopBench

CYCLES = 40_000
AHEAD = 48
"""Bursts under way or queued at the master, more than the window takes."""

PIPELINE = 32
"""Registers on the way: buses, results back and collected, a macro unrolled."""

READ_ROWS, WRITE_ROWS = range(12, 32), range(32, 52)
"""DRAM rows of the traffic, behind those with the macros' weights."""


@dataclass(frozen=True)
class Bounds:
    """Longest waits in cycles; ``alone`` is how long a macro takes with nothing beside it, ``queue`` a controller's."""

    timing: Timing
    queue: int
    places: int
    alone: int

    @property
    def access(self) -> int:
        timing, columns = self.timing, (Op.RD, Op.WR)
        return timing.between(Op.PRE, Op.ACT, Scope.BANK) + max(
            timing.between(before, Op.PRE, Scope.BANK) + timing.between(Op.ACT, after, Scope.BANK)
            for before in columns
            for after in columns
        )

    @property
    def close(self) -> int:
        return self.timing.between(Op.WR, Op.PREA, Scope.BANK) + self.timing.between(
            Op.PREA, Op.ACTAB, Scope.BANK
        )

    def _refreshed(self, cycles: int) -> int:
        """``cycles`` of work and the refreshes that fall due meanwhile, one of which may have been owed."""
        each = self.close + self.timing.cycles("tRFCab")
        return cycles + each * (1 + cycles // (self.timing.refresh_interval - each))

    @property
    def drain(self) -> int:
        return self._refreshed((self.queue + 1) * self.access)

    @property
    def macro(self) -> int:
        return TURN + self.drain + self.close + PIPELINE

    @property
    def accepted(self) -> int:
        return self.places * self._refreshed(self.alone) + self.drain + PIPELINE

    @property
    def read(self) -> int:
        return self.accepted + 2 * AGE + self.drain


def product(bench: TopBench) -> MatVec:
    geometry = bench.config.geometry
    return MatVec(
        tag=1,
        rows=5 * geometry.outputs,
        columns=2 * geometry.elements,
        weight_row=0,
        input_offset=0,
        output_offset=8192,
    )


async def complete(bench: TopBench) -> None:
    word = await bench.read_register(Reg.COMPLETION)
    assert word & COMPLETION_VALID
    assert (word & 0xFFFF, word >> 16 & 0xFF) == bench.due.popleft()
    await bench.write_register(Reg.COMPLETION_POP, 1)


async def run_macros(bench: TopBench, words: tuple[int, ...], end: int) -> int:
    """Keep the queue of macros full until cycle ``end``; how many have completed by then."""
    done = 0
    while bench.cycle < end:
        if int(bench.dut.irq.value):
            await complete(bench)
            done += 1
        elif await bench.read_register(Reg.MACRO_SPACE):
            await bench.push(words)
    return done


async def run_traffic(bench: TopBench, reads: Iterator[Burst], writes: Iterator[Burst], end: int) -> None:
    """Keep the queues of reads and writes full until cycle ``end``."""
    rng, bursts = bench.rng("traffic"), bench.bursts
    while bench.cycle < end:
        while len(bursts.reads_pending) < AHEAD:
            burst = next(reads)
            bursts.read(burst, [bench.golden.read_memory(address, COLUMN_BYTES) for address in burst.words])
        while len(bursts.writes_pending) < AHEAD:
            burst = next(writes)
            words = [rng.randbytes(COLUMN_BYTES) for _ in burst.words]
            bench.golden.write_memory(burst.words[0], b"".join(words))
            bursts.write(burst, words)
        await bench.idle(8)


def _macro_waits(bench: TopBench, macro: MatVec) -> list[int]:
    """Cycles from the last result of each macro on any channel to the first activation of the next one."""
    config = bench.config
    groups = macro.groups(config)
    tiles = groups * macro.tiles(config)
    starts, ends = [], []
    for channel in bench.channels:
        activations = [entry.cycle for entry in channel.log if entry.micro.op is Op.ACTAB]
        results = [entry.cycle for entry in channel.log if entry.micro.op is Op.RDMAC]
        starts.append(activations[::tiles])
        ends.append(results[groups - 1 :: groups])
    end = [max(cycles) for cycles in zip(*ends, strict=False)]
    return [
        max(start) - end[index]
        for index, start in enumerate(zip(*(each[1:] for each in starts), strict=False))
    ]


async def _both(dut: Any, stream: Callable[[TopBench, range], Iterator[Burst]]) -> None:
    bench = TopBench(dut)
    await bench.begin(flow=False, bursts=True)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    macro = product(bench)
    words = macro.encode()
    assert macro.groups(bench.config) * macro.tiles(bench.config) <= READ_ROWS[0], (
        "weights reach into the traffic's rows"
    )
    await bench.push(words)
    await bench.wait_irq()
    alone = await bench.read_register(Reg.COMPLETION_CYCLES)
    await complete(bench)
    bounds = Bounds(
        bench.config.timing, bench.config.normal_queue, bench.config.macro_queue + 2 + IN_FLIGHT, alone
    )
    start = bench.cycle
    end = start + CYCLES * bench.rounds
    traffic = cocotb.start_soon(run_traffic(bench, stream(bench, READ_ROWS), stream(bench, WRITE_ROWS), end))
    done = await run_macros(bench, words, end)
    await traffic
    watched = bench.bursts.watched
    beats = {name: [cycle for cycle in watched.cycles[name] if cycle < end] for name in ("r", "w")}
    waits = {name: [b - a for a, b in pairwise([start, *cycles, end])] for name, cycles in beats.items()}
    macros = _macro_waits(bench, macro)[1:]  # the first came before the streams
    for name, found, limit in (
        ("macros", macros, bounds.macro),
        ("reads", waits["r"], bounds.read),
        ("writes", waits["w"], bounds.accepted),
    ):
        assert found, f"{name}: none made progress"
        cocotb.log.info("%s: %d, longest wait %d, bound %d", name, len(found), max(found), limit)
        assert max(found) <= limit, f"{name}: a wait of {max(found)} cycles, at most {limit}"
    assert done >= CYCLES * bench.rounds // (bounds.macro + alone) - IN_FLIGHT, (
        f"only {done} macros completed"
    )
    assert max(macros) >= TURN, "no macro ever waited for the traffic"
    assert max(waits["w"]) >= alone // 2, "no access ever waited for a macro"
    while bench.due:
        await bench.wait_irq()
        await complete(bench)
    await bench.within(100_000, cocotb.start_soon(bench.bursts.settled()))
    await bench.finish()


def pages(bench: TopBench, rows: range) -> Iterator[Burst]:
    """Bursts of 4 KB, one after the other, as a DMA engine sends them."""
    geometry = bench.config.geometry
    first, end = geometry.address(rows[0]), geometry.address(rows[-1] + 1)
    for page in count():
        yield Burst(address=first + page * PAGE % (end - first), beats=PAGE // COLUMN_BYTES)


def conflicts(bench: TopBench, rows: range) -> Iterator[Burst]:
    """Single words of one bank, each in another row than the one before."""
    geometry = bench.config.geometry
    for number in count():
        row, column = rows[number % len(rows)], number // len(rows) % geometry.columns
        yield Burst(address=geometry.address(row, 0, 0, column))


@cocotb.test()
async def macros_and_pages(dut: Any) -> None:
    """Reads and writes of whole pages beside macros."""
    await _both(dut, pages)


@cocotb.test()
async def macros_and_conflicts(dut: Any) -> None:
    """As bad as accesses can be: a row conflict each, on one channel, in both directions."""
    await _both(dut, conflicts)
