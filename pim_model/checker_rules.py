# Ref: pim_model/spec/timing_rules.py
"""Timing rules at work: when a rule's first command last touched each instance of the rule's scope."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import NamedTuple

from pim_model.spec.geometry import TABLE_ROWS, Geometry
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, ONE_BANK, WITH_COLUMN, WITH_ROW, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.row_buffers import DUAL_OPS
from pim_model.spec.timing import TimedRule, Timing
from pim_model.spec.timing_rules import Scope

__all__ = ["NEVER", "Touch", "Tracker", "rule_trackers", "touch"]

NEVER = -(1 << 40)
"""A cycle before everything."""

# A mode switch wants all banks closed, so under a bank's rule it touches each.
_EVERY_BANK = ALL_BANKS | {Op.TMOD_IN, Op.TMOD_OUT}


class Touch(NamedTuple):
    """What a command touches."""

    banks: range
    every: bool
    """Whether these are all banks of the channel."""
    groups: range
    column: int | None
    """Of the global buffer; None where the command leaves the buffer alone."""


@lru_cache(maxsize=1 << 16)
def touch(micro: Micro, geometry: Geometry, dual: bool) -> Touch | None:
    """The instances of each scope that a command touches; None if the device lacks an operand or the command.

    ``dual``: the device has dual row buffers.
    """
    op, size = micro.op, geometry.banks_per_group
    if op in DUAL_OPS and not dual:
        return None
    if op in WITH_ROW and not 0 <= micro.row < (TABLE_ROWS if op is Op.ACTAF else geometry.rows):
        return None
    if op in WITH_COLUMN and not 0 <= micro.column < geometry.columns:
        return None
    # A MAC on neighbours reads no column of the buffer, but a column of two banks.
    local = op in (Op.MACSB, Op.MACAB) and bool(micro.mode & Mode.LOCAL)
    column = None if local else micro.column
    if op in ONE_BANK or op in FOUR_BANKS:
        if not 0 <= micro.bank < geometry.banks:
            return None
        group = micro.bank // size
        banks = range(group * size, (group + 1) * size)
        if op in ONE_BANK:
            first = micro.bank & ~1 if local else micro.bank
            banks = range(first, first + (2 if local else 1))
        return Touch(banks, len(banks) == geometry.banks, range(group, group + 1), column)
    if op in _EVERY_BANK:
        return Touch(range(geometry.banks), True, range(geometry.banks // size), column)
    return Touch(range(0), False, range(0), column)


class Tracker:
    """One rule: when its first command last touched each instance of its scope.

    An access to every instance costs one assignment, so that all-bank commands stay cheap.
    """

    __slots__ = ("_any", "_each", "_every", "_scope", "cycles", "index")

    def __init__(self, rule: TimedRule, instances: int) -> None:
        self.index = rule.index
        self.cycles = rule.cycles
        self._scope = rule.rule.scope
        self._each = [NEVER] * instances
        self._every = NEVER
        self._any = NEVER

    def note(self, where: Touch, cycle: int) -> None:
        """The rule's first command was issued."""
        scope = self._scope
        if scope is Scope.CHANNEL:
            self._any = cycle
        elif scope is Scope.COLUMN:
            if where.column is not None:
                self._each[where.column] = cycle
        elif where.every:
            self._any = self._every = cycle
        else:
            instances = where.banks if scope is Scope.BANK else where.groups
            for instance in instances:
                self._each[instance] = cycle
            if instances:
                self._any = cycle

    def last(self, where: Touch) -> int:
        """When it last touched anything that ``where`` touches too."""
        scope = self._scope
        if scope is Scope.CHANNEL:
            return self._any
        if scope is Scope.COLUMN:
            return NEVER if where.column is None else self._each[where.column]
        if where.every:
            return self._any
        latest = NEVER
        for instance in where.banks if scope is Scope.BANK else where.groups:
            latest = max(latest, self._each[instance], self._every)
        return latest


def rule_trackers(
    timing: Timing, geometry: Geometry
) -> tuple[Mapping[Op, list[Tracker]], Mapping[Op, list[Tracker]]]:
    """Fresh trackers of all rules that bind: by first command, and by second command."""
    instances = {
        Scope.BANK: geometry.banks,
        Scope.GROUP: geometry.banks // geometry.banks_per_group,
        Scope.CHANNEL: 0,
        Scope.COLUMN: geometry.columns,
    }
    before: dict[Op, list[Tracker]] = {op: [] for op in Op}
    after: dict[Op, list[Tracker]] = {op: [] for op in Op}
    for rule in timing.rules:
        if rule.cycles:
            tracker = Tracker(rule, instances[rule.rule.scope])
            for op in rule.rule.before:
                before[op].append(tracker)
            for op in rule.rule.after:
                after[op].append(tracker)
    return before, after
