"""Activation tables: interpolation against exact fractions, tables against FP64, the format against
literals."""

from __future__ import annotations

from decimal import Decimal, localcontext

import numpy as np
import pytest

from pim_model.channel import Channel
from pim_model.numerics import activation
from pim_model.numerics.activation import FUNCTIONS, apply, exact, table
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.spec.config import config
from pim_model.spec.micro import Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.storage import Storage
from tests.pim_model import exact_reference as reference

# Largest absolute error for |x| < 16 over `sweep`, as measured; the tests allow 5 % more.
WORST_AT = {"gelu": 2.75, "sigmoid": 0.02344, "tanh": 0.5625, "relu": 8.00195, "leaky_relu": 8.00195}
MEASURED = {
    "gelu": 7.723e-3,
    "sigmoid": 1.954e-3,
    "tanh": 1.889e-3,
    "relu": 1.953e-3,
    "leaky_relu": 1.953e-3,
}
NAMES = list(FUNCTIONS)
BOUNDS = [0.0, *(s * 2.0**-14 for s in range(1, 16))] + [
    (16 + s) * 2.0 ** (k - 15) for k in range(1, 15) for s in range(16)
]


def f32(*bits: int) -> np.ndarray:
    return np.array(bits, np.uint32).view(np.float32)


def sweep() -> np.ndarray:
    """Every FP32 of 15 significand bits from 2^-40 to 16 and the last FP32 before each, both signs."""
    first = np.arange(0x2B800000, 0x41800000, 1 << 9, dtype=np.uint32)
    bits = np.concatenate([first, first[1:] - 1, [0x417FFFFF]]).astype(np.uint32)
    return np.sort(np.concatenate([bits, bits | 0x80000000]).view(np.float32))


def test_numbers_of_the_functions():
    assert dict(FUNCTIONS) == {"gelu": 0, "sigmoid": 1, "tanh": 2, "relu": 3, "leaky_relu": 4}


@pytest.mark.parametrize("name", NAMES)
def test_error_against_fp64(name):
    x = sweep()
    error = np.abs(apply(table(name), x).astype(np.float64) - exact(name, x.astype(np.float64)))
    worst = error.max()
    assert worst <= MEASURED[name] * 1.05, x[error.argmax()]
    assert worst >= MEASURED[name] * 0.95, "the documented error is out of date"


@pytest.mark.parametrize("name", NAMES)
def test_table_written_as_bytes_gives_the_stated_error(name):
    """By WRBK, column by column, into the row that ACTAF opens, as a host without this library would; then AF."""
    geometry = config("ianus").geometry
    channel = Channel(Storage(geometry), 0)
    channel.execute(Micro(Op.ACTAF, row=FUNCTIONS[name]))
    data = table(name).tobytes()
    for column in range(geometry.columns):
        channel.execute(Micro(Op.WRBK, column=column), data[32 * column : 32 * column + 32])
    x = sweep()
    x = np.concatenate([x[::800], x[np.abs(np.abs(x) / WORST_AT[name] - 1) < 1e-3]])
    x = np.resize(x, (-(-len(x) // geometry.banks), geometry.banks))
    found = np.empty_like(x)
    for place, values in enumerate(x):
        channel.accumulators[0] = values
        channel.execute(Micro(Op.AF))
        found[place] = channel.activations
    worst = np.abs(found.astype(np.float64) - exact(name, x.astype(np.float64))).max()
    assert 0.95 * MEASURED[name] <= worst <= 1.05 * MEASURED[name]


@pytest.mark.parametrize("name", NAMES)
def test_error_is_small_beside_the_value(name):
    # Half a BF16 unit relative to the value (2^-8 at worst), or 2.5e-4 where the curve bends within a segment
    # (gelu).
    x = sweep()
    target = exact(name, x.astype(np.float64))
    error = np.abs(apply(table(name), x).astype(np.float64) - target)
    assert (error <= np.maximum(np.abs(target) * 2.0**-8, 2.5e-4)).all()


@pytest.mark.parametrize("name", ["sigmoid", "tanh", "relu", "leaky_relu"])
def test_monotone_functions_stay_monotone(name):
    x = np.concatenate(
        [f32(0xFF800000, 0xC2000000, 0xC1800000), sweep(), f32(0x41800000, 0x42000000, 0x7F800000)]
    )
    assert (np.diff(apply(table(name), x)) >= 0).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("sign", [1, -1])
def test_segments_join_without_a_step(name, sign):
    starts = np.array([*BOUNDS[1:], 16.0], np.float32)
    before = np.nextafter(starts, np.float32(0))
    entries = table(name)
    dy = np.abs(bf16_to_f32(entries[512 * (sign < 0) :][1:480:2]).astype(np.float64))
    step = np.abs(apply(entries, sign * starts).astype(np.float64) - apply(entries, sign * before))
    # f stops at 255/256, dy is rounded to 8 bits, the sum to 24 bits of what is at most 16.
    assert (step <= dy * (2.0**-8 + 2.0**-9) + 2.0**-21).all()


@pytest.mark.parametrize("name", NAMES)
def test_table_holds_the_function_at_segment_starts(name):
    entries = table(name)
    assert entries.dtype == np.uint16
    assert entries.shape == (1024,)
    for half, sign in ((0, 1.0), (512, -1.0)):
        expected = f32_to_bf16(exact(name, np.copysign(BOUNDS, sign)).astype(np.float32))
        np.testing.assert_array_equal(entries[half : half + 480 : 2], expected)
        assert not entries[half + 482 : half + 512].any()


def test_exact_functions_at_known_points():
    x = np.array([-3.0, -1.0, 0.0, 1.0, 3.0])
    np.testing.assert_allclose(
        exact("gelu", x), [-0.00363739, -0.15880801, 0, 0.84119199, 2.99636261], atol=1e-8
    )
    np.testing.assert_allclose(
        exact("sigmoid", x), [0.04742587, 0.26894142, 0.5, 0.73105858, 0.95257413], atol=1e-8
    )
    np.testing.assert_allclose(
        exact("tanh", x), [-0.99505475, -0.76159416, 0, 0.76159416, 0.99505475], atol=1e-8
    )
    assert exact("relu", x).tolist() == [0, 0, 0, 1, 3]
    assert exact("leaky_relu", x).tolist() == [-0.03, -0.01, 0, 1, 3]


@pytest.mark.parametrize("x", [-15.5, -9.0, -6.0, -0.75, 0.001, 2.0])
def test_exact_gelu_keeps_its_negative_tail(x):
    # The textbook form, x/2 * (1 + tanh(sqrt(2/pi) * (x + 0.044715 x^3))), with enough digits not to cancel.
    with localcontext(prec=120):
        pi = Decimal("3.14159265358979323846264338327950288419716939937510")
        u = (2 / pi).sqrt() * (Decimal(x) + Decimal("0.044715") * Decimal(x) ** 3)
        tanh = (u.exp() - (-u).exp()) / (u.exp() + (-u).exp())
        expected = float(Decimal(x) / 2 * (1 + tanh))
    assert exact("gelu", np.array([x]))[0] == pytest.approx(expected, rel=1e-12)


def test_linear_zone_and_special_values():
    x = f32(
        0x41800000,
        0x418A6666,
        0x7F7FFFFF,
        0x7F800000,
        0xC1800000,
        0xFF800000,
        0x7FC12345,
        0x00000001,
        0x80000001,
    )
    results = {
        # 16, 17.3 truncated to 17.25, the largest FP32 truncated, inf, -16, -inf, NaN, subnormals as zeros
        "gelu": [0x41800000, 0x418A0000, 0x7F7F0000, 0x7F800000, 1 << 31, 1 << 31, 0x7FC00000, 0, 1 << 31],
        "sigmoid": [0x3F800000] * 4 + [0, 0, 0x7FC00000, 0x3F000000, 0x3F000000],
        "tanh": [0x3F800000] * 4 + [0xBF800000] * 2 + [0x7FC00000, 0, 1 << 31],
        "relu": [0x41800000, 0x418A0000, 0x7F7F0000, 0x7F800000, 0, 0, 0x7FC00000, 0, 0],
        "leaky_relu": [
            0x41800000,
            0x418A0000,
            0x7F7F0000,
            0x7F800000,
            0xBE240000,
            0xFF800000,
            0x7FC00000,
            0,
            1 << 31,
        ],
    }
    for name, bits in results.items():
        assert [f"{b:08x}" for b in apply(table(name), x).view(np.uint32)] == [f"{b:08x}" for b in bits], name


def test_every_segment_and_fraction_is_addressed():
    # A table whose y0 is the segment number and whose dy is 1 shows which pair and which f were used.
    entries = np.zeros(1024, np.uint16)
    for half in (0, 512):
        entries[half : half + 480 : 2] = f32_to_bf16(np.arange(240, dtype=np.float32))
        entries[half + 1 : half + 480 : 2] = 0x3F80
    starts = np.array(BOUNDS)
    widths = np.diff([*BOUNDS, 16.0])
    for f in (0, 1, 128, 255):
        x = (starts + widths * (f + 0.99) / 256).astype(np.float32)
        expected = np.arange(240) + f / 256
        assert apply(entries, x).tolist() == expected.tolist()
        assert apply(entries, -x).tolist() == expected.tolist()


@pytest.mark.parametrize("name", [*NAMES, "random bits", "small"])
@pytest.mark.parametrize("stream", range(2))
def test_interpolation_matches_fractions(name, stream, rng):
    if name == "random bits":
        entries = rng.integers(0, 1 << 16, 1024, dtype=np.uint16)
    elif name == "small":  # around the smallest normal number, and specials: flushes, 0 * inf
        entries = (rng.integers(0, 1 << 16, 1024, dtype=np.uint16) & 0x807F) | rng.integers(
            0, 4, 1024, np.uint16
        ) << 7
        entries[rng.integers(0, 1024, 60)] = rng.choice(
            np.array([0x7F80, 0xFF80, 0x7FC0, 0x8000], np.uint16), 60
        )
        entries[[480, 481, 992, 993]] = rng.choice(
            np.array([0, 0x8000, 0x0080, 0x3F80, 0x7F80], np.uint16), 4
        )
    else:
        entries = table(name)
    in_table = rng.integers(112, 132, 700, dtype=np.uint32) << 23 | rng.integers(
        0, 1 << 23, 700, dtype=np.uint32
    )
    starts = (np.array([*BOUNDS, 16.0], np.float32)).view(np.uint32)
    bits = np.concatenate([in_table, starts, starts[1:] - 1, rng.integers(0, 1 << 31, 400, dtype=np.uint32)])
    bits = np.concatenate([bits, bits | 0x80000000]).astype(np.uint32)
    got = apply(entries, bits.view(np.float32)).view(np.uint32)
    listed = entries.tolist()
    for x, y in zip(bits.tolist(), got.tolist(), strict=True):
        assert f"{y:08x}" == f"{reference.activate(listed, x):08x}", f"x = {x:08x}"


def test_shape_is_kept():
    x = np.linspace(-2, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    assert apply(table("tanh"), x).shape == (2, 3, 4)
    assert apply(table("tanh"), x.T[::2]).tolist() == apply(table("tanh"), x).T[::2].tolist()
    assert apply(table("tanh"), np.array(0.5, np.float32)).shape == ()


def test_wrong_arguments_are_refused():
    x = np.zeros(1, np.float32)
    with pytest.raises(
        ValueError, match=r"^Activation function must be one of gelu, .*, leaky_relu, not 'swish'$"
    ):
        table("swish")
    with pytest.raises(ValueError, match=r"^Activation function must be one of"):
        exact("swish", np.zeros(1))
    with pytest.raises(ValueError, match=r"^Activation table must have shape \(1024,\), not \(512,\)$"):
        apply(np.zeros(512, np.uint16), x)
    with pytest.raises(
        TypeError, match=r"^Activation table must be a uint16 array of BF16 bit patterns, not float32$"
    ):
        apply(np.zeros(1024, np.float32), x)
    with pytest.raises(TypeError, match=r"^Accumulator must be a float32 array, not uint16$"):
        apply(table("gelu"), np.zeros(1, np.uint16))
    assert activation.TABLE_ENTRIES == 1024
