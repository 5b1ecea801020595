"""Sticky errors and the watchdog, cycle by cycle."""

from hdl.host.errors import StickyErrors
from hdl.host.registers import RegisterFile
from hdl.watchdog import Watchdog
from pim_model.spec.config import config
from pim_model.spec.errors import WATCHDOG_CYCLES, ErrorSource
from pim_model.spec.registers import Reg, error_info

from .simulate import read_register, run


def test_every_source_keeps_its_first_error():
    dut = StickyErrors()

    async def testbench(ctx):
        for source in ErrorSource:
            for info in (5, 6):
                ctx.set(dut.event_info[source], info + source)
                ctx.set(dut.event, 1 << source)
                await ctx.tick()
            ctx.set(dut.event, 0)
            await ctx.tick()
            assert ctx.get(dut.bits) == 1 << source
            assert ctx.get(dut.info[source]) == 5 + source
            ctx.set(dut.clear, 1 << source)
            await ctx.tick()
            ctx.set(dut.clear, 0)
            assert ctx.get(dut.bits) == 0

    run(dut, testbench)


def test_an_error_in_the_cycle_of_the_clearing_is_not_lost():
    dut = StickyErrors()

    async def testbench(ctx):
        for info in (1, 2):
            ctx.set(dut.event_info[0], info)
            ctx.set(dut.event, 1)
            await ctx.tick()
            ctx.set(dut.clear, 1)
        ctx.set(dut.event, 0)
        ctx.set(dut.clear, 0)
        await ctx.tick()
        assert (ctx.get(dut.bits), ctx.get(dut.info[0])) == (1, 2)

    run(dut, testbench)


def test_violations_and_the_watchdog_reach_the_host():
    dut = RegisterFile(config("tiny"))

    async def testbench(ctx):
        for source, event, info in (
            (ErrorSource.VIOLATION, dut.violation, dut.violation_code),
            (ErrorSource.WATCHDOG, dut.stuck, dut.stuck_info),
        ):
            for value in (0x120300 + source, 0):
                ctx.set(event, 1)
                ctx.set(info, value)
                await ctx.tick()
            ctx.set(event, 0)
            assert await read_register(ctx, dut.bus, Reg.ERRORS) >> source & 1
            assert await read_register(ctx, dut.bus, error_info(source)) == 0x120300 + source
        assert await read_register(ctx, dut.bus, Reg.VIOLATIONS) == 2

    run(dut, testbench)


def test_the_watchdog_counts_silence_during_work():
    dut = Watchdog()

    async def silence(ctx, cycles):
        """Times in ``cycles`` cycles that it tells."""
        told = 0
        for _ in range(cycles):
            told += ctx.get(dut.stuck)
            await ctx.tick()
        return told

    async def testbench(ctx):
        assert await silence(ctx, WATCHDOG_CYCLES + 10) == 0, "nothing to do"
        ctx.set(dut.work, 1)
        assert await silence(ctx, WATCHDOG_CYCLES - 1) == 0
        ctx.set(dut.progress, 1)
        assert await silence(ctx, 1) == 0
        ctx.set(dut.progress, 0)
        assert await silence(ctx, WATCHDOG_CYCLES - 1) == 0
        assert ctx.get(dut.stuck)
        assert await silence(ctx, 2 * WATCHDOG_CYCLES) == 1, "once for each standstill"

    run(dut, testbench)
