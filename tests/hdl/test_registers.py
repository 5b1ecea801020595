"""The register file alone: a completion is read as it came."""

from hdl.host.registers import RegisterFile
from pim_model.spec.config import config
from pim_model.spec.errors import Status
from pim_model.spec.registers import COMPLETION_VALID, Reg

from .simulate import run


async def read(ctx, bus, offset):
    """One read of AXI4-Lite."""
    ctx.set(bus.araddr, offset)
    ctx.set(bus.arvalid, 1)
    ctx.set(bus.rready, 1)
    await ctx.tick().until(bus.arready)
    ctx.set(bus.arvalid, 0)
    *_, data, response = await ctx.tick().sample(bus.rdata, bus.rresp).until(bus.rvalid)
    assert response == 0
    return data


def test_a_completion_is_read_as_it_came():
    dut = RegisterFile(config("tiny"))

    async def testbench(ctx):
        assert await read(ctx, dut.bus, Reg.COMPLETION) == 0
        assert await read(ctx, dut.bus, Reg.COMPLETION_CYCLES) == 0
        for tag, status, cycles in (
            (0, Status.OK, 0),
            (0x5A5A, Status.PARITY, 0x12345678),
            (1, Status.OK, 9),
        ):
            ctx.set(dut.completions.p, {"tag": tag, "status": status, "cycles": cycles})
            ctx.set(dut.completions.valid, 1)
            assert await read(ctx, dut.bus, Reg.COMPLETION) == tag | status << 16 | COMPLETION_VALID
            assert await read(ctx, dut.bus, Reg.COMPLETION_CYCLES) == cycles

    run(dut, testbench)
