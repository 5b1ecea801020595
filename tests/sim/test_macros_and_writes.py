"""A write that the host has been answered is seen by every macro pushed after it, however macros queue up."""

from collections.abc import Iterator

import numpy as np
import pytest

from pim_model.spec.config import config
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import Reg, macro_word
from sim.build import library
from sim.native import NativeSimulation

pytestmark = pytest.mark.verilator

_INPUT, _OUTPUT = 0, 1024
_ONE = 0x3F80


@pytest.fixture(
    params=[("tiny", "ianus_ck"), ("tiny", "aim_simulator"), ("tiny_dual", "ianus_ck")], ids="-".join
)
def simulation(request: pytest.FixtureRequest) -> Iterator[NativeSimulation]:
    preset = config(*request.param)
    with NativeSimulation(library(preset), preset) as opened:
        opened.write_register(Reg.IRQ_ENABLE, 1)
        yield opened


def push(simulation: NativeSimulation, tag: int, function: int | None) -> None:
    """Queue one product of an 8 x 16 matrix at row 1; results of tag n go to place n."""
    macro = MatVec(
        tag=tag,
        rows=8,
        columns=16,
        weight_row=1,
        input_offset=_INPUT,
        output_offset=_OUTPUT + 32 * tag,
        function=function,
    )
    for index, word in enumerate(macro.encode()):
        simulation.write_register(macro_word(index), word)
    simulation.write_register(Reg.MACRO_PUSH, 1)


@pytest.mark.parametrize("function", [None, 0])
def test_a_write_between_queued_macros(simulation, function):
    """At every alignment of the write with the end of the macro before it, refreshes included."""
    preset = simulation.config
    weight = preset.geometry.address(1)
    vector = np.zeros(16, np.uint16)
    vector[0] = _ONE
    simulation.write(preset.buffer_base + _INPUT, vector.tobytes())
    seen = set()
    for alignment in range(0, 400, 3):
        value = 0x3F00 + alignment  # another weight each time
        for tag in (0, 1):
            push(simulation, tag, function)
        simulation.idle(alignment)
        simulation.write(weight, int(value).to_bytes(2, "little"))
        push(simulation, 2, None)
        for _ in range(3):
            while not simulation.read_register(Reg.COMPLETION) >> 31:
                assert simulation.wait_interrupt(20_000)
            simulation.write_register(Reg.COMPLETION_POP, 1)
        (first, *_), (last, *_) = (
            np.frombuffer(simulation.read(preset.buffer_base + _OUTPUT + 32 * tag, 4), np.uint16)
            for tag in (1, 2)
        )
        assert last == value, f"the macro after the write, {alignment} cycles on"
        seen.add(bool(first == value))
    assert simulation.read_register(Reg.VIOLATIONS) == 0
    # With dual row buffers the write may go on beside the macros before, on the very row that they read.
    assert False in seen
    assert seen == {False} or preset.dual_row_buffer, (
        "a macro that was pushed before the write began goes before it"
    )
