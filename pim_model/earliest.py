# Ref: pim_model/spec/timing_rules.py
"""The earliest legal cycle of each command of one channel, in order: the checker's arithmetic made fast.

:meth:`Checker.earliest` asks each rule's tracker; here each command's questions are worked out once, as places in one
list of times. Timing, windows and the bus are judged; bank states and register mode are not.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from pim_model.checker_rules import NEVER, Touch, touch
from pim_model.spec.config import Config
from pim_model.spec.geometry import Geometry
from pim_model.spec.micro import REGISTER_OPS, WRITE_DATA, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import TimedRule, Timing, timing
from pim_model.spec.timing_rules import FAW_OPS, Scope

__all__ = ["BUS", "FAW", "GIVEN", "Earliest"]

GIVEN, BUS, FAW = "given", "bus", "tFAW"
"""What may bind a command besides the rules: the caller's ``not_before``, the command bus, the activation window."""


class _Plan(NamedTuple):
    """What one command asks and leaves behind: places in the list of times."""

    checks: tuple[tuple[int, int, str], ...]
    """(place, cycles, rule's name)"""
    notes: tuple[int, ...]
    activations: int
    register: bool
    data: bool

    def shares(self, other: _Plan) -> bool:
        """Whether both want what there is once a cycle: the registers, or the write data bus."""
        return (self.register and other.register) or (self.data and other.data)


class Earliest:
    """Places commands one by one. Cycles may start anywhere; nothing before the first command binds it."""

    __slots__ = ("_activations", "_cycle", "_faw", "_first", "_last", "_single", "_slot", "_table", "bound")

    def __init__(self, config: Config) -> None:
        self._table = _table(config.timing_name, config.geometry, config.dual_row_buffer)
        self._faw = config.timing.faw_cycles
        self._single = config.timing.ck_per_cycle == 1  # one command a cycle, whatever its slot
        self._last = [NEVER] * self._table.places
        self._activations: tuple[int, ...] = (NEVER,) * 4
        self._cycle, self._slot = NEVER, 1
        self._first: _Plan | None = None  # first command of this cycle
        self.bound = GIVEN
        """What bound the last command placed: a rule's name, or one of the three above."""

    def copy(self) -> Earliest:
        """Another channel with the same past."""
        other = object.__new__(Earliest)
        for name in self.__slots__:
            setattr(other, name, getattr(self, name))
        other._last = self._last.copy()
        return other

    def bus(self, slot: int) -> int:
        """First cycle in which the bus alone would take a command in ``slot``."""
        return self._cycle if slot > self._slot and not self._single else self._cycle + 1

    def probe(self, slot: int, micro: Micro, not_before: int = NEVER) -> int:
        """First cycle from ``not_before`` on in which the command breaks no rule; nothing but ``bound`` changes.

        A tie goes to the caller, then to the bus, then to the first rule of the table. ``ValueError`` for an operand
        that the device does not have.
        """
        return self._probe(slot, self._table.plan(micro), not_before)

    def put(self, slot: int, micro: Micro, not_before: int = NEVER) -> int:
        """Place the command where :meth:`probe` says, and return the cycle."""
        plan = self._table.plan(micro)
        cycle = self._probe(slot, plan, not_before)
        if cycle != self._cycle:
            self._first = plan
        self._cycle, self._slot = cycle, slot
        last = self._last
        for place in plan.notes:
            last[place] = cycle
        if plan.activations:
            self._activations = (*self._activations, *(cycle,) * plan.activations)[-4:]
        return cycle

    def _probe(self, slot: int, plan: _Plan, not_before: int) -> int:
        cycle, bound = self.bus(slot), BUS
        if not_before >= cycle:
            cycle, bound = not_before, GIVEN
        last = self._last
        for place, distance, name in plan.checks:
            legal = last[place] + distance
            if legal > cycle:
                cycle, bound = legal, name
        if plan.activations:
            legal = self._activations[plan.activations - 1] + self._faw
            if legal > cycle:
                cycle, bound = legal, FAW
        if cycle == self._cycle and self._first is not None and plan.shares(self._first):
            cycle, bound = cycle + 1, BUS
        self.bound = bound
        return cycle


class _Table:
    """Plans of all commands met so far under one preset and geometry, with or without dual row buffers."""

    def __init__(self, preset: Timing, geometry: Geometry, dual: bool) -> None:
        self._geometry = geometry
        self._dual = dual
        self._plans: dict[tuple[Op, int, int, int], _Plan] = {}
        self._rules: list[tuple[TimedRule, int]] = []
        instances = {
            Scope.BANK: geometry.banks,
            Scope.GROUP: geometry.banks // geometry.banks_per_group,
            Scope.CHANNEL: 0,
            Scope.COLUMN: geometry.columns,
        }
        self.places = 0
        for rule in preset.rules:
            if rule.cycles:
                self._rules.append((rule, self.places))
                self.places += 2 + instances[rule.rule.scope]

    def plan(self, micro: Micro) -> _Plan:
        key = (micro.op, micro.bank, micro.column, micro.mode)
        found = self._plans.get(key)
        if found is None:
            where = touch(micro, self._geometry, self._dual)
            if where is None:
                raise ValueError(f"command must have operands that the device has, not {micro}")
            found = self._plans[key] = self._make(micro.op, where)
        return found

    def _make(self, op: Op, where: Touch) -> _Plan:
        checks: list[tuple[int, int, str]] = []
        notes: list[int] = []
        for rule, place in self._rules:
            asked, noted = _places(rule.rule.scope, where)
            if op in rule.rule.after:
                checks += [(place + at, rule.cycles, rule.rule.name) for at in asked]
            if op in rule.rule.before:
                notes += [place + at for at in noted]
        return _Plan(tuple(checks), tuple(notes), FAW_OPS.get(op, 0), op in REGISTER_OPS, op in WRITE_DATA)


def _places(scope: Scope, where: Touch) -> tuple[list[int], list[int]]:
    """Places of one rule's times that a command reads and writes: 0 anywhere, 1 everywhere, then each instance."""
    if scope is Scope.CHANNEL:
        return [0], [0]
    if scope is Scope.COLUMN:
        own = [] if where.column is None else [2 + where.column]
        return own, own
    if where.every:
        return [0], [0, 1]
    each = [2 + instance for instance in (where.banks if scope is Scope.BANK else where.groups)]
    return [*each, 1] if each else [], [*each, 0] if each else []


@cache
def _table(timing_name: str, geometry: Geometry, dual: bool) -> _Table:
    return _Table(timing(timing_name, dual=dual), geometry, dual)
