"""A refresh that falls due within an instruction waits for its end."""

import numpy as np
import pytest

from pim_model.spec.config import config
from pim_model.spec.isr import Program
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Control, Reg, macro_word
from sim.build import library
from sim.native import NativeSimulation
from tests.pim_model.test_program import isr

pytestmark = pytest.mark.verilator

_PROGRAM_AT, _COLUMNS = 4096, 8
_ROWS, _IN_ROW = 50, 320
"""Instructions that each open a row, until a refresh is all but due; and more of them, in the last row."""


def test_a_refresh_falls_between_instructions() -> None:
    """Every instruction has eight products, so eight, or a multiple, stand before each refresh."""
    preset = config("tiny")
    rows = [number % 2 for number in range(_ROWS)]
    program = [isr(MacroOp.MAC_ABK, _COLUMNS, row=row) for row in (*rows, *[rows[-1]] * _IN_ROW)]
    with NativeSimulation(library(preset), preset) as simulation:
        simulation.write_register(Reg.IRQ_ENABLE, 1)
        words = np.array([each.encode() for each in program], "<u4").tobytes()
        simulation.write(preset.buffer_base + _PROGRAM_AT, words)
        for index, word in enumerate(Program(offset=_PROGRAM_AT, count=len(program)).encode()):
            simulation.write_register(macro_word(index), word)
        simulation.write_register(Reg.CONTROL, 0)
        simulation.idle(2 * preset.timing.refresh_limit)  # what was pulled in is used up
        simulation.record(10_000)
        simulation.write_register(Reg.CONTROL, Control.REFRESH)
        simulation.write_register(Reg.MACRO_PUSH, 1)
        assert simulation.wait_interrupt(100_000)
        trace = simulation.trace()
    ops = trace["op"][trace["channel"] == 0]
    before = np.cumsum(ops == MicroOp.MACAB)[ops == MicroOp.REFAB]
    assert np.count_nonzero(ops == MicroOp.MACAB) == _COLUMNS * len(program)
    assert np.count_nonzero((before > 0) & (before < _COLUMNS * len(program))), "none fell into the program"
    assert not np.any(before % _COLUMNS)
