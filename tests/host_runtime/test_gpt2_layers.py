"""The vector operations of GPT-2, each against float64, and where they round."""

from __future__ import annotations

import math

import ml_dtypes
import numpy as np
import pytest
from numpy.typing import NDArray

from host_runtime.llm.layers import Array, add, attend, gelu_new, layer_norm, rounding_of
from host_runtime.llm.rounding import BLOCK, is_bf16, round_bf16

F64 = NDArray[np.float64]


def bf16(x: NDArray[np.floating]) -> Array:
    return x.astype(np.float32).astype(ml_dtypes.bfloat16).astype(np.float32)


def assert_rounded(actual: Array, exact: F64, slack: float | NDArray[np.floating]) -> None:
    """`actual` is `exact`, known but for `slack`, rounded once to BF16 (rounding is monotonic)."""
    assert (bf16(exact - slack) <= actual).all()
    assert (actual <= bf16(exact + slack)).all()


def test_rounding_is_that_of_ml_dtypes_for_every_upper_half_and_every_tie() -> None:
    upper = np.arange(1 << 16, dtype=np.uint32) << np.uint32(16)
    lower = np.array([0, 1, 0x7FFF, 0x8000, 0x8001, 0xFFFF], dtype=np.uint32)
    values = (upper[:, None] | lower).view(np.float32)
    # Halves and signalling NaNs raise "invalid" in some conversions; what counts is the bits.
    with np.errstate(all="ignore"):
        expected = values.astype(ml_dtypes.bfloat16).astype(np.float32)
        actual = round_bf16(values.copy())
    np.testing.assert_array_equal(actual.view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, 2 * BLOCK + 3])
def test_rounding_of_any_length(size: int, rng: np.random.Generator) -> None:
    values = rng.standard_normal(size, dtype=np.float32)
    expected = bf16(values)
    assert round_bf16(values) is values
    np.testing.assert_array_equal(values, expected)
    assert is_bf16(values)


def test_rounding_refuses_what_it_cannot_do_in_place() -> None:
    with pytest.raises(TypeError, match="x must be a C-contiguous float32 array, not float64"):
        round_bf16(np.zeros(3))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="x must be a C-contiguous float32 array, not float32 with strides"):
        round_bf16(np.zeros((3, 4), np.float32).T)
    with pytest.raises(ValueError, match="precision must be 'fp32' or 'bf16', not 'int8'"):
        rounding_of("int8")  # type: ignore[arg-type]


def test_addition_rounds_once(rng: np.random.Generator) -> None:
    x, y = (bf16(rng.standard_normal(1000)) for _ in range(2))
    np.testing.assert_array_equal(add(x, y, round_bf16), bf16(x.astype(np.float64) + y))


@pytest.mark.parametrize("width", [2, 36, 768])
def test_layer_norm(width: int, rng: np.random.Generator) -> None:
    x = bf16(rng.standard_normal((50, width)) * 3 + 1)
    weight, bias = bf16(rng.standard_normal(width)), bf16(rng.standard_normal(width))
    wide = x.astype(np.float64)
    spread = np.sqrt(wide.var(axis=1, keepdims=True) + 1e-5)
    exact = (wide - wide.mean(axis=1, keepdims=True)) / spread * weight + bias
    # FP32 inside: a few dozen roundings of 2**-24 on values below 32.
    slack = 32 * 32 * 2.0**-24
    np.testing.assert_allclose(
        layer_norm(x, weight, bias, 1e-5, rounding_of("fp32")), exact, rtol=0, atol=slack
    )
    assert_rounded(layer_norm(x, weight, bias, 1e-5, round_bf16), exact, slack)


def test_gelu_of_every_bf16_value_up_to_32() -> None:
    bits = np.arange(0x4200, dtype=np.uint32) << np.uint32(16)
    x = np.concatenate([bits.view(np.float32), -bits.view(np.float32)])
    exact = np.array(
        [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.tolist()]
    )
    # 1 + tanh cancels for negative x: FP32 leaves an error of 2**-24 of x there, not of the result.
    slack = 8 * 2.0**-24 * np.abs(x)
    assert (np.abs(gelu_new(x, rounding_of("fp32")) - exact) <= slack).all()
    assert_rounded(gelu_new(x, round_bf16), exact, slack)


@pytest.mark.parametrize(("n", "m", "dim"), [(1, 1, 64), (7, 7, 12), (1, 9, 64), (3, 9, 12), (64, 64, 64)])
def test_attention_rounds_scores_probabilities_and_result(
    n: int, m: int, dim: int, rng: np.random.Generator
) -> None:
    query, key, value = (bf16(rng.standard_normal((2, 3, rows, dim))) for rows in (n, m, m))
    inputs: list[F64] = []
    outputs: list[Array] = []

    def observed(x: Array) -> Array:
        inputs.append(x.astype(np.float64))
        outputs.append(round_bf16(x).copy())
        return x

    result = attend(query, key, value, observed)
    scores, probabilities, mixed = inputs
    wide = query.astype(np.float64)
    # Sums of `dim` or `m` products in FP32, each below 20 in magnitude.
    slack = 20 * 64 * 2.0**-24
    np.testing.assert_allclose(scores, wide @ key.swapaxes(-1, -2), rtol=0, atol=slack)
    visible = np.arange(m) <= np.arange(m - n, m)[:, None]
    weights = np.where(visible, np.exp(outputs[0] / math.sqrt(dim)), 0)
    np.testing.assert_allclose(
        probabilities, weights / weights.sum(axis=-1, keepdims=True), rtol=1e-5, atol=0
    )
    np.testing.assert_allclose(mixed, outputs[1].astype(np.float64) @ value, rtol=0, atol=slack)
    np.testing.assert_array_equal(result, outputs[2])
    assert len(inputs) == 3
