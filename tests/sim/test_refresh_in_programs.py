"""A refresh that falls due within an instruction waits for its end."""

import numpy as np
import pytest

from pim_model.spec.config import config
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Control, Reg
from sim.build import library
from sim.native import NativeSimulation
from tests.pim_model.test_program import isr
from tests.sim.macros import push, put_program

pytestmark = pytest.mark.verilator

_COLUMNS = 8
_ROWS, _IN_ROW = 50, 320
"""Instructions that each open a row, until a refresh is all but due; and more of them, in the last row."""


def test_a_refresh_falls_between_instructions() -> None:
    """Every instruction has eight products, so eight, or a multiple, stand before each refresh."""
    preset = config("tiny")
    rows = [number % 2 for number in range(_ROWS)]
    program = [isr(MacroOp.MAC_ABK, _COLUMNS, row=row) for row in (*rows, *[rows[-1]] * _IN_ROW)]
    with NativeSimulation(library(preset), preset) as simulation:
        simulation.write_register(Reg.IRQ_ENABLE, 1)
        macro = put_program(simulation, program)
        simulation.write_register(Reg.CONTROL, 0)
        simulation.idle(2 * preset.timing.refresh_limit)  # what was pulled in is used up
        simulation.record(10_000)
        simulation.write_register(Reg.CONTROL, Control.REFRESH)
        push(simulation, macro.encode())
        assert simulation.wait_interrupt(100_000)
        trace = simulation.trace()
    ops = trace["op"][trace["channel"] == 0]
    before = np.cumsum(ops == MicroOp.MACAB)[ops == MicroOp.REFAB]
    assert np.count_nonzero(ops == MicroOp.MACAB) == _COLUMNS * len(program)
    assert np.count_nonzero((before > 0) & (before < _COLUMNS * len(program))), "none fell into the program"
    assert not np.any(before % _COLUMNS)
