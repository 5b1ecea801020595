"""One access that everything else passes over, and how long that lasts: the age cap of the queue.

From its acceptance to its column command the access waits at most

    2 AGE + 2                       until two boundaries of AGE cycles have found it in the queue
    + tCCD + turn                   the column command that is on its way, and the bus turned to its direction
    + (to PRE) + tRP + tRCD         its bank closed and its row opened
    + 1                             the command bus is a register

when all older ones have gone, which is long before in these streams. A refresh would come on top: there is one between
two measurements, and none in them.
"""

from __future__ import annotations

from typing import Any

import cocotb

from hdl.controller.queue import AGE
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing_rules import Scope
from sim.bench.controller_bench import ControllerBench
from sim.bench.stream import StreamMonitor

BANK, ROW, OTHER_ROW = 1, 5, 9
PHASES = 4
"""Moments between two boundaries at which the access comes."""

_COLUMN = {0: Op.RD, 1: Op.WR}


def bound(bench: ControllerBench, stream: Op, own: Op) -> int:
    """Longest wait in cycles of an access ``own`` behind a stream of row hits ``stream``."""
    timing = bench.config.timing
    row = (
        timing.between(stream, Op.PRE, Scope.BANK)
        + timing.between(Op.PRE, Op.ACT, Scope.BANK)
        + timing.between(Op.ACT, own, Scope.BANK)
    )
    return 2 * AGE + 2 + timing.cycles("tCCD") + timing.between(stream, own, Scope.CHANNEL) + row + 1


async def _starve(dut: Any, stream: int, own: int, own_bank: int) -> None:
    """Row hits without an end in one bank, and one access to another row of ``own_bank``, at several moments."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    rng = bench.rng("moments")
    accepted: list[int] = []
    StreamMonitor(bench, "requests", None, lambda _: accepted.append(bench.cycle))
    last = bench.config.geometry.columns - 1  # the victim's column; the stream has the others
    limit = bound(bench, _COLUMN[stream], _COLUMN[own])
    for _ in range(PHASES * bench.rounds):
        dut.refresh.value = 1
        await bench.idle(bench.config.timing.refresh_interval)
        dut.refresh.value = 0
        await bench.idle(300 + rng.randrange(AGE))
        log = bench.device.log
        start, before = len(log), len(accepted)
        hits = [
            {"write": stream, "bank": BANK, "row": ROW, "column": n % last, "data": n, "mask": 0xFFFFFFFF}
            for n in range(4 * AGE)
        ]
        lead = 3 * bench.config.geometry.columns
        victim = {"write": own, "bank": own_bank, "row": OTHER_ROW, "column": last, "data": 1, "mask": 1}
        bench.requests.send(*hits[:lead], victim, *hits[lead:])
        await bench.within(20 * len(hits), cocotb.start_soon(bench.settled()))
        served = [
            entry.cycle
            for entry in log[start:]
            if (entry.micro.op, entry.micro.bank, entry.micro.column) == (_COLUMN[own], own_bank, last)
        ]
        assert len(served) == 1
        wait = served[0] - accepted[before + lead]
        cocotb.log.info("waited %d cycles, at most %d", wait, limit)
        assert wait >= AGE, f"{wait} cycles: it was not passed over"
        assert wait <= limit, f"{wait} cycles, at most {limit}"
        after = [
            entry.cycle
            for entry in log[start:]
            if entry.cycle > served[0] and entry.micro.op is _COLUMN[stream]
        ]
        assert after, "the stream ended first"
    bench.reads.finish(at_least=int(not (stream and own)))
    bench.finish(writes_only=bool(stream and own))


@cocotb.test()
async def write_behind_writes(dut: Any) -> None:
    """A row conflict behind hits of its own direction."""
    await _starve(dut, 1, 1, BANK)


@cocotb.test()
async def read_behind_writes(dut: Any) -> None:
    """A row conflict behind hits of the other direction, in the run of which it finds itself."""
    await _starve(dut, 1, 0, BANK)


@cocotb.test()
async def write_behind_reads(dut: Any) -> None:
    """As the read, the other way round."""
    await _starve(dut, 0, 1, BANK)


@cocotb.test()
async def write_beside_reads(dut: Any) -> None:
    """No conflict: its bank is its own, and only the direction of the bus is against it."""
    await _starve(dut, 0, 1, BANK + 1)
