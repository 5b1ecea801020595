"""One controller: normal traffic, macros among it, aborts at any moment."""

from __future__ import annotations

import random
from itertools import pairwise
from typing import Any

import cocotb

from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import POSTPONED
from sim.bench.controller_bench import ControllerBench
from sim.bench.workload import random_macro

REQUESTS = 800
MACROS = 6
ABORTS = 8


@cocotb.test()
async def normal_traffic(dut: Any) -> None:
    """Reads and masked writes against a reference memory; hits, conflicts, refresh, back-pressure."""
    bench = ControllerBench(dut)
    await bench.begin()
    count = 0
    for _, (request, quiet) in bench.items(
        "requests", REQUESTS * bench.rounds, bench.random_request_and_quiet
    ):
        bench.requests.send(request)
        count += 1
        if quiet:  # for a refresh with nothing to do
            await bench.requests.drained()
            await bench.idle(quiet)
    await bench.within(400 * count + 10_000, cocotb.start_soon(bench.settled()))
    assert bench.request_monitor.count == count
    counts = bench.device.counts
    assert counts[Op.WR] == bench.writes
    if not bench.whole:
        bench.finish(writes_only=True)
        return
    forwarded = count - bench.writes - counts[Op.RD]
    assert 0 < forwarded < count // 20, f"{forwarded} reads found their data in a queued write"
    assert counts[Op.REFAB] > 0, f"too short to see refresh: {bench.cycle} cycles"
    assert min(counts[op] for op in (Op.ACT, Op.RD, Op.WR, Op.PRE)) > 20, f"too tame: {counts}"
    bench.finish()


@cocotb.test()
async def row_hits_stream(dut: Any) -> None:
    """Reads of one open row, with nobody in the way, come one a tCCD; so do writes."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    columns = bench.config.geometry.columns
    gap = bench.config.timing.cycles("tCCD")
    for write in (0, 1):
        common = {"write": write, "bank": 2, "row": 5, "mask": 0xFFFFFFFF}
        bench.requests.send(*({**common, "column": column % columns, "data": column} for column in range(32)))
        await bench.within(5_000, cocotb.start_soon(bench.settled()))
    for op in (Op.RD, Op.WR):
        cycles = [entry.cycle for entry in bench.device.log if entry.micro.op is op]
        assert [b - a for a, b in pairwise(cycles)] == [gap] * 31, f"{op.name}: {cycles}"
    bench.finish()


@cocotb.test()
async def macros(dut: Any) -> None:
    """Random MATVEC streams amid normal traffic: results, command order, no normal command inside a macro."""
    bench = ControllerBench(dut)
    await bench.begin()

    def turn(rng: random.Random) -> tuple[int, int, MatVec]:
        """Requests before a macro, cycles of waiting, the macro."""
        return (
            rng.randrange(0, 40),
            rng.randrange(0, 200),
            random_macro(rng, bench.config, rng.getrandbits(16)),
        )

    for number, (before, wait, macro) in bench.items("macros", MACROS * bench.rounds, turn):
        for _, request in bench.items(f"requests{number}", before, bench.random_request):
            bench.requests.send(request)
        await bench.idle(wait)
        await bench.within(60_000, cocotb.start_soon(bench.run_macro(macro)))
    bench.requests.send({**bench.random_request(bench.rng("last")), "write": 0})
    await bench.within(100_000, cocotb.start_soon(bench.settled()))
    bench.results.finish(at_least=MACROS if bench.whole else 0)
    bench.finish()


@cocotb.test()
async def macros_beside_traffic(dut: Any) -> None:
    """Dual row buffers: traffic without a pause, writes to all rows but the macro's, and macros in its midst."""
    bench = ControllerBench(dut)
    await bench.begin()
    requests = bench.rng("requests")
    config, beside = bench.config, 0
    mine = range(0)  # rows of the macro that runs

    async def traffic() -> None:
        while True:
            request = bench.random_request(requests)
            if requests.random() < 0.3:  # reads of what the macro reads
                request |= {"write": 0, "row": requests.choice(mine)}
            if request["row"] not in mine or not request["write"]:
                bench.requests.send(request)
                await bench.requests.drained()

    def turn(rng: random.Random) -> tuple[int, MatVec]:
        """Cycles of traffic before a macro, the macro."""
        return rng.randrange(0, 200), random_macro(rng, config, rng.getrandbits(16))

    for _, (wait, macro) in bench.items("macros", 2 * MACROS * bench.rounds, turn):
        tiles = macro.groups(config) * macro.tiles(config)
        await bench.requests.drained()
        mine = range(macro.weight_row, macro.weight_row + tiles)
        running = cocotb.start_soon(traffic())
        await bench.idle(wait)
        await bench.within(60_000, cocotb.start_soon(bench.run_macro(macro)))
        running.cancel()
        beside = bench.beside
    bench.requests.send({**bench.random_request(requests), "write": 0})
    await bench.within(100_000, cocotb.start_soon(bench.settled()))
    bench.results.finish(at_least=2 * MACROS if bench.whole else 0)
    assert beside > 50 * MACROS or not bench.whole, f"only {beside} normal accesses beside macros"
    bench.finish()


@cocotb.test()
async def abort(dut: Any) -> None:
    """A macro aborted at a random cycle leaves all banks closed and disturbs neither refresh nor what follows."""
    bench = ControllerBench(dut)
    await bench.begin()
    inside = 0

    def turn(rng: random.Random) -> tuple[MatVec, int, list[dict[str, int]], MatVec]:
        """A macro, cycles until it is aborted, requests behind it, another macro."""
        return (
            random_macro(rng, bench.config, rng.getrandbits(16), most_tiles=8),
            _moment(rng),
            [bench.random_request(rng) for _ in range(rng.randrange(1, 6))],
            random_macro(rng, bench.config, rng.getrandbits(16), 4),
        )

    for _, (macro, moment, requests, after) in bench.items("aborts", ABORTS * bench.rounds, turn):
        await bench.start_macro(macro)
        for _ in range(moment):
            await bench.edge()
            if not bench.results.pending:
                break
        inside += int(dut.quiet.value) == 0
        await bench.within(2_000, cocotb.start_soon(_abort(bench)))
        bench.requests.send(*requests)
        await bench.within(60_000, cocotb.start_soon(bench.run_macro(after)))
        await bench.within(60_000, cocotb.start_soon(bench.settled()))
    assert inside or not bench.whole, "no abort met a running macro"
    bench.requests.send({**bench.random_request(bench.rng("last")), "write": 0})
    await bench.within(60_000, cocotb.start_soon(bench.settled()))
    ended = bench.cycle // bench.config.timing.refresh_interval
    assert abs(bench.device.counts[Op.REFAB] - ended) <= POSTPONED
    bench.finish()


def _moment(rng: random.Random) -> int:
    """When to abort: the first commands of a macro as often as its middle."""
    return rng.randrange(1, rng.choice((20, 100, 600)))


async def _abort(bench: ControllerBench) -> None:
    """Abort as the prototype does: the PCU is reset with it, and the line stays high until the channel is quiet."""
    dut = bench.dut
    was_quiet = int(dut.quiet.value) == 1
    dut.abort.value = 1
    dut.pim_request.value = 0
    bench.tiles.clear()
    bench.steps.clear()
    await bench.edge()
    while True:
        await bench.edge()
        if int(dut.quiet.value):
            break
    if not was_quiet:
        assert not bench.device.open_banks, f"banks {bench.device.open_banks} are open after the abort"
    dut.abort.value = 0
    await bench.edge()
    bench.results.clear()
