# Ref: IANUS restated, "Schedules" (layer norm, softmax, GELU and residual on the vector unit)
"""GPT-2's operations other than the linear ones, on float32 arrays.

Each computes in FP32 inside and rounds only what it hands on, as a vector unit with BF16 storage would:
`rounded` is `round_bf16` for that, or the identity for the FP32 reference.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from host_runtime.llm.rounding import round_bf16

__all__ = [
    "Array",
    "Precision",
    "Rounding",
    "add",
    "attend",
    "gelu_new",
    "layer_norm",
    "masked_softmax",
    "rounding_of",
    "scores",
    "weighted",
]

Array = NDArray[np.float32]
Rounding = Callable[[Array], Array]
Precision = Literal["fp32", "bf16"]

MASKED = np.float32(-np.inf)


def rounding_of(precision: Precision) -> Rounding:
    """Return what is applied, in place, to every value handed from one operation to the next."""
    if precision not in ("fp32", "bf16"):
        raise ValueError(f"precision must be 'fp32' or 'bf16', not {precision!r}")
    return round_bf16 if precision == "bf16" else _unchanged


def _unchanged(x: Array) -> Array:
    return x


def add(x: Array, y: Array, rounded: Rounding) -> Array:
    """Return x + y: a residual addition, or token plus position embedding."""
    return rounded(x + y)


def layer_norm(x: Array, weight: Array, bias: Array, epsilon: float, rounded: Rounding) -> Array:
    """Normalise each row of x [..., width] to mean 0 and (biased) variance 1, then scale and shift it."""
    out = x - x.mean(axis=-1, keepdims=True, dtype=np.float32)
    variance = np.einsum("...i,...i->...", out, out) / np.float32(x.shape[-1])
    out *= (np.float32(1) / np.sqrt(variance + np.float32(epsilon)))[..., None]
    out *= weight
    out += bias
    return rounded(out)


def gelu_new(x: Array, rounded: Rounding) -> Array:
    """Return 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))."""
    inner = x * x
    inner *= np.float32(0.044715)
    inner += np.float32(1)
    inner *= x
    inner *= np.float32(math.sqrt(2 / math.pi))
    np.tanh(inner, out=inner)
    inner += np.float32(1)
    inner *= x
    inner *= np.float32(0.5)
    return rounded(inner)


def attend(query: Array, key: Array, value: Array, rounded: Rounding) -> Array:
    """Causal attention: query [..., n, dim], key and value [..., m, dim] with m >= n, to [..., n, dim].

    Query i stands at position m - n + i and sees keys 0 to that position. Scores, probabilities and the
    result are rounded; the scale 1/sqrt(dim) and the mask belong to the softmax.
    """
    probabilities = masked_softmax(scores(query, key, rounded), query.shape[-1], rounded)
    return weighted(probabilities, value, rounded)


def scores(query: Array, key: Array, rounded: Rounding) -> Array:
    """Products of queries [..., n, dim] and keys [..., m, dim]: [..., n, m]."""
    return rounded(np.matmul(query, key.swapaxes(-1, -2)))


def masked_softmax(products: Array, dim: int, rounded: Rounding) -> Array:
    """Probabilities [..., n, m] of scores, which it overwrites: scaled by 1/sqrt(dim), later keys left out."""
    n, m = products.shape[-2:]
    if n > 1:
        products[..., np.triu(np.ones((n, m), dtype=np.bool_), k=m - n + 1)] = MASKED
    products -= products.max(axis=-1, keepdims=True)
    products *= np.float32(1 / math.sqrt(dim))
    np.exp(products, out=products)
    products /= products.sum(axis=-1, keepdims=True)
    return rounded(products)


def weighted(probabilities: Array, value: Array, rounded: Rounding) -> Array:
    """Values [..., m, dim] weighted by probabilities [..., n, m]: [..., n, dim]."""
    return rounded(np.matmul(probabilities, value))
