"""When refreshes are owed, forced, and pulled in."""

import random
from dataclasses import replace

import pytest

from hdl.controller.refresh import RefreshTimer
from pim_model.spec.timing import Param, timing
from sim.bench.balances import Balances

from .simulate import run

INTERVAL = 100
_PRESET = timing("ianus_ck")
TIMING = replace(
    _PRESET, params={**_PRESET.params, "tREFI": Param(2 * INTERVAL, 0, "short, for many of them")}
)


async def done(ctx, dut, units=1):
    """A refresh in this cycle."""
    ctx.set(dut.done, units)
    await ctx.tick()
    ctx.set(dut.done, 0)


def test_owed_every_interval_until_done():
    dut = RefreshTimer(TIMING, 1)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(INTERVAL - 1)
        assert not ctx.get(dut.due)
        await ctx.tick()
        assert ctx.get(dut.due)
        await ctx.tick().repeat(2 * INTERVAL)  # two more are owed
        for owed in (3, 2, 1):
            assert ctx.get(dut.due), f"{owed} refreshes are owed"
            await done(ctx, dut)
        assert not ctx.get(dut.due)

    run(dut, testbench)


def test_forced_with_eight_owed():
    dut = RefreshTimer(TIMING, 1)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(8 * INTERVAL - 1)
        assert not ctx.get(dut.forced)
        await ctx.tick()
        assert ctx.get(dut.forced)
        await done(ctx, dut)
        assert not ctx.get(dut.forced)
        await ctx.tick().repeat(INTERVAL - 2)
        assert not ctx.get(dut.forced), "seven are owed"
        await ctx.tick()
        assert ctx.get(dut.forced)

    run(dut, testbench)


def test_eight_are_pulled_in_and_hold_for_eight_intervals():
    dut = RefreshTimer(TIMING, 1)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        for _ in range(8):
            assert ctx.get(dut.spare)
            await done(ctx, dut)
        assert not ctx.get(dut.spare)
        await done(ctx, dut)  # does not count
        await ctx.tick().repeat(INTERVAL - 9)
        assert ctx.get(dut.spare), "one of the eight is used up"
        await ctx.tick().repeat(7 * INTERVAL - 1)
        assert not ctx.get(dut.due)
        await ctx.tick()
        # None is owed yet, but nine intervals after the last one is the limit.
        assert ctx.get(dut.due)
        assert ctx.get(dut.forced)
        await done(ctx, dut)
        assert not ctx.get(dut.due)
        await ctx.tick().repeat(2 * INTERVAL - 2)
        assert not ctx.get(dut.due), "it was one ahead"
        await ctx.tick()
        assert ctx.get(dut.due)
        assert not ctx.get(dut.forced)

    run(dut, testbench)


def test_nothing_owed_and_none_pulled_in_while_disabled():
    dut = RefreshTimer(TIMING, 1)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(INTERVAL + 5)
        assert ctx.get(dut.due)
        ctx.set(dut.enable, 0)
        await ctx.tick()
        assert not ctx.get(dut.due)
        assert not ctx.get(dut.spare)
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(INTERVAL - 1)
        assert not ctx.get(dut.due), "the interval restarts"
        await ctx.tick()
        assert ctx.get(dut.due)

    run(dut, testbench)


@pytest.mark.parametrize("banks", [4, 16])
def test_banks_fall_due_one_after_the_other(banks):
    """A whole tREFI for each round, though 100 is no multiple of 16."""
    dut = RefreshTimer(TIMING, banks)
    seen = []

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        for cycle in range(3 * INTERVAL + 1):
            due = ctx.get(dut.due)
            if due:
                seen.append((cycle, due))
            await done(ctx, dut, due)

    run(dut, testbench)
    ends = range(1, 3 * banks + 1)
    assert seen == [(-(-end * INTERVAL // banks), 1 << (end - 1) % banks) for end in ends]


def test_each_bank_has_its_balance(seed):
    """Random refreshes of some banks, at the ends of intervals too, against numbers."""
    rng = random.Random(seed)
    banks = 4
    dut, model = RefreshTimer(TIMING, banks), Balances(INTERVAL, banks)
    reached = set()
    chances = (0.0, 0.04, 0.9, 0.0, 0.0, 0.0, 0.02, 0.5)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        cycle = 0
        for quarter in range(200):
            chance = chances[quarter // 25]
            for _ in range(0, INTERVAL // banks, 5):
                refreshed = sum(1 << bank for bank in range(banks) if rng.random() < chance / 4)
                await ctx.tick().repeat(4)
                await done(ctx, dut, refreshed)
                model.pass_to(cycle + 4)
                model.pass_to(cycle := cycle + 5, refreshed)
                assert {name: ctx.get(getattr(dut, name)) for name in model.pins()} == model.pins()
                reached.update(model.owed)

    run(dut, testbench)
    assert reached == set(range(-8, 9))
