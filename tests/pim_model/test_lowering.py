"""The lowered streams on golden channels give the device's bytes, in any order the hazards permit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from pim_model.device import Device
from pim_model.lowering import Lowering
from pim_model.mapping.layout import pack
from pim_model.numerics import activation
from pim_model.numerics.bf16 import f32_to_bf16
from pim_model.spec.config import Config, config
from pim_model.spec.geometry import Geometry
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.registers import Reg, macro_word
from tests.pim_model.streams import run_on_channels

TINY = config("tiny")
IANUS = config("ianus")
# A whole table in a row, and two bank groups.
TABLES = Config(name="tables", geometry=Geometry(channels=2, banks=8, rows=32), buffer_bytes=16 * 1024)


def numbers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return f32_to_bf16(rng.standard_normal(shape).astype(np.float32))


def check_same_bytes(preset: Config, numerics: str, macro: MatVec, rng: np.random.Generator) -> None:
    """Run ``macro`` on both, on the same random memory and buffer, and compare the whole buffer."""
    geometry = preset.geometry
    device = Device(preset, numerics)
    for weight_row in macro.weight_rows:
        matrix = numbers(rng, macro.rows, macro.columns)
        image = bytearray(pack(matrix, geometry).tobytes())
        # What lies in the padding counts: lanes up to the next 16 are multiplied, by zero.
        noise = np.frombuffer(bytes(image), np.uint16).copy()
        noise[noise == 0] = 0x3F80
        device.write_memory(geometry.address(weight_row), noise.data.cast("B"))
    if macro.function is not None:
        gelu = activation.table("gelu")[: geometry.elements]
        tables = np.tile(gelu, (geometry.channels, geometry.banks, 1))
        tables[0, 1] = activation.table("tanh")[: geometry.elements]
        device.write_memory(geometry.address(geometry.table_row(macro.function)), tables.data.cast("B"))
    device.write_memory(preset.buffer_base, numbers(rng, preset.buffer_bytes // 2).data.cast("B"))
    before = device.buffer.copy()

    expected = before.copy()
    run_on_channels(preset, macro, device.storage, expected, numerics, rng)
    run(device, macro)
    assert np.array_equal(device.buffer, expected)
    assert not np.array_equal(device.buffer, before)


def run(device: Device, macro: MatVec) -> None:
    for index, word in enumerate(macro.encode()):
        device.write_register(macro_word(index), word)
    device.write_register(Reg.MACRO_PUSH, 1)
    assert device.step()
    assert device.read_register(Reg.COMPLETION) >> 16 & 0xFF == 0
    device.write_register(Reg.COMPLETION_POP, 1)


def matvec(
    rows: int,
    columns: int,
    tokens: int,
    bias: bool,
    function: int | None,
    kv_rows: tuple[int, int] | None = None,
) -> MatVec:
    shape = MatVec(
        tag=1, rows=rows, columns=columns, weight_row=2, input_offset=64, output_offset=0, kv_rows=kv_rows
    )
    output = 64 + tokens * shape.input_stride
    return MatVec(
        tag=1,
        rows=rows,
        columns=columns,
        tokens=tokens,
        weight_row=2,
        input_offset=64,
        output_offset=output,
        bias_offset=output + tokens * shape.output_stride if bias else None,
        function=function,
        kv_rows=kv_rows,
    )


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(
    ("rows", "columns", "tokens", "bias", "function"),
    [
        (1, 1, 1, False, None),
        (8, 128, 1, False, None),
        (8, 128, 2, True, None),
        (9, 128, 3, True, None),
        (5, 17, 2, True, 1),
        (24, 129, 1, False, None),
        (17, 300, 2, True, None),
        (3, 256, 3, False, 3),
        (31, 31, 2, True, 0),
        (20, 259, 2, True, 7),
        (64, 128, 1, False, None),
        (8, 128, 3, True, None),
        (20, 128, 4, True, None),
        (20, 259, 5, True, 7),
        (33, 20, 4, False, 2),
    ],
)
@pytest.mark.parametrize("timing_name", ["ianus_ck", "aim_simulator"])
def test_streams_give_the_bytes_of_the_device_tiny(
    timing_name: str,
    rows: int,
    columns: int,
    tokens: int,
    bias: bool,
    function: int | None,
    numerics: str,
    rng: np.random.Generator,
) -> None:
    check_same_bytes(
        config("tiny", timing_name), numerics, matvec(rows, columns, tokens, bias, function), rng
    )


# Less than a group, whole groups and not, an even number of groups and odd, a bias that begins inside a word.
QKV = [
    (1, 1, 1, False, None),
    (5, 17, 2, True, None),
    (8, 128, 1, True, 1),
    (12, 300, 3, True, None),
    (20, 129, 2, True, 7),
    (24, 100, 4, True, None),
]


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(("rows", "columns", "tokens", "bias", "function"), QKV)
@pytest.mark.parametrize("timing_name", ["ianus_ck", "aim_simulator"])
def test_streams_of_three_matrices_give_the_bytes_of_the_device(
    timing_name: str,
    rows: int,
    columns: int,
    tokens: int,
    bias: bool,
    function: int | None,
    numerics: str,
    rng: np.random.Generator,
) -> None:
    macro = matvec(rows, columns, tokens, bias, function, kv_rows=(40, 20))
    check_same_bytes(config("tiny", timing_name), numerics, macro, rng)


@pytest.mark.parametrize(("rows", "columns", "tokens", "bias", "function"), QKV)
def test_a_qkv_is_three_matvecs(
    rows: int, columns: int, tokens: int, bias: bool, function: int | None, rng: np.random.Generator
) -> None:
    """Each part of each output is what a MATVEC with that matrix, and that part of the bias, gives."""
    macro = matvec(rows, columns, tokens, bias, function, kv_rows=(40, 20))
    device = Device(TINY, "aligned")
    device.write_memory(0, numbers(rng, TINY.geometry.memory_bytes // 2).data.cast("B"))
    device.write_memory(TINY.buffer_base, numbers(rng, TINY.buffer_bytes // 2).data.cast("B"))
    before = device.buffer.copy()
    run(device, macro)
    part = macro.part_stride
    for matrix, weight_row in enumerate(macro.weight_rows):
        after = device.buffer.copy()
        device.buffer[:] = before
        alone = replace(macro, weight_row=weight_row, kv_rows=None, output_offset=8192)
        if macro.bias_offset is not None:
            alone = replace(alone, bias_offset=macro.bias_offset + matrix * part)
        run(device, alone)
        for token in range(tokens):
            found = after[macro.output_offset + (3 * token + matrix) * part :][: 2 * rows]
            assert found.tolist() == device.buffer[8192 + token * part :][: 2 * rows].tolist()
        device.buffer[:] = after


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(
    ("rows", "columns", "tokens", "bias", "function"),
    [(100, 64, 1, True, None), (130, 1040, 1, True, None), (128, 32, 2, False, 0)],
)
def test_streams_give_the_bytes_of_the_device_ianus(
    rows: int,
    columns: int,
    tokens: int,
    bias: bool,
    function: int | None,
    numerics: str,
    rng: np.random.Generator,
) -> None:
    check_same_bytes(IANUS, numerics, matvec(rows, columns, tokens, bias, function), rng)


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
def test_activation_through_whole_tables(numerics: str, rng: np.random.Generator) -> None:
    check_same_bytes(TABLES, numerics, matvec(37, 100, 2, True, 2), rng)


def test_stream_of_known_macro() -> None:
    lowering = Lowering(TINY, matvec(9, 144, 1, True, None))
    rows = [f"{item.micro.op.name}{item.micro.column}<{item.needs}" for item in lowering.row_stream()]
    tile = [f"MACAB{column}<{column + 2}" for column in range(8)]
    assert rows[:12] == ["ACTAB0<0", *tile, "PREA0<0", "ACTAB0<0", "MACAB0<10"]
    assert [item.micro.row for item in lowering.row_stream() if item.micro.op is Op.ACTAB] == [2, 3, 4, 5]
    stream = lowering.register_stream()
    registers = [f"{item.micro.op.name}{item.micro.column}<{item.needs}" for item in stream]
    assert registers[:9] == ["WRBIAS0<0", *(f"WRGB{column}<0" for column in range(8))]
    assert registers[9:14] == ["WRGB0<2", "RDMAC0<12", "WRBIAS0<0", "WRGB0<12", "WRGB1<12"]


def test_buffer_is_loaded_once_a_token_if_it_holds_the_input() -> None:
    def counts(
        preset: Config,
        rows: int,
        columns: int,
        tokens: int,
        function: int | None = None,
        kv_rows: tuple[int, int] | None = None,
    ) -> Counter[Op]:
        lowering = Lowering(preset, matvec(rows, columns, tokens, False, function, kv_rows))
        return Counter(item.micro.op for item in lowering.register_stream())

    mode = config("tiny", "aim_simulator")
    assert counts(TINY, 40, 128, 1) == {Op.WRBIAS: 5, Op.WRGB: 8, Op.RDMAC: 5}
    assert counts(mode, 40, 128, 3) == {Op.WRBIAS: 15, Op.WRGB: 3 * 8, Op.RDMAC: 15}
    # Once for three matrices.
    assert counts(TINY, 40, 128, 1, kv_rows=(9, 9)) == {Op.WRBIAS: 15, Op.WRGB: 8, Op.RDMAC: 15}
    assert counts(mode, 40, 128, 3, kv_rows=(9, 9)) == {Op.WRBIAS: 45, Op.WRGB: 3 * 8, Op.RDMAC: 45}
    # All tokens go through a row before the next row, each with its load.
    assert counts(TINY, 40, 128, 3) == {Op.WRBIAS: 15, Op.WRGB: 15 * 8, Op.RDMAC: 15}
    # An input of two tiles is loaded for each group, or each pair of groups.
    assert counts(TINY, 40, 129, 2, function=1) == {Op.WRBIAS: 10, Op.WRGB: 10 * 9, Op.RDAF: 10}
    assert counts(mode, 40, 129, 2, function=1) == {Op.WRBIAS: 10, Op.WRGB: 6 * 9, Op.RDAF: 10}
    # Pairs of groups go across the borders of matrices: three of one group are two loads, not three.
    assert counts(mode, 8, 129, 1, kv_rows=(9, 9)) == {Op.WRBIAS: 3, Op.WRGB: 2 * 9, Op.RDMAC: 3}


def test_stream_of_a_pair_of_tokens() -> None:
    """Rows are opened once; each column is written when the MAC of the token before it is through."""
    lowering = Lowering(TINY, matvec(8, 32, 2, False, 1))
    rows = [
        f"{item.micro.op.name}{item.micro.column}/{item.micro.mode}<{item.needs}"
        for item in lowering.row_stream()
    ]
    assert rows == [
        *("ACTAB0/0<0", "MACAB0/0<3", "MACAB1/0<4", "MACAB0/1<5", "MACAB1/1<6", "PREA0/0<0"),
        *("ACTAF0/0<0", "AF0/0<6", "AF0/1<7", "PREA0/0<0"),
    ]
    stream = lowering.register_stream()
    registers = [f"{item.micro.op.name}{item.micro.column}/{item.micro.mode}<{item.needs}" for item in stream]
    assert registers == [
        *("WRBIAS0/0<0", "WRBIAS0/1<0", "WRGB0/0<0", "WRGB1/0<0", "WRGB0/0<2", "WRGB1/0<3"),
        *("RDAF0/0<8", "RDAF0/0<9"),
    ]


def test_operand_of_a_row_command_is_refused() -> None:
    lowering = Lowering(TINY, matvec(1, 1, 1, False, None))
    with pytest.raises(ValueError, match=r"^item must be a register command, not ACTAB"):
        lowering.operand(next(lowering.row_stream()), 0)
