# Ref: pim_model/spec/registers.py
"""The register map over AXI4-Lite: reset values, what each register allows, what is refused."""

from __future__ import annotations

from typing import Any

import cocotb
from cocotbext.axi import AxiResp

from pim_model.spec import registers as spec
from pim_model.spec.errors import ErrorSource
from pim_model.spec.macro import MACRO_WORDS
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import (
    Access,
    Control,
    Event,
    Reg,
    command_counter,
    error_info,
    event_counter,
    macro_word,
)
from sim.bench.top_bench import TopBench

_TIME = (Reg.CYCLES_LOW, Reg.CYCLES_HIGH)


def _offsets(bench: TopBench) -> dict[int, Access]:
    """Every register that is there, by offset."""
    blocks = (Reg.COMMANDS, Reg.EVENTS)
    found = {int(row.reg): row.access for row in spec.REGISTERS if row.reg not in blocks}
    found |= {error_info(source): Access.RO for source in ErrorSource}
    found |= {macro_word(index): Access.RW for index in range(MACRO_WORDS)}
    for channel in range(bench.config.geometry.channels):
        found |= {command_counter(channel, op): Access.RO for op in MicroOp}
        found |= {event_counter(channel, event) + word: Access.RO for event in Event for word in (0, 4)}
    return found


@cocotb.test()
async def reset_values(dut: Any) -> None:
    """What the golden device shows at power-on; counters of commands aside, which refresh moves."""
    bench = TopBench(dut)
    await bench.begin()
    for offset in sorted(_offsets(bench)):
        if offset in _TIME or offset == command_counter(0, MicroOp.REFAB) or offset >= Reg.EVENTS:
            continue
        value = await bench.read_register(offset)
        if offset >= Reg.COMMANDS:
            op = MicroOp(offset % spec.COUNTER_STRIDE // 4)
            assert value == 0 or op in (MicroOp.REFAB, MicroOp.PREA), f"{offset:#x}"
        else:
            assert value == bench.golden.read_register(offset), f"{offset:#x}: {value:#x}"
    assert int(dut.irq.value) == 0


@cocotb.test()
async def access_rules(dut: Any) -> None:
    """Read-only registers ignore writes, write-only ones read zero, the others keep what they have bits for."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("values")
    await bench.write_register(Reg.CONTROL, 0)
    await bench.idle(300)
    masks: dict[int, int] = {Reg.IRQ_ENABLE: 3, Reg.INJECT: 0xFF07}
    for offset, access in sorted(_offsets(bench).items()):
        moves = offset in _TIME or offset >= Reg.EVENTS
        if moves or offset in (Reg.CONTROL, Reg.MACRO_PUSH, Reg.COMPLETION_POP):
            continue
        before = await bench.read_register(offset)
        value = rng.getrandbits(32)
        await bench.write_register(offset, value)
        after = await bench.read_register(offset)
        if access is Access.RW:
            wanted = value & masks.get(offset, 0xFFFFFFFF)
            assert after == wanted, f"{offset:#x}: wrote {value:#x}, reads {after:#x}"
        else:
            assert after == before, f"{offset:#x} ({access.name}): {before:#x} became {after:#x}"
    for offset in (Reg.MACRO_PUSH, Reg.COMPLETION_POP):
        assert await bench.read_register(offset) == 0
    for value in (Control.REFRESH, 0, Control.REFRESH):
        await bench.write_register(Reg.CONTROL, value | 0xFFFFFFFC)
        assert await bench.read_register(Reg.CONTROL) == value
    low = await bench.read_register(Reg.CYCLES_LOW)
    now = bench.cycle
    assert 0 <= now - low < 200, f"{low} cycles, but it is cycle {now}"
    assert await bench.read_register(Reg.CYCLES_HIGH) == 0


@cocotb.test()
async def absent_offsets(dut: Any) -> None:
    """SLVERR for reads and writes, and no register changes."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("offsets")
    there = _offsets(bench)
    await bench.write_register(Reg.IRQ_ENABLE, 2)
    holes = sorted(set(range(0, 0x1000, 4)) - there.keys())
    holes = [*rng.sample(holes, 25), 0x0C, 0x38, 0x3C, 0x5C, 0xA8, 0xFC, 0x11C, 0xCC, 0x0FFC]
    end = command_counter(bench.config.geometry.channels, MicroOp.NOP)
    holes += [
        end,
        end + 4,
        0xFFFC,
        command_counter(0, max(MicroOp)) + 4,
        command_counter(1, max(MicroOp)) + 24,
        event_counter(0, max(Event)) + 8,
        event_counter(bench.config.geometry.channels, Event.ROW_HIT),
    ]
    for offset in holes:
        assert await bench.try_read(offset) == (0, AxiResp.SLVERR), f"read of {offset:#x}"
        assert await bench.try_write(offset, rng.randbytes(4)) == AxiResp.SLVERR, f"write of {offset:#x}"
    assert await bench.read_register(Reg.IRQ_ENABLE) == 2


@cocotb.test()
async def partial_writes(dut: Any) -> None:
    """A write that does not enable all four bytes, or is off a word, gets SLVERR and changes nothing."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("values")
    for turn in range(20 * bench.rounds):
        offset = macro_word(turn % 8) if turn % 5 else int(Reg.IRQ_ENABLE)
        value = rng.getrandbits(32) if offset != Reg.IRQ_ENABLE else rng.randrange(4)
        await bench.write_register(offset, value)
        first = rng.randrange(4)
        size = rng.randrange(1, 4 - first + (first > 0))
        assert await bench.try_write(offset + first, rng.randbytes(size)) == AxiResp.SLVERR
        assert await bench.read_register(offset) == value
        if first:
            _, response = await bench.try_read(offset + first, 1)
            assert response == AxiResp.SLVERR
    # A partial write of a register with a side effect has none.
    assert await bench.try_write(Reg.MACRO_PUSH, b"\1") == AxiResp.SLVERR
    await bench.idle(50)
    assert await bench.read_register(Reg.COMPLETION) == 0
    assert await bench.read_register(Reg.MACRO_SPACE) == bench.config.macro_queue


@cocotb.test()
async def many_at_once(dut: Any) -> None:
    """Accesses that do not wait for the answers of those before: each gets its own, in order."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("values")
    offsets = [macro_word(index) for index in range(MACRO_WORDS)]
    while bench.cycle < 2_000 * bench.rounds:
        values = {offset: rng.getrandbits(32) for offset in rng.sample(offsets, MACRO_WORDS)}
        writes = [cocotb.start_soon(bench.write_register(offset, value)) for offset, value in values.items()]
        for write in writes:
            await write
        wanted = rng.choices(offsets, k=3 * MACRO_WORDS)
        reads = [cocotb.start_soon(bench.read_register(offset)) for offset in wanted]
        for offset, read in zip(wanted, reads, strict=True):
            assert await read == values[offset], f"{offset:#x}"
    await bench.finish()
