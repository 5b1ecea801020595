# Ref: GDDR6-AiM notes, "Timing" and "Access to global buffer, bias and results"
"""The steps of the golden schedule, placed once for each distinct past. See ``schedule.py``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache, lru_cache

from pim_model.spec.geometry import Geometry
from pim_model.spec.micro import REGISTER_OPS, MicroOp
from pim_model.spec.timing import Timing, timing
from pim_model.spec.timing_rules import Scope

__all__ = ["Outcome", "Past", "Refresh", "Registers", "RowRun", "Step", "StepTable", "step_table"]

Past = int
"""Number of a distinct past in its table."""


@dataclass(frozen=True)
class Registers:
    """Register commands of slot 1, in order; with ``visit``, between TMOD_IN and TMOD_OUT."""

    visit: bool
    results: tuple[tuple[MicroOp, int], ...]
    """(RDMAC or RDAF, mode)"""
    biases: int
    """Accumulator sets to load, from the first on."""
    load: int
    """Columns of the global buffer to write."""


@dataclass(frozen=True)
class RowRun:
    """MACABs of one accumulator set on an open row, or its activation through an open table row."""

    columns: int
    """0 for an activation."""
    mode: int
    opens: bool
    closes: MicroOp | None
    """What closes the row; None if it stays open."""
    yields: MicroOp | None = None
    """What closes it after all if a refresh is due in the cycle of the last MACAB; None if it stays open then too."""


@dataclass(frozen=True)
class Refresh:
    """One all-bank refresh. What it waits for, the command that it precedes waits for too, so it is never early."""


Step = Registers | RowRun | Refresh


@dataclass(frozen=True)
class Outcome:
    """A step after a past: cycles count from the past's last row command."""

    gate: int | None
    """Cycle of the row command before which a due refresh goes; None for a step without one."""
    yields: int | None
    """Cycle in which a refresh must be due for the row to be closed after the step; None if it stays open anyway."""
    commands: tuple[tuple[int, int, MicroOp, int, int], ...]
    """(cycle, slot, op, column, mode)"""
    past: Past
    shift: int
    """What to add to the count for the next step."""
    end: int
    """Cycle after the last command and the last result's arrival."""


@dataclass(frozen=True)
class _History:
    """Last times, relative to the last row command; nothing is older than the horizon."""

    slots: tuple[int, int]
    ops: tuple[int, ...]
    """By op number; -horizon for never."""
    macs: tuple[int, ...]
    """By column of the buffer."""
    writes: tuple[int, ...]


class StepTable:
    """All steps met so far under one timing preset and row length."""

    def __init__(self, timing: Timing, columns: int) -> None:
        self._timing = timing
        every = list(MicroOp)
        scopes = (Scope.BANK, Scope.GROUP, Scope.CHANNEL)
        distance = {
            (before, after): max(timing.between(before, after, scope) for scope in scopes)
            for before in every
            for after in every
        }
        self._bounds = {
            after: [(before, distance[before, after]) for before in every if distance[before, after]]
            for after in every
        }
        self._write_to_mac = timing.between(MicroOp.WRGB, MicroOp.MACAB, Scope.COLUMN)
        self._mac_to_write = timing.between(MicroOp.MACAB, MicroOp.WRGB, Scope.COLUMN)
        self.refresh_interval = timing.refresh_interval
        self._result_latency = max(1, timing.cycles("RLREG + BL"))
        longest = max(rule.cycles for rule in timing.rules)
        # A register command may be placed as early as a run before the last row command; rules reach
        # further back.
        self._horizon = 3 * longest + 2 * columns + 64
        self._numbers: dict[_History, Past] = {}
        self._histories: list[_History] = []
        self._steps: list[Step] = []
        self._step_numbers: dict[Step, int] = {}
        self._outcomes: dict[tuple[Past, int], Outcome] = {}
        self.refresh = self.number(Refresh())
        never = -self._horizon
        self.idle = self._past(
            _History((-1, -1), (never,) * (max(every) + 1), (never,) * columns, (never,) * columns)
        )

    def move(self, past: Past, number: int) -> Outcome:
        """Place the step with a number after ``past``."""
        outcome = self._outcomes.get((past, number))
        if outcome is None:
            outcome = self._outcomes[past, number] = self._place(past, self._steps[number])
        return outcome

    def number(self, step: Step) -> int:
        """A number for a step, always the same."""
        number = self._step_numbers.get(step)
        if number is None:
            number = self._step_numbers[step] = len(self._steps)
            self._steps.append(step)
        return number

    def closed(self, number: int) -> int:
        """The run that leaves its row to the next pass, closing it instead."""
        step = self._steps[number]
        assert isinstance(step, RowRun)
        return self.number(replace(step, closes=step.yields, yields=None))

    def opened(self, number: int) -> int | None:
        """The run that finds its row open, opening it instead; None for another step."""
        step = self._steps[number]
        return self.number(replace(step, opens=True)) if isinstance(step, RowRun) else None

    @staticmethod
    @lru_cache(maxsize=1024)
    def counts(step: Step) -> Mapping[MicroOp, int]:
        """Commands of a step, by kind."""
        return Counter(op for op, _, _ in _ops(step))

    def _place(self, past: Past, step: Step) -> Outcome:
        placer = _Placer(self, self._histories[past])
        for op, column, mode in _ops(step):
            placer.put(op, column, mode)
        first = placer.commands[0]
        gate = first[0] if first[2] in (MicroOp.ACTAB, MicroOp.ACTAF, MicroOp.TMOD_IN) else None
        end = 0
        for cycle, _, op, _, _ in placer.commands:
            arrival = self._result_latency if op in (MicroOp.RDMAC, MicroOp.RDAF) else 0
            end = max(end, cycle + arrival + 1)
        history, shift = placer.history()
        yields = shift if isinstance(step, RowRun) and step.yields else None
        return Outcome(gate, yields, tuple(placer.commands), self._past(history), shift, end)

    def _past(self, history: _History) -> Past:
        number = self._numbers.get(history)
        if number is None:
            number = self._numbers[history] = len(self._histories)
            self._histories.append(history)
        return number


class _Placer:
    """Puts commands one by one at their earliest cycle after a history."""

    def __init__(self, table: StepTable, history: _History) -> None:
        self._table = table
        self._slots = list(history.slots)
        self._ops = list(history.ops)
        self._macs = list(history.macs)
        self._writes = list(history.writes)
        self.commands: list[tuple[int, int, MicroOp, int, int]] = []

    def earliest(self, op: MicroOp, column: int) -> int:
        cycle = self._slots[op in REGISTER_OPS] + 1
        for before, distance in self._table._bounds[op]:
            cycle = max(cycle, self._ops[before] + distance)
        if op is MicroOp.MACAB:
            cycle = max(cycle, self._writes[column] + self._table._write_to_mac)
        elif op is MicroOp.WRGB:
            cycle = max(cycle, self._macs[column] + self._table._mac_to_write)
        return cycle

    def put(self, op: MicroOp, column: int, mode: int) -> None:
        cycle = self.earliest(op, column)
        slot = int(op in REGISTER_OPS)
        self._slots[slot] = cycle
        self._ops[op] = cycle
        if op is MicroOp.MACAB:
            self._macs[column] = cycle
        elif op is MicroOp.WRGB:
            self._writes[column] = cycle
        self.commands.append((cycle, slot, op, column, mode))

    def history(self) -> tuple[_History, int]:
        """What later steps need to know, relative to the last row command; and that command's cycle."""
        shift = max(self._slots[0], 0)
        never = -self._table._horizon

        def moved(times: list[int]) -> tuple[int, ...]:
            return tuple(max(never, time - shift) for time in times)

        slots = (self._slots[0] - shift, max(never, self._slots[1] - shift))
        return _History(slots, moved(self._ops), moved(self._macs), moved(self._writes)), shift


@cache
def _ops(step: Step) -> tuple[tuple[MicroOp, int, int], ...]:
    """The commands of a step, in order: (op, column, mode)."""
    if isinstance(step, Refresh):
        return ((MicroOp.REFAB, 0, 0),)
    if isinstance(step, RowRun):
        if step.columns:
            opening, body = MicroOp.ACTAB, [(MicroOp.MACAB, c, step.mode) for c in range(step.columns)]
        else:
            opening, body = MicroOp.ACTAF, [(MicroOp.AF, 0, step.mode)]
        first = [(opening, 0, 0)] if step.opens else []
        last = [(step.closes, 0, 0)] if step.closes else []
        return (*first, *body, *last)
    body = [
        *((op, 0, mode) for op, mode in step.results),
        *((MicroOp.WRBIAS, 0, mode) for mode in range(step.biases)),
        *((MicroOp.WRGB, column, 0) for column in range(step.load)),
    ]
    if step.visit:
        body = [(MicroOp.TMOD_IN, 0, 0), *body, (MicroOp.TMOD_OUT, 0, 0)]
    return tuple(body)


@cache
def step_table(timing_name: str, geometry: Geometry, dual: bool) -> StepTable:
    """The table of a preset and a geometry, with or without dual row buffers, shared by all macros."""
    return StepTable(timing(timing_name, dual=dual), geometry.columns)
