# Ref: hdl/controller/refresh.py
"""The refresh timer alone: what each unit owes after refreshes at any time, turned off and on in between."""

from __future__ import annotations

import random
from typing import Any, NamedTuple

import cocotb

from pim_model.spec.timing import POSTPONED
from sim.bench.balances import Balances
from sim.bench.harness import Harness


class _Phase(NamedTuple):
    """A time in which units are refreshed with one chance."""

    intervals: int
    chance: float
    """Of each unit, at each of some twenty visits an interval."""
    off: int
    """Cycles without refresh before it; with it everything begins anew."""
    visits: str
    """Seed of the moments."""


def _phase(rng: random.Random) -> _Phase:
    off = rng.randrange(2, 3000) if rng.random() < 0.15 else 0
    return _Phase(
        rng.randrange(1, 12), rng.choice((0.0, 0.0, 0.02, 0.07, 0.9)), off, f"{rng.getrandbits(32):x}"
    )


class _Bench(Harness):
    """Holds the pins against the balances in each cycle that Python wakes in."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self._interval, self._units = self.config.timing.refresh_interval, len(dut.done)
        self.reached: set[int] = set()
        self._on = 0

    async def turn_on(self, off: int) -> None:
        """After that many cycles without, two or more."""
        self.dut.enable.value = 0
        await self.idle(off)
        for name in ("due", "twice", "forced", "spare"):
            assert not int(getattr(self.dut, name).value), f"{name} without refresh, cycle {self.cycle}"
        self.dut.enable.value = 1
        self.model = Balances(self._interval, self._units)
        self._on = self.cycle + 1

    @property
    def now(self) -> int:
        """Cycles of refresh before the one that the latest edge ended."""
        return self.cycle - self._on

    async def to(self, cycle: int) -> None:
        """To the end of a cycle, counted from the last time that refresh was turned on."""
        await self.idle(cycle - self.now)
        done = int(self.dut.done.value)
        self.model.pass_to(self.now)
        for name, wanted in self.model.pins().items():
            found = int(getattr(self.dut, name).value)
            assert found == wanted, f"{name} in cycle {self.cycle}: {found:b}, expected {wanted:b}"
        self.model.pass_to(self.now + 1, done)
        self.reached.update(self.model.owed)

    async def refresh(self, units: int) -> None:
        """Those, in the next cycle."""
        self.dut.done.value = units
        await self.to(self.now + 1)
        self.dut.done.value = 0


@cocotb.test()
async def balances(dut: Any) -> None:
    """Refreshes near the ends of intervals and far from them; all balances from eight owed to eight pulled in."""
    bench = _Bench(dut)
    await bench.start()
    await bench.turn_on(2)
    interval, units = bench.config.timing.refresh_interval, len(dut.done)
    fixed = [
        _Phase(POSTPONED + 1, 0.0, 0, "up"),
        _Phase(3, 1.0, 0, "down"),
        _Phase(POSTPONED + 2, 0.0, 0, "age"),
    ]
    drawn = bench.items("phases", 12 * bench.rounds, _phase)
    for phase in (*fixed, *(phase for _, phase in drawn)):
        if phase.off:
            await bench.turn_on(phase.off)
        rng = bench.rng(phase.visits)
        end = bench.now + phase.intervals * interval
        while bench.now < end:
            some = bench.now + rng.randrange(1, interval // 8)
            near = bench.model.next_end() + rng.randrange(-2, 2)
            await bench.to(max(bench.now + 1, min(some, near)))
            units_done = sum((rng.random() < phase.chance) << unit for unit in range(units))
            if units_done:
                await bench.refresh(units_done)
    assert bench.reached == set(range(-POSTPONED, POSTPONED + 1)) or not bench.whole
