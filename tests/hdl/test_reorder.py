"""The reorder buffer: data in the order of acceptance, however it came, and in the cycle after it came."""

import random
from collections import deque
from dataclasses import dataclass

import pytest

from hdl.controller.reorder import ReorderBuffer, round_trip
from pim_model.spec.timing import timing

from .simulate import run

CYCLES = 500


@dataclass(eq=False)
class Read:
    slot: int
    data: int = 0
    bad: bool = False
    there: bool = False
    sent: bool = False


@pytest.mark.parametrize(("timing_name", "places"), [("ianus_ck", 16), ("aim_simulator", 64)])
def test_random_reads(timing_name, places, seed):
    """Issued to the device in any order, or with data of a queued write; a taker that is not always ready."""
    rng = random.Random(f"{seed}/{timing_name}/reorder")
    preset = timing(timing_name)
    dut = ReorderBuffer(preset, places)
    # As in the controller: the device's latency, and a register in either direction.
    latency = max(1, preset.cycles("RL + BL")) + 2
    reads: deque[Read] = deque()  # accepted and not taken
    flight: deque[tuple[int, Read]] = deque()  # with the cycle in which the data comes
    bypassed = 0
    full: set[bool] = set()
    seen: set[object] = set()
    tail = 0

    async def testbench(ctx):
        nonlocal tail, bypassed
        for cycle in range(CYCLES):
            busy = cycle // 100 % 2  # reads come faster than they are taken, then the other way round
            # --- what stands in this cycle
            head = reads[0] if reads else Read(-1)
            valid = head.there
            full.add(len(reads) == places)
            assert ctx.get(dut.space) == (len(reads) < places)
            assert ctx.get(dut.slot) == tail
            assert ctx.get(dut.pending) == bool(flight)
            assert ctx.get(dut.forward_space) == (bypassed < 4)
            assert ctx.get(dut.reads.valid) == valid
            assert ctx.get(dut.bad) == (valid and head.bad)
            if valid and not head.bad:
                assert ctx.get(dut.reads.p) == head.data
            # --- what happens in it
            ready = rng.random() < (0.3 if busy else 0.95)
            accept = len(reads) < places and rng.random() < (0.9 if busy else 0.4)
            waiting = [read for read in reads if not read.sent]
            issue = rng.choice(waiting) if waiting and rng.random() < 0.7 else None
            forward = None
            if bypassed < 4 and rng.random() < 0.3:
                # Of the reads that are forwarded the older goes first.
                last = max((i for i, read in enumerate(reads) if read in forwarded), default=-1)
                later = [
                    read for i, read in enumerate(reads) if i > last and not read.sent and read is not issue
                ]
                forward = rng.choice(later) if later else None
            arrives = flight.popleft()[1] if flight and flight[0][0] == cycle else None
            ctx.set(dut.reads.ready, int(ready))
            ctx.set(dut.accept, int(accept))
            ctx.set(dut.issue, int(issue is not None))
            ctx.set(dut.forward, int(forward is not None))
            ctx.set(dut.rvalid, int(arrives is not None))
            if issue is not None:
                ctx.set(dut.issued, issue.slot)
                issue.sent = True
                flight.append((cycle + latency, issue))
            if forward is not None:
                forward.sent = True
                forward.data = rng.getrandbits(256)
                forwarded.append(forward)
                bypassed += 1
                ctx.set(dut.forwarded, forward.slot)
                ctx.set(dut.word, forward.data)
                seen.add("forwarded")
            if arrives is not None:
                arrives.data, arrives.bad = rng.getrandbits(256), rng.random() < 0.1
                ctx.set(dut.rdata, arrives.data)
                ctx.set(dut.flip, int(arrives.bad))
                seen.add(("bad", arrives.bad))
            await ctx.tick()
            # --- what has changed
            if valid and ready:
                taken = reads.popleft()
                if taken in forwarded:
                    forwarded.remove(taken)
                    bypassed -= 1
            for read in (arrives, forward):
                if read is not None:
                    read.there = True
            if accept:
                reads.append(Read(tail))
                tail = (tail + 1) % places

    forwarded: list[Read] = []
    run(dut, testbench)
    assert full == {True, False}
    assert seen == {"forwarded", ("bad", True), ("bad", False)}
    assert latency <= round_trip(preset)
