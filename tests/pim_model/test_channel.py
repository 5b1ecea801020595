"""Micro commands on one golden channel, with data."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.bank import ImpossibleCommand
from pim_model.channel import Channel
from pim_model.numerics import activation
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.numerics.profiles import profile
from pim_model.spec.config import config
from pim_model.spec.geometry import Geometry
from pim_model.spec.micro import Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.storage import Storage

TINY = config("tiny").geometry
# Two bank groups, and rows long enough for a whole table.
WIDE = Geometry(channels=2, banks=8, rows=16, row_bytes=2048)


def bf16(values: object) -> np.ndarray:
    return f32_to_bf16(np.asarray(values, np.float32))


def lanes(data: bytes | None) -> np.ndarray:
    assert data is not None
    return np.frombuffer(data, np.uint16)


def fill(storage: Storage, channel: int, row: int, rng: np.random.Generator) -> np.ndarray:
    """Random numbers in a row of all banks of a channel."""
    geometry = storage.geometry
    values = bf16(rng.standard_normal((geometry.banks, geometry.elements)))
    storage.row_for_write(row)[channel] = values
    return values


def test_write_obeys_byte_mask_and_read_returns_it() -> None:
    channel = Channel(Storage(TINY), 1)
    channel.execute(Micro(Op.ACT, bank=2, row=5))
    channel.execute(Micro(Op.WR, bank=2, column=3), bytes(range(32)))
    channel.execute(Micro(Op.WR, bank=2, column=3), bytes([0xAA] * 32), 0x8000_0005)
    expected = bytes([0xAA, 1, 0xAA, *range(3, 31), 0xAA])
    assert channel.execute(Micro(Op.RD, bank=2, column=3)) == expected
    assert channel.execute(Micro(Op.RD, bank=2, column=2)) == bytes(32)


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(
    ("op", "bank", "taken"),
    [(Op.MACSB, 5, [5]), (Op.MAC4B, 5, [4, 5, 6, 7]), (Op.MAC4B, 0, [0, 1, 2, 3]), (Op.MACAB, 0, range(8))],
)
def test_multiply_accumulates_in_the_addressed_banks(
    op: Op, bank: int, taken: list[int], numerics: str, rng: np.random.Generator
) -> None:
    storage = Storage(WIDE)
    weights = fill(storage, 1, 3, rng)
    channel = Channel(storage, 1, numerics)
    bias, operand = bf16(rng.standard_normal(16)), bf16(rng.standard_normal((2, 16)))
    channel.execute(Micro(Op.WRBIAS), bias.tobytes())
    for column in (0, 1):
        channel.execute(Micro(Op.WRGB, column=column + 10), operand[column].tobytes())
    channel.execute(Micro(Op.ACTAB, row=3))
    for column in (0, 1):
        channel.execute(Micro(op, bank=bank, column=column + 10))
    accumulators = bf16_to_f32(bias[:8])
    mac_group = profile(numerics).mac_group
    for index in taken:
        for column in (0, 1):
            part = weights[index, (column + 10) * 16 :][:16]
            accumulators[index] = mac_group(
                accumulators[index : index + 1], part[np.newaxis], operand[column]
            )[0]
    result = lanes(channel.execute(Micro(Op.RDMAC)))
    assert np.array_equal(result[:8], f32_to_bf16(accumulators))
    assert not result[8:].any()


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(
    ("op", "bank", "taken"),
    [(Op.MACSB, 5, [5]), (Op.MACSB, 2, [2]), (Op.MACAB, 0, range(0, 8, 2))],
)
def test_local_multiplies_by_the_neighbour_banks_column(
    op: Op, bank: int, taken: list[int], numerics: str, rng: np.random.Generator
) -> None:
    storage = Storage(WIDE)
    cells = fill(storage, 0, 3, rng)[:, 160:176]
    channel = Channel(storage, 0, numerics)
    bias = bf16(rng.standard_normal(16))
    channel.execute(Micro(Op.WRBIAS), bias.tobytes())
    channel.execute(Micro(Op.WRGB, column=10), bf16(rng.standard_normal(16)).tobytes())
    channel.execute(Micro(Op.ACTAB, row=3))
    channel.execute(Micro(op, bank=bank, column=10, mode=Mode.LOCAL))
    accumulators = bf16_to_f32(bias[:8])
    for index in taken:
        accumulators[index] = profile(numerics).mac_group(
            accumulators[[index]], cells[[index]], cells[[index ^ 1]]
        )[0]
    assert np.array_equal(lanes(channel.execute(Micro(Op.RDMAC)))[:8], f32_to_bf16(accumulators))


def test_the_accumulator_sets_are_apart(rng: np.random.Generator) -> None:
    """Bias, products, read-out and activation of one set leave the other alone; AF has one result register."""
    storage = Storage(WIDE)
    weights = fill(storage, 0, 3, rng)[:, :16]
    sigmoid = activation.table("sigmoid")
    storage.row_for_write(WIDE.table_row(1))[0] = sigmoid
    channel = Channel(storage, 0)
    bias = bf16(rng.standard_normal((2, 16)))
    operand = bf16(rng.standard_normal(16))
    for index in (0, 1):
        channel.execute(Micro(Op.WRBIAS, mode=index), bias[index].tobytes())
    channel.execute(Micro(Op.WRGB), operand.tobytes())
    channel.execute(Micro(Op.ACTAB, row=3))
    channel.execute(Micro(Op.MACAB, mode=Mode.SET1))
    sums = bf16_to_f32(bias[:, :8])
    sums[1] = profile("aligned").mac_group(sums[1], weights, operand)
    for index in (0, 1):
        result = lanes(channel.execute(Micro(Op.RDMAC, mode=index)))
        assert np.array_equal(result[:8], f32_to_bf16(sums[index]))
    channel.execute(Micro(Op.PREA))
    channel.execute(Micro(Op.ACTAF, row=1))
    for index in (1, 0):
        channel.execute(Micro(Op.AF, mode=index))
        expected = f32_to_bf16(activation.apply(sigmoid, sums[index]))
        for ignored in (0, Mode.SET1):
            assert np.array_equal(lanes(channel.execute(Micro(Op.RDAF, mode=ignored)))[:8], expected)


def test_local_element_wise_product_in_bank_group_0_alone(rng: np.random.Generator) -> None:
    storage = Storage(WIDE)
    before = fill(storage, 0, 1, rng)[:, :16]
    channel = Channel(storage, 0)
    channel.execute(Micro(Op.ACTAB, row=1))
    channel.execute(Micro(Op.EWMUL, mode=Mode.LOCAL))
    after = storage.row(1)[0][:, :16]
    expected = before.copy()
    expected[2] = f32_to_bf16(bf16_to_f32(before[0]) * bf16_to_f32(before[1]))
    assert np.array_equal(after, expected)


def test_activation_reads_each_banks_own_table(rng: np.random.Generator) -> None:
    storage = Storage(WIDE)
    gelu, tanh = activation.table("gelu"), activation.table("tanh")
    table_row = storage.row_for_write(WIDE.table_row(2))
    table_row[0], table_row[0, 3] = gelu, tanh
    channel = Channel(storage, 0)
    values = bf16(rng.standard_normal(16))
    channel.execute(Micro(Op.WRBIAS), values.tobytes())
    channel.execute(Micro(Op.ACTAF, row=2))
    channel.execute(Micro(Op.AF))
    channel.execute(Micro(Op.PREA))
    result = lanes(channel.execute(Micro(Op.RDAF)))
    accumulators = bf16_to_f32(values[:8])
    expected = f32_to_bf16(activation.apply(gelu, accumulators))
    expected[3] = f32_to_bf16(activation.apply(tanh, accumulators))[3]
    assert np.array_equal(result[:8], expected)
    assert np.array_equal(lanes(channel.execute(Micro(Op.RDMAC)))[:8], values[:8]), (
        "AF changed the accumulators"
    )


def test_element_wise_product_in_each_bank_group(rng: np.random.Generator) -> None:
    storage = Storage(WIDE)
    before = fill(storage, 0, 1, rng)
    before[0, :4] = [0x7F80, 0x7F7F, 0x0080, 0x8000]  # infinity, largest, smallest normal, -0
    before[1, :4] = [0x0000, 0x7F7F, 0x3F00, 0x4000]  # 0, largest, one half, 2
    storage.row_for_write(1)[0] = before
    channel = Channel(storage, 0)
    channel.execute(Micro(Op.ACTAB, row=1))
    channel.execute(Micro(Op.EWMUL, column=0))
    after = storage.row(1)[0]
    for group in (0, 4):
        with np.errstate(over="ignore", invalid="ignore"):
            exact = bf16_to_f32(before[group, :16]).astype(np.float64) * bf16_to_f32(before[group + 1, :16])
            expected = f32_to_bf16(exact.astype(np.float32))
        if group == 0:
            expected[:4] = [0x7FC0, 0x7F80, 0x0000, 0x8000]  # NaN, infinity, flushed, -0
        assert np.array_equal(after[group + 2, :16], expected)
        assert np.array_equal(after[[group, group + 1, group + 3]], before[[group, group + 1, group + 3]])
        assert np.array_equal(after[group + 2, 16:], before[group + 2, 16:])


def test_copies_between_bank_and_buffer(rng: np.random.Generator) -> None:
    storage = Storage(TINY)
    values = fill(storage, 0, 7, rng)
    channel = Channel(storage, 0)
    channel.execute(Micro(Op.ACTAB, row=7))
    channel.execute(Micro(Op.RDCP, bank=1, column=4))
    channel.execute(Micro(Op.WRCP, bank=3, column=4))
    assert np.array_equal(storage.row(7)[0, 3, 64:80], values[1, 64:80])
    assert np.array_equal(storage.row(7)[0, 3, :64], values[3, :64])


def test_write_to_all_banks_loads_a_table_row() -> None:
    storage = Storage(TINY)
    channel = Channel(storage, 1)
    channel.execute(Micro(Op.ACTAF, row=4))
    channel.execute(Micro(Op.WRBK, column=1), bytes(range(32)))
    written = storage.row(TINY.table_row(4))
    assert (written[1, :, 16:32] == np.frombuffer(bytes(range(32)), np.uint16)).all()
    assert not written[0].any(), "the other channel was written"
    assert not written[1, :, :16].any()


@pytest.mark.parametrize(
    ("opened", "micro"),
    [
        ([], Micro(Op.RD)),
        ([], Micro(Op.MACAB)),
        ([Micro(Op.ACT, bank=1, row=1)], Micro(Op.MACAB)),
        ([Micro(Op.ACT, bank=1, row=1)], Micro(Op.ACT, bank=1, row=1)),
        ([Micro(Op.ACT, bank=1, row=1)], Micro(Op.ACTAB, row=1)),
        ([Micro(Op.ACT, bank=1, row=1)], Micro(Op.REFAB)),
        ([Micro(Op.ACT, bank=1, row=1)], Micro(Op.MACSB, bank=1, mode=Mode.LOCAL)),
        ([Micro(Op.ACTAB, row=1)], Micro(Op.AF)),
        ([], Micro(Op.ACT, bank=4)),
        ([], Micro(Op.ACT, row=64)),
        ([], Micro(Op.ACTAF, row=8)),
        ([Micro(Op.ACTAB)], Micro(Op.MACAB, column=8)),
        ([], Micro(Op.WRGB)),
    ],
    ids=str,
)
def test_impossible_command_is_refused(opened: list[Micro], micro: Micro) -> None:
    channel = Channel(Storage(TINY), 0)
    for command in opened:
        channel.execute(command)
    with pytest.raises(ImpossibleCommand, match=micro.op.name):
        channel.execute(micro)


def test_data_must_be_32_bytes_and_only_with_a_write() -> None:
    channel = Channel(Storage(TINY), 0)
    with pytest.raises(ImpossibleCommand, match=r"^WRGB carries 32 bytes, not 31$"):
        channel.execute(Micro(Op.WRGB), bytes(31))
    with pytest.raises(ImpossibleCommand, match=r"^PREA does not carry data$"):
        channel.execute(Micro(Op.PREA), bytes(32))
