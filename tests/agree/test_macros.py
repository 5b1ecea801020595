"""MATVEC: the bits of the golden arithmetic for every shape and option, and nothing else touched."""

from __future__ import annotations

import numpy as np
import pytest

from host_runtime.plan import Plan
from host_runtime.reference import golden_linear
from pim_model.numerics.activation import FUNCTIONS, table
from pim_model.spec.registers import Reg
from tests.agree.bench import Bench
from tests.agree.conftest import DEVICES, MARKS, require

# (output rows, columns, tokens); "g" stands for the outputs of one group, "e" for the elements of one DRAM row
SHAPES = [
    ("1", "1", 1),
    ("1", "e", 1),
    ("g", "1", 2),
    ("g", "e", 1),
    ("g+1", "e+1", 1),
    ("g-1", "e-1", 2),
    ("3*g-5", "17", 3),
    ("5", "2*e", 1),
    ("g+3", "2*e+15", 2),
    ("2*g", "3*e-17", 1),
    ("7", "16", 9),
    ("3*g-1", "2*e+1", 4),
    ("2*g+1", "e", 5),
]


def size(text: str, bench: Bench) -> int:
    geometry = bench.config.geometry
    return int(eval(text, {"g": geometry.outputs, "e": geometry.elements}))


@pytest.mark.parametrize(("rows", "columns", "tokens"), SHAPES)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
def test_shape(bench: Bench, rows: str, columns: str, tokens: int, bias: bool) -> None:
    weights = bench.bits(size(rows, bench), size(columns, bench))
    x, addend = bench.bits(tokens, weights.shape[1]), bench.bits(len(weights)) if bias else None
    matrix = bench.pim.upload(weights, addend)
    np.testing.assert_array_equal(
        bench.pim.linear(matrix, x), golden_linear(bench.numerics, weights, x, addend)
    )
    assert bench.driver.violations() == 0


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(
    ("transport", "config"), [pytest.param(*d, marks=MARKS.get(d[0], ())) for d in DEVICES]
)
def test_any_operand_bits_in_both_profiles(
    transport: str, config: str, numerics: str, rng: np.random.Generator
) -> None:
    """Infinities, NaN, subnormals, cancellation, overflow."""
    require(transport)
    with Bench.open(transport, config, rng, numerics) as bench:
        weights, addend = bench.any_bits(40, 50), bench.any_bits(40)
        x = bench.any_bits(6, 50)
        tame = (weights & 0x7F80) == 0x7F80
        weights[:20][tame[:20]] = 0x3F80  # else nearly every result is NaN
        x[:3] = bench.bits(3, 50)
        # One, minus one, 2^-30: shifted to the exponent of one, the last is lost; in a tree it remains.
        weights[0, :16], x[0, :16], addend[0] = 0, 0x3F80, 0
        weights[0, :3] = 0x3F80, 0xBF80, 0x3080
        weights[0, 16:], x[0, 16:] = 0, 0x3F80
        expected = golden_linear(numerics, weights, x, addend)
        assert expected[0, 0] == {"aligned": 0, "fp32_tree": 0x3080}[numerics]
        assert 0 < np.count_nonzero((expected & 0x7F80) == 0x7F80) < expected.size
        matrix = bench.pim.upload(weights, addend)
        np.testing.assert_array_equal(bench.pim.linear(matrix, x), expected)


@pytest.mark.parametrize("activation", FUNCTIONS)
def test_activation(bench: Bench, activation: str) -> None:
    if bench.config.name == "tiny":
        with pytest.raises(ValueError, match="rows of 256 bytes are shorter than a table of 2048"):
            bench.pim.linear(bench.pim.upload(bench.bits(4, 4)), bench.bits(1, 4), activation)
        return
    outputs = bench.config.geometry.outputs
    weights, addend, x = bench.bits(outputs + 9, 40), bench.bits(outputs + 9), bench.bits(3, 40)
    matrix = bench.pim.upload(weights, addend)
    np.testing.assert_array_equal(
        bench.pim.linear(matrix, x, activation), golden_linear(bench.numerics, weights, x, addend, activation)
    )
    assert bench.driver.violations() == 0


def test_activation_takes_the_table_as_it_is_then(bench: Bench) -> None:
    """Tables are memory like any other: writing another function's table over one changes the next macro."""
    if bench.config.name == "tiny":
        pytest.skip("no activation tables: a row of tiny is shorter than one")
    geometry = bench.config.geometry
    weights, x = bench.bits(20, 33), bench.bits(1, 33)
    matrix = bench.pim.upload(weights)
    bench.pim.linear(matrix, x, "gelu")
    image = table("tanh").astype("<u2").tobytes() * geometry.outputs
    bench.transport.write_memory(geometry.address(geometry.table_row(FUNCTIONS["gelu"])), image)
    np.testing.assert_array_equal(
        bench.pim.linear(matrix, x, "gelu"), golden_linear(bench.numerics, weights, x, None, "tanh")
    )


def test_weights_are_the_memory_of_the_window(bench: Bench) -> None:
    """Unified memory: weights written through the window, read back through it, changed through it."""
    geometry = bench.config.geometry
    weights = bench.bits(geometry.outputs + 2, geometry.elements)
    x = bench.bits(1, weights.shape[1])
    pim = bench.pim
    pim._load = bench.transport.write_memory
    matrix = pim.upload(weights)
    np.testing.assert_array_equal(pim.matvec(matrix, x), golden_linear(bench.numerics, weights, x))
    address = geometry.address(matrix.place.start, 0, 1)
    line = bench.transport.read_memory(address, geometry.row_bytes)
    assert line == weights[1].astype("<u2").tobytes()
    weights[1, 5] ^= 0x8000
    bench.transport.write_memory(address + 2 * 5, weights[1, 5].tobytes())
    np.testing.assert_array_equal(pim.matvec(matrix, x), golden_linear(bench.numerics, weights, x))


def test_weights_survive_a_macro(bench: Bench) -> None:
    weights = bench.bits(30, 70)
    matrix = bench.pim.upload(weights)
    geometry = bench.config.geometry
    where, size = geometry.address(matrix.place.start), matrix.place.size * geometry.slab_bytes
    before = bench.transport.read_memory(where, size)
    bench.pim.matvec(matrix, bench.bits(2, 70))
    assert bench.transport.read_memory(where, size) == before


def test_bytes_beside_the_results_stay(bench: Bench) -> None:
    macro = bench.macro(tag=5, rows=37, columns=20, tokens=3, input_offset=256, output_offset=1024)
    weights, x = bench.bits(37, 20), bench.bits(3, 20)
    bench.place(weights)
    before = bench.any_bits(2048)
    before[128 : 128 + 3 * 32].reshape(3, 32)[:, :20] = x
    bench.write_buffer(0, before)
    bench.driver.wait(bench.driver.submit(macro))
    after = bench.read_buffer(0, 2048)
    expected = before.copy()
    expected[512 : 512 + 3 * 48].reshape(3, 48)[:, :37] = golden_linear(bench.numerics, weights, x)
    np.testing.assert_array_equal(after, expected)


def test_input_lanes_beyond_the_columns_count_as_zero(bench: Bench) -> None:
    weights = bench.bits(9, 21)
    bench.place(weights)
    x = np.full(32, 0x7FC0, np.uint16)  # NaN behind the input
    x[:21] = bench.bits(21)
    bench.write_buffer(0, x)
    bench.driver.wait(bench.driver.submit(bench.macro(rows=9, columns=21)))
    np.testing.assert_array_equal(
        bench.read_buffer(512, 9), golden_linear(bench.numerics, weights, x[None, :21])[0]
    )


def test_weight_lanes_beyond_the_columns_are_what_memory_holds(bench: Bench) -> None:
    weights = bench.bits(2, 32)
    weights[1, 31] = 0x7F80  # infinity x the zero of that lane: NaN
    bench.place(weights)
    bench.write_buffer(0, bench.bits(32))
    bench.driver.wait(bench.driver.submit(bench.macro(rows=2, columns=21)))
    result = bench.read_buffer(512, 2)
    assert result[1] == 0x7FC0
    assert result[0] & 0x7F80 != 0x7F80


def test_matrix_at_any_row(bench: Bench) -> None:
    geometry = bench.config.geometry
    weights, x = bench.bits(geometry.outputs + 1, 30), bench.bits(1, 30)
    expected = golden_linear(bench.numerics, weights, x)[0]
    bench.write_buffer(0, x)
    for row in (0, 7, geometry.weight_rows - 2):
        bench.place(weights, row)
        bench.driver.wait(bench.driver.submit(bench.macro(rows=len(weights), columns=30, weight_row=row)))
        np.testing.assert_array_equal(bench.read_buffer(512, len(weights)), expected)
        bench.write_buffer(512, np.zeros(len(weights), np.uint16))


def test_buffer_up_to_its_last_byte(bench: Bench) -> None:
    end = bench.config.buffer_bytes
    weights, x, addend = bench.bits(16, 16), bench.bits(1, 16), bench.bits(16)
    bench.place(weights)
    for places in ((0, 32, end - 32), (end - 32, 0, 64), (64, end - 32, 0)):
        source, target, bias = places
        bench.write_buffer(source, x)
        bench.write_buffer(bias, addend)
        macro = bench.macro(rows=16, columns=16, input_offset=source, output_offset=target, bias_offset=bias)
        bench.driver.wait(bench.driver.submit(macro))
        np.testing.assert_array_equal(
            bench.read_buffer(target, 16), golden_linear(bench.numerics, weights, x, addend)[0]
        )


def test_operands_that_touch_do_not_overlap(bench: Bench) -> None:
    weights, x, addend = bench.bits(17, 17), bench.bits(2, 32), bench.bits(17)
    expected = golden_linear(bench.numerics, weights, np.ascontiguousarray(x[:, :17]), addend)
    bench.place(weights)
    for source, target, bias in ((0, 128, 256), (128, 0, 256), (192, 64, 0), (0, 192, 128)):
        bench.write_buffer(source, x)
        bench.write_buffer(bias, addend)
        fields = {"rows": 17, "columns": 17, "tokens": 2, "bias_offset": bias}
        bench.driver.wait(
            bench.driver.submit(bench.macro(input_offset=source, output_offset=target, **fields))
        )
        np.testing.assert_array_equal(bench.read_buffer(target, 64).reshape(2, 32)[:, :17], expected)


def test_one_macro_feeds_the_next(bench: Bench) -> None:
    first, second, x = bench.bits(48, 33), bench.bits(21, 48), bench.bits(1, 33)
    bench.place(first, 0)
    bench.place(second, 10)
    bench.write_buffer(0, x)
    chain = [
        bench.macro(rows=48, columns=33, weight_row=0, input_offset=0, output_offset=1024),
        bench.macro(rows=21, columns=48, weight_row=10, input_offset=1024, output_offset=2048),
    ]
    for tag in [bench.driver.submit(macro) for macro in chain]:
        bench.driver.wait(tag)
    middle = golden_linear(bench.numerics, first, x)
    np.testing.assert_array_equal(
        bench.read_buffer(2048, 21), golden_linear(bench.numerics, second, middle)[0]
    )


def test_commands_of_a_macro(bench: Bench) -> None:
    """What a product must cost, from its shape alone: a row is opened once for two tokens."""
    geometry = bench.config.geometry
    groups, tokens = 3, 3
    weights = bench.bits(groups * geometry.outputs, geometry.elements + 16)
    x = bench.bits(tokens, weights.shape[1])
    matrix = bench.pim.upload(weights)
    with bench.commands() as counts:
        bench.pim.matvec(matrix, x)
    visits, channels = groups * tokens, geometry.channels
    assert counts["ACTAB"] == groups * 2 * 2 * channels
    assert counts["PREA"] >= counts["ACTAB"]
    assert counts["MACAB"] == visits * (geometry.columns + 1) * channels
    assert counts["WRBIAS"] == counts["RDMAC"] == visits * channels
    assert counts["WRGB"] == counts["MACAB"], "an input of two tiles is loaded again for each group"
    assert bench.read(Reg.VIOLATIONS) == 0


@pytest.mark.parametrize(("rows", "columns", "tokens"), SHAPES)
@pytest.mark.parametrize("bias", [False, True], ids=["", "bias"])
def test_qkv(bench: Bench, rows: str, columns: str, tokens: int, bias: bool) -> None:
    """Three matrices apart from each other: three golden products, which are what three products give."""
    pim, shape = bench.pim, (size(rows, bench), size(columns, bench))
    x = bench.bits(tokens, shape[1])
    weights, addends, matrices = [], [], []
    for gap in range(3):
        weights.append(bench.bits(*shape))
        addends.append(bench.bits(shape[0]) if bias else None)
        matrices.append(pim.upload(weights[-1], addends[-1]))
        pim.upload(bench.bits(gap * bench.config.geometry.outputs + 1, 1))
    query, key, value = matrices[1], matrices[0], matrices[2]
    with bench.commands() as counts:
        found = pim.qkv(query, key, value, x)
    for index, each in zip((1, 0, 2), found, strict=True):
        np.testing.assert_array_equal(each, golden_linear(bench.numerics, weights[index], x, addends[index]))
        np.testing.assert_array_equal(each, pim.linear(matrices[index], x))
    if shape[1] <= bench.config.geometry.elements and tokens == 1:
        loads = counts["WRGB"] // bench.config.geometry.channels
        assert loads == pim_macros(bench, shape[0], bias) * -(-shape[1] // 16), "one load for all three"
    assert bench.driver.violations() == 0


def pim_macros(bench: Bench, rows: int, bias: bool) -> int:
    """Macros of a QKV of one token that fits the buffer."""
    plan = Plan.make(rows, 1, 1, 4096, bench.config, matrices=3, whole=bias)
    return len(plan.parts)


def test_qkv_in_one_macro_with_one_load(bench: Bench) -> None:
    """Nothing beside the three parts is written, and no command is there that three matrices do not need."""
    geometry = bench.config.geometry
    rows, columns = geometry.outputs + 3, geometry.elements
    macro = bench.macro(
        rows=rows, columns=columns, tokens=1, output_offset=4096, weight_row=2, kv_rows=(9, 5)
    )
    weights, x = [bench.bits(rows, columns) for _ in range(3)], bench.bits(1, columns)
    for matrix, row in zip(weights, macro.weight_rows, strict=True):
        bench.place(matrix, row)
    before = bench.any_bits(4096)
    before[:columns] = x[0]
    bench.write_buffer(0, before)
    with bench.commands() as counts:
        bench.driver.wait(bench.driver.submit(macro))
    expected, part = before.copy(), macro.part_stride // 2
    for index, matrix in enumerate(weights):
        expected[2048 + index * part :][:rows] = golden_linear(bench.numerics, matrix, x)[0]
    np.testing.assert_array_equal(bench.read_buffer(0, 4096), expected)
    channels = geometry.channels
    assert counts["WRGB"] == geometry.columns * channels, "the input is loaded once"
    assert counts["WRBIAS"] == counts["RDMAC"] == counts["ACTAB"] == 6 * channels
    assert counts["MACAB"] == 6 * geometry.columns * channels
    assert bench.read(Reg.VIOLATIONS) == 0


def test_random_products(bench: Bench) -> None:
    geometry = bench.config.geometry
    matrices = []
    for _ in range(4):
        rows = int(bench.rng.integers(1, 3 * geometry.outputs))
        columns = int(bench.rng.integers(1, 2 * geometry.elements))
        weights, addend = bench.bits(rows, columns), bench.bits(rows)
        matrices.append((bench.pim.upload(weights, addend), weights, addend))
    for _ in range(12):
        matrix, weights, addend = matrices[bench.rng.integers(len(matrices))]
        x = bench.bits(int(bench.rng.integers(1, 6)), matrix.columns)
        np.testing.assert_array_equal(
            bench.pim.linear(matrix, x), golden_linear(bench.numerics, weights, x, addend)
        )
    assert bench.read(Reg.VIOLATIONS) == 0
