# Ref: GDDR6-AiM notes, "Numbers"
"""BF16 and FP32 as the PU sees them: conversion, rounding, and the flush rule.

BF16 values are ``numpy.uint16`` bit patterns, accumulators ``numpy.float32``. The flush rule, the same for
every operation: round to the format's precision (24 bits for FP32, 8 for BF16) to nearest even as if the
exponent had no lower limit; if the magnitude is then below 2^-126 the result is zero with that sign (tininess
after rounding). Subnormal operands count as zero of their sign. Every NaN that comes out is the canonical
one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "BF16_NAN",
    "F32",
    "F32_NAN",
    "F64",
    "MIN_NORMAL",
    "U16",
    "add_f32",
    "bf16_to_f32",
    "f32_to_bf16",
    "flush_bf16",
    "narrow_f64",
]

U16 = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]
F64 = npt.NDArray[np.float64]

BF16_NAN = np.uint16(0x7FC0)  #: canonical NaN of BF16, as bits
F32_NAN = np.uint32(0x7FC00000).view(np.float32)  #: canonical NaN of FP32
MIN_NORMAL = np.float32(2.0**-126)  #: smallest magnitude that is not flushed, FP32 and BF16 alike

# The largest f64 below this rounds to 24 bits below 2^-126; the value itself is the tie, which goes to even:
# 2^-126.
_ROUNDS_TO_MIN_NORMAL = 2.0**-126 - 2.0**-151


def check_bits(name: str, value: Any) -> U16:
    """Return ``value`` if it is a uint16 array; TypeError otherwise, as bits and values look alike."""
    if not isinstance(value, (np.ndarray, np.generic)):
        raise TypeError(f"{name} must be a uint16 array of BF16 bit patterns, not {type(value).__name__}")
    if value.dtype != np.uint16:
        raise TypeError(f"{name} must be a uint16 array of BF16 bit patterns, not {value.dtype!s}")
    return np.asarray(value)


def flush_bf16(bits: U16) -> U16:
    """Replace BF16 subnormals by zero of their sign; everything else, NaN payloads too, stays."""
    bits = check_bits("BF16 value", bits)
    return np.where(bits & 0x7F80, bits, bits & 0x8000).astype(np.uint16)


def bf16_to_f32(bits: U16) -> F32:
    """Read BF16 bit patterns as the PU reads an operand: exact, subnormals as signed zero, NaN canonical."""
    wide = flush_bf16(bits).astype(np.uint32) << 16
    return _canonical(wide.view(np.float32))


def f32_to_bf16(values: npt.ArrayLike) -> U16:
    """Round FP32 to BF16 bit patterns, to nearest even, with the flush rule; overflow gives infinity.

    TypeError if ``values`` is a float64 array, because rounding twice is not rounding once.
    """
    array = np.asarray(values)
    if array.dtype != np.float32:
        raise TypeError(f"FP32 value must be a float32 array, not {array.dtype!s}")
    bits = np.ascontiguousarray(array).view(np.uint32).reshape(array.shape)
    magnitude = bits & 0x7FFFFFFF
    rounded = (magnitude + 0x7FFF + ((magnitude >> 16) & 1)) >> 16
    # Below 2^-126 the carry above rounds on the subnormal grid, one bit too coarse at the top: decide by
    # threshold. 0x7FC000 is 2^-126 - 2^-135, the tie between 255 * 2^-134 and 2^-126.
    rounded = np.where(magnitude >= 0x00800000, rounded, np.where(magnitude >= 0x007FC000, 0x0080, 0))
    result = rounded | ((bits >> 16) & 0x8000)
    return np.where(magnitude > 0x7F800000, BF16_NAN, result).astype(np.uint16)


def narrow_f64(values: F64) -> F32:
    """Round FP64 values to FP32 once, with the flush rule; overflow gives infinity, NaN is canonical."""
    magnitude = np.abs(values)
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        result = values.astype(np.float32)
    tiny = magnitude < 2.0**-126
    if np.any(tiny):
        edge = np.where(magnitude >= _ROUNDS_TO_MIN_NORMAL, MIN_NORMAL, np.float32(0))
        result = np.where(tiny, np.copysign(edge, result), result)
    return _canonical(result)


def add_f32(a: F32, b: F32) -> F32:
    """Add FP32 values: nearest even, flush rule, subnormal operands as zero, canonical NaN.

    An exact zero from non-zero operands is +0; zeros add as in IEEE 754.
    """
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        total = _flush(a) + _flush(b)
    # A sum of normal numbers that is below 2^-126 is exact (a multiple of 2^-149), so flushing it now is the
    # rule.
    return _canonical(_flush(total))


def _flush(values: F32) -> F32:
    tiny = np.abs(values) < MIN_NORMAL
    return np.where(tiny, np.copysign(np.float32(0), values), values).astype(np.float32)


def _canonical(values: F32) -> F32:
    return np.where(np.isnan(values), F32_NAN, values).astype(np.float32)
