"""The register file alone: a completion is read as it came."""

from hdl.host.registers import RegisterFile
from pim_model.spec.config import config
from pim_model.spec.errors import Status
from pim_model.spec.registers import COMPLETION_VALID, Reg

from .simulate import read_register, run


def test_a_completion_is_read_as_it_came():
    dut = RegisterFile(config("tiny"))

    async def testbench(ctx):
        assert await read_register(ctx, dut.bus, Reg.COMPLETION) == 0
        assert await read_register(ctx, dut.bus, Reg.COMPLETION_CYCLES) == 0
        for tag, status, cycles in (
            (0, Status.OK, 0),
            (0x5A5A, Status.PARITY, 0x12345678),
            (1, Status.OK, 9),
        ):
            ctx.set(dut.completions.p, {"tag": tag, "status": status, "cycles": cycles})
            ctx.set(dut.completions.valid, 1)
            assert await read_register(ctx, dut.bus, Reg.COMPLETION) == tag | status << 16 | COMPLETION_VALID
            assert await read_register(ctx, dut.bus, Reg.COMPLETION_CYCLES) == cycles

    run(dut, testbench)
