"""What a run leaves behind: when each command was fetched, ready, queued, begun and ended, and why it waited."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from pim_model.npu.command import SHARED, Program, Unit

__all__ = ["Cause", "CoreRecord", "Record", "Wait"]


class Cause(Enum):
    """Why a command did not begin earlier."""

    DEPENDENCY = "needs the result of"
    QUEUE_FULL = "issue queue full"
    UNIT_BUSY = "unit busy with"
    ENGINE_BUSY = "DMA engine busy"
    MACRO = "memory belongs to the macro"
    OLDER_TRANSFER = "an older transfer goes first"
    DRAINING = "transfers that have begun end first"
    OTHER_CORES = "other cores have not arrived"


class Wait(NamedTuple):
    """One reason, from tick ``start`` to ``end``."""

    cause: Cause
    command: int
    """Place of the command it waited for; -1 for none in particular."""
    start: int
    end: int


class CoreRecord:
    """Ticks of one core's commands, by place in its program; -1 for what has not happened."""

    def __init__(self, core: int, program: Program):
        self.core = core
        self.program = program
        count = len(program)
        self.fetched = [-1] * count
        self.ready = [-1] * count
        self.queued = [-1] * count
        self.accepted = [-1] * count
        """Of macros: when the PCU took them."""
        self.start = [-1] * count
        self.end = [-1] * count
        self.resolver = [-1] * count
        """The command whose end made this one ready; -1 if it was when fetched."""
        self.before = [-1] * count
        """The command that had the unit before."""
        self.most_pending = 0
        self.finishes = [0] * count
        self._blocked: dict[int, tuple[Cause, int]] = {}

    def finish(self, index: int, now: int) -> None:
        """Note an end."""
        self.end[index] = now
        self.finishes[index] += 1

    def blocked(self, index: int, cause: Cause, by: int) -> None:
        """Note what keeps the head of an issue queue; the last such note before its start counts."""
        self._blocked[index] = (cause, by)

    def waits(self, index: int) -> list[Wait]:
        """Why a command began when it did, from fetch to start."""
        found = []
        fetched, ready = self.fetched[index], self.ready[index]
        queued, start = self.queued[index], self.start[index]
        if ready > fetched:
            found.append(Wait(Cause.DEPENDENCY, self.resolver[index], fetched, ready))
        if queued > ready:
            found.append(Wait(Cause.QUEUE_FULL, -1, ready, queued))
        if start > queued:
            found.extend(self._in_queue(index, queued, start))
        return found

    def _in_queue(self, index: int, queued: int, start: int) -> list[Wait]:
        """Waits of a command between entering its queue and leaving it."""
        unit = self.program[index].unit
        before = self.before[index]
        found = []
        if before >= 0 and self.end[before] > queued:
            free = min(start, self.end[before])
            found.append(Wait(Cause.UNIT_BUSY, before, queued, free))
            queued = free
        if start == queued:
            return found
        if unit in SHARED:
            taken = self.accepted[index] if unit is Unit.PIM else start
            if taken > queued:
                cause, by = self._blocked.get(index, (Cause.OTHER_CORES, -1))
                found.append(Wait(cause, by, queued, taken))
            if start > taken:
                found.append(Wait(Cause.DRAINING, -1, taken, start))
        else:
            cause, by = self._blocked.get(index, (Cause.ENGINE_BUSY, -1))
            found.append(Wait(cause, by, queued, start))
        return found


@dataclass(frozen=True)
class Record:
    """A whole run."""

    start: int
    end: int
    cores: tuple[CoreRecord, ...]
    macros: tuple[tuple[int, int, int], ...]
    """(accepted by the PCU, first cycle on the channels, end) of each macro."""

    @property
    def ticks(self) -> int:
        """Length of the run."""
        return self.end - self.start
