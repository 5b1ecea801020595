# Ref: GDDR6-AiM notes, "Numbers"; system notes, "Matrix-vector product on PIM"
"""Matrix-vector products as the PUs compute them, fast, bit-identical to repeated ``mac_group``.

C++ computes every result in which nothing can be flushed, overflow or be special (kernels.cpp proves the
range); the numpy definition computes the others, pair by pair of token and row, so a stray NaN costs one row
and not the matrix.
"""

from __future__ import annotations

import ctypes

import numpy as np
import numpy.typing as npt

from pim_model.numerics import native
from pim_model.numerics.bf16 import F32, U16, bf16_to_f32, check_bits
from pim_model.numerics.lanes import LANES
from pim_model.numerics.prepared import PreparedMatrix, prepare
from pim_model.numerics.profiles import Profile, profile

__all__ = ["PreparedMatrix", "matvec", "prepare"]

# The range in which kernels.cpp is proved exact.
_LOWEST_PRODUCT, _HIGHEST_PRODUCT = -104, 80
_LOWEST_BIAS, _HIGHEST_BIAS = -119, 110

_KERNEL_NUMBER = {"aligned": 0, "fp32_tree": 1}
_CHUNK = 4096  # pairs computed together by the definition: its temporaries stay in cache


def matvec(
    profile_name: str,
    prepared: PreparedMatrix,
    x: U16,
    bias: U16 | None = None,
    *,
    threads: int | None = None,
) -> F32:
    """Multiply a matrix by one vector per token; returns the FP32 accumulators, f32[tokens, rows].

    ``x``: BF16 bits, u16[tokens, cols]. ``bias``: BF16 bits, u16[rows]; None means +0. Each accumulator
    starts at its bias and takes groups of 16 columns in ascending order. ``threads``: number of threads for
    large work; None leaves it to OpenMP (``OMP_NUM_THREADS``). The result does not depend on it.

    ValueError for an unknown profile or shapes that do not fit, TypeError for arrays that are not uint16.
    """
    chosen = profile(profile_name)
    x = _check_inputs(prepared, x)
    bias_bits = _check_bias(prepared, bias)
    if threads is not None and threads < 1:
        raise ValueError(f"Number of threads must be a positive integer or None, not {threads!r}")
    library = native.load()
    if library is None:
        out = np.empty((len(x), prepared.rows), np.float32)
        _by_definition(out, np.ones(out.shape, np.bool_), chosen, prepared, x, bias_bits)
        return out
    return _by_kernel(library, chosen, prepared, x, bias_bits, threads or 0)


def _check_inputs(prepared: PreparedMatrix, x: U16) -> U16:
    check_bits("Input x", x)
    if x.ndim != 2 or x.shape[1] != prepared.cols:
        raise ValueError(f"Input x must have shape (tokens, {prepared.cols}), not {x.shape!r}")
    return np.ascontiguousarray(x)


def _check_bias(prepared: PreparedMatrix, bias: U16 | None) -> U16:
    if bias is None:
        return np.zeros(prepared.rows, np.uint16)
    check_bits("Bias", bias)
    if bias.shape != (prepared.rows,):
        raise ValueError(f"Bias must have shape ({prepared.rows},), not {bias.shape!r}")
    return bias


def _by_kernel(
    library: ctypes.CDLL, chosen: Profile, prepared: PreparedMatrix, x: U16, bias: U16, threads: int
) -> F32:
    tokens = len(x)
    out = np.empty((tokens, prepared.rows), np.float32)
    low = np.empty(tokens, np.int32)
    high = np.empty(tokens, np.int32)
    start = bf16_to_f32(bias)
    library.ianus_matvec(
        _KERNEL_NUMBER[chosen.name],
        prepared.blocks.ctypes.data,
        prepared.rows,
        prepared.cols,
        x.ctypes.data,
        tokens,
        start.ctypes.data,
        out.ctypes.data,
        low.ctypes.data,
        high.ctypes.data,
        threads,
    )
    exponent = ((bias >> 7) & 0xFF).astype(np.int32) - 127
    safe_bias = (start == 0) | ((exponent >= _LOWEST_BIAS) & (exponent <= _HIGHEST_BIAS))
    again = (
        (low[:, np.newaxis] + prepared.exponent_low < _LOWEST_PRODUCT)
        | (high[:, np.newaxis] + prepared.exponent_high > _HIGHEST_PRODUCT)
        | ~safe_bias
    )
    minus_zero = (start == 0) & np.signbit(start)
    if minus_zero.any():  # the aligned kernel loses the sign of a zero that stays -0 throughout
        again |= minus_zero & (out == 0)
    if again.any():
        _by_definition(out, again, chosen, prepared, x, bias)
    return out


def _by_definition(
    out: F32, where: npt.NDArray[np.bool_], chosen: Profile, prepared: PreparedMatrix, x: U16, bias: U16
) -> None:
    """Compute the results that ``where`` selects, in place, by repeated ``mac_group``."""
    padded = np.zeros((len(x), prepared.padded_cols), np.uint16)
    padded[:, : prepared.cols] = x
    all_tokens, all_rows = np.nonzero(where)
    for first in range(0, len(all_rows), _CHUNK):
        tokens, rows = all_tokens[first : first + _CHUNK], all_rows[first : first + _CHUNK]
        acc = bf16_to_f32(bias[rows])
        for column in range(0, prepared.padded_cols, LANES):
            acc = chosen.mac_group(acc, prepared.group(rows, column), padded[tokens, column : column + LANES])
        out[tokens, rows] = acc
