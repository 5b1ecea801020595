"""Macros through the prototype: registers, interrupt, results in the window, soft reset, memory traffic beside."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from pim_model.spec.errors import ErrorSource
from pim_model.spec.registers import Control, Irq, Reg, StatusBit
from sim.bench.top_bench import TopBench
from sim.bench.workload import fill_buffer, malformed, random_macro

MACROS = 10
RESETS = 5
HOST_BYTES = 2048  # of the activation buffer, left to the traffic beside the macros


async def _fill(bench: TopBench) -> None:
    """Random operands in the part of the buffer that macros use."""
    size = bench.config.buffer_bytes - HOST_BYTES
    data = fill_buffer(bench.numpy_rng("buffer"), bench.config).tobytes()[:size]
    for offset in range(0, size, 2048):
        await bench.write_both(bench.config.buffer_base + offset, data[offset : offset + 2048])


async def _traffic(bench: TopBench) -> None:
    """Accesses to parts of memory and buffer that no macro touches: rows of the unused tables, the buffer's end."""
    rng = bench.rng("traffic")
    geometry, config = bench.config.geometry, bench.config
    while True:
        size = rng.randrange(1, 200)
        first, end = rng.choice(
            (
                (geometry.address(geometry.table_row(7)), geometry.memory_bytes),
                (
                    config.buffer_base + config.buffer_bytes - HOST_BYTES,
                    config.buffer_base + config.buffer_bytes,
                ),
            )
        )
        address = rng.randrange(first, end - size)
        if rng.random() < 0.5:
            await bench.write_both(address, rng.randbytes(size))
        else:
            await bench.compare(address, size)
        await bench.idle(rng.randrange(1, 300))


def _macro(bench: TopBench, rng: random.Random) -> tuple[int, ...]:
    while True:
        macro = random_macro(rng, bench.config, rng.getrandbits(16), most_tiles=8, reserved=HOST_BYTES)
        if macro.function != 7:  # its table row is the traffic's
            break
    return malformed(rng, macro, bench.config) if rng.random() < 0.3 else macro.encode()


@cocotb.test()
async def macros(dut: Any) -> None:
    """Good and malformed macros, queued up to the queue's depth, with memory traffic beside them."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("macros")
    await _fill(bench)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    traffic = cocotb.start_soon(_traffic(bench))
    macros = [
        words for _, words in bench.items("macros", MACROS * bench.rounds, lambda own: _macro(bench, own))
    ]
    while macros or bench.due:
        while macros and (not bench.due or rng.random() < 0.6) and await bench.read_register(Reg.MACRO_SPACE):
            await bench.push(macros.pop(0))
        await bench.complete(rng)
        if not bench.due:
            assert int(dut.irq.value) == 0, "the interrupt stays after the last completion was popped"
            assert await bench.read_register(Reg.COMPLETION) == 0
            assert await bench.read_register(Reg.STATUS) == 0
            offset = rng.randrange(0, bench.config.buffer_bytes - HOST_BYTES - 1024)
            await bench.compare(bench.config.buffer_base + offset, 1024)
    traffic.cancel()
    await bench.mem.wait()
    for offset in range(0, bench.config.buffer_bytes, 2048):
        await bench.compare(bench.config.buffer_base + offset, 2048)
    await bench.finish()


@cocotb.test()
async def soft_reset(dut: Any) -> None:
    """At any moment: macros and completions are gone, banks closed, register mode left; what follows is right."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("macros")
    await _fill(bench)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    for tag in range(RESETS * bench.rounds):
        golden = bench.golden.buffer.copy()
        for index in range(rng.randrange(1, bench.config.macro_queue + 1)):
            await bench.push(random_macro(rng, bench.config, index, reserved=HOST_BYTES).encode())
        await bench.idle(rng.randrange(1, rng.choice((50, 400, 2_000))))
        await bench.write_register(Reg.CONTROL, Control.REFRESH | Control.SOFT_RESET)
        while await bench.read_register(Reg.CONTROL) & Control.SOFT_RESET:
            pass
        assert not any(channel.open_banks for channel in bench.channels)
        bench.due.clear()
        await bench.idle(500)
        assert int(dut.irq.value) == 0
        assert await bench.read_register(Reg.STATUS) == 0
        assert await bench.read_register(Reg.COMPLETION) == 0
        assert await bench.read_register(Reg.MACRO_SPACE) == bench.config.macro_queue
        # How far the dropped macros got in the buffer is open: both sides start anew.
        bench.golden.buffer[:] = golden
        await _fill(bench)
        await bench.push(random_macro(rng, bench.config, tag, most_tiles=4, reserved=HOST_BYTES).encode())
        await bench.complete(rng)
        for offset in range(0, bench.config.buffer_bytes, 2048):
            await bench.compare(bench.config.buffer_base + offset, 2048)
    await bench.finish()


@cocotb.test()
async def overflow(dut: Any) -> None:
    """A push into a full queue is dropped and told; the error stays until it is acknowledged."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("macros")
    await _fill(bench)
    long = random_macro(rng, bench.config, 1, most_tiles=3, reserved=HOST_BYTES)
    await bench.write_register(Reg.IRQ_ENABLE, Irq.ERROR)
    pushed = 0
    words = long.encode()
    while await bench.read_register(Reg.MACRO_SPACE):  # nobody takes completions, so it fills up for good
        await bench.push(words)
        pushed += 1
        await bench.idle(3_000)
    assert pushed > bench.config.macro_queue
    assert int(dut.irq.value) == 0
    await bench.write_register(Reg.MACRO_PUSH, 1)
    assert await bench.read_register(Reg.STATUS) & StatusBit.OVERFLOW
    assert await bench.read_register(Reg.IRQ_STATUS) == Irq.ERROR | Irq.COMPLETION
    await bench.idle(50)
    assert int(dut.irq.value) == 1
    await bench.write_register(Reg.ERRORS, ~(1 << ErrorSource.OVERFLOW) & 0xFFFFFFFF)  # not the one to clear
    assert int(dut.irq.value) == 1
    await bench.write_register(Reg.ERRORS, 1 << ErrorSource.OVERFLOW)
    await bench.idle(3)
    assert int(dut.irq.value) == 0
    assert not await bench.read_register(Reg.STATUS) & StatusBit.OVERFLOW
    await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    for _ in range(pushed):
        await bench.complete(rng)
    assert not bench.due
    assert int(dut.irq.value) == 0
    await bench.finish()


@cocotb.test()
async def soft_reset_clears_errors(dut: Any) -> None:
    """After a soft reset no overflow and no error stand, as with the golden device."""
    bench = TopBench(dut)
    await bench.begin()
    await _fill(bench)
    words = random_macro(bench.rng("macros"), bench.config, 1, reserved=HOST_BYTES).encode()
    while await bench.read_register(Reg.MACRO_SPACE):
        await bench.push(words)
        await bench.idle(3_000)
    await bench.write_register(Reg.MACRO_PUSH, 1)
    assert await bench.read_register(Reg.STATUS) & StatusBit.OVERFLOW
    await bench.write_register(Reg.CONTROL, Control.REFRESH | Control.SOFT_RESET)
    while await bench.read_register(Reg.CONTROL) & Control.SOFT_RESET:
        pass
    assert await bench.read_register(Reg.STATUS) == 0
    assert await bench.read_register(Reg.IRQ_STATUS) == 0
