# Ref: JEDEC GDDR6 and DDR4, postponing and pulling in refreshes
"""What each unit of a refresh timer owes, in numbers."""

from __future__ import annotations

from pim_model.spec.timing import POSTPONED

__all__ = ["Balances"]


class Balances:
    """Refreshes owed (below zero: pulled in) by each unit. Time begins when refresh is turned on."""

    def __init__(self, interval: int, units: int) -> None:
        self._interval = interval
        self.owed, self.since = [0] * units, [0] * units
        """``since``: ends of its own interval since its last refresh."""
        self._ends = 0

    def pass_to(self, cycle: int, done: int = 0) -> None:
        """Time passes up to ``cycle``; ``done``: units that were refreshed in the cycle before it."""
        units = len(self.owed)
        for unit in range(units):
            if done >> unit & 1:
                self.owed[unit], self.since[unit] = max(-POSTPONED, self.owed[unit] - 1), 0
        ends = cycle * units // self._interval
        for end in range(self._ends, ends):
            unit = end % units
            self.owed[unit], self.since[unit] = min(POSTPONED, self.owed[unit] + 1), self.since[unit] + 1
        self._ends = ends

    def next_end(self) -> int:
        """The first cycle that an end of an interval shows in, of those to come."""
        return -(-(self._ends + 1) * self._interval // len(self.owed))

    def pins(self) -> dict[str, int]:
        """``due``, ``twice``, ``forced`` and ``spare`` as vectors over the units."""
        found = dict.fromkeys(("due", "twice", "forced", "spare"), 0)
        for unit, (owed, since) in enumerate(zip(self.owed, self.since, strict=True)):
            old = since >= POSTPONED
            found["due"] |= (owed > 0 or old) << unit
            found["twice"] |= (owed > 1) << unit
            found["forced"] |= (owed == POSTPONED or old) << unit
            found["spare"] |= (owed > -POSTPONED) << unit
        return found
