# Ref: IANUS (ASPLOS 2024), section 4.1
"""The command schedulers of all cores, as one event simulation.

A command is fetched in program order. With nothing open and a free place it goes to its unit's issue queue, else to
the pending queue; a full pending queue stalls fetching. From the pending queue commands go on oldest first. An issue
queue is in order.

A macro is handed to the PCU when the PIM command of every core is at the head of its queue and no older transfer
waits there. From then on no transfer to or from memory begins; those that have begun end first, then the macro
begins; its completion lets transfers begin again. Transfers on chip do not care for macros, but a core has one DMA
engine for all its transfers.

Events of one tick are handled together, completions before starts, cores in order, so a run depends on nothing but
its input.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from heapq import heappop, heappush

from pim_model.npu.command import Command, Program, Unit
from pim_model.npu.memory import Memory
from pim_model.npu.record import Cause, CoreRecord, Record
from pim_model.spec.npu import ISSUE_SLOTS, PENDING_SLOTS

__all__ = ["Deadlock", "Execute", "simulate"]

Execute = Callable[[Command, int], int | None]
"""``execute(command, tick)``: do what a command says when it begins; ticks that it took, or None for the model's."""

# Plain integers: looking up members of an enumeration would take a third of a run.
_DMA_IN, _DMA_OUT, _ONCHIP, _PIM, _SYNC = (
    int(unit) for unit in (Unit.DMA_IN, Unit.DMA_OUT, Unit.ONCHIP, Unit.PIM, Unit.SYNC)
)
_LOCAL = (int(Unit.MATRIX), int(Unit.VECTOR))
_OFF_CHIP = (_DMA_IN, _DMA_OUT)
_ENGINE = (_DMA_IN, _DMA_OUT, _ONCHIP)
_UNITS = len(Unit)


class Deadlock(Exception):
    """Commands are left and none can begin: a fault of a program or of the scheduler."""


def simulate(
    programs: Sequence[Program],
    memory: Memory,
    *,
    exclusive: bool = True,
    issue_slots: int = ISSUE_SLOTS,
    pending_slots: int = PENDING_SLOTS,
    start: int = 0,
    execute: Execute | None = None,
) -> Record:
    """Run one program a core from tick ``start`` on, all units idle.

    ``exclusive``: macros and transfers of memory exclude each other, as with one unified memory of single row buffers.
    ``execute``: hears each command as it begins, when all that it needs has ended; only with one program. It says how
    long transfers of memory, and macros after their hand-over, took on a device.
    ``ValueError`` for a queue without a place; :class:`Deadlock` if commands are left over.
    """
    for name, slots in (("issue_slots", issue_slots), ("pending_slots", pending_slots)):
        if slots < 1:
            raise ValueError(f"{name} must be at least 1, not {slots!r}")
    if execute is not None and len(programs) != 1:
        raise ValueError(f"programs must be one to be executed, not {len(programs)}")
    return _Kernel(programs, memory, exclusive, issue_slots, pending_slots, execute).run(start)


class _Core:
    """One command scheduler: what is fetched, queued and running."""

    def __init__(self, program: Program, number: int, slots: tuple[int, int]):
        self.program = program
        self.units = [int(command.unit) for command in program]
        self.record = CoreRecord(number, program)
        self.open = [len(command.needs) for command in program]
        self.users: list[list[int]] = [[] for _ in program]
        for index, command in enumerate(program):
            for needed in command.needs:
                self.users[needed].append(index)
        self.fetched = 0
        self.pending = 0
        self.queues: list[deque[int]] = [deque() for _ in range(_UNITS)]
        self.waiting: list[list[int]] = [[] for _ in range(_UNITS)]
        """Commands of the pending queue with nothing open, by unit, the oldest first."""
        self.held = 0
        """How many these are."""
        self.running = [-1] * _UNITS
        self.last = [-1] * _UNITS
        self.engine = -1
        """The transfer that has the DMA engine."""
        self.issue_slots, self.pending_slots = slots

    def fetch(self, now: int) -> bool:
        """Move commands to issue queues and fetch new ones, as far as places allow; whether any moved."""
        moved = self.held > 0 and self._release(now)
        if self.fetched == len(self.units):
            return moved
        return self._fetch(now) or moved

    def _release(self, now: int) -> bool:
        """From the pending queue to issue queues."""
        moved = False
        for unit, heap in enumerate(self.waiting):
            queue = self.queues[unit]
            while heap and len(queue) < self.issue_slots:
                index = heappop(heap)
                queue.append(index)
                self.record.queued[index] = now
                self.pending -= 1
                self.held -= 1
                moved = True
        return moved

    def _fetch(self, now: int) -> bool:
        """From the program on."""
        queues, waiting, slots, record = self.queues, self.waiting, self.issue_slots, self.record
        units, left, first = self.units, self.open, self.fetched
        for index in range(first, len(units)):
            unit = units[index]
            ready = not left[index]
            if ready and not waiting[unit] and len(queues[unit]) < slots:
                queues[unit].append(index)
                record.queued[index] = now
            elif self.pending < self.pending_slots:
                self.pending += 1
                if self.pending > record.most_pending:
                    record.most_pending = self.pending
                if ready:
                    heappush(waiting[unit], index)
                    self.held += 1
            else:
                return index > first
            if ready:
                record.ready[index] = now
            record.fetched[index] = now
            self.fetched = index + 1
        return True

    def complete(self, index: int, now: int) -> None:
        """Note an end, and resolve what needed it."""
        unit = self.units[index]
        self.running[unit] = -1
        if self.engine == index:
            self.engine = -1
        self.record.finish(index, now)
        left, fetched = self.open, self.fetched
        for user in self.users[index]:
            left[user] -= 1
            if not left[user] and user < fetched:
                self.record.ready[user] = now
                self.record.resolver[user] = index
                heappush(self.waiting[self.units[user]], user)
                self.held += 1

    def begin(self, unit: int, now: int) -> int:
        """Take the head of an issue queue into its unit."""
        index = self.queues[unit].popleft()
        self.running[unit] = index
        self.record.before[index] = self.last[unit]
        self.last[unit] = index
        self.record.start[index] = now
        return index


class _Kernel:
    def __init__(
        self,
        programs: Sequence[Program],
        memory: Memory,
        exclusive: bool,
        issue: int,
        pending: int,
        execute: Execute | None,
    ):
        self._cores = [_Core(program, number, (issue, pending)) for number, program in enumerate(programs)]
        self._memory = memory
        self._exclusive = exclusive
        self._execute = execute
        self._events: list[tuple[int, int, int, int]] = []
        """(tick, order, core or -1 for all, command or unit)"""
        self._order = 0
        self._accepted: tuple[int, ...] | None = None
        """The macro that the PCU has: each core's command."""
        self._macro_runs = False
        self._transfers = 0
        """Transfers of memory that have begun and not ended."""
        self._macros: list[tuple[int, int, int]] = []

    def run(self, start: int) -> Record:
        events, now = self._events, start
        self._issue(now)
        while events:
            now = events[0][0]
            while events and events[0][0] == now:
                _, _, number, what = heappop(events)
                self._end(number, what, now)
            self._issue(now)
        for core in self._cores:
            if min(core.record.end, default=0) < 0:
                stuck = next(index for index, end in enumerate(core.record.end) if end < 0)
                raise Deadlock(f"core {core.record.core}: command {stuck} of {len(core.program)} never ended")
        return Record(start, now, tuple(core.record for core in self._cores), tuple(self._macros))

    def _at(self, tick: int, core: int, what: int) -> None:
        self._order += 1
        heappush(self._events, (tick, self._order, core, what))

    def _end(self, core: int, what: int, now: int) -> None:
        if core >= 0:
            if self._cores[core].units[what] in _OFF_CHIP:
                self._transfers -= 1
            self._cores[core].complete(what, now)
            return
        if what == _PIM:
            self._accepted, self._macro_runs = None, False
        for each in self._cores:
            each.complete(each.running[what], now)

    def _issue(self, now: int) -> None:
        """Begin all that can begin at ``now``."""
        for core in self._cores:
            core.fetch(now)
        moved = True
        while moved:
            if self._accepted is None:
                self._accept(now)
            for number, core in enumerate(self._cores):
                self._begin_local(core, number, now)
                if core.engine < 0:
                    self._transfer(core, number, now)
            # An older transfer that has just begun no longer keeps a macro back.
            if self._accepted is None:
                self._accept(now)
            if self._accepted is not None and not self._macro_runs and not self._draining:
                self._start_macro(now)
            if self._cores[0].queues[_SYNC]:
                self._barrier(now)
            # What has begun has left a place behind; something new may have come to a unit at rest.
            moved = False
            for core in self._cores:
                if core.fetch(now):
                    moved = True

    def _begin_local(self, core: _Core, number: int, now: int) -> None:
        for unit in _LOCAL:
            if core.queues[unit] and core.running[unit] < 0:
                index = core.begin(unit, now)
                command = core.program[index]
                if self._execute is not None:
                    self._execute(command, now)
                self._at(now + command.ticks, number, index)

    @property
    def _draining(self) -> bool:
        return self._exclusive and self._transfers > 0

    # ------------------------------------------------------------------------------------------------ transfers

    def _transfer(self, core: _Core, number: int, now: int) -> None:
        """Begin the oldest transfer that may, if any."""
        blocked = self._exclusive and self._accepted is not None
        oldest, chosen = -1, _ONCHIP
        for unit in _ENGINE:
            queue = core.queues[unit]
            if not queue:
                continue
            if blocked and unit != _ONCHIP:
                assert self._accepted is not None
                core.record.blocked(queue[0], Cause.MACRO, self._accepted[number])
            elif oldest < 0 or queue[0] < oldest:
                oldest, chosen = queue[0], unit
        if oldest < 0:
            return
        core.begin(chosen, now)
        core.engine = oldest
        command = core.program[oldest]
        done = None if self._execute is None else self._execute(command, now)
        ticks = command.ticks
        if chosen != _ONCHIP:
            self._transfers += 1
            ticks = self._memory.transfer(ticks, now) if done is None else done
        self._at(now + ticks, number, oldest)

    # --------------------------------------------------------------------------------------- macros and barriers

    def _accept(self, now: int) -> None:
        """Hand the next macro to the PCU if every core has come to it and no older transfer waits."""
        for core in self._cores:
            if not core.queues[_PIM] or core.running[_PIM] >= 0:
                return
        heads = tuple(core.queues[_PIM][0] for core in self._cores)
        if self._exclusive:
            for core, head in zip(self._cores, heads, strict=True):
                for unit in _OFF_CHIP:
                    queue = core.queues[unit]
                    if queue and queue[0] < head:
                        core.record.blocked(head, Cause.OLDER_TRANSFER, queue[0])
                        return
        self._accepted = heads
        for core, head in zip(self._cores, heads, strict=True):
            core.record.accepted[head] = now

    def _start_macro(self, now: int) -> None:
        assert self._accepted is not None
        for core in self._cores:
            core.begin(_PIM, now)
        command = self._cores[0].program[self._accepted[0]]
        assert command.macro is not None
        first = now + command.ticks
        done = None if self._execute is None else self._execute(command, first)
        end = first + (self._memory.macro(command.macro, first) if done is None else done)
        self._macro_runs = True
        accepted = self._cores[0].record.accepted[self._accepted[0]]
        self._macros.append((accepted, first, end))
        self._at(end, -1, _PIM)

    def _barrier(self, now: int) -> None:
        """Begin a barrier at which every core has arrived."""
        for core in self._cores:
            if not core.queues[_SYNC] or core.running[_SYNC] >= 0:
                return
        ticks = [core.program[core.begin(_SYNC, now)].ticks for core in self._cores]
        self._at(now + max(ticks), -1, _SYNC)
