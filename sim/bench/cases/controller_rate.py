"""How fast one controller serves normal traffic, against what the bus and the banks allow. Refresh is off.

Cycles a column command, at best:

* row hits of one direction: tCCD, and of rows passed through from end to end one ACT and one PRE for every row on the
  command bus;
* random reads: the largest of tCCD, tRRD, tFAW / 4, tRC / banks, and the three commands of each (ACT, RD, PRE);
* row hits of both directions: tCCD, and of each pair of runs the two turns of the bus. The write queue bounds a run:
  while one lasts, as many requests come in as go out, half of them writes, so it ends ``high - low`` writes
  (``write_run``) from its start after twice as many.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from hdl.controller.normal import write_run
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing_rules import Scope
from sim.bench.controller_bench import ControllerBench

REQUESTS = 2_000
ALL = 0xFFFFFFFF


async def _measure(bench: ControllerBench, requests: list[dict[str, int]]) -> float:
    """Cycles a column command, from the first to the last of them."""
    await bench.begin(flow=False)
    bench.dut.refresh.value = 0
    bench.requests.send(*requests)
    await bench.within(20 * len(requests), cocotb.start_soon(bench.settled()))
    bench.finish(refreshed=False, writes_only=all(request["write"] for request in requests))
    cycles = [entry.cycle for entry in bench.device.log if entry.micro.op in (Op.RD, Op.WR)]
    assert len(cycles) == len(requests), "a request was answered without the device"
    return (cycles[-1] - cycles[0]) / (len(cycles) - 1)


def _judge(name: str, bound: float, cycles: float, share: float) -> None:
    cocotb.log.info("%s: %.3f cycles each, bound %.3f: %.1f %%", name, cycles, bound, 100 * bound / cycles)
    assert bound / cycles >= share, f"{name}: {bound / cycles:.1%} of the bound, not {share:.0%}"


async def _stream(dut: Any, write: int) -> None:
    bench = ControllerBench(dut)
    geometry = bench.config.geometry
    order = range(5 * geometry.banks * geometry.columns, 1 << 30)
    requests = [
        {
            "write": write,
            "row": number // geometry.columns // geometry.banks,
            "bank": number // geometry.columns % geometry.banks,
            "column": number % geometry.columns,
            "data": number * 0x9E3779B97F4A7C15 if write else 0,
            "mask": ALL,
        }
        for number in order[:REQUESTS]
    ]
    cycles = await _measure(bench, requests)
    _judge("writes" if write else "reads", bench.config.timing.cycles("tCCD"), cycles, 0.95)


@cocotb.test()
async def streaming_reads(dut: Any) -> None:
    """All columns of row after row: 95 % of one a tCCD, the opening and closing of rows included."""
    await _stream(dut, 0)


@cocotb.test()
async def streaming_writes(dut: Any) -> None:
    """As the reads."""
    await _stream(dut, 1)


def _anywhere(bench: ControllerBench, rng: random.Random) -> dict[str, int]:
    geometry = bench.config.geometry
    return {
        "write": 0,
        "row": rng.randrange(geometry.weight_rows),
        "bank": rng.randrange(geometry.banks),
        "column": rng.randrange(geometry.columns),
        "data": 0,
        "mask": ALL,
    }


@cocotb.test()
async def random_reads(dut: Any) -> None:
    """Single words anywhere: 90 % of what rows and banks allow."""
    bench = ControllerBench(dut)
    rng = bench.rng("requests")
    timing = bench.config.timing
    bound = max(
        timing.cycles("tCCD"),
        timing.between(Op.ACT, Op.ACT, Scope.CHANNEL),
        timing.faw_cycles / 4,
        timing.cycles("tRC") / bench.config.geometry.banks,
        3,
    )
    _judge(
        "random reads", bound, await _measure(bench, [_anywhere(bench, rng) for _ in range(REQUESTS)]), 0.9
    )


@cocotb.test()
async def mixed_hits(dut: Any) -> None:
    """Reads and writes of open rows, half and half: 85 % of what the turns of the bus leave."""
    bench = ControllerBench(dut)
    rng = bench.rng("requests")
    timing, geometry = bench.config.timing, bench.config.geometry
    # An address of one column each, so that none is read from the write queue.
    places = rng.sample(
        [(b, c) for b in range(geometry.banks) for c in range(geometry.columns)], REQUESTS // 2
    )
    requests = [
        {
            "write": rng.randrange(2),
            "row": 7,
            "bank": bank,
            "column": column,
            "data": rng.getrandbits(256),
            "mask": ALL,
        }
        for bank, column in places
    ]
    gap = timing.cycles("tCCD")
    high, low = write_run(bench.config.normal_queue)
    run = 2 * (high - low)
    turns = timing.between(Op.RD, Op.WR, Scope.CHANNEL) + timing.between(Op.WR, Op.RD, Scope.CHANNEL)
    bound = gap + (turns - 2 * gap) / (2 * run)
    _judge("mixed hits", bound, await _measure(bench, requests), 0.85)
