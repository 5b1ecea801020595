"""Both MAC profiles: hand-computed edges, and random groups against exact fractions."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.numerics.profiles import PROFILES, profile
from tests.pim_model import exact_reference as reference

ONE, MINUS_ONE, TWO, HALF = 0x3F80, 0xBF80, 0x4000, 0x3F00
ZERO = np.zeros((), np.float32)
INF, MINUS_INF, NAN = 0x7F80, 0xFF80, 0x7FC0
BIG, SMALL = 0x7F7F, 0x0080  # largest finite; 2^-126
SUBNORMAL, MINUS_SUBNORMAL = 0x007F, 0x807F
MINUS_ZERO = 0x8000
BOTH = sorted(PROFILES)


def power(exponent: int) -> int:
    return (exponent + 127) << 7


def run(name: str, lanes: list[tuple[int, int]], acc: int = 0) -> int:
    """One group, the remaining lanes +0 * +0; returns FP32 bits."""
    a, b = np.zeros((2, 16), np.uint16)
    for lane, (x, y) in enumerate(lanes):
        a[lane], b[lane] = x, y
    start = np.array(acc, np.uint32).view(np.float32)
    return int(np.asarray(PROFILES[name].mac_group(start, a, b)).view(np.uint32))


def f32(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize(
    ("lanes", "acc", "expected"),
    [
        ([(ONE, TWO), (HALF, MINUS_ONE)], 0, f32(1.5)),
        ([(ONE, TWO)] * 16, f32(0.25), f32(32.25)),
        ([(ONE, ONE), (MINUS_ONE, ONE)], 0, 0),  # exact cancellation is +0
        ([(ONE, ONE), (MINUS_ONE, ONE)], 0x80000000, 0),
        ([(MINUS_ZERO, ONE)] * 16, 0x80000000, 0x80000000),
        ([(MINUS_SUBNORMAL, ONE)] * 16, 0x80000000, 0x80000000),  # a subnormal is a zero of its sign
        ([(MINUS_ZERO, ONE)] * 15, 0x80000000, 0),  # one +0 lane
        ([(MINUS_ZERO, ONE)] * 16, 0, 0),
        ([(SUBNORMAL, BIG)], f32(1), f32(1)),
        ([(SUBNORMAL, BIG)] * 16, 0, 0),
        ([(INF, ONE)], 0, 0x7F800000),
        ([(INF, MINUS_ONE)], 0, 0xFF800000),
        ([(INF, ONE), (MINUS_INF, ONE)], 0, 0x7FC00000),
        ([(INF, ONE), (INF, ONE)], 0, 0x7F800000),
        ([(INF, 0)], 0, 0x7FC00000),
        ([(INF, SUBNORMAL)], 0, 0x7FC00000),
        ([(MINUS_INF, INF)], 0x7F800000, 0x7FC00000),  # meets the accumulator
        ([(NAN, 0)], 0, 0x7FC00000),
        ([(0xFF81, ONE)], 0, 0x7FC00000),  # a signalling NaN with a sign: canonical
        ([(ONE, ONE)], 0xFFC12345, 0x7FC00000),
        ([(ONE, ONE)], 0xFF800000, 0xFF800000),
        ([(INF, ONE), (BIG, BIG ^ 0x8000)], 0, 0x7F800000),  # a finite product cannot make infinity a NaN
        ([(BIG, BIG)], 0, 0x7F800000),
        ([(BIG, BIG ^ 0x8000)], 0, 0xFF800000),
        ([(BIG, TWO)], 0, 0x7F800000),
        ([(SMALL, HALF)], 0, 0),  # 2^-127 flushes with its sign
        ([(SMALL, ONE)], 0x80800001, 0x80000000),  # -(2^-126 + 2^-149) + 2^-126: tiny, flushes to -0
        ([(SMALL, ONE)], 0x80800000, 0),
    ],
)
def test_edges(name, lanes, acc, expected):
    assert f"{run(name, lanes, acc):08x}" == f"{expected:08x}"
    a, b = ([lane[i] for lane in lanes] + [0] * (16 - len(lanes)) for i in (0, 1))
    assert f"{reference.PROFILES[name](acc, a, b):08x}" == f"{expected:08x}"


@pytest.mark.parametrize(
    ("lanes", "aligned", "fp32_tree"),
    [
        # 16 products of 2^-127: one by one they flush, their integer sum is 2^-123.
        ([(SMALL, HALF)] * 16, f32(2.0**-123), 0),
        # Both products exceed FP32, their integer sum does not.
        ([(BIG, BIG), (BIG, BIG ^ 0x8000)], 0, 0x7FC00000),
        # The last unit that aligned keeps is 22 exponents below the largest; an FP32 sum of two lanes keeps
        # more.
        ([(ONE, ONE), (power(-23), ONE), (MINUS_ONE, ONE)], 0, f32(2.0**-23)),
        ([(ONE, ONE), (power(-22), ONE), (MINUS_ONE, ONE)], f32(2.0**-22), f32(2.0**-22)),
        ([(ONE, ONE), (MINUS_ONE, ONE), (power(-80), ONE)], 0, f32(2.0**-80)),
        # Truncation of magnitudes is towards zero on both sides: -1 + 1.5 * 2^-22 keeps 2^-22 of it.
        ([(MINUS_ONE, ONE), (0x3FC0, power(-22))], f32(-1 + 2.0**-22), f32(-1 + 1.5 * 2.0**-22)),
        ([(ONE, ONE), (0xBFC0, power(-22))], f32(1 - 2.0**-22), f32(1 - 1.5 * 2.0**-22)),
    ],
)
def test_where_the_profiles_differ(lanes, aligned, fp32_tree):
    a, b = ([lane[i] for lane in lanes] + [0] * (16 - len(lanes)) for i in (0, 1))
    for name, expected in (("aligned", aligned), ("fp32_tree", fp32_tree)):
        assert f"{run(name, lanes):08x}" == f"{expected:08x}", name
        assert f"{reference.PROFILES[name](0, a, b):08x}" == f"{expected:08x}", name


@pytest.mark.parametrize("sign", [0, 0x8000])
@pytest.mark.parametrize("distance", [0, 1, 7, 8, 9, 15, 16, 22, 23, 24, 25, 31, 32, 33, 64, 200])
def test_guard_bits(distance, sign):
    # A lane of the full significand 255 * 255, `distance` below two lanes of +-2^100 that cancel: what is
    # left of it is its significand with 8 guard bits, shifted.
    lanes = [
        (power(50), power(50)),
        (power(50), power(50) ^ 0x8000),
        (power(100 - distance) | 0x7F | sign, 0x3FFF),
    ]
    left = (255 * 255 << 8) >> distance
    expected = f32((-1.0 if sign else 1.0) * left * 2.0 ** (100 - 22)) if left else 0
    assert f"{run('aligned', lanes):08x}" == f"{expected:08x}"


def test_product_is_not_normalised():
    # 1.75 * 1.75 is above 2, but its exponent counts as 0: the other lane, 23 below, keeps its leading bit.
    lanes = [(0x3FE0, 0x3FE0), (0xBFE0, 0x3FE0), (power(-22), ONE)]
    assert run("aligned", lanes) == f32(2.0**-22)


def test_sign_of_a_flushed_sum():
    # -2^-127 on -0. aligned: the sum is not zero and keeps its sign. Tree: -0 meets the +0 of the other
    # lanes.
    lane = [(SMALL, HALF ^ 0x8000)]
    assert run("aligned", lane, 0x80000000) == 0x80000000
    assert run("fp32_tree", lane, 0x80000000) == 0


@pytest.mark.parametrize("sign", [0, 0x8000])
@pytest.mark.parametrize(("last_unit", "magnitude"), [(True, 0x00800000), (False, 0)])
def test_aligned_sum_is_flushed_after_rounding(sign, last_unit, magnitude):
    # 2^25 - 1 units of 2^-151 are the tie between 2^-126 - 2^-150 and 2^-126, and round up to a normal
    # number; one unit less is exact in 24 bits, and below.
    lanes = [(power(-64) | 0x7F, power(-65) | 0x7F)] * 2 + [(power(-67) | 0x7F, power(-68) | 0x7F)]
    units = 2**25 - 1 - 2 * (255**2 << 8) - (255**2 << 8 >> 6)
    for bit in range(0 if last_unit else 1, 22):
        if units >> bit & 1:
            lanes.append((power(-65), power(-86 + bit)))
    lanes = [(x | sign, y) for x, y in lanes]
    assert run("aligned", lanes, sign << 16) == sign << 16 | magnitude


def groups(kind: str, rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Random operands (accumulator bits, a, b) that press on one thing."""
    shape = (2, count, 16)
    bits = rng.integers(0, 1 << 16, shape, dtype=np.uint16)
    acc = rng.integers(0, 1 << 32, count, dtype=np.uint32)

    def with_exponents(low: int, high: int) -> np.ndarray:
        return (bits & 0x807F) | rng.integers(low, high + 1, shape, dtype=np.uint16) << 7

    def exponents(words: np.ndarray, low: int, high: int) -> np.ndarray:
        field = rng.integers(low, high, count, dtype=np.uint32) << np.uint32(23)
        return np.bitwise_or(words & np.uint32(0x807FFFFF), field)

    if kind == "any bits":
        pass
    elif kind == "near one":
        bits = with_exponents(120, 134)
        acc = exponents(acc, 110, 140)
    elif kind == "overflow":
        bits = with_exponents(186, 192)
        acc = exponents(acc, 250, 255)
    elif kind == "underflow":
        bits = with_exponents(55, 70)
        acc = exponents(acc, 1, 8)
    elif kind == "cancellation":
        bits = with_exponents(100, 150)
        bits[0, :, 8:] = bits[0, :, :8] ^ 0x8000
        bits[1, :, 8:] = bits[1, :, :8]
        bits[0, ::2, 15] ^= rng.integers(0, 4, len(bits[0, ::2]), dtype=np.uint16)
        acc[::3] = 0
    elif kind == "zeros and specials":
        values = np.array(
            [0, 0x8000, SUBNORMAL, MINUS_SUBNORMAL, ONE, MINUS_ONE, INF, MINUS_INF, NAN], np.uint16
        )
        weight = np.array([8, 8, 4, 4, 2, 2, 0.3, 0.3, 0.1])
        bits = rng.choice(values, shape, p=weight / weight.sum())
        acc = rng.choice(np.array([0, 0x80000000, 0x3F800000, 0xFF800000, 0x7F800000], np.uint32), count)
    acc = np.where((acc >> 23) & 0xFF, acc, acc & 0x80000000)  # never subnormal
    return acc.astype(np.uint32), bits[0], bits[1]


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("stream", range(3))
@pytest.mark.parametrize(
    "kind", ["any bits", "near one", "overflow", "underflow", "cancellation", "zeros and specials"]
)
def test_random_groups_match_fractions(name, stream, kind, rng):
    acc, a, b = groups(kind, rng, 250)
    got = PROFILES[name].mac_group(acc.view(np.float32), a, b).view(np.uint32)
    for i in range(len(acc)):
        expected = reference.PROFILES[name](int(acc[i]), a[i].tolist(), b[i].tolist())
        assert f"{got[i]:08x}" == f"{expected:08x}", (hex(acc[i]), a[i].tolist(), b[i].tolist())


@pytest.mark.parametrize("name", BOTH)
def test_operands_broadcast(name, rng):
    _, a, b = groups("near one", rng, 3)
    table = PROFILES[name].mac_group(np.zeros((3, 3), np.float32), a[:, np.newaxis], b[np.newaxis])
    for i in range(3):
        for j in range(3):
            assert table[i, j] == PROFILES[name].mac_group(ZERO, a[i], b[j])


@pytest.mark.parametrize("name", BOTH)
def test_wrong_operands_are_refused(name):
    mac_group, good = PROFILES[name].mac_group, np.zeros(16, np.uint16)
    with pytest.raises(
        ValueError, match=r"^Operand b must have 16 lanes in its last axis, not shape \(15,\)$"
    ):
        mac_group(ZERO, good, good[:15])
    with pytest.raises(
        TypeError, match=r"^Operand a must be a uint16 array of BF16 bit patterns, not int64$"
    ):
        mac_group(ZERO, good.astype(np.int64), good)
    with pytest.raises(TypeError, match=r"^Accumulator must be a float32 array, not float64$"):
        mac_group(np.zeros(()), good, good)  # type: ignore[arg-type]


def test_profiles_are_found_by_name():
    assert profile("aligned").name == "aligned"
    assert profile("fp32_tree") is PROFILES["fp32_tree"]
    with pytest.raises(ValueError, match=r"^Numerics profile must be one of aligned, fp32_tree, not 'fp16'$"):
        profile("fp16")
