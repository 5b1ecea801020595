# Ref: GDDR6-AiM notes, "Numbers"
"""What both MAC profiles share: the 16-lane group, and infinities and NaN among the lanes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pim_model.numerics.bf16 import F32, F32_NAN, U16, bf16_to_f32, check_bits

__all__ = ["LANES", "check_group", "has_special", "special_sum"]

LANES = 16  #: products summed by one MAC command: a 32 B column of BF16


def check_group(acc: F32, a: U16, b: U16) -> None:
    """Raise TypeError or ValueError unless the three are operands of one ``mac_group`` call."""
    for name, operand in (("Operand a", a), ("Operand b", b)):
        check_bits(name, operand)
        if operand.ndim == 0 or operand.shape[-1] != LANES:
            raise ValueError(f"{name} must have {LANES} lanes in its last axis, not shape {operand.shape!r}")
    if np.asarray(acc).dtype != np.float32:
        raise TypeError(f"Accumulator must be a float32 array, not {np.asarray(acc).dtype!s}")


def has_special(bits: U16) -> npt.NDArray[np.bool_]:
    """Tell for each BF16 value whether it is an infinity or a NaN."""
    return np.asarray((bits & 0x7F80) == 0x7F80, np.bool_)


def special_sum(a: U16, b: U16) -> F32:
    """Sum groups that hold an infinity or NaN: the IEEE result of the exact sum of the 16 exact products.

    Finite products, however large, cannot matter beside an infinite one, so only operands count: NaN if a
    lane is NaN or 0 * inf (a subnormal is a zero here) or if infinite products of both signs meet; else the
    infinity.
    """
    with np.errstate(invalid="ignore"):
        product = bf16_to_f32(a).astype(np.float64) * bf16_to_f32(b).astype(
            np.float64
        )  # finite ones never overflow
        total = np.where(np.isfinite(product), 0.0, product).sum(axis=-1)
    return np.where(np.isnan(total), F32_NAN, total.astype(np.float32)).astype(np.float32)
