"""What gates of banks and channel allow, cycle by cycle, is what the rule table allows: no cycle less, none more."""

import random

import pytest

from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp
from sim.bench.gates import Attempt, GateModel, Gates, OpenRows, attempt

from .simulate import run

CYCLES = 500
LONGEST = 200
"""No rule binds for so long."""


@pytest.mark.parametrize(
    ("name", "timing"),
    [
        ("ianus", "ianus_ck"),
        ("ianus_refpb", "ianus_printed"),
        ("ianus_dual", "ianus_ck"),
        ("tiny_refpb", "aim_simulator"),
    ],
)
def test_open_exactly_when_the_rules_allow(name, timing, seed):
    """Random commands whatever the state of the banks; with 16 banks, whose groups are not the channel."""
    rng = random.Random(f"{seed}/{name}/{timing}")
    preset = config(name, timing)
    dut, model = Gates(preset), GateModel(preset)
    acts = Attempt(0, (MicroOp.ACT,), 0, local=False, turns=40)  # the fifth shows tFAW

    async def testbench(ctx):
        cycle = 0

        async def step(op0=MicroOp.NOP, op1=MicroOp.NOP, bank=0, mode=0):
            nonlocal cycle
            model.judge(cycle, lambda pin: ctx.get(getattr(dut, pin)))
            model.hear(cycle, op0, op1, bank, mode)
            for pin, value in (("op0", op0), ("op1", op1), ("bank", bank), ("mode", mode)):
                ctx.set(getattr(dut, pin), value)
            await ctx.tick()
            cycle += 1

        wish = acts
        while cycle < CYCLES - LONGEST:
            for _ in range(wish.rest):
                await step()
            for turn in range(wish.turns):
                await step(*model.choose(cycle, wish, turn))
            wish = attempt(rng, preset)
        for _ in range(LONGEST):
            await step()
        model.allowed.clear()
        await step()

    run(dut, testbench)
    assert model.allowed == set(model.ops), "at the end nothing binds any more"
    by_bank = {MicroOp.ACT, MicroOp.RD, MicroOp.WR, MicroOp.PRE, MicroOp.REFPB} & set(model.ops)
    assert model.refused >= {*by_bank, MicroOp.PREA, MicroOp.REFAB}, "after the ACT in the first cycle"


@pytest.mark.parametrize("name", ["tiny", "tiny_dual"])
def test_rows_that_are_open(name, seed):
    rng = random.Random(f"{seed}/{name}")
    preset = config(name)
    banks, dual = preset.geometry.banks, preset.dual_row_buffer
    dut, model = Gates(preset), OpenRows(preset)
    ops = [MicroOp.ACT, MicroOp.PRE, MicroOp.PREA, MicroOp.ACTAB, MicroOp.ACTAF, MicroOp.RD, MicroOp.NOP]
    ops += [MicroOp.PREP] * dual
    seen = set()

    async def testbench(ctx):
        for _ in range(400):
            bank, row, other = rng.randrange(banks), rng.randrange(3), rng.randrange(3)
            ctx.set(dut.request_bank, bank)
            ctx.set(dut.request_row, other)
            assert ctx.get(dut.opened) == model.opened
            assert ctx.get(dut.any_open) == model.any_open
            hit = model.hit(bank, other)
            if hit is not None:
                assert ctx.get(dut.hit) == hit
                seen.add(hit)
            if dual:
                ctx.set(dut.shared_row, other)
                assert ctx.get(dut.holds) == model.holds(other)
            op = rng.choice(ops)
            ctx.set(dut.op0, op)
            ctx.set(dut.bank, bank)
            ctx.set(dut.row, row)
            await ctx.tick()
            model.hear(op, bank, row)

    run(dut, testbench)
    assert seen == {True, False}
