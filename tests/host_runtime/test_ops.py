"""Allocation, planning and products on the golden device: shapes, errors, memory that runs out."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from host_runtime.bits import U16, from_bits, to_bits
from host_runtime.driver import Driver
from host_runtime.errors import DeviceError, OutOfMemory
from host_runtime.ops import Matrix, Pim, pim_linear
from host_runtime.plan import Part, Plan, stride
from host_runtime.reference import fp32_linear, golden_linear, ulp_distance
from host_runtime.tensor import Arena, Span
from host_runtime.transport.model import ModelTransport
from pim_model.numerics.activation import FUNCTIONS, table
from pim_model.spec.config import Config, config
from pim_model.spec.macro import MatVec

TINY = config("tiny")


def opened(shape: Config = TINY, *, preload: bool = True) -> Pim:
    return Pim(Driver(ModelTransport(shape), shape), shape, preload=preload)


def bits(rng: np.random.Generator, *shape: int) -> U16:
    return (rng.standard_normal(shape, np.float32).view(np.uint32) >> 16).astype(np.uint16)


# ----------------------------------------------------------------------------------------------------------------- bits


def test_bits_are_exact_both_ways(rng: np.random.Generator) -> None:
    pattern = rng.integers(0, 1 << 16, (7, 9), dtype=np.uint16)
    np.testing.assert_array_equal(to_bits("x", from_bits(pattern)), pattern)
    assert to_bits("x", pattern) is pattern


def test_value_that_bf16_cannot_hold_is_refused() -> None:
    values = np.ones((2, 3), np.float32)
    values[1, 2] = 1.001
    with pytest.raises(
        ValueError, match=r"weights must hold values that BF16 can represent, not .*1\.001.* at \(1, 2\)"
    ):
        to_bits("weights", values)


@pytest.mark.parametrize("values", [np.ones(3), [1.0], np.ones(3, np.int16), None])
def test_other_types_are_refused(values: object) -> None:
    with pytest.raises(TypeError, match="x must be a uint16 array of BF16 bits or a float32 array, not"):
        to_bits("x", values)


def test_ulp_distance_counts_along_the_number_line() -> None:
    one, zero, minus_zero, minus_tiny = 0x3F80, 0x0000, 0x8000, 0x8001
    pairs = [(one, one, 0), (one, one + 1, 1), (zero, minus_zero, 0), (1, minus_tiny, 2)]
    for a, b, distance in pairs:
        assert ulp_distance(np.array([a], np.uint16), np.array([b], np.uint16)) == [distance]


def test_fp32_reference_is_close_to_golden(rng: np.random.Generator) -> None:
    """Away from cancellation the arithmetics agree to a last place; the reference must not be the golden one itself."""
    weights, x = bits(rng, 50, 64), bits(rng, 3, 64)
    weights &= np.uint16(0x7FFF)
    x &= np.uint16(0x7FFF)
    assert ulp_distance(fp32_linear(weights, x), golden_linear("aligned", weights, x)).max() <= 1


# -------------------------------------------------------------------------------------------------------------- arenas


def test_arena_takes_first_fit_and_merges() -> None:
    arena = Arena("the shelf", "books", 10)
    first, second, third = (arena.allocate(n) for n in (3, 4, 3))
    assert (first.start, second.start, third.start, arena.free) == (0, 3, 7, 0)
    arena.release(first)
    arena.release(third)
    assert (arena.free, arena.largest) == (6, 3)
    with pytest.raises(
        OutOfMemory, match=r"^the shelf has no free piece of 4 books; the largest is 3 books$"
    ):
        arena.allocate(4)
    arena.release(second)
    assert arena.largest == 10
    assert arena.allocate(10) == Span(0, 10)


def test_arena_aligns() -> None:
    arena = Arena("the buffer", "bytes", 100, align=32)
    assert [arena.allocate(1), arena.allocate(33)] == [Span(0, 32), Span(32, 64)]
    with pytest.raises(OutOfMemory, match="32 bytes; the largest is 0 bytes"):
        arena.allocate(1)


def test_arena_refuses_nonsense() -> None:
    arena = Arena("the buffer", "bytes", 64)
    with pytest.raises(ValueError, match="size must be a positive number of bytes, not 0"):
        arena.allocate(0)
    span = arena.allocate(8)
    arena.release(span)
    for wrong in (span, Span(1, 2)):
        with pytest.raises(ValueError, match="span must be a piece that is allocated"):
            arena.release(wrong)


def test_random_allocations_never_overlap(rng: np.random.Generator) -> None:
    arena, held = Arena("the buffer", "bytes", 4096, 32), list[Span]()
    refused = 0
    for _ in range(500):
        if held and rng.random() < 0.45:
            arena.release(held.pop(int(rng.integers(len(held)))))
            continue
        try:
            held.append(arena.allocate(int(rng.integers(1, 600))))
        except OutOfMemory:
            refused += 1
        taken = sorted(held)
        assert all(a.end <= b.start for a, b in itertools.pairwise(taken))
        assert arena.free == 4096 - sum(span.size for span in held)
    assert 0 < refused < 250
    for span in held:
        arena.release(span)
    assert arena.largest == 4096


# --------------------------------------------------------------------------------------------------------------- plans


def test_plan_takes_several_tokens_a_macro() -> None:
    plan = Plan.make(100, 50, 10, room=4 * (stride(50) + stride(100)) + 31, config=TINY)
    assert plan == Plan(4, (Part(0, 48), Part(48, 48), Part(96, 4)), True)
    assert plan.rows == 100
    assert [list(step) for step in plan.steps(10)] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


@pytest.mark.parametrize(
    ("timing_name", "fitting", "tokens", "taken"),
    [
        ("ianus_ck", 3, 10, 2),
        ("ianus_ck", 5, 10, 4),
        ("ianus_ck", 5, 5, 5),
        ("ianus_ck", 1, 10, 1),
        ("aim_simulator", 3, 10, 3),
    ],
)
def test_plan_keeps_pairs_of_tokens_together(timing_name: str, fitting: int, tokens: int, taken: int) -> None:
    room = fitting * (stride(50) + stride(100)) + 31
    assert Plan.make(100, 50, tokens, room, config("tiny", timing_name)).tokens == taken


def test_plan_cuts_rows_where_queued_macros_run_without_a_gap() -> None:
    ianus = config("ianus")
    plan = Plan.make(4096, 4096, 1, room=1 << 17, config=ianus)
    assert plan.parts == tuple(Part(512 * part, 512) for part in range(8))
    assert Plan.make(896, 4096, 1, room=1 << 17, config=ianus).parts == (Part(0, 896),)  # seven groups
    assert Plan.make(1000, 64, 1, room=1 << 17, config=ianus).parts == (Part(0, 512), Part(512, 488))
    in_mode = config("ianus", "aim_simulator")
    assert Plan.make(4096, 4096, 1, room=1 << 17, config=in_mode).parts == (Part(0, 4096),)


def test_plan_cuts_rows_at_whole_groups_on_32_bytes() -> None:
    plan = Plan.make(1000, 16, 3, room=stride(16) + 2 * 200, config=TINY)
    assert plan.tokens == 1
    assert all(part.row % 16 == 0 for part in plan.parts)  # 8 outputs a group, 16 values in 32 bytes
    assert [part.rows for part in plan.parts] == [192] * 5 + [40]
    assert sum(part.rows for part in plan.parts) == 1000


def test_plan_never_asks_for_more_tokens_than_a_macro_has() -> None:
    assert Plan.make(1, 1, 1 << 20, 1 << 30, TINY).tokens == 0xFFFE
    assert Plan.make(1, 1, 0xFFFF, 1 << 30, TINY).tokens == 0xFFFF


def test_plan_without_room_says_what_is_missing() -> None:
    with pytest.raises(OutOfMemory, match="no free piece of 2080 bytes; the largest is 2079 bytes"):
        Plan.make(17, 1024, 1, room=2079, config=TINY)


# ------------------------------------------------------------------------------------------------------------- products


@pytest.mark.parametrize("preload", [True, False])
@pytest.mark.parametrize("tokens", [0, 1, 5])
def test_product_cut_into_many_macros(rng: np.random.Generator, preload: bool, tokens: int) -> None:
    """A buffer so small that tokens and rows are both cut."""
    pim = opened(replace(TINY, buffer_bytes=1024), preload=preload)
    for rows, columns in ((200, 40), (440, 100), (3, 200)):
        weights, bias, x = bits(rng, rows, columns), bits(rng, rows), bits(rng, tokens, columns)
        matrix = pim.upload(weights, bias)
        if rows == 440:
            with pytest.raises(OutOfMemory, match="the activation buffer"):
                pim.linear(matrix, bits(rng, 1, columns))
            np.testing.assert_array_equal(pim.matvec(matrix, x), golden_linear("aligned", weights, x))
        else:
            np.testing.assert_array_equal(pim.linear(matrix, x), golden_linear("aligned", weights, x, bias))
        pim.release(matrix)
    assert pim._buffer.largest == 1024, "everything borrowed was given back"
    assert tokens == 0 or pim.macros > 3 * tokens


def test_biases_stay_until_half_the_buffer_is_taken(rng: np.random.Generator) -> None:
    pim = opened(replace(TINY, buffer_bytes=1024))
    operands = [(bits(rng, 96, 20), bits(rng, 96)) for _ in range(4)]
    matrices = [pim.upload(*pair) for pair in operands]
    assert [matrix.resident is not None for matrix in matrices] == [True, True, False, False]
    x = bits(rng, 2, 20)
    for matrix, (weights, bias) in zip(matrices, operands, strict=True):
        np.testing.assert_array_equal(pim.linear(matrix, x), golden_linear("aligned", weights, x, bias))
    pim.release(matrices[0])
    assert pim.upload(*operands[0]).resident is not None


def test_large_upload_is_cut(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_runtime.ops.UPLOAD_BYTES", 3 * TINY.geometry.slab_bytes)
    pim = opened()
    weights, x = bits(rng, 61, 150), bits(rng, 1, 150)
    np.testing.assert_array_equal(pim.matvec(pim.upload(weights), x), golden_linear("aligned", weights, x))


def test_memory_that_runs_out_is_told_and_nothing_lost(rng: np.random.Generator) -> None:
    pim = opened()
    outputs = TINY.geometry.outputs
    big = pim.upload(bits(rng, 50 * outputs, 100))
    with pytest.raises(
        OutOfMemory, match=r"^the PIM memory has no free piece of 7 DRAM rows; the largest is 6 DRAM rows$"
    ):
        pim.upload(bits(rng, 7 * outputs, 128))
    weights, x = bits(rng, 6 * outputs, 128), bits(rng, 1, 128)
    np.testing.assert_array_equal(pim.matvec(pim.upload(weights), x), golden_linear("aligned", weights, x))
    pim.release(big)
    pim.upload(bits(rng, 50 * outputs, 1))


@pytest.mark.parametrize(
    ("weights", "bias", "message"),
    [
        (np.zeros(5, np.uint16), None, r"weights must be \[rows, columns\], both positive, not \[5\]"),
        (np.zeros((0, 5), np.uint16), None, r"both positive, not \[0, 5\]"),
        (np.zeros((3, 5), np.uint16), np.zeros(5, np.uint16), r"bias must be \[3\], not \[5\]"),
        (np.full((1, 1), 0.1, np.float32), None, "weights must hold values that BF16 can represent"),
        (np.zeros((1, 1), np.uint16), np.full(1, 0.1, np.float32), "bias must hold values that BF16"),
    ],
)
def test_wrong_matrices_are_refused(weights: np.ndarray, bias: np.ndarray | None, message: str) -> None:
    pim = opened()
    with pytest.raises(ValueError, match=message):
        pim.upload(weights, bias)
    assert pim._rows.free == TINY.geometry.weight_rows


@pytest.mark.parametrize(
    "x", [np.zeros((1, 4), np.uint16), np.zeros(5, np.uint16), np.zeros((1, 5), np.float32), [1]]
)
def test_wrong_inputs_are_refused(x: object) -> None:
    pim = opened()
    matrix = pim.upload(np.zeros((3, 5), np.uint16))
    with pytest.raises(ValueError, match=r"x must be uint16 \[tokens, 5\], not"):
        pim.matvec(matrix, x)  # type: ignore[arg-type]


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_table_lies_in_its_row_of_every_bank(name: str) -> None:
    shape = config("ianus")
    pim = opened(shape)
    assert pim.load_table(name) == FUNCTIONS[name]
    geometry = shape.geometry
    row = geometry.address(geometry.table_row(FUNCTIONS[name]))
    found = pim.driver.transport.read_memory(row, geometry.slab_bytes)
    assert found == table(name).tobytes() * geometry.outputs


@pytest.mark.parametrize("name", FUNCTIONS)
def test_product_with_every_activation(name: str, rng: np.random.Generator) -> None:
    shape = config("ianus")
    weights, bias, x = bits(rng, 70, 40), bits(rng, 70), bits(rng, 2, 40)
    pim = opened(shape)
    result = pim.linear(pim.upload(weights, bias), x, name)
    np.testing.assert_array_equal(result, golden_linear("aligned", weights, x, bias, name))


def test_unknown_activation_is_refused() -> None:
    pim = opened()
    with pytest.raises(ValueError, match=r"activation must be one of gelu, .*not 'swish'"):
        pim.linear(pim.upload(np.zeros((3, 5), np.uint16)), np.zeros((1, 5), np.uint16), "swish")


def test_linear_layer_for_a_language_model(rng: np.random.Generator) -> None:
    pim = opened()
    weights, bias, x = bits(rng, 20, 30), bits(rng, 20), bits(rng, 4, 30)
    layer = pim_linear(pim)("h.0.mlp.c_fc", from_bits(weights), from_bits(bias))
    out = layer(from_bits(x))
    assert out.dtype == np.float32
    np.testing.assert_array_equal(to_bits("out", out), golden_linear("aligned", weights, x, bias))
    with pytest.raises(ValueError, match=r"^lm_head: weights must hold"):
        pim_linear(pim)("lm_head", np.full((2, 2), 0.1, np.float32), None)
    with pytest.raises(ValueError, match=r"^x must hold values"):
        layer(np.full((1, 30), 0.1, np.float32))


def test_a_part_that_fails_leaves_nothing_behind(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The parts queued behind it have ended before their place in the buffer is anybody else's."""
    pim = opened()
    weights = bits(rng, 100, 50)
    matrix, x = pim.upload(weights), bits(rng, 1, 50)
    make = pim._products._macro

    def spoiled(owners: tuple[Matrix, ...], part: Part, *others: int) -> MatVec:
        macro = make(owners, part, *others)
        return replace(macro, weight_row=TINY.geometry.rows) if part.row == 48 else macro

    free = pim._buffer.free
    with monkeypatch.context() as patch:
        patch.setattr(pim._products, "_macro", spoiled)
        with pytest.raises(DeviceError, match="WEIGHT_RANGE"):
            pim.matvec(matrix, x)
    assert pim.driver.outstanding == ()
    assert pim.driver.drain() == []
    assert pim._buffer.free == free
    np.testing.assert_array_equal(pim.matvec(matrix, x), golden_linear("aligned", weights, x))


# ------------------------------------------------------------------------------------------------------------------ qkv


def uploaded(
    pim: Pim, rng: np.random.Generator, rows: int, columns: int, *, bias: bool, apart: bool = False
) -> tuple[list[Matrix], list[U16], list[U16 | None]]:
    """Query, key and value; ``apart``: with something between their biases in the buffer."""
    weights = [bits(rng, rows, columns) for _ in range(3)]
    biases: list[U16 | None] = [bits(rng, rows) if bias else None for _ in range(3)]
    matrices = []
    for each, addend in zip(weights, biases, strict=True):
        matrices.append(pim.upload(each, addend))
        if apart:
            pim.upload(bits(rng, 1, 1), bits(rng, 1))
    return matrices, weights, biases


@pytest.mark.parametrize("timing_name", ["ianus_ck", "aim_simulator"])
@pytest.mark.parametrize("tokens", [0, 1, 5])
@pytest.mark.parametrize(
    ("buffer_bytes", "bias", "apart"),
    [
        *[(1024, False, False), (2048, True, False), (2048, True, True)],  # the largest is cut
        *[(16384, False, False), (16384, True, False), (16384, True, True)],
    ],
)
def test_qkv_is_three_products(
    rng: np.random.Generator, timing_name: str, buffer_bytes: int, tokens: int, bias: bool, apart: bool
) -> None:
    """In one macro where it fits, and where rows and tokens are cut."""
    shape = replace(config("tiny", timing_name), buffer_bytes=buffer_bytes)
    shape = replace(shape, geometry=replace(shape.geometry, rows=128))
    for rows, columns in ((9, 17), (60, 100), (176, 16)):
        pim = opened(shape)
        matrices, weights, biases = uploaded(pim, rng, rows, columns, bias=bias, apart=apart)
        x, before = bits(rng, tokens, columns), pim._buffer.free
        query, key, value = matrices
        found = pim.qkv(query, key, value, x)
        assert len(found) == 3
        for each, weight, addend in zip(found, weights, biases, strict=True):
            assert each.shape == (tokens, rows)
            np.testing.assert_array_equal(each, golden_linear("aligned", weight, x, addend))
        assert pim._buffer.free == before, "everything borrowed was given back"
    if buffer_bytes <= 2048:
        assert pim.macros >= 2 * tokens, "rows and tokens of the last are cut"


def written(pim: Pim, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of what is written to the buffer from now on."""
    sizes: list[int] = []
    write = pim._products.write

    def noted(offset: int, data: bytes) -> None:
        sizes.append(len(data))
        write(offset, data)

    monkeypatch.setattr(pim._products, "write", noted)
    return sizes


def test_biases_side_by_side_are_not_staged(
    rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    for apart, extra in ((False, []), (True, [3 * stride(20)])):
        pim = opened()
        (query, key, value), _, _ = uploaded(pim, rng, 20, 30, bias=True, apart=apart)
        sizes = written(pim, monkeypatch)
        pim.qkv(query, key, value, bits(rng, 2, 30))
        assert sizes == [*extra, 2 * stride(30)]
        pim.qkv(key, query, value, bits(rng, 2, 30))
        assert sizes[len(extra) + 1 :] == [3 * stride(20), 2 * stride(30)], (
            "in another order they do not serve"
        )


def test_a_qkv_is_one_macro(rng: np.random.Generator) -> None:
    pim = opened()
    (query, key, value), _, _ = uploaded(pim, rng, 100, 50, bias=True)
    pim.qkv(query, key, value, bits(rng, 3, 50))
    assert pim.macros == 1
    in_parts = opened()
    (query, key, value), _, _ = uploaded(in_parts, rng, 100, 50, bias=False)
    in_parts.qkv(query, key, value, bits(rng, 3, 50))
    assert in_parts.macros == 7, (
        "39 groups without a bias: cut at 16 rows of each, to be read while the device works"
    )


def test_matrices_that_are_no_qkv_are_refused(rng: np.random.Generator) -> None:
    pim, other = opened(), opened()
    one = pim.upload(bits(rng, 8, 9), bits(rng, 8))
    x = bits(rng, 1, 9)
    cases = [
        (pim.upload(bits(rng, 7, 9), bits(rng, 7)), r"of one shape, not \[8, 9\], \[8, 9\], \[7, 9\]"),
        (pim.upload(bits(rng, 8, 10), bits(rng, 8)), r"of one shape, not \[8, 9\], \[8, 9\], \[8, 10\]"),
        (pim.upload(bits(rng, 8, 9)), "must all have a bias or none, not some"),
        (other.upload(bits(rng, 8, 9), bits(rng, 8)), "must be in this device's memory, not in another's"),
    ]
    for matrix, message in cases:
        with pytest.raises(ValueError, match=message):
            pim.qkv(one, one, matrix, x)
    with pytest.raises(ValueError, match="must be in this device's memory"):
        other.linear(one, x)
    assert pim.macros == other.macros == 0


def test_plan_for_three_matrices() -> None:
    """A third of the room for each, all cut at the same rows."""
    ianus = config("ianus")
    assert Plan.make(768, 768, 1, 1 << 17, ianus, matrices=3).parts == tuple(
        Part(row, 256) for row in (0, 256, 512)
    )
    assert Plan.make(768, 768, 1, 1 << 17, ianus, matrices=3, whole=True).parts == (Part(0, 768),)
    row = stride(40) + 3 * stride(100)
    assert Plan.make(100, 40, 9, 4 * row, TINY, matrices=3, whole=True).tokens == 4
    small = Plan.make(100, 40, 9, row - 1, TINY, matrices=3, whole=True)
    assert (small.tokens, small.together) == (1, False)
    assert small.parts[0].rows * 3 * 2 <= row - 1 - stride(40)
    with pytest.raises(OutOfMemory, match="no free piece of 192 bytes; the largest is 191 bytes"):
        Plan.make(100, 40, 1, 191, TINY, matrices=3)


def test_a_matrix_written_row_by_row_is_the_one_uploaded(rng: np.random.Generator) -> None:
    """In pieces that cross DRAM rows, in any order; other rows and columns keep what they hold."""
    pim = opened()
    rows, columns = 19, 300
    matrix, expected = pim.reserve_matrix(rows, columns), np.zeros((rows, columns), np.uint16)
    for _ in range(60):
        row, column = int(rng.integers(rows)), int(rng.integers(columns))
        values = bits(rng, int(rng.integers(1, columns - column + 1)))
        pim.write_row(matrix, row, column, values)
        expected[row, column : column + len(values)] = values
    for row in range(rows):
        np.testing.assert_array_equal(pim.read_row(matrix, row), expected[row])
    x = bits(rng, 2, columns)
    np.testing.assert_array_equal(pim.matvec(matrix, x), golden_linear("aligned", expected, x))
