"""The age of normal traffic."""

import pytest

from hdl.host.waiting import OLDEST_BITS, Waiting

from .simulate import run


@pytest.mark.parametrize("start", [0, *(1 << bit for bit in range(4, 32))])
def test_age_counts_from_the_first_cycle_and_ends_with_a_pause(start):
    dut = Waiting()

    async def testbench(ctx):
        for now, traffic, since in (
            (7, 0, 7),
            (8, 1, 8),
            (9, 1, 8),
            (20, 1, 8),
            (21, 0, 8),
            (22, 1, 22),
            (23, 1, 22),
        ):
            ctx.set(dut.now, start + now)
            ctx.set(dut.traffic, traffic)
            assert ctx.get(dut.since) == start + since, f"cycle {now}"
            await ctx.tick()

    run(dut, testbench)


def test_traffic_without_a_pause_never_looks_younger_than_a_later_push():
    """Through more than one turn of the counter, in steps, with a macro pushed at each of them."""
    dut = Waiting()
    step = 1 << (OLDEST_BITS - 2)

    async def testbench(ctx):
        ctx.set(dut.traffic, 1)
        anew = 0
        for number in range(40):
            now = 123 + number * step
            for later in range(3):
                ctx.set(dut.now, (now + later) % (1 << 32))
                await ctx.tick()
            since = ctx.get(dut.since)
            age = (now + 2 - since) % (1 << 32)
            assert age <= 1 << OLDEST_BITS, f"{age:#x} cycles old, step {number}"
            pushed = (now + 3) % (1 << 32)
            assert (since - pushed) % (1 << 32) >> 31, f"younger than a push after it, step {number}"
            anew += age < 3
        assert 5 <= anew <= 12

    run(dut, testbench)
