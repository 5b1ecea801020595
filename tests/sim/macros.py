"""Macros and programs, pushed into the simulated prototype by its registers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import Reg, macro_word
from sim.native import NativeSimulation

PROGRAM_AT = 4096
"""Where programs lie in the activation buffer."""


def push(simulation: NativeSimulation, words: Iterable[int]) -> None:
    """Queue the macro of these words."""
    for index, word in enumerate(words):
        simulation.write_register(macro_word(index), word)
    simulation.write_register(Reg.MACRO_PUSH, 1)


def put_program(simulation: NativeSimulation, instructions: Sequence[Instruction | MatVec]) -> Program:
    """Write a program into the activation buffer; the macro that runs it."""
    words = np.array([each.encode() for each in instructions], "<u4").tobytes()
    simulation.write(simulation.config.buffer_base + PROGRAM_AT, words)
    return Program(offset=PROGRAM_AT, count=len(instructions))
