# Ref: hdl/controller/refresh.py, pim_model/checker_refresh.py
"""When one controller refreshed each bank, and what the bank owed then."""

from __future__ import annotations

from pim_model.spec.config import RefreshPolicy
from pim_model.spec.micro import ALL_BANKS
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import POSTPONED
from sim.bench.controller_bench import ControllerBench


class Refreshes:
    """What each bank owes over time, from a controller's log."""

    def __init__(self, bench: ControllerBench) -> None:
        self.interval = bench.config.timing.refresh_interval
        self.banks = bench.config.geometry.banks
        self.per_bank = bench.config.refresh is RefreshPolicy.PER_BANK
        self.cycles: list[list[int]] = [[] for _ in range(self.banks)]
        for entry in bench.device.log:
            if entry.micro.op in (Op.REFPB, Op.REFAB):
                whole = entry.micro.op in ALL_BANKS
                for bank in range(self.banks) if whole else [entry.micro.bank]:
                    self.cycles[bank].append(entry.cycle)

    def ended(self, bank: int, cycle: int) -> int:
        """The bank's own intervals that have ended by ``cycle``: those of banks end one after the other."""
        if not self.per_bank:
            return cycle // self.interval
        return (cycle * self.banks // self.interval + self.banks - 1 - bank) // self.banks

    def due(self, bank: int, start: int) -> int:
        """When from ``start`` on it owes one, or eight of its intervals have ended since its last refresh."""
        done, before = len(self.cycles[bank]), self.ended(bank, self.cycles[bank][-1])
        return next(
            cycle
            for cycle in range(start, start + 2 * POSTPONED * self.interval)
            if self.ended(bank, cycle) > done or self.ended(bank, cycle) >= before + POSTPONED
        )

    def owed(self, bank: int) -> list[int]:
        """What it owed just before each of its refreshes."""
        return [self.ended(bank, cycle) - place for place, cycle in enumerate(self.cycles[bank])]
