# Ref: pim_model/spec/errors.py (ErrorSource)
"""A device that does not answer: the watchdog tells, a soft reset leaves the macro, and all goes on."""

from __future__ import annotations

from typing import Any

import cocotb

from pim_model.spec.errors import WATCHDOG_CYCLES, ErrorSource, Status
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import Control, Irq, Reg, error_info
from sim.bench.top_bench import TopBench

_MACRO = MatVec(tag=1, rows=8, columns=32, weight_row=0, input_offset=0, output_offset=1024)


async def _watchdog(bench: TopBench) -> int:
    """The channels that the watchdog names, 0 while it is silent."""
    errors = await bench.read_register(Reg.ERRORS)
    assert errors & ~(1 << ErrorSource.WATCHDOG) == 0
    return await bench.read_register(error_info(ErrorSource.WATCHDOG)) if errors else 0


@cocotb.test()
async def silent_channel(dut: Any) -> None:
    """One channel's results get lost: told after WATCHDOG_CYCLES, not before; after a soft reset products are right."""
    bench = TopBench(dut)
    await bench.begin(flow=False)
    await bench.write_both(bench.config.buffer_base, bytes(range(64)))
    await bench.write_register(Reg.IRQ_ENABLE, Irq.ERROR)
    for silent in range(bench.config.geometry.channels):
        bench.channels[silent].silent = True
        await bench.push(_MACRO.encode())
        bench.due.clear()
        await bench.idle(WATCHDOG_CYCLES // 2)
        assert await _watchdog(bench) == 0
        assert int(dut.irq.value) == 0
        # Refreshes are not progress.
        await bench.wait_irq(WATCHDOG_CYCLES)
        assert await _watchdog(bench) & 1 << silent
        assert await bench.read_register(Reg.COMPLETION) == 0, "a macro without all its results completed"
        await bench.write_register(Reg.CONTROL, Control.REFRESH | Control.SOFT_RESET)
        await bench.idle(1_000)
        assert await bench.read_register(Reg.CONTROL) == Control.REFRESH, "the soft reset does not end"
        assert not any(channel.open_banks for channel in bench.channels)
        bench.channels[silent].silent = False
        assert await bench.read_register(Reg.ERRORS) == await bench.read_register(Reg.STATUS) == 0
        await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
        await bench.push(_MACRO.encode())
        assert bench.due[0] == (1, Status.OK)
        await bench.complete(bench.rng("takes"))
        await bench.compare(bench.config.buffer_base, 2048)
        await bench.write_register(Reg.IRQ_ENABLE, Irq.ERROR)
    await bench.finish()


@cocotb.test()
async def silent_read(dut: Any) -> None:
    """The data of a normal read get lost: the watchdog names the channel, once."""
    bench = TopBench(dut)
    await bench.begin(flow=False)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.ERROR)
    channel = bench.config.geometry.channels - 1
    bench.channels[channel].silent = True
    cocotb.start_soon(bench.mem.read(bench.config.geometry.address(3, channel), 32))
    await bench.wait_irq(2 * WATCHDOG_CYCLES)
    assert await _watchdog(bench) == 1 << channel
    await bench.write_register(Reg.ERRORS, 1 << ErrorSource.WATCHDOG)
    await bench.idle(2 * WATCHDOG_CYCLES)
    assert await bench.read_register(Reg.ERRORS) == 0, "the same standstill is told twice"


@cocotb.test()
async def long_silence_in_order(dut: Any) -> None:
    """What rightly takes longer than the watchdog's time is not told: macros that wait for the host."""
    bench = TopBench(dut)
    await bench.begin(flow=False)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.ERROR)
    while await bench.read_register(Reg.MACRO_SPACE):  # nobody takes completions
        await bench.push(_MACRO.encode())
        await bench.idle(500)
    await bench.idle(WATCHDOG_CYCLES + 200)
    assert await bench.read_register(Reg.ERRORS) == 0
    assert int(dut.irq.value) == 0
