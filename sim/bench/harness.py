"""The part every bench shares: configuration, clock and reset, time in cycles, random numbers by component."""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, TypeVar

import cocotb
import numpy as np
from cocotb.clock import Clock
from cocotb.triggers import RisingEdge, Timer, with_timeout
from cocotb.utils import get_sim_time

from pim_model.spec.config import Config, config
from sim.bench import covered
from sim.bench.stimulus import KEEP, TOLD, parse

__all__ = ["PERIOD_PS", "Harness", "pauses"]

PERIOD_PS = 1000
"""One controller cycle of the simulated clock. Its length means nothing; timing counts cycles."""

_RESET_CYCLES = 3
T = TypeVar("T")


class Harness:
    """Clock, reset and time of one design under test.

    Time is sampled at rising edges: what a coroutine reads after ``edge()`` are the values of the cycle that this edge
    ends, and what it writes stands from the next cycle on.
    """

    def __init__(self, dut: Any) -> None:
        self.dut = dut
        self.config: Config = config(os.environ["IANUS_BENCH_CONFIG"], os.environ["IANUS_BENCH_TIMING"])
        self.rounds = int(os.environ["IANUS_BENCH_ROUNDS"])
        self._start = 0
        self._edge = RisingEdge(dut.clk)
        self._kept = parse(os.environ.get(KEEP, ""))
        self._told: TextIO | None = None

    def rng(self, name: str) -> random.Random:
        """A generator of one component's own, which no other component's draws can disturb."""
        return random.Random(f"{cocotb.RANDOM_SEED} {name}")

    def numpy_rng(self, name: str) -> np.random.Generator:
        """As :meth:`rng`, for arrays."""
        return np.random.default_rng(self.rng(name).getrandbits(64))

    @property
    def whole(self) -> bool:
        """Whether no item is left out: only then there must have been enough of everything."""
        return not self._kept

    def items(self, name: str, count: int, make: Callable[[random.Random], T]) -> Iterator[tuple[int, T]]:
        """Number and item of a random stream, each from a generator of its own; a repeat may leave some out."""
        for number in range(count):
            if self.keeps(name, number):
                item = make(self.rng(f"{name} {number}"))
                self.tell(name, number, item)
                yield number, item

    def keeps(self, name: str, number: int) -> bool:
        """Whether this run has that item of a stream, a name without a space."""
        return not self._kept or number in self._kept.get(name, ())

    def tell(self, name: str, number: int, item: object) -> None:
        """Write into ``stimulus.txt`` that the run has it."""
        if self._told is None:
            self._told = Path(TOLD).open("w", encoding="utf-8", buffering=1)  # noqa: SIM115 - as long as the run
        self._told.write(f"{name} {number}: {item}\n")

    async def start(self) -> None:
        """Start the clock and reset the design; returns at the edge before cycle 0."""
        cocotb.log.info("%s, %s, seed %s", self.config.name, self.config.timing_name, cocotb.RANDOM_SEED)
        for name in os.environ["IANUS_BENCH_INPUTS"].split():
            getattr(self.dut, name).value = 0
        self.dut.rst.value = 1
        Clock(self.dut.clk, PERIOD_PS, unit="ps").start(start_high=False)
        for _ in range(_RESET_CYCLES):
            await self._edge
        self.dut.rst.value = 0
        self._start = int(get_sim_time("ps")) + PERIOD_PS
        covered.listen(self)

    @property
    def cycle(self) -> int:
        """The cycle that the latest rising edge ended."""
        return (int(get_sim_time("ps")) - self._start) // PERIOD_PS

    async def edge(self) -> None:
        """Wait for the end of the cycle."""
        await self._edge

    async def idle(self, cycles: int) -> None:
        """Let cycles pass without waking Python at each of them."""
        if cycles > 1:
            await Timer(
                (cycles - 1) * PERIOD_PS + PERIOD_PS // 2, unit="ps"
            )  # between edges: no race with one
        if cycles:
            await self._edge

    async def within(self, cycles: int, awaitable: Any) -> Any:
        """The result of ``awaitable``; an error if it is not there in time."""
        return await with_timeout(awaitable, cycles * PERIOD_PS, "ps")


def pauses(rng: random.Random) -> Iterator[bool]:
    """Back-pressure: whether to pause in each cycle. Long stretches without, with some and with much of it."""
    while True:
        chance = rng.choice((0.0, 0.0, 0.1, 0.5, 0.9))
        for _ in range(rng.randrange(1, 100)):
            yield rng.random() < chance
