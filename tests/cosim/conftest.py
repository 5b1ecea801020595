"""One cocotb test as a pytest one: in which configuration, with which seed, how long."""

from __future__ import annotations

import os
from typing import Protocol

import pytest

from pim_model.spec.config import config
from sim.bench.designs import Design
from sim.bench.runner import run

ROUNDS = "IANUS_COSIM_ROUNDS"
"""Environment variable that multiplies the length of every random test."""


class Bench(Protocol):
    def __call__(
        self, unit: str, module: str, test: str, *, timing: str = "ianus_ck", name: str = "tiny"
    ) -> None: ...


@pytest.fixture
def bench(seed: int) -> Bench:
    """Run a cocotb test; its failure names seed, log, waves and the command that repeats it."""
    rounds = int(os.environ.get(ROUNDS, "1"))

    def run_one(unit: str, module: str, test: str, *, timing: str = "ianus_ck", name: str = "tiny") -> None:
        design = Design(unit, config(name, timing))
        result = run(design, module, test, seed=seed, rounds=rounds)
        print(f"{design} {test}: {result.seconds:.1f} s, seed {seed}, {rounds} rounds")

    return run_one
