"""Dual row buffers in the RTL checker: the rules between both kinds of activation, where they show."""

from dataclasses import replace

import pytest

from hdl.checker import Checker
from pim_model.spec.config import Config, config
from pim_model.spec.micro import MicroOp
from pim_model.spec.timing import Timing

from .simulate import run


class Slow(Config):
    """tRRDL longer than the one cycle of the direct presets."""

    @property
    def timing(self) -> Timing:
        preset = super().timing
        rules = [
            replace(rule, cycles=5) if rule.rule.name in ("tRRDpim", "tRRDmem") else rule
            for rule in preset.rules
        ]
        return replace(preset, rules=tuple(rules))


@pytest.mark.parametrize("opener", [MicroOp.ACTAB, MicroOp.ACTAF])
@pytest.mark.parametrize("pim_first", [True, False])
def test_activations_of_both_buffers_keep_their_distance(opener: MicroOp, pim_first: bool) -> None:
    slow = Slow(name="slow", geometry=config("tiny").geometry, dual_row_buffer=True)
    dut = Checker(slow)
    name = "tRRDmem" if pim_first else "tRRDpim"
    (rule,) = (rule.index for rule in slow.timing.rules if rule.rule.name == name)
    pair = (opener, MicroOp.ACT) if pim_first else (MicroOp.ACT, opener)

    async def testbench(ctx):
        for distance, expected in ((4, [rule]), (5, [])):
            said = []
            for cycle in range(100):
                op = {0: pair[0], distance: pair[1], 50: MicroOp.PREA}.get(cycle, MicroOp.NOP)
                ctx.set(dut.op0, op)
                # Apart, so that no row is in both buffers.
                ctx.set(dut.row0, 9 if op is MicroOp.ACT else 3)
                await ctx.tick()
                if ctx.get(dut.violation):
                    said.append(ctx.get(dut.code))
            assert said == expected, f"{distance} cycles apart"

    run(dut, testbench, limit=250)
