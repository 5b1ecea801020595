"""Run small components in Amaranth's own simulator."""

from collections.abc import Callable

from amaranth.hdl import Elaboratable
from amaranth.sim import Simulator


def run(dut: Elaboratable, testbench: Callable, *, limit: int = 100_000) -> None:
    """Run ``testbench(ctx)`` on ``dut``; fail when it has not ended after ``limit`` cycles."""
    ended = False

    async def watched(ctx):
        nonlocal ended
        await testbench(ctx)
        ended = True

    simulator = Simulator(dut)
    simulator.add_clock(1e-9)
    simulator.add_testbench(watched)
    simulator.run_until(limit * 1e-9)
    assert ended, f"the testbench has not ended after {limit} cycles"


async def read_register(ctx, bus, offset) -> int:
    """The register at ``offset``, over AXI4-Lite."""
    ctx.set(bus.araddr, offset)
    ctx.set(bus.arvalid, 1)
    await ctx.tick()
    ctx.set(bus.arvalid, 0)
    ctx.set(bus.rready, 1)
    while not ctx.get(bus.rvalid):
        await ctx.tick()
    assert ctx.get(bus.rresp) == 0
    value = ctx.get(bus.rdata)
    await ctx.tick()
    return value
