"""The fast kernels against repeated ``mac_group``: the same bits for every shape, value and number of
threads."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.numerics import kernels, native
from pim_model.numerics.bench import bench, bench_numpy
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.numerics.kernels import matvec, prepare
from pim_model.numerics.profiles import PROFILES

BOTH = sorted(PROFILES)
UNSAFE = np.array([0x7F80, 0xFF80, 0x7FC0, 0x7F7F, 0xFF7F, 0x0080, 0x8080, 0x007F, 0x8001], np.uint16)


def by_groups(name, weights, x, bias=None):
    """The definition: every accumulator starts at its bias and takes ascending groups of 16 columns."""
    rows, cols = weights.shape
    wide = -(-cols // 16) * 16
    weights = np.pad(weights, ((0, 0), (0, wide - cols)))
    x = np.pad(x, ((0, 0), (0, wide - cols)))
    start = np.zeros(rows, np.float32) if bias is None else bf16_to_f32(bias)
    out = []
    for token in x:
        acc = start
        for column in range(0, wide, 16):
            group = slice(column, column + 16)
            acc = PROFILES[name].mac_group(acc, weights[:, group], token[np.newaxis, group])
        out.append(acc)
    return np.array(out)


def same_bits(got, expected):
    assert got.dtype == np.float32
    np.testing.assert_array_equal(got.view(np.uint32), expected.view(np.uint32))


def normal(rng, *shape, octaves=1.0):
    """Random BF16 bits whose magnitudes spread over some octaves, a few of them zeros of either sign."""
    values = rng.standard_normal(shape) * np.exp2(octaves * rng.standard_normal(shape))
    values[rng.random(shape) < 0.03] = 0.0
    values *= rng.choice([-1.0, 1.0], shape)
    return f32_to_bf16(values.astype(np.float32))


def with_exponents(rng, shape, low, high):
    """Random BF16 bits with unbiased exponents from low to high, both of which occur."""
    exponent = rng.choice([low, high, *range(low, high + 1)], shape).astype(np.uint16) + 127
    return (rng.integers(0, 1 << 16, shape, dtype=np.uint16) & 0x807F) | exponent << 7


@pytest.fixture
def fast_only(monkeypatch):
    """Fail where a result comes from the definition."""
    if native.compiler() is None:
        pytest.skip("no C++ compiler: the kernels are numpy's")

    def refuse(*_):
        raise AssertionError("the definition was used where the kernel should be")

    monkeypatch.setattr(kernels, "_by_definition", refuse)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("octaves", [0.5, 6.0])
@pytest.mark.parametrize(
    ("rows", "cols", "tokens"),
    [
        (1, 1, 1),
        (1, 16, 2),
        (31, 17, 3),
        (32, 16, 64),
        (33, 33, 65),
        (5, 7, 130),
        (129, 1025, 3),
        (1000, 1000, 2),
    ],
)
def test_ordinary_values_take_the_fast_path_and_match(name, octaves, rows, cols, tokens, rng, fast_only):
    weights, x = normal(rng, rows, cols, octaves=octaves), normal(rng, tokens, cols, octaves=octaves)
    bias = normal(rng, rows)
    bias[bias == 0x8000] = 0
    same_bits(matvec(name, prepare(weights), x, bias), by_groups(name, weights, x, bias))


@pytest.mark.parametrize("name", BOTH)
def test_threads_do_not_change_bits(name, rng):
    # Enough work to be shared, two tiles of tokens, and no multiple of 32.
    weights, x, bias = normal(rng, 1000, 1000, octaves=4), normal(rng, 70, 1000, octaves=4), normal(rng, 1000)
    weights[rng.integers(1000, size=3), rng.integers(1000, size=3)] = 0x7FC0, 0x0080, 0x7F7F
    prepared = prepare(weights)
    alone = matvec(name, prepared, x, bias, threads=1)
    for threads in (None, 2, 3):
        same_bits(matvec(name, prepared, x, bias, threads=threads), alone)
    some = [0, 1, 63, 64, 69]
    same_bits(alone[some], by_groups(name, weights, x[some], bias))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(("rows", "cols", "tokens"), [(3, 5, 2), (129, 1025, 5), (300, 400, 70)])
def test_a_few_unsafe_values_match(name, rows, cols, tokens, rng):
    weights, x, bias = normal(rng, rows, cols), normal(rng, tokens, cols), normal(rng, rows)
    for array, count in ((weights, 9), (x, 2), (bias, 3)):
        flat = array.reshape(-1)
        flat[rng.integers(flat.size, size=count)] = rng.choice(UNSAFE, count)
    same_bits(matvec(name, prepare(weights), x, bias), by_groups(name, weights, x, bias))


def test_an_unsafe_value_costs_its_row_or_its_token_only(rng, monkeypatch):
    if native.compiler() is None:
        pytest.skip("no C++ compiler: the kernels are numpy's")
    weights, x, bias = normal(rng, 100, 64), normal(rng, 7, 64), np.zeros(100, np.uint16)
    weights[40, 3], x[5, 9], bias[77] = 0x7FC0, 0x7F80, 0x7F80
    asked = []
    monkeypatch.setattr(kernels, "_by_definition", lambda out, where, *_: asked.append(where))
    matvec("aligned", prepare(weights), x, bias)
    expected = np.zeros((7, 100), np.bool_)
    expected[:, 40] = expected[5] = expected[:, 77] = True
    np.testing.assert_array_equal(asked[0], expected)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("stream", range(4))
@pytest.mark.parametrize(
    ("weight_range", "input_range", "bias_range"),
    [
        ((-52, -50), (-52, -49), (-119, -110)),  # the lowest products and biases of the proof
        ((38, 40), (37, 40), (105, 110)),  # the highest
        ((-52, 40), (-52, 40), (-119, 110)),  # both
        ((-104, -60), (0, 20), (-119, -100)),
        ((-126, -124), (22, 127), (-119, 0)),  # weights that hardly are normal
    ],
)
def test_limits_of_the_fast_path(name, stream, weight_range, input_range, bias_range, rng, fast_only):
    weights, x = with_exponents(rng, (40, 70), *weight_range), with_exponents(rng, (3, 70), *input_range)
    bias = with_exponents(rng, 40, *bias_range)
    weights[:, 16:32] = weights[:, :16] ^ 0x8000  # groups that cancel, nearly or exactly
    x[:, 16:32] = x[:, :16]
    if stream % 2:
        weights[:, 8:16], x[:, 8:16] = weights[:, :8] ^ 0x8000, x[:, :8]
        weights[::2, 8] ^= 1
    same_bits(matvec(name, prepare(weights), x, bias), by_groups(name, weights, x, bias))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("kind", ["any bits", "below the limit", "above the limit", "bias"])
def test_outside_the_fast_path(name, kind, rng):
    shapes = (40, 70), (3, 70), (40,)
    if kind == "any bits":
        weights, x, bias = (rng.integers(0, 1 << 16, shape, dtype=np.uint16) for shape in shapes)
    else:
        low, high = {"below the limit": (-70, -52), "above the limit": (40, 63), "bias": (-5, 5)}[kind]
        weights, x = (with_exponents(rng, shape, low, high) for shape in shapes[:2])
        bias = with_exponents(rng, 40, -126, 127)
    same_bits(matvec(name, prepare(weights), x, bias), by_groups(name, weights, x, bias))


@pytest.mark.parametrize("name", BOTH)
def test_signed_zeros(name):
    values = np.array([0x0000, 0x8000, 0x0001, 0x8001], np.uint16)
    weights = np.repeat(values, 2)[:, np.newaxis].repeat(48, axis=1)
    weights[1::2, 20] = 0x3F80
    x = values[:, np.newaxis].repeat(48, axis=1)
    for bias in (None, *(np.full(8, value, np.uint16) for value in (0x8000, 0x8001, 0x0000, 0x3F80))):
        same_bits(matvec(name, prepare(weights), x, bias), by_groups(name, weights, x, bias))
    kept = matvec(name, prepare(weights), x, np.full(8, 0x8000, np.uint16))
    assert np.signbit(kept).any()
    assert not np.signbit(kept).all()


def test_a_product_worked_by_hand():
    weights = f32_to_bf16(np.array([[1, 2, 3], [-1, 0.5, 0]], np.float32))
    x = f32_to_bf16(np.array([[1, 10, 100], [0, 2, 0]], np.float32))
    bias = f32_to_bf16(np.array([0.25, -8], np.float32))
    for name in BOTH:
        assert matvec(name, prepare(weights), x, bias).tolist() == [[321.25, -4.0], [4.25, -7.0]]


def test_layout_of_inputs_does_not_matter(rng):
    weights, x = normal(rng, 64, 40), normal(rng, 40, 6)
    expected = by_groups("aligned", weights, x.T)
    same_bits(matvec("aligned", prepare(weights), x.T), expected)
    same_bits(
        matvec("aligned", prepare(np.asfortranarray(weights)), np.repeat(x.T, 2, axis=0)[::2]), expected
    )


@pytest.mark.parametrize("name", BOTH)
def test_no_tokens(name):
    assert matvec(name, prepare(np.ones((3, 4), np.uint16)), np.zeros((0, 4), np.uint16)).shape == (0, 3)


@pytest.mark.parametrize("name", BOTH)
def test_the_definition_takes_over_without_a_compiler(name, rng, monkeypatch):
    monkeypatch.setattr(native, "load", lambda: None)
    weights, x, bias = normal(rng, 90, 50), normal(rng, 70, 50), normal(rng, 90)
    same_bits(matvec(name, prepare(weights), x, bias), by_groups(name, weights, x, bias))


def test_prepared_matrix_is_two_bytes_a_weight(rng):
    prepared = prepare(normal(rng, 128, 256))
    assert prepared.blocks.nbytes == 2 * 128 * 256
    assert prepared.blocks.shape == (4, 256, 32)


def test_wrong_arguments_are_refused():
    prepared, x = prepare(np.zeros((2, 3), np.uint16)), np.zeros((1, 3), np.uint16)
    with pytest.raises(
        ValueError, match=r"^Weight matrix must have shape \(rows, cols\), both positive, not \(3,\)$"
    ):
        prepare(np.zeros(3, np.uint16))
    with pytest.raises(
        TypeError, match=r"^Weight matrix must be a uint16 array of BF16 bit patterns, not float32$"
    ):
        prepare(np.zeros((2, 3), np.float32))
    with pytest.raises(ValueError, match=r"^Input x must have shape \(tokens, 3\), not \(1, 4\)$"):
        matvec("aligned", prepared, np.zeros((1, 4), np.uint16))
    with pytest.raises(ValueError, match=r"^Bias must have shape \(2,\), not \(3,\)$"):
        matvec("aligned", prepared, x, np.zeros(3, np.uint16))
    with pytest.raises(ValueError, match=r"^Numerics profile must be one of"):
        matvec("bf16", prepared, x)
    with pytest.raises(ValueError, match=r"^Number of threads must be a positive integer or None, not 0$"):
        matvec("aligned", prepared, x, threads=0)


def test_benchmarks_return_a_rate():
    for name in BOTH:
        assert bench(name, 64, 64, 2, repeats=1) > 0
    assert bench_numpy(64, 64, 2, repeats=1) > 0
