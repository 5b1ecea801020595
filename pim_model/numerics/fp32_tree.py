# Ref: GDDR6-AiM notes, "Numbers", profile `fp32_tree`
"""Profile ``fp32_tree``: FP32 products summed by a balanced pairwise tree, then into the accumulator.

A product of two BF16 values fits FP32 exactly; one too small is flushed, one too large becomes infinity. The
tree adds lanes 0+1, 2+3, ... 14+15, then neighbouring sums, and last the accumulator; every add rounds to
nearest even and flushes. Signs of zero are those of IEEE addition, add by add.

An infinity or NaN *operand* in any lane overrides the tree with the exact sum (``special_sum``), so that
finite products of the other lanes that overflow cannot turn an infinity into NaN; the document asks this of
both profiles. Without such an operand, infinities made by overflow meet in the tree as IEEE has it.
"""

from __future__ import annotations

import numpy as np

from pim_model.numerics.bf16 import F32, U16, add_f32, bf16_to_f32, narrow_f64
from pim_model.numerics.lanes import check_group, has_special, special_sum

__all__ = ["mac_group"]


def mac_group(acc: F32, a: U16, b: U16) -> F32:
    """Add one 16-lane dot product to each accumulator.

    ``acc``: FP32, shape S. ``a``, ``b``: BF16 bits, shape S + (16,), or broadcasting to it. Returns FP32 of
    shape S, never subnormal, NaN canonical. TypeError for a wrong dtype, ValueError for a wrong lane count.
    """
    check_group(acc, a, b)
    with np.errstate(invalid="ignore"):
        product = bf16_to_f32(a).astype(np.float64) * bf16_to_f32(b).astype(np.float64)
    level = narrow_f64(product)
    while level.shape[-1] > 1:
        level = add_f32(level[..., 0::2], level[..., 1::2])
    group = level[..., 0]

    special = (has_special(a) | has_special(b)).any(axis=-1)
    if np.any(special):
        group = np.where(special, special_sum(a, b), group)
    return add_f32(acc, group)
