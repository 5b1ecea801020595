"""When a refresh is owed."""

from hdl.controller.refresh import RefreshTimer
from pim_model.spec.timing import timing

from .simulate import run


def test_owed_every_interval_until_done():
    preset = timing("ianus_ck")
    dut = RefreshTimer(preset)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(preset.refresh_interval - 1)
        assert not ctx.get(dut.due)
        await ctx.tick()
        assert ctx.get(dut.due)
        await ctx.tick().repeat(2 * preset.refresh_interval)  # two more are owed
        for owed in (3, 2, 1):
            assert ctx.get(dut.due), f"{owed} refreshes are owed"
            ctx.set(dut.done, 1)
            await ctx.tick()
            ctx.set(dut.done, 0)
        assert not ctx.get(dut.due)

    run(dut, testbench)


def test_nothing_owed_while_disabled():
    preset = timing("ianus_ck")
    dut = RefreshTimer(preset)

    async def testbench(ctx):
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(preset.refresh_interval + 5)
        assert ctx.get(dut.due)
        ctx.set(dut.enable, 0)
        await ctx.tick()
        assert not ctx.get(dut.due)
        ctx.set(dut.enable, 1)
        await ctx.tick().repeat(preset.refresh_interval - 1)
        assert not ctx.get(dut.due), "the interval restarts"
        await ctx.tick()
        assert ctx.get(dut.due)

    run(dut, testbench)
