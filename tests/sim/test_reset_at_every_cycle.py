"""A soft reset at each cycle of a macro: no rule is broken, and the next product is right."""

from __future__ import annotations

import pytest

from pim_model.spec.config import config
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.registers import Control, Reg
from sim.build import library
from sim.native import NativeSimulation
from tests.pim_model.test_program import isr
from tests.sim.macros import push, put_program

pytestmark = pytest.mark.verilator

PRODUCT = MatVec(tag=0, rows=8, columns=100, tokens=1, weight_row=1, input_offset=0, output_offset=2048)
PROGRAM: list[Instruction | MatVec] = [
    isr(MacroOp.WR_GB, 2, mask=3),
    isr(MacroOp.WR_BIAS, mask=3),
    isr(MacroOp.MAC_ABK, 2, mask=3, row=2),
    isr(MacroOp.RD_MAC, mask=3, gpr0=1024),
    isr(MacroOp.MAC_SBK, 1, mask=3, row=3, bank=1),
    isr(MacroOp.RD_SBK, 1, mask=3, row=3, bank=1, gpr0=1280),
    PRODUCT,
    isr(MacroOp.RD_MAC, mask=3, gpr0=1024),
]


def numbers(size: int) -> bytes:
    """BF16 between 0.5 and 2, of both signs."""
    return b"".join(bytes((place * 37 % 256, 0x3F | place % 2 << 7)) for place in range(size // 2))


@pytest.mark.parametrize("kind", ["matvec", "program"])
@pytest.mark.parametrize(
    ("name", "timing"), [("tiny", "ianus_ck"), ("tiny", "aim_simulator"), ("tiny_dual", "ianus_ck")]
)
def test_reset_at_every_cycle(name: str, timing: str, kind: str) -> None:
    preset = config(name, timing)
    geometry = preset.geometry
    with NativeSimulation(library(preset), preset) as simulation:
        simulation.write(0, numbers(4 * geometry.slab_bytes))
        simulation.write(preset.buffer_base, numbers(1024))
        macro: MatVec | Program = PRODUCT if kind == "matvec" else put_program(simulation, PROGRAM)
        simulation.write_register(Reg.IRQ_ENABLE, 1)

        def outputs() -> bytes:
            """Of a product that runs undisturbed."""
            place = preset.buffer_base + PRODUCT.output_offset
            simulation.write(place, b"\xa5" * 32)
            push(simulation, PRODUCT.encode())
            assert simulation.wait_interrupt(20_000)
            simulation.write_register(Reg.COMPLETION_POP, 1)
            return simulation.read(place, 32)

        wanted = outputs()
        push(simulation, macro.encode())
        assert simulation.wait_interrupt(20_000)
        length = simulation.read_register(Reg.COMPLETION_CYCLES)
        simulation.write_register(Reg.COMPLETION_POP, 1)
        assert length > 40
        for pause in range(length + 20):
            push(simulation, macro.encode())
            simulation.idle(pause)
            simulation.write_register(Reg.CONTROL, Control.REFRESH | Control.SOFT_RESET)
            while simulation.read_register(Reg.CONTROL) & Control.SOFT_RESET:
                pass
            assert simulation.read_register(Reg.COMPLETION) == 0, pause
            assert outputs() == wanted, f"after a soft reset {pause} cycles behind the push"
        assert simulation.read_register(Reg.VIOLATIONS) == 0
        assert simulation.read_register(Reg.ERRORS) == 0
