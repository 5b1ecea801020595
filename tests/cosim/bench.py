"""One cocotb test as a pytest one: in which configuration, with which seed, how long."""

from __future__ import annotations

import os

from pim_model.spec.config import config
from sim.bench.designs import Design
from sim.bench.runner import run

ROUNDS = "IANUS_COSIM_ROUNDS"
"""Environment variable that multiplies the length of every random test."""


def bench(unit: str, module: str, test: str, *, timing: str, seed: int, name: str = "tiny") -> None:
    """Run the test; its failure names seed, log, waves and the command that repeats it."""
    rounds = int(os.environ.get(ROUNDS, "1"))
    result = run(Design(unit, config(name, timing)), module, test, seed=seed, rounds=rounds)
    print(f"{unit} {timing} {test}: {result.seconds:.1f} s, seed {seed}, {rounds} rounds")
