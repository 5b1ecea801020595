"""Timing gates and bank states alone, under random commands: open exactly when the rule table allows."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from pim_model.spec.micro import MicroOp as Op
from sim.bench.gates import Attempt, GateModel, OpenRows, attempt
from sim.bench.harness import Harness

ATTEMPTS = 250
LONGEST = 500
"""No rule binds for so long."""
ROWS = 3
"""Few, so that requests hit."""


class _Bench(Harness):
    """Judges all gates in each cycle, then hears the bus."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.model = GateModel(self.config)

    async def step(self) -> None:
        """To the end of this cycle."""
        await self.edge()
        dut, cycle = self.dut, self.cycle
        self.model.judge(cycle, lambda name: int(getattr(dut, name).value))
        op0, op1 = Op(int(dut.op0.value)), Op(int(dut.op1.value))
        self.model.hear(cycle, op0, op1, int(dut.bank.value), int(dut.mode.value))

    def drive(self, wish: Attempt, turn: int) -> None:
        """What of it is legal in the next cycle."""
        dut = self.dut
        dut.op0.value, dut.op1.value, dut.bank.value, dut.mode.value = self.model.choose(
            self.cycle + 1, wish, turn
        )

    def release(self) -> None:
        """No command."""
        self.dut.op0.value = self.dut.op1.value = int(Op.NOP)


@cocotb.test()
async def open_exactly_when_allowed(dut: Any) -> None:
    """Commands as soon as legal and later, in all banks; at the end everything is allowed again."""
    bench = _Bench(dut)
    await bench.start()
    first = Attempt(0, (Op.ACT,), 0, local=False, turns=1)
    wishes = bench.items("commands", ATTEMPTS * bench.rounds, lambda rng: attempt(rng, bench.config))
    for wish in (first, *(wish for _, wish in wishes)):
        for _ in range(wish.rest):
            await bench.step()
        for turn in range(wish.turns):
            bench.drive(wish, turn)
            await bench.step()
            bench.release()
    for _ in range(LONGEST):
        await bench.step()
    bench.model.allowed.clear()
    await bench.step()
    assert bench.model.allowed == set(bench.model.ops), "nothing binds any more"
    if bench.whole:
        assert bench.model.refused == set(bench.model.ops), "each was held back at some time"


@cocotb.test()
async def rows(dut: Any) -> None:
    """Which rows are open where, and whether a request hits, after any commands."""
    bench = Harness(dut)
    await bench.start()
    config = bench.config
    model = OpenRows(config)
    ops = [Op.ACT, Op.ACT, Op.PRE, Op.PREA, Op.ACTAB, Op.ACTAF, Op.RD, Op.NOP]
    if config.dual_row_buffer:
        ops.append(Op.PREP)
    banks = config.geometry.banks
    seen = set()

    def draw(rng: random.Random) -> tuple[Op, int, int, int, int]:
        """A command with bank and row; bank and row of a request."""
        bank, row, other, wanted = (rng.randrange(limit) for limit in (banks, ROWS, banks, ROWS))
        return rng.choice(ops), bank, row, other, wanted

    for _, (op, bank, row, other, wanted) in bench.items("commands", 1000 * bench.rounds, draw):
        dut.op0.value, dut.bank.value, dut.row.value = op, bank, row
        dut.request_bank.value, dut.request_row.value = other, wanted
        if config.dual_row_buffer:
            dut.shared_row.value = wanted
        await bench.edge()
        wanted_pins = {"opened": model.opened, "any_open": model.any_open}
        hit = model.hit(other, wanted)
        if hit is not None:
            wanted_pins["hit"] = hit
            seen.add(hit)
        if config.dual_row_buffer:
            wanted_pins["holds"] = model.holds(wanted)
        pins = {name: int(getattr(dut, name).value) for name in wanted_pins}
        assert pins == wanted_pins, f"cycle {bench.cycle}: {pins}, expected {wanted_pins}"
        model.hear(op, bank, row)
    assert seen == {True, False} or not bench.whole
