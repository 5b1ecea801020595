# Ref: hdl/controller/refresh.py, pim_model/checker_refresh.py
"""Refresh of one controller: postponed to the limit and not beyond, pulled in to the limit and not beyond.

The golden checker behind the bus judges the deadline of every bank in all of them.
"""

from __future__ import annotations

import random
from typing import Any

import cocotb

from pim_model.spec.config import RefreshPolicy
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import POSTPONED
from sim.bench.controller_bench import ControllerBench
from sim.bench.refreshes import Refreshes
from sim.bench.workload import random_macro

INTERVALS = 14
MOST_TURNS = 1000


@cocotb.test()
async def postponed_under_load(dut: Any) -> None:
    """Saturated: nothing is refreshed before eight are owed, then one an interval, at once. Then eight are pulled in.

    With the per-bank policy this is said of one bank that is never without requests; the others owe two at most.
    """
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    interval = bench.config.timing.refresh_interval
    hot = 2
    per_bank = bench.config.refresh is RefreshPolicy.PER_BANK
    await bench.saturate(INTERVALS * interval, **({"bank": hot} if per_bank else {}))
    found = Refreshes(bench)
    for bank in range(found.banks):
        owed = found.owed(bank)
        if per_bank and bank != hot:
            assert set(owed) == {2}, f"bank {bank} owed {owed}"
            continue
        assert len(owed) >= INTERVALS - POSTPONED - 1
        assert set(owed) == {POSTPONED}, f"bank {bank} owed {owed}"
        ends = [(POSTPONED + turn) * interval for turn in range(len(owed))]
        if per_bank:
            ends = [end - (found.banks - 1 - bank) * interval // found.banks for end in ends]
        late = [cycle - end for cycle, end in zip(found.cycles[bank], ends, strict=True)]
        cocotb.log.info("bank %d: %d to %d cycles after its eighth", bank, min(late), max(late))
        assert max(late) < interval // 2, f"bank {bank} is refreshed {late} cycles after its eighth"
    await bench.within(5_000, cocotb.start_soon(bench.settled()))
    await bench.idle(20 * max(bench.config.timing.cycles("tRFCab"), bench.config.timing.cycles("tRFCpb")))
    found = Refreshes(bench)
    for bank in range(found.banks):
        assert found.owed(bank)[-1] - 1 == -POSTPONED, "all that were owed, and eight ahead"
    bench.finish(refreshed=False)


@cocotb.test()
async def pulled_in_at_rest(dut: Any) -> None:
    """An idle channel pulls in eight, and from then on one as often as one of them is used up; none without refresh."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    interval, tiny = bench.config.timing.refresh_interval, 100
    while bench.cycle < interval - tiny:
        await bench.edge()
    found = Refreshes(bench)
    assert {len(cycles) for cycles in found.cycles} == ({POSTPONED} if not found.per_bank else {8, 9})
    await bench.idle(12 * interval)
    for bank, owed in enumerate(map(Refreshes(bench).owed, range(found.banks))):
        assert owed[:8] == list(range(0, -8, -1)) or found.per_bank
        assert min(owed) == 1 - POSTPONED, f"bank {bank}: {owed}"
        assert len(owed) >= POSTPONED + 12
    count = len(bench.device.log)
    dut.refresh.value = 0
    await bench.idle(10 * interval)
    assert len(bench.device.log) == count


@cocotb.test()
async def turned_on_late(dut: Any) -> None:
    """Without refresh for a while, at rest: what is turned on then begins at once, as early as the limit allows."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    interval = bench.config.timing.refresh_interval
    for intervals in (3.0, 7.5):
        await bench.idle(interval)
        dut.refresh.value = 0
        await bench.idle(int(intervals * interval))
        count = len(bench.device.log)
        dut.refresh.value = 1
        await bench.idle(interval // 2)
        assert len(bench.device.log) >= count + POSTPONED


@cocotb.test()
async def mixture(dut: Any) -> None:
    """Bursts of traffic, macros and rest in random order over many intervals: the checker finds every bank in time."""
    bench = ControllerBench(dut)
    await bench.begin()
    interval = bench.config.timing.refresh_interval

    def turn(rng: random.Random) -> tuple[int, list[MatVec], int]:
        """Requests, or macros, or cycles of rest."""
        kind = rng.random()
        if kind < 0.45:
            return rng.randrange(1, rng.choice((40, 600, 6000))), [], 0
        if kind < 0.8:
            count = rng.randrange(1, 6)
            return 0, [random_macro(rng, bench.config, rng.getrandbits(16)) for _ in range(count)], 0
        return 0, [], rng.randrange(1, rng.choice((200, 2 * interval)))

    for number, (requests, macros, rest) in bench.items("turns", MOST_TURNS * bench.rounds, turn):
        if bench.cycle >= 3 * INTERVALS * interval * bench.rounds:
            break
        own = bench.rng(f"requests {number}")
        bench.requests.send(*(bench.random_request(own) for _ in range(requests)))
        await bench.requests.drained()
        for macro in macros:
            await bench.within(60_000, cocotb.start_soon(bench.run_macro(macro)))
        await bench.idle(rest)
    await bench.within(60_000, cocotb.start_soon(bench.settled()))
    owed = [value for bank in range(bench.config.geometry.banks) for value in Refreshes(bench).owed(bank)]
    if bench.whole:
        cocotb.log.info("owed from %d to %d", min(owed), max(owed))
        assert min(owed) == 1 - POSTPONED, "eight were pulled in once"
        assert max(owed) > 1, "none was postponed"
    bench.finish(refreshed=False)


@cocotb.test()
async def other_banks_go_on(dut: Any) -> None:
    """While a bank refreshes under load, the others transfer data at most of the rate that all have without refresh."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    timing = bench.config.timing
    await bench.saturate((POSTPONED + 4) * timing.refresh_interval)
    reads = [entry.cycle for entry in bench.device.log if entry.micro.op is Op.RD]
    refreshes = [entry for entry in bench.device.log if entry.micro.op is Op.REFPB]
    assert len(refreshes) >= 3 * bench.config.geometry.banks
    length = timing.cycles("tRFCpb")
    during = [sum(entry.cycle < cycle < entry.cycle + length for cycle in reads) for entry in refreshes]
    before = sum(cycle < POSTPONED * timing.refresh_interval // 2 for cycle in reads)
    usual = before / (POSTPONED * timing.refresh_interval // 2) * length
    share = sum(during) / len(during) / usual
    cocotb.log.info("%.1f reads within tRFCpb, %.1f usually: %.0f %%", usual * share, usual, 100 * share)
    assert min(during) > 0
    assert share > 0.5, f"{share:.0%} of the usual rate"
    await bench.within(5_000, cocotb.start_soon(bench.settled()))
    bench.finish(refreshed=False)


@cocotb.test()
async def streaming_reads(dut: Any) -> None:
    """All columns of row after row, bank after bank, with eight refreshes postponed already: what refresh costs."""
    bench = ControllerBench(dut)
    await bench.begin(flow=False)
    geometry, timing = bench.config.geometry, bench.config.timing
    interval = timing.refresh_interval
    first, last = (POSTPONED + 1) * interval, (POSTPONED + 5) * interval
    number = 0
    while bench.cycle < last:
        for _ in range(500):
            row, column = divmod(number, geometry.columns)
            common = {"write": 0, "data": 0, "mask": 0xFFFFFFFF, "column": column}
            row, bank = divmod(row, geometry.banks)
            bench.requests.send({**common, "row": row % geometry.weight_rows, "bank": bank})
            number += 1
        await bench.requests.drained()
    reads = sum(entry.micro.op is Op.RD and first <= entry.cycle < last for entry in bench.device.log)
    rate = reads * timing.cycles("tCCD") / (last - first)
    cocotb.log.info("%s: %.1f %% of one a tCCD", bench.config.refresh.name, 100 * rate)
    # What a refresh of all banks takes: itself, a row closed before it, a row opened after it. That of one bank hides.
    whole = sum(timing.cycles(name) for name in ("tRTP", "tRP", "tRFCab", "tRCDRD"))
    bound = 1 if bench.config.refresh is RefreshPolicy.PER_BANK else 1 - whole / interval
    assert rate >= 0.95 * bound, f"{rate:.1%}, bound {bound:.1%}"
    await bench.within(5_000, cocotb.start_soon(bench.settled()))
    bench.finish(refreshed=False)
