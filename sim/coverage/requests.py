"""Normal traffic of one controller as bins: what waits when a request is accepted, byte enables, forwarding, waits."""

from __future__ import annotations

from collections import Counter, deque
from typing import NamedTuple

from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp
from sim.coverage.commands import policy
from sim.coverage.files import hit

__all__ = ["RequestMonitor"]

_FULL = (1 << 32) - 1
_TICK = 256


class _Place(NamedTuple):
    bank: int
    row: int
    column: int


class RequestMonitor:
    """Hears the requests that a controller accepts, and the commands on its bus."""

    def __init__(self, config: Config) -> None:
        self._policy = policy(config)
        self._most = config.normal_queue
        self._open: dict[int, int] = {}
        self._reads: deque[tuple[int, _Place]] = deque()
        self._writes: dict[_Place, deque[int]] = {}
        self._masks: dict[_Place, int] = {}
        self._waiting: Counter[str] = Counter()

    def requested(self, cycle: int, *, write: bool, bank: int, row: int, column: int, mask: int) -> None:
        """A request was accepted."""
        kind, place = "write" if write else "read", _Place(bank, row, column)
        level = sum(self._waiting.values())
        filled = "empty" if not level else "full" if level >= self._most else "some"
        hit("queue-levels", self._policy, kind, filled)
        queued = self._writes.get(place)
        if write:
            bits = mask.bit_count()
            hit("byte-enables", {0: "none", 1: "one", 32: "all"}.get(bits, "some"))
            hit("behind", "write", "write-of-it" if queued else "nothing")
            self._writes.setdefault(place, deque()).append(cycle)
            self._masks[place] = self._masks.get(place, 0) | mask
            self._waiting["WR"] += 1
            return
        covered = self._masks.get(place, 0) == _FULL
        hit("behind", "read", "nothing" if not queued else "write-of-all" if covered else "write-of-some")
        self._reads.append((cycle, place))
        self._waiting["RD"] += 1

    def command(self, cycle: int, op: MicroOp, bank: int, row: int, column: int) -> None:
        """A command stood on the bus."""
        if op is MicroOp.ACT:
            self._open[bank] = row
        elif op in (MicroOp.RD, MicroOp.WR) and bank in self._open:
            place = _Place(bank, self._open[bank], column)
            accepted = self._served(op, place)
            if accepted is not None:
                waited = (cycle - accepted) // _TICK
                hit("waits", op.name, ("within-a-tick", "within-two", "longer")[min(waited, 2)])

    def answered(self) -> None:
        """Read data were returned, in the order of the requests: what a queued write answered was never on the bus."""
        if self._reads:
            self._reads.popleft()
            self._waiting["RD"] = len(self._reads)

    def _served(self, op: MicroOp, place: _Place) -> int | None:
        """When the oldest request of a place was accepted."""
        if op is MicroOp.RD:
            return next((cycle for cycle, wanted in self._reads if wanted == place), None)
        waiting = self._writes.get(place)
        if not waiting:
            return None
        self._waiting["WR"] -= 1
        accepted = waiting.popleft()
        if not waiting:
            del self._writes[place], self._masks[place]
        return accepted
