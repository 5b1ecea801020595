# Ref: GDDR6-AiM notes, "Numbers", profile `aligned`
"""Profile ``aligned``: products shifted to the group's largest exponent and summed as integers.

For one group of 16 lanes: each product has a sign, an exponent e = ea + eb (operand exponents added, the
product not normalised) and an exact 16-bit significand. E is the largest e among non-zero products. Each
significand gets 8 guard bits below it and is shifted right by E - e; what falls off is dropped. The signed
integers are summed exactly, the sum is rounded once to FP32 (nearest even, flush rule) and added to the
accumulator (nearest even, flush rule).

Sign of zero (the document leaves it open; IEEE would do the same): an integer sum of zero is +0, unless all
16 products are -0, which makes -0. A sum that is not zero but flushed keeps its sign. An infinity or NaN in
any lane overrides the integer sum; see ``special_sum``.
"""

from __future__ import annotations

import numpy as np

from pim_model.numerics.bf16 import F32, U16, add_f32, narrow_f64
from pim_model.numerics.lanes import check_group, has_special, special_sum

__all__ = ["GUARD_BITS", "mac_group"]

GUARD_BITS = 8  #: bits kept below the significand of the product with the largest exponent
_SIGNIFICAND_FRACTION = 14  # the 16-bit significand of a product has 14 fraction bits
_BIAS = 2 * 127  # of e, the sum of two biased exponents


def mac_group(acc: F32, a: U16, b: U16) -> F32:
    """Add one 16-lane dot product to each accumulator.

    ``acc``: FP32, shape S. ``a``, ``b``: BF16 bits, shape S + (16,), or broadcasting to it. Returns FP32 of
    shape S, never subnormal, NaN canonical. TypeError for a wrong dtype, ValueError for a wrong lane count.
    """
    check_group(acc, a, b)
    exponent_a = ((a >> 7) & 0xFF).astype(np.int32)
    exponent_b = ((b >> 7) & 0xFF).astype(np.int32)
    significand = _significand(a, exponent_a) * _significand(b, exponent_b)
    exponent = exponent_a + exponent_b
    negative = ((a ^ b) >> 15).astype(np.bool_)
    zero = significand == 0

    top = np.where(zero, 0, exponent).max(axis=-1)
    # 24 bits are significant: any shift of 24 or more leaves nothing. Zero lanes may ask for a negative
    # shift.
    shift = np.clip(top[..., np.newaxis] - exponent, 0, 31)
    term = (significand << GUARD_BITS) >> shift
    total = np.where(negative, -term, term).sum(axis=-1)

    # At most 29 bits, so FP64 holds the sum exactly and narrowing is the one rounding.
    exact = np.ldexp(total.astype(np.float64), top - (_BIAS + _SIGNIFICAND_FRACTION + GUARD_BITS))
    group = narrow_f64(exact)
    group = np.where((zero & negative).all(axis=-1), np.float32(-0.0), group)

    special = (has_special(a) | has_special(b)).any(axis=-1)
    if np.any(special):
        group = np.where(special, special_sum(a, b), group)
    return add_f32(acc, group)


def _significand(
    bits: U16, exponent: np.ndarray[tuple[int, ...], np.dtype[np.int32]]
) -> np.ndarray[tuple[int, ...], np.dtype[np.int32]]:
    return np.where(exponent == 0, 0, (bits & 0x7F) | 0x80).astype(np.int32)
