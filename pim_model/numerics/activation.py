# Ref: GDDR6-AiM notes, "The device" (table in a reserved row, linear interpolation); format: project decision
"""Activation functions as PIM computes them: a table in one DRAM row, and linear interpolation.

A table is one row, 1024 BF16. The FP32 accumulator x addresses it by its sign and its magnitude, seen as a
small float with gradual underflow:

* octave 0 is [0, 2^-10), octave k = 1..14 is [2^(k-11), 2^(k-10)), so octave 14 ends at 16; each has 16 equal
  segments;
* segment s of octave o has the pair (y0, dy) at index ``sign * 512 + 2 * (16 * o + s)``;
* f = the 8 bits of |x| below the segment bits, the rest truncated, as a fraction in [0, 1);
* y = y0 + dy * f. The product is exact in FP32 (flushed if subnormal); the add is nearest even with the flush
  rule.

From |x| = 16 on, infinity included, is the linear zone: the pair (offset, scale) at ``sign * 512 + 480``
gives y = offset + scale * x with x truncated to BF16, so that this product is exact too (or overflows); if
scale is zero, y = offset. NaN gives NaN. The other 30 entries of each half are unused and zero.

Tables from ``table`` take y0 = BF16(function(start of segment)) and dy = BF16(next segment's y0 - y0). So
neighbours join without a step, up to the rounding of dy, and a monotone function stays monotone: y0 + dy *
255/256 cannot pass the next y0, as rounding dy adds at most dy/512. Most of the error is the rounding of y0,
unavoidable in BF16.

Largest absolute error against FP64, for |x| < 16, and where (``test_activation.py`` measures it and holds
it):

========== ========= =========================
function   max error at
========== ========= =========================
gelu       0.00773   2.75 (its start rounds)
sigmoid    0.00196   0.02344
tanh       0.00189   +0.5625 and -0.5625
relu       0.00196   8.00195 (f truncates)
leaky_relu 0.00196   8.00195 (f truncates)
========== ========= =========================

In the linear zone truncating x costs up to 2^-7 of the result, and BF16(0.01) is 0.1 % off for
``leaky_relu``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np

from pim_model.numerics.bf16 import (
    F32,
    F32_NAN,
    F64,
    U16,
    add_f32,
    bf16_to_f32,
    check_bits,
    f32_to_bf16,
    narrow_f64,
)

__all__ = ["FUNCTIONS", "TABLE_ENTRIES", "apply", "exact", "table"]

FUNCTIONS: Mapping[str, int] = MappingProxyType(
    {"gelu": 0, "sigmoid": 1, "tanh": 2, "relu": 3, "leaky_relu": 4}
)  #: number of each function in commands

TABLE_ENTRIES = 1024  #: BF16 entries of a table: one 2 KB DRAM row
LEAKY_SLOPE = 0.01

_HALF = 512  # entries for one sign
_OCTAVES = 15
_SEGMENTS = 16
_LINEAR = 2 * _OCTAVES * _SEGMENTS  # index of the linear zone's pair in each half
_LINEAR_FROM = 16.0
_LOWEST_OCTAVE_EXPONENT = -10  # unbiased exponent where octave 1 starts


def apply(table: U16, acc: F32) -> F32:
    """Look up and interpolate each accumulator, bit for bit as the PU does.

    ``table``: u16[1024]. ``acc``: FP32 of any shape; subnormals count as zero. Returns FP32 of the same
    shape, never subnormal, NaN canonical. TypeError for a wrong dtype, ValueError for a table of another
    shape.
    """
    check_bits("Activation table", table)
    if table.shape != (TABLE_ENTRIES,):
        raise ValueError(f"Activation table must have shape ({TABLE_ENTRIES},), not {table.shape!r}")
    acc = np.asarray(acc)
    if acc.dtype != np.float32:
        raise TypeError(f"Accumulator must be a float32 array, not {acc.dtype!s}")

    bits = np.ascontiguousarray(acc).view(np.uint32).reshape(acc.shape)
    negative = (bits >> 31).astype(np.int64)
    exponent = ((bits >> 23) & 0xFF).astype(np.int64) - 127
    fraction = (bits & 0x7FFFFF).astype(np.int64)

    # Octave, segment and f, in this order of significance, are one integer: the magnitude in the table's
    # small float. Octave 0 shifts the full significand into place; anything 24 or more octaves lower has no
    # bit left.
    below = np.clip(_LOWEST_OCTAVE_EXPONENT - exponent, 0, 31)
    low = ((fraction | 0x800000) >> below) >> 11
    high = ((exponent - _LOWEST_OCTAVE_EXPONENT + 1) << 12) | (fraction >> 11)
    linear = exponent >= 4
    position = np.where(linear, _LINEAR // 2 << 8, np.where(exponent < _LOWEST_OCTAVE_EXPONENT, low, high))

    index = negative * _HALF + 2 * (position >> 8)
    y0 = bf16_to_f32(table[index])
    slope = bf16_to_f32(table[index + 1])
    f = (position & 0xFF).astype(np.float64) / 256
    coarse_x = bf16_to_f32((bits >> 16).astype(np.uint16)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        product = narrow_f64(slope.astype(np.float64) * np.where(linear, coarse_x, f))
    result = np.where(linear & (slope == 0), y0, add_f32(y0, product))
    return np.where(np.isnan(acc), F32_NAN, result).astype(np.float32)


def exact(name: str, x: F64) -> F64:
    """Evaluate an activation function in FP64; ``gelu`` is the tanh form (Hugging Face's ``gelu_new``).

    ValueError for an unknown name.
    """
    return _EXACT[_check(name)](np.asarray(x, np.float64))


def table(name: str) -> U16:
    """Make the table of a function, u16[1024]; ValueError for an unknown name."""
    _check(name)
    result = np.zeros(TABLE_ENTRIES, np.uint16)
    for half, sign in ((0, 1.0), (_HALF, -1.0)):
        starts = np.copysign(_segment_bounds(), sign)
        y0 = f32_to_bf16(narrow_f64(exact(name, starts)))
        levels = bf16_to_f32(y0).astype(np.float64)
        result[half : half + _LINEAR : 2] = y0[:-1]
        result[half + 1 : half + _LINEAR : 2] = f32_to_bf16(narrow_f64(np.diff(levels)))
        offset_and_scale = np.array(_FAR[name][0 if sign > 0 else 1], np.float32)
        result[half + _LINEAR : half + _LINEAR + 2] = f32_to_bf16(offset_and_scale)
    return result


def _check(name: str) -> str:
    if name not in FUNCTIONS:
        raise ValueError(f"Activation function must be one of {', '.join(FUNCTIONS)}, not {name!r}")
    return name


def _segment_bounds() -> F64:
    """Starts of the 240 segments in magnitude, and the end of the last."""
    octave, segment = np.divmod(np.arange(_OCTAVES * _SEGMENTS), _SEGMENTS)
    significand = np.where(octave == 0, segment, _SEGMENTS + segment)
    starts = np.ldexp(significand.astype(np.float64), _LOWEST_OCTAVE_EXPONENT - 5 + np.maximum(octave, 1))
    return np.append(starts, _LINEAR_FROM)


def _sigmoid(x: F64) -> F64:
    small = np.exp(-np.abs(x))
    return np.where(x < 0, small, 1.0) / (1.0 + small)


def _gelu(x: F64) -> F64:
    # x/2 * (1 + tanh(u)) = x * sigmoid(2u), which does not cancel for negative x.
    return x * _sigmoid(2.0 * np.sqrt(2.0 / np.pi) * (x + 0.044715 * x**3))


_EXACT: Mapping[str, Callable[[F64], F64]] = {
    "gelu": _gelu,
    "sigmoid": _sigmoid,
    "tanh": np.tanh,
    "relu": lambda x: np.where(x > 0, x, 0.0),
    "leaky_relu": lambda x: np.where(x < 0, LEAKY_SLOPE * x, x),
}

# (offset, scale) of the linear zone, for positive and for negative x.
_FAR: Mapping[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "gelu": ((0.0, 1.0), (-0.0, 0.0)),
    "sigmoid": ((1.0, 0.0), (0.0, 0.0)),
    "tanh": ((1.0, 0.0), (-1.0, 0.0)),
    "relu": ((0.0, 1.0), (0.0, 0.0)),
    "leaky_relu": ((0.0, 1.0), (0.0, LEAKY_SLOPE)),
}
