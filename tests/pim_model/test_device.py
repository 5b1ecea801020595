"""The golden device at its register map: queues, completions, interrupts, errors, counters, data window."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pim_model.device import BusError, Device
from pim_model.mapping.layout import pack
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.schedule import macro_cycles, place
from pim_model.spec.config import config
from pim_model.spec.errors import ErrorSource, Status
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import (
    COMPLETION_VALID,
    REGISTERS,
    Access,
    Control,
    Reg,
    command_counter,
    macro_word,
)

TINY = config("tiny")
BASE = TINY.buffer_base
MACRO = MatVec(tag=0, rows=8, columns=128, weight_row=0, input_offset=0, output_offset=1024)


def push(device: Device, macro: MatVec) -> None:
    push_words(device, macro.encode())


def push_words(device: Device, words: tuple[int, ...]) -> None:
    for index, word in enumerate(words):
        device.write_register(macro_word(index), word)
    device.write_register(Reg.MACRO_PUSH, 0)


def pop(device: Device) -> tuple[int, Status] | None:
    """Take the oldest completion: (tag, status)."""
    value = device.read_register(Reg.COMPLETION)
    assert value == device.read_register(Reg.COMPLETION), "a read had a side effect"
    device.write_register(Reg.COMPLETION_POP, 0)
    if not value & COMPLETION_VALID:
        assert value == 0
        return None
    return value & 0xFFFF, Status(value >> 16 & 0xFF)


def test_identification() -> None:
    ianus = Device(config("ianus", "aim_simulator"))
    read = ianus.read_register
    assert read(Reg.ID).to_bytes(4, "little") == b"IANU"
    assert read(Reg.ABI) >> 16 == 2
    assert [read(reg) for reg in (Reg.CHANNELS, Reg.BANKS, Reg.ROWS, Reg.ROW_BYTES)] == [8, 16, 32768, 2048]
    assert read(Reg.BUFFER_BYTES) == 256 * 1024
    assert read(Reg.TIMING) == 2
    assert read(Reg.QUEUE_DEPTH) == 8 | 8 << 16
    assert read(Reg.CONTROL) == 1
    assert read(Reg.STATUS) == read(Reg.IRQ_STATUS) == read(Reg.VIOLATIONS) == read(Reg.ERRORS) == 0


def test_every_register_obeys_its_access() -> None:
    device = Device(TINY)
    for register in REGISTERS:
        before = device.read_register(register.reg)
        if register.access in (Access.RO, Access.W1C):
            device.write_register(register.reg, 0xFFFFFFFF)
            assert device.read_register(register.reg) == before, register
        elif register.access is Access.WO:
            assert before == 0, register
    device.write_register(Reg.IRQ_ENABLE, 0xFFFFFFFF)
    assert device.read_register(Reg.IRQ_ENABLE) == 3, "reserved bits read as zero"
    device.write_register(Reg.CONTROL, 0xFFFFFFFF)
    assert device.read_register(Reg.CONTROL) == 1
    device.write_register(Reg.CONTROL, 0)
    assert device.read_register(Reg.CONTROL) == 0
    device.write_register(macro_word(7), 0x12345678)
    assert device.read_register(macro_word(7)) == 0x12345678


@pytest.mark.parametrize("offset", [0x008, 0x001, 0x0A8, 0x11C, 0xFFC, 0x1100, 0xFFFC, 0x10000, -4])
def test_register_outside_the_map_is_a_bus_error(offset: int) -> None:
    device = Device(TINY)
    with pytest.raises(BusError, match=r"^no register at offset "):
        device.read_register(offset)
    with pytest.raises(BusError, match=r"^no register at offset "):
        device.write_register(offset, 0)


def test_register_value_must_fit() -> None:
    with pytest.raises(ValueError, match=r"^value must fit in 32 bits, not 4294967296$"):
        Device(TINY).write_register(Reg.CONTROL, 1 << 32)


def test_data_window_is_memory_then_buffer(rng: np.random.Generator) -> None:
    device = Device(TINY)
    assert TINY.geometry.memory_bytes == BASE == 0x20000
    data = rng.bytes(100)
    device.write_memory(BASE - 40, data)
    assert device.read_memory(BASE - 40, 100) == data
    assert device.storage.read(BASE - 40, 40) == data[:40]
    assert device.buffer[:60].tobytes() == data[40:]
    end = BASE + TINY.buffer_bytes
    device.write_memory(end - 3, b"end")
    assert device.read_memory(end - 3, 3) == b"end"
    assert device.read_memory(end, 0) == b""


@pytest.mark.parametrize(
    ("address", "size"),
    [(-1, 4), (BASE + TINY.buffer_bytes, 1), (BASE + TINY.buffer_bytes - 1, 2), (1 << 40, 1)],
)
def test_access_outside_the_data_window_is_a_bus_error(address: int, size: int) -> None:
    device = Device(TINY)
    with pytest.raises(BusError, match="do not lie in the data window"):
        device.read_memory(address, size)
    with pytest.raises(BusError, match="do not lie in the data window"):
        device.write_memory(address, bytes([1]) * size)
    assert not device.buffer.any()


def test_hole_between_memory_and_buffer_is_a_bus_error() -> None:
    preset = replace(TINY, buffer_bytes=1 << 20)  # the buffer is larger than the memory: its base is 1 MiB
    device = Device(preset)
    device.write_memory(1 << 20, b"x")
    with pytest.raises(BusError, match="do not lie in the data window"):
        device.read_memory(preset.geometry.memory_bytes - 1, 2)
    with pytest.raises(BusError, match="do not lie in the data window"):
        device.read_memory(1 << 19, 1)


def test_product_is_right_and_counted() -> None:
    device = Device(TINY)
    weights = f32_to_bf16(np.arange(8 * 128, dtype=np.float32).reshape(8, 128) % 7 - 3)
    inputs = f32_to_bf16(np.arange(128, dtype=np.float32) % 5)
    device.write_memory(0, pack(weights, TINY.geometry).data)
    device.write_memory(BASE, inputs.tobytes())
    push(device, MACRO)
    assert device.step()
    result = np.frombuffer(device.read_memory(BASE + 1024, 16), np.uint16)
    # Small integers: every intermediate is exact, so plain arithmetic is the reference; BF16 rounds at the
    # end.
    exact = bf16_to_f32(weights) @ bf16_to_f32(inputs)
    assert np.array_equal(result, f32_to_bf16(exact))
    for channel in (0, 1):
        counts = {op.name: device.read_register(command_counter(channel, op)) for op in MicroOp}
        assert {name: count for name, count in counts.items() if count} == {
            "ACTAB": 1, "MACAB": 8, "PREA": 1, "WRGB": 8, "WRBIAS": 1, "RDMAC": 1
        }  # fmt: skip
    cycles = device.read_register(Reg.CYCLES_LOW)
    assert cycles == device.read_register(Reg.COMPLETION_CYCLES) > 0


def test_time_is_the_sum_of_the_macros() -> None:
    """A refused one takes none, and gives none back."""
    device = Device(TINY)
    device.write_register(Reg.CONTROL, 0)
    ends = []
    for words in (MACRO.encode(), MACRO.encode(), (0xFF, *MACRO.encode()[1:]), MACRO.encode()):
        push_words(device, words)
        device.step()
        ends.append((device.cycles, device.read_register(Reg.COMPLETION_CYCLES)))
        device.write_register(Reg.COMPLETION_POP, 0)
    one = ends[0][0]
    assert one > 0
    assert ends == [(one, one), (2 * one, one), (2 * one, 0), (3 * one, one)]


def test_matrix_cache_sees_new_weights() -> None:
    device = Device(TINY)
    one = f32_to_bf16(np.ones((8, 128), np.float32))
    device.write_memory(BASE, one[0].tobytes())
    for factor in (1.0, 2.0):
        device.write_memory(0, pack(f32_to_bf16(np.full((8, 128), factor, np.float32)), TINY.geometry).data)
        push(device, MACRO)
        device.step()
        assert pop(device) == (0, Status.OK)
        result = np.frombuffer(device.read_memory(BASE + 1024, 16), np.uint16)
        assert bf16_to_f32(result).tolist() == [128 * factor] * 8
    # Another bank's element of the same DRAM row, changed by two bytes.
    device.write_memory(TINY.geometry.address(0, 1, 3), b"\0\0")
    push(device, MACRO)
    device.step()
    result = np.frombuffer(device.read_memory(BASE + 1024, 16), np.uint16)
    assert bf16_to_f32(result).tolist() == [256.0] * 7 + [254.0]


def test_completions_come_in_order_exactly_once_with_back_pressure() -> None:
    device = Device(TINY)
    sent, received = 0, []
    for _ in range(200):
        while device.read_register(Reg.MACRO_SPACE):
            push(device, replace(MACRO, tag=sent))
            sent += 1
        while device.step():
            pass
        assert device.read_register(Reg.STATUS) == 0b011, "macros wait for a full completion queue"
        completion = pop(device)
        assert completion is not None
        received.append(completion)
    assert received == [(tag, Status.OK) for tag in range(200)]
    while device.step() or device.read_register(Reg.COMPLETION):
        completion = pop(device)
        assert completion is not None
        received.append(completion)
    assert [tag for tag, _ in received] == list(range(sent))
    assert device.read_register(Reg.STATUS) == 0


def test_macro_pushed_into_a_full_queue_is_dropped() -> None:
    device = Device(TINY)
    device.write_register(Reg.IRQ_ENABLE, 2)
    for tag in range(TINY.macro_queue + 1):  # one runs
        assert device.read_register(Reg.MACRO_SPACE) > 0
        push(device, replace(MACRO, tag=tag))
    assert device.read_register(Reg.MACRO_SPACE) == 0
    assert not device.interrupt
    push(device, replace(MACRO, tag=99))
    assert device.read_register(Reg.STATUS) == 0b1001
    assert device.read_register(Reg.IRQ_STATUS) == 2
    assert device.interrupt
    assert device.read_register(Reg.ERRORS) == 1 << ErrorSource.OVERFLOW
    device.write_register(Reg.ERRORS, ~(1 << ErrorSource.OVERFLOW) & 0xFFFFFFFF)
    assert device.interrupt, "only a one clears a bit"
    device.write_register(Reg.ERRORS, 1 << ErrorSource.OVERFLOW)
    assert device.read_register(Reg.STATUS) == 0b0001
    assert not device.interrupt
    tags = []
    while device.step() or device.read_register(Reg.COMPLETION):
        completion = pop(device)
        assert completion is not None
        tags.append(completion[0])
    assert tags == [0, 1, 2]


def test_interrupt_follows_completions() -> None:
    device = Device(TINY)
    push(device, MACRO)
    push(device, MACRO)
    device.step()
    assert device.read_register(Reg.IRQ_STATUS) == 1
    assert not device.interrupt, "not enabled"
    device.write_register(Reg.IRQ_ENABLE, 1)
    assert device.interrupt
    assert device.run_until_interrupt()
    assert device.pending == 1, "nothing more runs while the line is high"
    device.write_register(Reg.IRQ_STATUS, 0xFFFFFFFF)
    assert device.interrupt, "a level: clears when the last completion is popped"
    pop(device)
    assert not device.interrupt
    assert device.run_until_interrupt()
    pop(device)
    assert not device.run_until_interrupt()


GOOD = MACRO.encode()


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({0: 0}, Status.BAD_OPCODE),
        ({0: GOOD[0] + 3}, Status.BAD_OPCODE),
        ({0: GOOD[0] | 1 << 26}, Status.RESERVED_BITS),
        ({0: GOOD[0] | 1 << 28}, Status.RESERVED_BITS),
        ({1: GOOD[1] | 1 << 24}, Status.RESERVED_BITS),
        ({6: 32}, Status.RESERVED_BITS),
        ({7: 1}, Status.RESERVED_BITS),
        ({1: 0}, Status.BAD_SHAPE),
        ({2: 0}, Status.BAD_SHAPE),
        ({3: 0}, Status.BAD_SHAPE),
        ({0: GOOD[0] | 1 << 25 | 8 << 28}, Status.BAD_FUNCTION),
        ({3: 1 | 56 << 16}, Status.WEIGHT_RANGE),
        ({1: 57 * 8}, Status.WEIGHT_RANGE),
        ({4: 8}, Status.ALIGNMENT),
        ({5: TINY.buffer_bytes}, Status.BUFFER_RANGE),
        ({3: 65}, Status.BUFFER_RANGE),
        ({0: GOOD[0] | 1 << 24, 6: TINY.buffer_bytes}, Status.BUFFER_RANGE),
        ({3: 1 | 55 << 16}, Status.OK),
        # A QKV: each matrix has to lie below the tables; results and bias are three times a matrix's.
        ({0: 3, 7: 55 | 55 << 16}, Status.OK),
        ({0: 3, 3: 1 | 56 << 16}, Status.WEIGHT_RANGE),
        ({0: 3, 7: 56}, Status.WEIGHT_RANGE),
        ({0: 3, 7: 56 << 16}, Status.WEIGHT_RANGE),
        ({0: 3, 5: TINY.buffer_bytes - 96}, Status.OK),
        ({0: 3, 5: TINY.buffer_bytes - 64}, Status.BUFFER_RANGE),
        ({0: 3 | 1 << 24, 6: TINY.buffer_bytes - 64}, Status.BUFFER_RANGE),
        ({0: 3, 4: 1024 + 64}, Status.OVERLAP),
        ({0: 3, 4: 1024 + 96}, Status.OK),
        ({0: 3 | 1 << 26}, Status.RESERVED_BITS),
        ({0: 3, 6: 32}, Status.RESERVED_BITS),
    ],
    ids=lambda value: value.name if isinstance(value, Status) else str(value),
)
def test_malformed_macro_completes_and_does_nothing(changes: dict[int, int], status: Status) -> None:
    device = Device(TINY)
    device.write_memory(BASE, b"\x80\x3f" * (TINY.buffer_bytes // 2))
    words = tuple(changes.get(index, word) for index, word in enumerate(GOOD))
    words = (words[0] | 0xBEEF << 8, *words[1:])
    push_words(device, words)
    device.step()
    assert pop(device) == (0xBEEF, status)
    assert pop(device) is None
    assert bool(device.commands.any()) is (status is Status.OK)
    assert bool((device.buffer.view(np.uint16) != 0x3F80).any()) is (status is Status.OK)


def test_soft_reset_drops_macros_and_completions_and_keeps_memory() -> None:
    device = Device(TINY)
    device.write_register(Reg.IRQ_ENABLE, 3)
    device.write_memory(0, b"kept")
    for _ in range(4):
        push(device, MACRO)
    device.step()
    cycles = device.cycles
    device.write_register(Reg.CONTROL, 2)
    assert device.read_register(Reg.CONTROL) == 0, "done at once; refresh as written"
    assert device.read_register(Reg.STATUS) == device.read_register(Reg.IRQ_STATUS) == 0
    assert not device.step()
    assert pop(device) is None
    assert device.read_memory(0, 4) == b"kept"
    assert device.read_register(Reg.IRQ_ENABLE) == 3
    assert device.cycles == cycles
    push(device, MACRO)
    device.step()
    assert pop(device) == (0, Status.OK)


def test_refresh_is_on_after_reset_and_costs_cycles() -> None:
    totals = {}
    for control in (1, 0):
        device = Device(TINY)
        device.write_register(Reg.CONTROL, control)
        for _ in range(100):
            push(device, MACRO)
            device.step()
            pop(device)
        refreshes = device.read_register(command_counter(0, MicroOp.REFAB))
        totals[control] = device.read_register(Reg.CYCLES_LOW), refreshes
    assert totals[0][1] == 0
    cycles, refreshes = totals[1]
    assert refreshes == cycles // 1900
    assert cycles > totals[0][0] + 100 * refreshes


def test_refreshes_inside_products_are_due_by_the_clock(rng: np.random.Generator) -> None:
    """The first row that a refresh precedes is the first that would open when it is due, not a cycle before."""
    device = Device(TINY)
    device.record()
    interval, begun, due, telling = TINY.timing.refresh_interval, 0, TINY.timing.refresh_interval, 0

    def tells(macro: MatVec) -> bool:
        """Whether the schedule would be another if the refresh were due a cycle before."""
        return place(TINY, macro, due - begun) != place(TINY, macro, due - begun - 1)

    for _ in range(300):
        macros = [
            replace(MACRO, rows=int(rng.integers(1, 60)), columns=int(rng.integers(1, 128)))
            for _ in range(100 if due - begun < 400 else 1)
        ]
        macro = next(filter(tells, macros), macros[0])
        telling += tells(macro)
        push(device, macro)
        device.step()
        pop(device)
        placed = place(TINY, macro, due - begun)
        assert [(e.cycle - begun, e.slot, e.micro) for e in device.recorded() if e.channel == 0] == placed
        due += interval * sum(micro.op is MicroOp.REFAB for _, _, micro in placed)
        begun = device.cycles
        device.record()
    assert telling > 3


def test_the_first_refresh_is_due_an_interval_after_it_was_enabled() -> None:
    """Told by products that take another time if it is due a cycle later."""
    due = TINY.timing.refresh_interval
    telling = 0
    for tokens in range(1, 10):
        macro = replace(MACRO, rows=168, columns=16, tokens=tokens)
        expected, later = (macro_cycles(TINY, macro, each).cycles for each in (due, due + 1))
        device = Device(TINY)
        device.write_register(Reg.CONTROL, 0)
        device.write_register(Reg.CONTROL, Control.REFRESH)
        push(device, macro)
        assert device.step()
        assert device.cycles == expected, f"{tokens} tokens"
        telling += expected != later
    assert telling
