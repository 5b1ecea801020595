# Ref: IANUS (ASPLOS 2024), section 4.1; GDDR6-AiM notes, "Timing" (tREFI, tRFC)
"""What refresh adds to transfers and macros: deadlines every tREFI, taken between rows, or when memory is at rest."""

from __future__ import annotations

from pim_model.npu.command import Macro
from pim_model.npu.pim_time import PimTime
from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp
from pim_model.spec.npu import TICKS_PER_NS
from pim_model.spec.timing_rules import Scope

__all__ = ["Memory"]


class Memory:
    """Times of what uses the memory, in ticks; knows which refreshes are paid.

    Parameters
    ----------
    config : Config
        The PIM memory.
    time : PimTime
        Where the cycles of a macro come from.
    refresh : bool
        Whether rows are refreshed at all. Table 1 of the paper has neither tREFI nor tRFC.
    """

    def __init__(self, config: Config, time: PimTime, refresh: bool):
        timing = config.timing
        self._time = time
        self._refresh = refresh
        self._cycle = round(timing.cycle_ns * TICKS_PER_NS)
        self._interval = timing.refresh_interval * self._cycle
        self._length = timing.between(MicroOp.REFAB, MicroOp.ACTAB, Scope.CHANNEL) * self._cycle
        self._paid = 0
        self._free = 0

    def macro(self, macro: Macro, start: int) -> int:
        """Ticks from ``start`` to the end of a macro."""
        if not self._refresh:
            cycles = self._time.cost(macro.rows, macro.columns, macro.activation, None)[0]
            return macro.tokens * cycles * self._cycle
        now = self._settle(start)
        for _ in range(macro.tokens):
            # The deadline in whole cycles from the macro's first; the channel's clock starts anew with it.
            due = -(-((self._paid + 1) * self._interval - now) // self._cycle)
            cycles, taken = self._time.cost(macro.rows, macro.columns, macro.activation, due)
            self._paid += taken
            now += cycles * self._cycle
        self._free = now
        return now - start

    def transfer(self, ticks: int, start: int) -> int:
        """Ticks from ``start`` to the end of a transfer that takes ``ticks`` without refresh."""
        if not self._refresh:
            return ticks
        begin = self._settle(start)
        end = begin + ticks
        due = (begin // self._interval + 1) * self._interval
        while due < end:
            end += self._length
            due += self._interval
        self._paid = max(self._paid, end // self._interval)
        self._free = max(self._free, end)
        return end - start

    def _settle(self, start: int) -> int:
        """Pay what fell due while the memory was at rest; the first tick from which it can be used."""
        due = (self._paid + 1) * self._interval
        while due <= start:
            self._free = max(self._free, due) + self._length
            self._paid += 1
            due += self._interval
        return max(start, self._free)
