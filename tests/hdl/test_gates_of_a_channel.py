"""What gates of banks and channel allow, cycle by cycle, is what the rule table allows: no cycle less, none more."""

import random

import pytest
from amaranth import Module
from amaranth.hdl import Elaboratable

from hdl.controller.bank import BankState
from hdl.controller.channel import COLUMN_OF_ONE_BANK, ISSUED, ChannelGates
from pim_model.earliest import Earliest
from pim_model.spec.config import RefreshPolicy, config
from pim_model.spec.micro import ALL_BANKS, ONE_BANK, REGISTER_OPS, WITH_COLUMN, Micro, MicroOp, Mode

from .simulate import run

CYCLES = 500
LONGEST = 200
"""No rule binds for so long."""


class Both(Elaboratable):
    def __init__(self, preset):
        self.bank, self.channel = BankState(preset), ChannelGates(preset)

    def elaborate(self, platform):
        m = Module()
        m.submodules.bank, m.submodules.channel = self.bank, self.channel
        m.d.comb += self.channel.op0.eq(self.bank.op)
        return m


def issued_by(preset) -> list[MicroOp]:
    """Commands of a controller of this configuration."""
    ops = list(ISSUED)
    if preset.refresh is RefreshPolicy.PER_BANK:
        ops.append(MicroOp.REFPB)
    if preset.dual_row_buffer:
        ops.append(MicroOp.PREP)
    return ops


def micro(op: MicroOp, bank: int, mode: int = 0) -> Micro:
    # WRGB has a column of its own: hazards on columns of the buffer are the register stream's.
    column = int(op in WITH_COLUMN and op is not MicroOp.WRGB)
    return Micro(op, bank=bank if op in ONE_BANK else 0, column=column, mode=mode)


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
    banks = preset.geometry.banks
    ops = issued_by(preset)
    by_bank = [op for op in (MicroOp.ACT, MicroOp.RD, MicroOp.WR, MicroOp.PRE, MicroOp.REFPB) if op in ops]
    dut, golden = Both(preset), Earliest(preset)
    allowed: set[MicroOp] = set()
    refused: set[MicroOp] = set()

    def legal(op, bank, cycle):
        return golden.probe(op in REGISTER_OPS, micro(op, bank), cycle) == cycle

    async def testbench(ctx):
        rest = 0
        for cycle in range(CYCLES):
            for op in ops:
                open_ = ctx.get(getattr(dut.channel, f"{op.name.lower()}_ready"))
                if op in by_bank:
                    vector = ctx.get(getattr(dut.bank, f"{op.name.lower()}_ready")) if open_ else 0
                    expected = sum(legal(op, bank, cycle) << bank for bank in range(banks))
                    assert vector == expected, f"{op.name} in cycle {cycle}"
                    allowed.update([op] if vector else [])
                    refused.update([op] if vector != (1 << banks) - 1 else [])
                elif op in COLUMN_OF_ONE_BANK:  # tRCD counts from the last ACT to any bank
                    assert not open_ or all(legal(op, bank, cycle) for bank in range(banks))
                    (allowed if open_ else refused).add(op)
                else:
                    assert open_ == legal(op, 0, cycle), f"{op.name} in cycle {cycle}"
                    (allowed if open_ else refused).add(op)
            rest -= 1
            chosen = {0: MicroOp.NOP, 1: MicroOp.NOP}
            bank, mode = rng.randrange(banks), 0
            # Now and then activations alone, as fast as they go: tFAW shows with the fifth.
            only_acts = cycle == 0 or 100 <= cycle < 140
            begins = [MicroOp.ACT] if only_acts else rng.sample(ops, 6)
            if only_acts:
                rest, bank = -1, cycle % banks
            if rest < 0 and cycle < CYCLES - LONGEST and (only_acts or rng.random() < 0.5):
                for op in begins:
                    slot = int(op in REGISTER_OPS)
                    if op is MicroOp.MACSB and rng.random() < 0.5:
                        mode = int(Mode.LOCAL)
                    command = micro(op, bank, mode if op is MicroOp.MACSB else 0)
                    if chosen[slot] is MicroOp.NOP and golden.probe(slot, command, cycle) == cycle:
                        golden.put(slot, command, cycle)
                        chosen[slot] = op
                        if slot:
                            break  # the bus takes slot 0 first
                rest = rng.choice((0, 0, 0, 3, 20, 150))
            ctx.set(dut.bank.op, chosen[0])
            ctx.set(dut.bank.bank, bank)
            ctx.set(dut.bank.mode, mode)
            ctx.set(dut.channel.op1, chosen[1])
            await ctx.tick()

    run(dut, testbench)
    assert allowed == set(ops), "at the end nothing binds any more"
    assert refused >= {*by_bank, MicroOp.PREA, MicroOp.REFAB}, "after the ACT in the first cycle"


@pytest.mark.parametrize("name", ["tiny", "tiny_dual"])
def test_rows_that_are_open(name, seed):
    rng = random.Random(f"{seed}/{name}")
    preset = config(name)
    banks, dual = preset.geometry.banks, preset.dual_row_buffer
    dut = BankState(preset)
    ops = [MicroOp.ACT, MicroOp.PRE, MicroOp.PREA, MicroOp.ACTAB, MicroOp.ACTAF, MicroOp.RD, MicroOp.NOP]
    ops += [MicroOp.PREP] * dual
    rows: list[int | str | None] = [None] * banks
    pim = False
    seen = set()

    async def testbench(ctx):
        nonlocal pim
        for _ in range(400):
            bank, row, other = rng.randrange(banks), rng.randrange(3), rng.randrange(3)
            ctx.set(dut.request_bank, bank)
            ctx.set(dut.request_row, other)
            opened = sum((each is not None) << place for place, each in enumerate(rows))
            assert ctx.get(dut.opened) == opened
            assert ctx.get(dut.any_open) == (opened != 0 or pim)
            if rows[bank] != "all":  # the rows of an ACTAB are not asked for one by one
                assert ctx.get(dut.hit) == (rows[bank] == other)
                seen.add(rows[bank] == other)
            if dual:
                ctx.set(dut.shared_row, other)
                assert ctx.get(dut.holds) == sum((each == other) << place for place, each in enumerate(rows))
            op = rng.choice(ops)
            ctx.set(dut.op, op)
            ctx.set(dut.bank, bank)
            ctx.set(dut.row, row)
            await ctx.tick()
            if op is MicroOp.ACT:
                rows[bank] = row
            elif op is MicroOp.PRE:
                rows[bank] = None
            elif op is MicroOp.PREA:
                rows[:] = [None] * banks
                pim = False
            elif op is MicroOp.PREP:
                pim = False
            elif op in ALL_BANKS and op in (MicroOp.ACTAB, MicroOp.ACTAF):
                pim = dual
                if not dual:
                    rows[:] = ["all"] * banks

    run(dut, testbench)
    assert seen == {True, False}
