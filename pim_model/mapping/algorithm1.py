# Ref: IANUS (ASPLOS 2024), section 5.3, Algorithm 1
"""Algorithm 1: whether a fully connected layer of n tokens runs on the matrix unit or in PIM, decided at compile time.

As printed, one tile is counted twice and the last tile is not rounded up; corrected, the pipeline of J tiles takes
one load, J - 1 times the slower of load and compute, and one compute. Both are here, to be compared.
"""

from __future__ import annotations

from typing import NamedTuple

from pim_model.npu.command import Macro
from pim_model.npu.pim_time import PimTime
from pim_model.npu.units import Units
from pim_model.spec.npu import ARRAY_COLUMNS, ELEMENT_BYTES, TICKS_PER_NS

__all__ = ["Estimate", "estimate"]


class Estimate(NamedTuple):
    """Times of both mappings in ticks."""

    matrix: int
    pim: int

    @property
    def in_pim(self) -> bool:
        """The choice."""
        return self.pim < self.matrix


def estimate(
    units: Units,
    time: PimTime,
    tokens: int,
    inputs: int,
    outputs: int,
    share: int,
    *,
    prefetch: int = 0,
    activation: bool = False,
    printed: bool = False,
) -> Estimate:
    """Compare the mappings of a layer of ``outputs`` x ``inputs``, ``share`` outputs a core.

    ``prefetch``: ticks of the command of the vector unit before it, during which the first tile can be loaded.
    """
    machine = units.machine
    load = units.transfer(inputs * min(ARRAY_COLUMNS, share) * ELEMENT_BYTES)
    compute = units.matrix(tokens, inputs, min(ARRAY_COLUMNS, share))
    slower = max(load, compute)
    if printed:
        matrix = load + compute + round(share / ARRAY_COLUMNS * slower) - prefetch
    else:
        # What a stream of tiles adds for each: latency and set-up are paid once.
        step = max(
            units.stream(inputs * ARRAY_COLUMNS * ELEMENT_BYTES),
            units.matrix(tokens, inputs, ARRAY_COLUMNS, first=False),
        )
        matrix = load + compute + (-(-share // ARRAY_COLUMNS) - 1) * step - min(prefetch, load)
    macro = Macro(-(-outputs // machine.devices), inputs, tokens, activation)
    cycles = time.cost(macro.rows, inputs, activation, None)[0]
    cycle = round(machine.memory.timing.cycle_ns * TICKS_PER_NS)
    return Estimate(matrix, units.handover(macro) + tokens * cycles * cycle)
