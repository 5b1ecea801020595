"""What a product must be: bits from the golden arithmetic alone, and how far they are from FP32."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from host_runtime.bits import F32, U16, from_bits
from pim_model.numerics import activation as activations
from pim_model.numerics import kernels
from pim_model.numerics.bf16 import f32_to_bf16

__all__ = ["fp32_linear", "golden_linear", "ulp_distance"]


def golden_linear(
    numerics: str, weights: U16, x: U16, bias: U16 | None = None, activation: str | None = None
) -> U16:
    """``activation(bias + W @ x[t])`` in a PIM profile, all BF16 bits: no device, layout or macro involved."""
    accumulators = kernels.matvec(numerics, kernels.prepare(weights), x, bias)
    if activation is not None:
        accumulators = activations.apply(activations.table(activation), accumulators)
    return f32_to_bf16(accumulators)


def fp32_linear(weights: U16, x: U16, bias: U16 | None = None, activation: str | None = None) -> U16:
    """The same by numpy in FP32, the activation exact, rounded once to BF16 bits."""
    out: F32 = from_bits(x) @ from_bits(weights).T
    if bias is not None:
        out = out + from_bits(bias)
    if activation is not None:
        out = activations.exact(activation, out.astype(np.float64)).astype(np.float32)
    return f32_to_bf16(out)


def ulp_distance(a: U16, b: U16) -> npt.NDArray[np.int64]:
    """BF16 values from one to the other, counted along the number line; both zeros are one value."""

    def position(bits: U16) -> npt.NDArray[np.int64]:
        magnitude = (bits & 0x7FFF).astype(np.int64)
        return np.where(bits & 0x8000, -magnitude, magnitude)

    distance: npt.NDArray[np.int64] = np.abs(position(a) - position(b))
    return distance
