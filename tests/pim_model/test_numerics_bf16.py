"""BF16 conversion against ml_dtypes, FP32 rounding and adding against exact fractions."""

from __future__ import annotations

from fractions import Fraction

import ml_dtypes
import numpy as np
import pytest

from pim_model.numerics.bf16 import (
    BF16_NAN,
    F32_NAN,
    add_f32,
    bf16_to_f32,
    f32_to_bf16,
    flush_bf16,
    narrow_f64,
)
from tests.pim_model import exact_reference as reference

ALL_BF16 = np.arange(1 << 16, dtype=np.uint32).astype(np.uint16)


def as_f32(bits: object) -> np.ndarray:
    return np.asarray(bits, np.uint32).view(np.float32)


def test_canonical_nan():
    assert BF16_NAN == 0x7FC0
    assert F32_NAN.view(np.uint32) == 0x7FC00000


def test_every_bf16_pattern_reads_as_ml_dtypes_does_except_subnormals_and_nan_payloads():
    expected = ALL_BF16.view(ml_dtypes.bfloat16).astype(np.float32)
    subnormal = np.abs(expected) < 2.0**-126
    expected = np.where(subnormal, np.copysign(np.float32(0), expected), expected)
    bits = np.where(np.isnan(expected), np.uint32(0x7FC00000), expected.view(np.uint32))
    np.testing.assert_array_equal(bf16_to_f32(ALL_BF16).view(np.uint32), bits)


def test_every_bf16_pattern_survives_the_round_trip():
    kept = flush_bf16(ALL_BF16)
    kept = np.where((kept & 0x7FFF) > 0x7F80, BF16_NAN, kept)
    np.testing.assert_array_equal(f32_to_bf16(bf16_to_f32(ALL_BF16)), kept)


def test_read_out_rounds_as_ml_dtypes_does(rng):
    bits = rng.integers(0, 1 << 32, 1 << 20, dtype=np.uint32)
    near_ties = (rng.integers(0, 1 << 16, 1 << 16, dtype=np.uint32) << 16) + np.uint32(0x7FFF)
    bits = np.concatenate([bits, near_ties, near_ties + 1, near_ties + 2])
    bits = bits[
        ((bits >> 23) & 0xFF) != 0
    ]  # the PU has no subnormal accumulators; their rule is tested below
    with np.errstate(invalid="ignore"):
        expected = as_f32(bits).astype(ml_dtypes.bfloat16).view(np.uint16)
    expected = np.where(np.isnan(as_f32(bits)), BF16_NAN, expected)
    np.testing.assert_array_equal(f32_to_bf16(as_f32(bits)), expected)


@pytest.mark.parametrize(
    ("bits", "expected"),
    [
        (0x3F808000, 0x3F80),  # 1 + half a unit: tie to even
        (0x3F818000, 0x3F82),
        (0x3F808001, 0x3F81),
        (0x7F7F7FFF, 0x7F7F),  # largest that stays finite
        (0x7F7F8000, 0x7F80),
        (0xFF7FFFFF, 0xFF80),
        (0x00800000, 0x0080),
        (0x007FC000, 0x0080),  # rounds up to 2^-126: tininess is judged after rounding
        (0x007FBFFF, 0x0000),
        (0x807FC000, 0x8080),
        (0x807FBFFF, 0x8000),
        (0x00000001, 0x0000),
        (0x80000000, 0x8000),
        (0xFF800001, 0x7FC0),
        (0x7F800001, 0x7FC0),  # a NaN whose payload would round away
    ],
)
def test_read_out_edges(bits, expected):
    assert f32_to_bf16(as_f32([bits])).tolist() == [expected]
    assert reference.to_bf16(bits) == expected


def test_read_out_matches_fractions(rng):
    bits = np.concatenate(
        [
            rng.integers(0, 1 << 32, 4000, dtype=np.uint32),
            rng.integers(0x7F0000, 0x810000, 1000, dtype=np.uint32),
        ]
    )
    expected = [reference.to_bf16(int(b)) for b in bits]
    assert f32_to_bf16(as_f32(bits)).tolist() == expected


MIN = 2.0**-126


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (MIN, 0x00800000),
        (MIN - 2.0**-151, 0x00800000),  # tie between 2^-126 - 2^-150 and 2^-126: even is 2^-126
        (np.nextafter(MIN - 2.0**-151, 0), 0x00000000),
        (-(MIN - 2.0**-151), 0x80800000),
        (-(MIN - 2.0**-150), 0x80000000),
        (5e-324, 0x00000000),
        (-0.0, 0x80000000),
        (2.0**128 - 2.0**103, 0x7F800000),  # tie: even is infinity
        (np.nextafter(2.0**128 - 2.0**103, 0), 0x7F7FFFFF),
        (-1e300, 0xFF800000),
        (-np.inf, 0xFF800000),
        (-np.nan, 0x7FC00000),
        (1 + 2.0**-24, 0x3F800000),
        (1 + 3 * 2.0**-24, 0x3F800002),
    ],
)
def test_narrow_edges(value, expected):
    assert narrow_f64(np.array([value])).view(np.uint32).tolist() == [expected]


def test_narrow_matches_fractions(rng):
    values = np.ldexp(rng.uniform(-1, 1, 4000), rng.choice([-126, -125, -127, -150, 0, 128, 129], 4000))
    expected = [reference.round_to(Fraction(float(v)), 32) for v in values]
    assert narrow_f64(values).view(np.uint32).tolist() == expected


@pytest.mark.parametrize("spread", [2, 30, 255])
def test_add_matches_fractions(rng, spread):
    count = 3000
    low = 0 if spread == 255 else int(rng.choice([1, 100, 200]))
    fields = [
        rng.integers(0, 2, count, dtype=np.uint32) << 31
        | rng.integers(low, low + spread + 1, count, dtype=np.uint32) << 23
        | rng.integers(0, 1 << 23, count, dtype=np.uint32)
        for _ in range(2)
    ]
    a, b = fields
    b[::7] = a[::7] ^ 0x80000000  # cancels exactly
    b[1::7] = (a[1::7] ^ 0x80000000) + 1
    edges = np.array([0, 0x80000000, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFFFFFFF, 0x00800000], np.uint32)
    pairs = np.stack(np.meshgrid(edges, edges)).reshape(2, -1)
    a, b = np.concatenate([a, pairs[0]]), np.concatenate([b, pairs[1]])
    expected = [reference.add32(int(x), int(y)) for x, y in zip(a, b, strict=True)]
    assert add_f32(as_f32(a), as_f32(b)).view(np.uint32).tolist() == expected


def test_values_are_refused_where_bits_are_due():
    with pytest.raises(
        TypeError, match=r"^BF16 value must be a uint16 array of BF16 bit patterns, not float32$"
    ):
        bf16_to_f32(np.zeros(3, np.float32))
    with pytest.raises(TypeError, match=r"^FP32 value must be a float32 array, not float64$"):
        f32_to_bf16(np.zeros(3))
