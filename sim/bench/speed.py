"""Simulation speed under cocotb, for comparison with the native simulation."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from pim_model.buildcache import build_root
from pim_model.spec.config import Config, config
from sim.bench.designs import Design
from sim.bench.runner import run

__all__ = ["cocotb_cycles_per_second"]

CYCLES = 5_000


def cocotb_cycles_per_second(shape: Config | str, cycles: int = CYCLES) -> float:
    """Controller cycles a wall second of the whole prototype under cocotb, multiplying all the time.

    The same RTL as the native simulation, its checkers on, public at its ports alone. A task in Python wakes every
    cycle and answers all channels' buses with golden channels. Builds the simulator first if it is not there
    (minutes for the largest configuration); that time does not count.
    """
    if isinstance(shape, str):
        shape = config(shape)
    build_root().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="speed-", dir=build_root()) as directory:
        report = Path(directory) / "speed.json"
        settings = {"IANUS_BENCH_REPORT": str(report), "IANUS_BENCH_CYCLES": str(cycles)}
        run(Design("top", shape), "speed", "matvec", seed=1, trace_failure=False, settings=settings)
        measured = json.loads(report.read_text(encoding="utf-8"))
    return float(measured["cycles"] / measured["seconds"])
