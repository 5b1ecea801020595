"""Throughput of the kernels, measured."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import numpy as np

from pim_model.numerics.bf16 import f32_to_bf16
from pim_model.numerics.kernels import matvec, prepare

__all__ = ["bench", "bench_numpy"]


def bench(
    profile: str, rows: int, cols: int, tokens: int, *, repeats: int = 7, threads: int | None = None
) -> float:
    """Measure ``matvec`` on random normal operands; returns MAC/s, the median of ``repeats`` samples.

    Preparing the weights is not counted, as it is done once per model; preparing the inputs is.
    """
    rng = np.random.default_rng(0)
    prepared = prepare(f32_to_bf16(rng.standard_normal((rows, cols), np.float32) * np.float32(0.02)))
    x = f32_to_bf16(rng.standard_normal((tokens, cols), np.float32))
    bias = f32_to_bf16(rng.standard_normal(rows, np.float32))
    return (
        rows
        * cols
        * tokens
        / _median_time(lambda: matvec(profile, prepared, x, bias, threads=threads), repeats)
    )


def bench_numpy(rows: int, cols: int, tokens: int, *, repeats: int = 7) -> float:
    """Measure numpy's FP32 matrix product of the same shape, for comparison; returns MAC/s, the median."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((rows, cols), np.float32)
    x = rng.standard_normal((tokens, cols), np.float32)
    return rows * cols * tokens / _median_time(lambda: x @ weights.T, repeats)


def _median_time(run: Callable[[], object], repeats: int) -> float:
    """Seconds of one call: the median over ``repeats`` samples, each of enough calls to last 20 ms."""
    run()  # compiles, and warms the caches
    begin = time.perf_counter()
    run()
    calls = max(1, round(0.02 / max(time.perf_counter() - begin, 1e-9)))
    samples = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(calls):
            run()
        samples.append((time.perf_counter() - begin) / calls)
    return statistics.median(samples)
