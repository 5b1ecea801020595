"""Rates and times of `ianus bench`, each a function that returns names and numbers."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from host_runtime.bench.product import Operands
from host_runtime.bench.random_model import RandomCheckpoint
from host_runtime.driver import Driver
from host_runtime.llm.config import GPT2_BASE
from host_runtime.llm.gpt2 import GPT2
from host_runtime.ops import Pim, pim_linear
from host_runtime.transport import Progress, open_transport
from pim_model.numerics.bench import bench, bench_numpy
from pim_model.spec.config import config

__all__ = ["kernel_rates", "simulation_rate", "token_time"]

SHAPE = (3072, 768, 64)  # rows, columns, tokens: GPT-2 base's largest block product, several tokens at once
PRODUCT = (4096, 4096)
FIRST_TOKENS = (464, 2068)  # any tokens of the vocabulary


def kernel_rates() -> dict[str, Any]:
    """Multiply-accumulates a second: both golden profiles, and numpy's FP32 product of the same shape."""
    rows, columns, tokens = SHAPE
    return {
        "shape": f"{rows} x {columns}, {tokens} tokens",
        "aligned_mac_per_second": bench("aligned", rows, columns, tokens),
        "fp32_tree_mac_per_second": bench("fp32_tree", rows, columns, tokens),
        "numpy_fp32_mac_per_second": bench_numpy(rows, columns, tokens),
    }


def simulation_rate(seconds: float, progress: Progress | None = None) -> dict[str, Any]:
    """Controller cycles a wall second of the eight-channel RTL, checker on, multiplying all the time."""
    shape = config("ianus")
    operands = Operands.random(*PRODUCT, 1, 1)
    with open_transport("verilator", shape, "aligned", progress) as transport:
        driver = Driver(transport, shape)
        pim = Pim(driver, shape)
        matrix = pim.upload(operands.weights)
        began, start = time.perf_counter(), driver.cycles()
        while time.perf_counter() - began < seconds:
            pim.matvec(matrix, operands.x)
        spent, cycles = time.perf_counter() - began, driver.cycles() - start
        return {
            "cycles": cycles,
            "seconds": spent,
            "cycles_per_second": cycles / spent,
            "violations": driver.violations(),
        }


def token_time(progress: Progress | None = None) -> dict[str, Any]:
    """Wall seconds of one token of GPT-2 base through the RTL, weights in place and one token in its cache."""
    shape = config("ianus")
    with open_transport("verilator", shape, "aligned", progress) as transport:
        driver = Driver(transport, shape)
        pim = Pim(driver, shape)
        model = GPT2(RandomCheckpoint(GPT2_BASE, seed=1), pim_linear(pim))
        cache = model.cache(len(FIRST_TOKENS))
        model.forward(FIRST_TOKENS[:1], cache, last_only=True)
        began, start, macros = time.perf_counter(), driver.cycles(), pim.macros
        logits = model.forward(FIRST_TOKENS[1:], cache, last_only=True)
        seconds, cycles = time.perf_counter() - began, driver.cycles() - start
        return {
            "seconds": seconds,
            "cycles": cycles,
            "cycles_per_second": cycles / seconds,
            "simulated_ms": cycles * shape.timing.cycle_ns * 1e-6,
            "macros": pim.macros - macros,
            "finite": bool(np.isfinite(logits).all()),
            "violations": driver.violations(),
        }
