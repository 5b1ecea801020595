# Ref: JEDEC GDDR6 and DDR4, "Refresh": postponing and pulling in; pim_model/spec/timing.py, POSTPONED
"""The refresh deadline of each bank."""

from __future__ import annotations

from collections.abc import Iterable

from pim_model.spec.timing import POSTPONED, Timing

__all__ = ["RefreshWindow"]

_REPORTED = 1 << 62


class RefreshWindow:
    """Until when each bank must be refreshed. Cycle 0 begins the first interval; all banks count as fresh then.

    A bank owes one refresh for each tREFI that has ended, less those that it had, of which eight at most count ahead.
    It must never owe nine, nor be left alone for longer than nine tREFI, whatever was pulled in before.
    """

    def __init__(self, timing: Timing, banks: int) -> None:
        self._interval, self._limit = timing.refresh_interval, timing.refresh_limit
        self._paid = [0] * banks  # intervals that the refreshes of a bank have paid for
        self._deadlines = [self._limit] * banks
        self.deadline = self._limit
        """Last cycle in which the bank that must be refreshed next may be."""

    def refresh(self, cycle: int, banks: Iterable[int]) -> None:
        """Banks are refreshed. What a bank owes beyond nine is a lapse of the past, and forgotten."""
        ended = cycle // self._interval
        for bank in banks:
            paid = max(self._paid[bank], ended - POSTPONED - 1) + 1
            self._paid[bank] = min(paid, ended + POSTPONED)
            owes_nine = (self._paid[bank] + POSTPONED + 1) * self._interval
            self._deadlines[bank] = min(cycle + self._limit, owes_nine)
        self.deadline = min(self._deadlines)

    def forgive(self, cycle: int) -> None:
        """The lapses up to ``cycle`` are reported: the banks have no deadline until their next refresh."""
        self._deadlines = [_REPORTED if deadline < cycle else deadline for deadline in self._deadlines]
        self.deadline = min(self._deadlines)
