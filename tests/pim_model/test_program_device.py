"""ISR instructions and PROGRAM on the golden device: data, status, completion, counters, what stays between macros."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from pim_model.checker import Checker
from pim_model.device import Device
from pim_model.mapping.layout import pack
from pim_model.numerics import activation
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.numerics.profiles import profile
from pim_model.program_schedule import place_program, program_cost
from pim_model.schedule import macro_cycles
from pim_model.spec.config import Config, config
from pim_model.spec.errors import Status
from pim_model.spec.geometry import Geometry
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.registers import COMPLETION_VALID, Control, Reg, command_counter, macro_word
from pim_model.spec.timing import TIMINGS
from tests.pim_model.test_program import isr

M = MacroOp
PROGRAM_AT = 8192  # where programs lie in these tests
# Two bank groups, rows that hold a whole table.
WIDE = Config(name="wide", geometry=Geometry(channels=2, banks=8, rows=16), buffer_bytes=16 * 1024)
BOTH = 3

Words = tuple[int, ...]


def push(device: Device, words: Words) -> tuple[int, Status, int]:
    """Run one macro; its completion: tag, status, cycles. There must be exactly one."""
    for index, word in enumerate(words):
        device.write_register(macro_word(index), word)
    device.write_register(Reg.MACRO_PUSH, 1)
    assert device.step()
    word, cycles = device.read_register(Reg.COMPLETION), device.read_register(Reg.COMPLETION_CYCLES)
    assert word & COMPLETION_VALID
    device.write_register(Reg.COMPLETION_POP, 1)
    assert not device.read_register(Reg.COMPLETION)
    assert not device.step()
    return word & 0xFFFF, Status(word >> 16 & 0xFF), cycles


def program(device: Device, *macros: Instruction | MatVec | Words, tag: int = 7) -> tuple[int, Status, int]:
    """Run macros as one PROGRAM."""
    words = [macro if isinstance(macro, tuple) else macro.encode() for macro in macros]
    at = device.config.buffer_base + PROGRAM_AT
    device.write_memory(at, np.array(words, "<u4").tobytes())
    return push(device, Program(tag=tag, offset=PROGRAM_AT, count=len(words)).encode())


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """BF16 bits of magnitudes around one."""
    return f32_to_bf16(rng.standard_normal(shape).astype(np.float32))


def set_gprs(device: Device, first: int, values: np.ndarray) -> None:
    device.write_memory(device.config.buffer_base + 32 * first, values.astype("<u2").tobytes())


def gprs(device: Device, first: int, count: int) -> np.ndarray:
    data = device.read_memory(device.config.buffer_base + 32 * first, 32 * count)
    return np.frombuffer(data, "<u2").astype(np.uint16).reshape(count, 16)


def set_row(device: Device, row: int, values: np.ndarray) -> None:
    """``values``: [channels, banks, elements]."""
    device.write_memory(device.config.geometry.address(row), values.astype("<u2").tobytes())


def row_of(device: Device, row: int) -> np.ndarray:
    geometry = device.config.geometry
    data = device.read_memory(geometry.address(row), geometry.slab_bytes)
    return np.frombuffer(data, "<u2").reshape(geometry.channels, geometry.banks, geometry.columns, 16)


# --- data


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize("as_program", [False, True], ids=["single macros", "PROGRAM"])
def test_a_product_with_bias_and_activation_by_hand(
    numerics: str, as_program: bool, rng: np.random.Generator
) -> None:
    device = Device(WIDE, numerics)
    weights, table = numbers(rng, 2, 8, 1024), activation.table("gelu")
    x, bias = numbers(rng, 3, 16), numbers(rng, 2, 16)
    set_row(device, 4, weights)
    set_row(device, WIDE.geometry.table_row(2), np.broadcast_to(table, (2, 8, 1024)))
    set_gprs(device, 0, x)
    set_gprs(device, 8, bias)
    macros = [
        isr(M.WR_GB, 3, mask=BOTH, column=5, gpr0=0),
        isr(M.WR_BIAS, mask=BOTH, gpr0=8 * 32),
        isr(M.MAC_ABK, 3, mask=BOTH, column=5, row=4),
        isr(M.RD_MAC, mask=BOTH, gpr0=16 * 32),
        isr(M.AF, mask=BOTH, function=2),
        isr(M.RD_AF, mask=BOTH, gpr0=18 * 32),
    ]
    if as_program:
        assert program(device, *macros)[:2] == (7, Status.OK)
    else:
        for number, macro in enumerate(macros):
            assert push(device, replace(macro, tag=number).encode())[:2] == (number, Status.OK)
    acc = bf16_to_f32(bias[:, :8])
    columns = weights.reshape(2, 8, 64, 16)
    for place in range(3):
        acc = profile(numerics).mac_group(acc, columns[:, :, 5 + place], x[place])
    expected = np.zeros((4, 16), np.uint16)
    expected[:2, :8] = f32_to_bf16(acc)
    expected[2:, :8] = f32_to_bf16(activation.apply(table, acc))
    assert np.array_equal(gprs(device, 16, 4), expected)
    assert expected.any()


def test_columns_and_channels_of_everything_that_writes_and_reads(rng: np.random.Generator) -> None:
    device = Device(config("tiny"))
    data = numbers(rng, 16, 16)
    set_gprs(device, 0, data)
    assert program(
        device,
        isr(M.WR_ABK, 2, mask=1, column=1, row=3, gpr0=0),
        isr(M.WR_SBK, 2, mask=BOTH, column=3, bank=2, row=3, gpr0=2 * 32),
        isr(M.COPY_BKGB, 2, mask=2, column=3, bank=2, row=3),
        isr(M.COPY_GBBK, 2, mask=2, column=3, bank=1, row=4),
        isr(M.WR_GB, 1, mask=1, column=7, gpr0=4 * 32),
        isr(M.COPY_GBBK, 1, mask=1, column=7, bank=0, row=4),
        isr(M.RD_SBK, 2, mask=BOTH, column=3, bank=2, row=3, gpr0=20 * 32),
        isr(M.RD_SBK, 1, mask=2, column=4, bank=1, row=4, gpr0=30 * 32),
    )[1] is Status.OK  # fmt: skip
    row3, row4 = np.zeros((2, 4, 8, 16), np.uint16), np.zeros((2, 4, 8, 16), np.uint16)
    row3[0, :, 1:3] = data[:2]
    row3[:, 2, 3:5] = data[2:4]
    row4[1, 1, 3:5] = data[2:4]
    row4[0, 0, 7] = data[4]
    assert np.array_equal(row_of(device, 3), row3)
    assert np.array_equal(row_of(device, 4), row4)
    # Column by column, and in each the channels.
    assert np.array_equal(gprs(device, 20, 4), data[[2, 2, 3, 3]])
    assert np.array_equal(gprs(device, 30, 1), data[3:4])


def test_results_of_a_mask_with_a_hole_leave_the_gpr_between_alone(rng: np.random.Generator) -> None:
    shape = Config(
        name="four", geometry=Geometry(channels=4, banks=4, rows=64, row_bytes=256), buffer_bytes=16384
    )
    device = Device(shape)
    data = numbers(rng, 16, 16)
    set_gprs(device, 0, data)
    assert (
        program(
            device,
            isr(M.WR_BIAS, mask=0b1010, gpr0=0),  # channel 1 takes GPR 0, channel 3 GPR 2
            isr(M.RD_MAC, mask=0b1011, gpr0=4 * 32),
        )[1]
        is Status.OK
    )
    expected = np.zeros((4, 16), np.uint16)
    expected[1, :4], expected[3, :4] = data[0, :4], data[2, :4]
    expected[2] = data[6]  # no channel's
    assert np.array_equal(gprs(device, 4, 4), expected)


def test_element_wise_product_and_sum(rng: np.random.Generator) -> None:
    device = Device(WIDE)
    values = numbers(rng, 2, 8, 1024)
    a, b = numbers(rng, 3, 16), numbers(rng, 3, 16)
    b[0] = 0x0001  # subnormal: counts as zero
    set_row(device, 4, values)
    set_gprs(device, 0, np.concatenate([a, b]))
    assert (
        program(
            device,
            isr(M.EWMUL, 2, mask=2, column=3, row=4),
            isr(M.EWADD, 3, gpr0=0, gpr1=3 * 32),
        )[1]
        is Status.OK
    )
    expected = values.reshape(2, 8, 64, 16).copy()
    for group in (0, 4):
        product = bf16_to_f32(expected[1, group, 3:5]) * bf16_to_f32(expected[1, group + 1, 3:5])
        expected[1, group + 2, 3:5] = f32_to_bf16(product)
    assert np.array_equal(row_of(device, 4), expected)
    sums = f32_to_bf16((bf16_to_f32(a).astype(np.float64) + bf16_to_f32(b)).astype(np.float32))
    sums[0] = a[0]
    assert np.array_equal(gprs(device, 0, 6), np.concatenate([sums, b]))


def test_sum_may_overlap_its_second_operand() -> None:
    device = Device(config("tiny"))
    set_gprs(device, 0, np.full((3, 16), 0x3F80, np.uint16))  # ones
    assert program(device, isr(M.EWADD, 2, gpr0=32, gpr1=0))[1] is Status.OK
    assert [int(value) for value in gprs(device, 0, 3)[:, 0]] == [0x3F80, 0x4000, 0x4040]


# --- what stays


def test_registers_and_buffer_stay_between_macros(rng: np.random.Generator) -> None:
    device = Device(config("tiny"))
    data = numbers(rng, 4, 16)
    set_gprs(device, 0, data)
    for macro in (
        isr(M.WR_GB, 1, mask=BOTH, column=2, gpr0=0),
        isr(M.WR_BIAS, mask=1, gpr0=32),
        isr(M.COPY_GBBK, 1, mask=BOTH, column=2, bank=3, row=9),
        isr(M.RD_MAC, mask=1, gpr0=320),
    ):
        assert push(device, macro.encode())[1] is Status.OK
        device.read_memory(0, 64)  # normal traffic in between
    device.write_register(Reg.CONTROL, Control.REFRESH | Control.SOFT_RESET)
    assert push(device, isr(M.RD_MAC, mask=1, gpr0=352).encode())[1] is Status.OK
    assert np.array_equal(row_of(device, 9)[:, 3, 2], data[[0, 0]])
    assert np.array_equal(gprs(device, 10, 2)[:, :4], data[[1, 1], :4])


def test_product_inside_a_program(rng: np.random.Generator) -> None:
    device, alone = Device(config("tiny")), Device(config("tiny"))
    matrix, x = numbers(rng, 8, 128), numbers(rng, 8, 16)
    macro = MatVec(tag=3, rows=8, columns=128, weight_row=5, input_offset=0, output_offset=1024)
    for each in (device, alone):
        each.write_memory(each.config.geometry.address(5), pack(matrix, each.config.geometry).tobytes())
        set_gprs(each, 0, x)
    push(alone, macro.encode())
    # The program makes the product's first row itself, then adds the result to itself.
    copied = isr(M.WR_SBK, 8, mask=1, bank=0, row=5, gpr0=0)
    done = program(device, copied, copied, macro, isr(M.EWADD, 1, gpr0=1024, gpr1=1024))
    assert done[:2] == (7, Status.OK)
    halves = gprs(device, 32, 1)[0, :8]
    own = bf16_to_f32(gprs(alone, 32, 1)[0, :8])
    assert np.array_equal(halves[1:], f32_to_bf16(2 * own[1:]))
    assert halves[0] == f32_to_bf16(2 * bf16_to_f32(product_of(x.reshape(1, -1), x)))[0]


def product_of(matrix: np.ndarray, x: np.ndarray) -> np.ndarray:
    acc = np.zeros(1, np.float32)
    for a, b in zip(matrix.reshape(-1, 16), x, strict=True):
        acc = profile("aligned").mac_group(acc, a[np.newaxis], b)
    return f32_to_bf16(acc)


# --- status

GOOD = isr(M.MAC_ABK, 2, mask=BOTH, row=1).encode()
READ = isr(M.RD_SBK, 2, mask=BOTH, gpr0=0).encode()
AF = isr(M.AF, mask=1, function=1).encode()
TINY = config("tiny")


@pytest.mark.parametrize("wrapped", [False, True], ids=["alone", "inside"])
@pytest.mark.parametrize(
    ("words", "changes", "status"),
    [
        (GOOD, {0: 0x1F}, Status.BAD_OPCODE),
        (GOOD, {0: 0x0F}, Status.BAD_OPCODE),
        (GOOD, {0: GOOD[0] | 1 << 26}, Status.RESERVED_BITS),
        (GOOD, {0: GOOD[0] | 1 << 28}, Status.RESERVED_BITS),
        (GOOD, {1: GOOD[1] | 1 << 7}, Status.RESERVED_BITS),
        (GOOD, {1: GOOD[1] | 1 << 16}, Status.RESERVED_BITS),
        (GOOD, {3: GOOD[3] | 1}, Status.RESERVED_BITS),
        (GOOD, {4: 32}, Status.RESERVED_BITS),
        (GOOD, {7: 1}, Status.RESERVED_BITS),
        (AF, {0: AF[0] | 1 << 25}, Status.RESERVED_BITS),
        (GOOD, {1: 0}, Status.BAD_SHAPE),
        (GOOD, {1: 65}, Status.BAD_SHAPE),
        (AF, {0: M.AF | 8 << 28}, Status.BAD_FUNCTION),
        (READ, {4: 16}, Status.ALIGNMENT),
        (READ, {4: TINY.buffer_bytes - 96}, Status.BUFFER_RANGE),
        (GOOD, {2: 0}, Status.CHANNEL_MASK),
        (GOOD, {2: 4}, Status.CHANNEL_MASK),
        (GOOD, {1: 2 | 7 << 8}, Status.ADDRESS_RANGE),
        (GOOD, {3: 64 << 16}, Status.ADDRESS_RANGE),
        (READ, {1: READ[1] | 4 << 16}, Status.ADDRESS_RANGE),
    ],
)
def test_malformed_instruction(words: Words, changes: dict[int, int], status: Status, wrapped: bool) -> None:
    device = Device(TINY)
    bad = tuple(changes.get(index, word) for index, word in enumerate(words))
    before = isr(M.WR_ABK, 1, mask=1, row=2, gpr0=0)
    after = isr(M.WR_ABK, 1, mask=1, row=3, gpr0=0)
    set_gprs(device, 0, np.full((1, 16), 0x3F80, np.uint16))
    if wrapped:
        assert program(device, before, bad, after)[:2] == (7, status)
        expected = program_cost(TINY, [before])
        assert device.cycles == expected.cycles
        assert device.read_register(command_counter(0, Op.WRBK)) == 1
        assert (row_of(device, 2)[0, :, 0] == 0x3F80).all()
    else:
        assert push(device, bad)[:2] == (bad[0] >> 8 & 0xFFFF, status)
        assert not device.commands.any()
    assert not row_of(device, 3).any()


@pytest.mark.parametrize(
    ("words", "status"),
    [
        ((int(M.PROGRAM), 1 << 24, 0, 0, 32, 0, 0, 0), Status.RESERVED_BITS),
        (Program(offset=32, count=0).encode(), Status.BAD_SHAPE),
        (Program(offset=40, count=1).encode(), Status.ALIGNMENT),
        (Program(offset=TINY.buffer_bytes - 32, count=2).encode(), Status.BUFFER_RANGE),
    ],
)
def test_malformed_program(words: Words, status: Status) -> None:
    device = Device(TINY)
    assert push(device, words) == (0, status, 0)
    assert not device.commands.any()


def test_program_inside_a_program_is_refused() -> None:
    device = Device(TINY)
    inner = Program(tag=9, offset=0, count=1).encode()
    assert program(device, isr(M.MAC_ABK, 1, row=1), inner)[:2] == (7, Status.BAD_OPCODE)
    assert device.read_register(command_counter(0, Op.MACAB)) == 1


def test_malformed_product_inside_a_program_has_its_own_status() -> None:
    macro = MatVec(tag=0, rows=8, columns=128, weight_row=60, input_offset=0, output_offset=1024)
    assert program(Device(TINY), macro)[:2] == (7, Status.WEIGHT_RANGE)


# --- time and counters


@pytest.mark.parametrize("timing_name", TIMINGS)
def test_cycles_and_counters_are_those_of_the_schedule(timing_name: str) -> None:
    shape = config("tiny", timing_name)
    macros = [isr(M.WR_GB, 4, mask=BOTH), isr(M.MAC_ABK, 8, mask=1, row=1), isr(M.RD_MAC, mask=2, gpr0=640)]
    device = Device(shape)
    cost = program_cost(shape, macros)
    assert program(device, *macros) == (7, Status.OK, cost.cycles)
    # The channels are closed after the program, and its time is without that.
    closing = [{Op.PREA: 1}, {} if shape.timing.direct else {Op.TMOD_OUT: 1}]
    for channel in range(2):
        for op in Op:
            counted = device.read_register(command_counter(channel, op))
            wanted = cost.commands[channel].get(op, 0) + closing[channel].get(op, 0)
            assert counted == wanted, (channel, op)
    assert device.cycles == cost.cycles


@pytest.mark.parametrize(
    ("timing_name", "rest"),
    # tRP; in register mode also the way out of it
    [("ianus_ck", 15), ("ianus_printed", 30), ("aim_simulator", 32), ("fpga_controller", 15)],
)
def test_instructions_rest_after_a_product_for_all_that_may_bind(timing_name: str, rest: int) -> None:
    shape = config("tiny", timing_name)
    device = Device(shape)
    device.write_register(Reg.CONTROL, 0)
    product = MatVec(tag=0, rows=8, columns=128, weight_row=5, input_offset=0, output_offset=1024)
    reads = isr(M.RD_SBK, 2, mask=BOTH, gpr0=0)
    alone = macro_cycles(shape, product).cycles + program_cost(shape, [reads]).cycles
    assert program(device, product, reads) == (7, Status.OK, alone + rest)


@pytest.mark.parametrize("timing_name", TIMINGS)
def test_recorded_commands_are_legal_over_products_traffic_and_programs(
    timing_name: str, rng: np.random.Generator
) -> None:
    shape = config("tiny", timing_name)
    device = Device(shape)
    device.record()
    macro = MatVec(tag=0, rows=20, columns=128, weight_row=5, input_offset=0, output_offset=1024)
    for number in range(12):
        long = [isr(M.MAC_ABK, 8, mask=1 + number % 3, row=row) for row in range(20)]
        assert (
            program(device, isr(M.WR_GB, 2, mask=BOTH), *long, isr(M.RD_MAC, mask=BOTH, gpr0=640))[1]
            is Status.OK
        )
        if number % 3 == 1:
            device.read_memory(shape.geometry.address(3, channel=1), 32)
        if number % 3 == 2:
            assert program(device, *long[:2], macro, *long[:2])[1] is Status.OK
            assert push(device, macro.encode())[1] is Status.OK
    entries = device.recorded()
    for channel in range(2):
        checker = Checker(shape, strict=True)
        mine = [entry for entry in entries if entry.channel == channel]
        for entry in mine:
            checker.issue(entry.cycle, entry.slot, entry.micro)
        refreshes = sum(entry.micro.op is Op.REFAB for entry in mine)
        assert abs(refreshes - device.cycles // shape.timing.refresh_interval) <= 1
        assert len(mine) == device.commands[channel].sum()
        assert refreshes == device.commands[channel, Op.REFAB]


def test_rows_stay_open_inside_a_program_and_are_closed_after_it() -> None:
    device = Device(TINY)
    macro = isr(M.MAC_ABK, 1, mask=BOTH, row=1)
    program(device, macro, macro)
    assert device.commands[:, Op.ACTAB].tolist() == [1, 1]
    assert device.commands[:, Op.PREA].tolist() == [1, 1]
    push(device, macro.encode())
    assert device.commands[:, Op.ACTAB].tolist() == [2, 2]
    assert device.commands[:, Op.PREA].tolist() == [2, 2]


def test_without_refresh_there_is_none() -> None:
    device = Device(TINY)
    device.write_register(Reg.CONTROL, 0)
    macros = [isr(M.MAC_ABK, 8, mask=BOTH, row=row) for row in range(56)] * 2
    cycles = program(device, *macros)[2]
    assert cycles > 2 * TINY.timing.refresh_interval
    assert not device.commands[:, Op.REFAB].any()
    assert cycles == 1 + place_program(TINY, macros)[-1].cycle


def test_progress_of_a_program_is_the_part_that_is_done() -> None:
    device = Device(TINY)
    heard: list[float] = []
    device.on_progress = heard.append
    assert program(device, *[isr(M.SYNC)] * 4)[1] == Status.OK
    assert heard == [0.25, 0.5, 0.75, 1.0]
