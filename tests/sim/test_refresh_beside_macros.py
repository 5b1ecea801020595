"""Refreshes of single banks before and after macros are legal, and at their closest as close as the rules allow."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import numpy.typing as npt
import pytest

from pim_model.spec.config import Config, config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import ONE_BANK
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.registers import Reg
from pim_model.spec.timing_rules import Scope
from sim.build import library
from sim.native import NativeSimulation
from tests.sim.macros import push

pytestmark = pytest.mark.verilator

MACROS, BATCH = 6000, 250
CLOSEST = {
    "ianus_ck": [
        *((Op.PREA, Op.ACTAB), (Op.PREA, Op.REFPB), (Op.PREA, Op.REFAB), (Op.PRE, Op.REFAB)),
        *((Op.REFPB, Op.ACTAB), (Op.REFAB, Op.ACTAB)),
    ],
    "aim_simulator": [
        *((Op.TMOD_OUT, Op.REFPB), (Op.TMOD_OUT, Op.REFAB), (Op.PREA, Op.REFAB), (Op.PRE, Op.REFAB)),
        (Op.REFAB, Op.ACTAB),
    ],
}
"""Pairs that in thousands of macros surely meet on their edge."""
_MACRO = MatVec(tag=0, rows=8, columns=16, tokens=1, weight_row=1, input_offset=0, output_offset=2048)


def closest(trace: npt.NDArray[np.void], channel: int, found: dict[tuple[Op, Op], list[int]]) -> None:
    """Add the distance of each refresh, and of what opens a macro's rows, from the last command of each kind."""
    last: dict[Op, int] = {}
    for each in trace[trace["channel"] == channel]:
        op, cycle = Op(int(each["op"])), int(each["cycle"])
        if op in (Op.REFPB, Op.REFAB, Op.ACTAB):
            for before, then in last.items():
                if not (before in ONE_BANK and op in ONE_BANK):
                    found[before, op].append(cycle - then)
        last[op] = cycle


def rule(preset: Config, before: Op, after: Op) -> int:
    """Cycles between two commands of which at least one concerns more than a bank."""
    return max(preset.timing.between(before, after, scope) for scope in (Scope.BANK, Scope.CHANNEL))


@pytest.mark.parametrize("timing", ["ianus_ck", "aim_simulator"])
def test_short_macros_at_any_moment_of_an_interval(timing: str, rng: np.random.Generator) -> None:
    preset = config("tiny_refpb", timing)
    found: dict[tuple[Op, Op], list[int]] = defaultdict(list)
    with NativeSimulation(library(preset), preset) as simulation:
        simulation.write_register(Reg.IRQ_ENABLE, 1)
        for _ in range(MACROS // BATCH):
            simulation.record(200_000)
            for _ in range(BATCH):
                bank = int(rng.integers(preset.geometry.banks))
                simulation.read(preset.geometry.address(3, 0, bank), 32)
                simulation.idle(int(rng.integers(600 if rng.random() < 0.02 else 12)))
                push(simulation, _MACRO.encode())
                assert simulation.wait_interrupt(10_000)
                simulation.write_register(Reg.COMPLETION_POP, 1)
            trace = simulation.trace()
            assert trace.size < 200_000
            closest(trace, 0, found)
        assert simulation.read_register(Reg.VIOLATIONS) == 0
    for (before, after), distances in found.items():
        assert min(distances) >= rule(preset, before, after), (before, after)
    for pair in CLOSEST[timing]:
        assert min(found[pair]) == rule(preset, *pair), pair
