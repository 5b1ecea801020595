"""The register map: values after reset, what may be written, what lies outside."""

from __future__ import annotations

import pytest

from host_runtime.errors import AccessError
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import ABI, REGISTERS, Access, Irq, Reg, command_counter, macro_word
from pim_model.spec.timing import TIMINGS
from tests.agree.bench import Bench

READ_ONLY = [r.reg for r in REGISTERS if r.access is Access.RO]
WRITE_ONLY = [r.reg for r in REGISTERS if r.access is Access.WO]
MOVING = (Reg.CYCLES_LOW, Reg.CYCLES_HIGH)
HOLES = (0x008, 0x00C, 0x038, 0x03C, 0x05C, 0x068, 0x0A8, 0x0BC, 0x0CC, 0x0FC, 0x11C, 0xFFC, 0xFFFC)


def test_identification(bench: Bench) -> None:
    shape, geometry = bench.config, bench.config.geometry
    assert bench.read(Reg.ID).to_bytes(4, "little") == b"IANU"
    assert bench.read(Reg.ABI) == ABI
    assert [bench.read(r) for r in (Reg.CHANNELS, Reg.BANKS, Reg.ROWS, Reg.ROW_BYTES, Reg.BUFFER_BYTES)] == [
        geometry.channels,
        geometry.banks,
        geometry.rows,
        geometry.row_bytes,
        shape.buffer_bytes,
    ]
    assert bench.read(Reg.TIMING) == TIMINGS.index(shape.timing_name) | shape.refresh << 8
    assert bench.read(Reg.QUEUE_DEPTH) == shape.macro_queue | shape.completion_queue << 16
    assert bench.read(Reg.FEATURES) == 0  # no dual row buffers
    assert bench.read(Reg.BUILD_LOW) == bench.read(Reg.BUILD_HIGH) == 0  # no bitstream


@pytest.mark.parametrize(
    ("register", "value"),
    [
        (Reg.CONTROL, 1),
        (Reg.STATUS, 0),
        (Reg.IRQ_ENABLE, 0),
        (Reg.IRQ_STATUS, 0),
        (Reg.VIOLATIONS, 0),
        (Reg.CYCLES_HIGH, 0),
        (Reg.COMPLETION, 0),
        (Reg.MACRO_PUSH, 0),
        (Reg.COMPLETION_POP, 0),
    ],
)
def test_value_after_reset(bench: Bench, register: Reg, value: int) -> None:
    assert bench.read(register) == value


def test_queue_is_empty_after_reset(bench: Bench) -> None:
    assert bench.read(Reg.MACRO_SPACE) == bench.config.macro_queue
    assert [bench.transport.read_register(macro_word(i)) for i in range(8)] == [0] * 8


def test_read_only_registers_ignore_writes(bench: Bench) -> None:
    fixed = [r for r in READ_ONLY if r not in MOVING]
    before = {r: bench.read(r) for r in fixed}
    for register in fixed:
        bench.write(register, ~before[register] & 0xFFFFFFFF)
    assert {r: bench.read(r) for r in fixed} == before


def test_write_only_registers_read_as_zero(bench: Bench) -> None:
    assert len(WRITE_ONLY) == 2
    bench.write(Reg.COMPLETION_POP, 0xFFFFFFFF)  # with nothing to pop
    assert [bench.read(r) for r in WRITE_ONLY] == [0, 0]
    assert bench.read(Reg.STATUS) == 0


@pytest.mark.parametrize("pattern", [0xFFFFFFFF, 0xA5A5A5A5, 0x5A5A5A5A, 0x00000001, 0x80000000, 0])
def test_macro_words_hold_every_bit(bench: Bench, pattern: int) -> None:
    wanted = [pattern ^ (0x01010101 * index) for index in range(8)]
    for index, word in enumerate(wanted):
        bench.transport.write_register(macro_word(index), word)
    assert [bench.transport.read_register(macro_word(i)) for i in range(8)] == wanted
    assert bench.read(Reg.MACRO_SPACE) == bench.config.macro_queue, "only MACRO_PUSH pushes"


def test_reserved_bits_read_as_zero(bench: Bench) -> None:
    bench.write(Reg.IRQ_ENABLE, 0xFFFFFFFF)
    assert bench.read(Reg.IRQ_ENABLE) == Irq.COMPLETION | Irq.ERROR
    bench.write(Reg.CONTROL, 0xFFFFFFFD)  # all but soft reset
    assert bench.read(Reg.CONTROL) == 1
    bench.write(Reg.CONTROL, 0xFFFFFFFC)
    assert bench.read(Reg.CONTROL) == 0
    bench.write(Reg.IRQ_STATUS, 0xFFFFFFFF)
    assert bench.read(Reg.IRQ_STATUS) == 0


def test_repeated_reads_change_nothing(bench: Bench) -> None:
    first = [bench.read(r) for r in READ_ONLY if r not in MOVING]
    assert [bench.read(r) for r in READ_ONLY if r not in MOVING] == first


def test_command_counters_are_there_for_every_channel(bench: Bench) -> None:
    last = bench.config.geometry.channels - 1
    for op in (MicroOp.ACT, MicroOp.MACAB, MicroOp.WRBK):
        for channel in (0, last):
            offset = command_counter(channel, op)
            before = bench.transport.read_register(offset)
            bench.transport.write_register(offset, 77)
            assert bench.transport.read_register(offset) == before == 0


@pytest.mark.parametrize("offset", HOLES, ids=hex)
def test_hole_in_the_map_is_an_error_and_harmless(bench: Bench, offset: int) -> None:
    with pytest.raises(AccessError, match=f"{offset:#x}"):
        bench.transport.read_register(offset)
    with pytest.raises(AccessError, match=f"{offset:#x}"):
        bench.transport.write_register(offset, 0xFFFFFFFF)
    assert bench.read(Reg.ID).to_bytes(4, "little") == b"IANU"
    assert bench.read(Reg.STATUS) == 0


def test_counters_of_a_channel_that_is_not_there_are_an_error(bench: Bench) -> None:
    with pytest.raises(AccessError):
        bench.transport.read_register(command_counter(bench.config.geometry.channels, MicroOp.ACT))
    assert bench.read(Reg.ABI) == ABI


@pytest.mark.parametrize("offset", [Reg.ID + 1, Reg.CONTROL + 2, Reg.MACRO_WORD0 + 3])
def test_register_off_its_word_is_an_error(bench: Bench, offset: int) -> None:
    with pytest.raises(AccessError):
        bench.transport.read_register(offset)
    with pytest.raises(AccessError):
        bench.transport.write_register(offset, 0)
    assert bench.read(Reg.CONTROL) == 1


def test_cycles_never_run_backwards(bench: Bench) -> None:
    counts = [bench.driver.cycles() for _ in range(20)]
    assert counts == sorted(counts)
