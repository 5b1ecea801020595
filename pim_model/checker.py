# Ref: pim_model/spec/timing_rules.py; GDDR6-AiM notes, "Commands" (legal sequences)
"""Golden checker of one channel's command bus: every timing rule, bank states, register mode, windows,
refresh.

It shares the rule table with the controller and nothing else. Finding codes: the rule's number, or a
:class:`~pim_model.spec.errors.Violation` from 64 on.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence

from pim_model.checker_dual import DualState
from pim_model.checker_refresh import RefreshWindow
from pim_model.checker_rules import NEVER, Touch, rule_trackers, touch
from pim_model.checker_state import ProtocolState
from pim_model.spec.config import Config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import REGISTER_OPS, WRITE_DATA, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing_rules import FAW_OPS, RULES

__all__ = ["FAW_ACTIVATIONS", "Checker", "Finding", "ProtocolError", "describe"]

Finding = int
"""A rule number (0 to 63) or a Violation (64 and above)."""

FAW_ACTIVATIONS = 4
"""Single-bank activations that one tFAW window holds."""

_RECENT = 256
"""Commands that an error can name as the ones before."""


class ProtocolError(Exception):
    """A command that the device forbids.

    ``since``: for timing rules among ``findings``, what they count from.
    """

    def __init__(
        self,
        cycle: int,
        micro: Micro,
        findings: Sequence[Finding],
        since: Mapping[Finding, str] | None = None,
    ) -> None:
        known = since or {}
        broken = (describe(each) + (f" ({known[each]})" if each in known else "") for each in findings)
        super().__init__(f"cycle {cycle}: {micro} breaks {', '.join(broken)}")
        self.cycle = cycle
        self.micro = micro
        self.findings = tuple(findings)


def describe(finding: Finding) -> str:
    """Name of a rule or a violation."""
    return RULES[finding].name if finding < Violation.ROW_OPEN else Violation(finding).name


class Checker:
    """Judges the commands of one channel, in order: by cycle, and slot 0 before slot 1 of a cycle.

    Parameters
    ----------
    config : Config
        Geometry and timing preset.
    strict : bool
        Raise :class:`ProtocolError` from :meth:`issue` instead of only returning findings.
    refresh : bool
        Whether the refresh deadline counts.
    """

    def __init__(self, config: Config, *, strict: bool = False, refresh: bool = True) -> None:
        self.config = config
        self.strict = strict
        self.refresh = refresh
        self._geometry = config.geometry
        self._before, self._after = rule_trackers(config.timing, config.geometry)
        self._state = DualState(config) if config.dual_row_buffer else ProtocolState(config)
        self._faw = config.timing.faw_cycles
        self._one_command = config.timing.ck_per_cycle == 1
        self._activations: deque[int] = deque([NEVER] * FAW_ACTIVATIONS, maxlen=FAW_ACTIVATIONS)
        self._window = RefreshWindow(config.timing, self._geometry.banks)
        self._cycle, self._slot = -1, 1
        self._first: Op | None = None  # first command of this cycle
        self._recent: deque[tuple[int, Micro]] = deque(maxlen=_RECENT)

    def probe(self, cycle: int, slot: int, micro: Micro) -> list[Finding]:
        """What the command would break, in ascending order of codes; nothing changes."""
        return self._judge(cycle, slot, micro, self._touch(micro))

    def _judge(self, cycle: int, slot: int, micro: Micro, where: Touch | None) -> list[Finding]:
        if micro.op is Op.NOP:
            return []
        self._check_time(cycle, slot)
        bus = [Violation.COMMAND_BUS] if self._bus_conflict(cycle, slot, micro.op) else []
        if where is None:
            return [*bus, Violation.OPERAND]
        # With dual row buffers a rule may have two trackers, and name itself twice.
        found = sorted({t.index for t in self._after[micro.op] if cycle < t.last(where) + t.cycles})
        found += self._state.probe(micro, where)
        count = FAW_OPS.get(micro.op)
        if count is not None and cycle < self._activations[count - 1] + self._faw:
            found.append(Violation.FAW)
        if self.refresh and cycle > self._window.deadline:
            found.append(Violation.REFRESH_LATE)
        return found + bus

    def issue(self, cycle: int, slot: int, micro: Micro) -> list[Finding]:
        """Take the command and return what it breaks.

        A command with a bad operand has its place on the bus, and changes nothing else.
        """
        where = self._touch(micro)
        found = self._judge(cycle, slot, micro, where)
        if found and self.strict:
            raise ProtocolError(cycle, micro, found, self._since(cycle, micro, where))
        if micro.op is Op.NOP:
            return found
        self._recent.append((cycle, micro))
        if cycle > self._cycle:
            self._first = micro.op
        self._cycle, self._slot = cycle, slot
        if where is None:
            return found
        for tracker in self._before[micro.op]:
            tracker.note(where, cycle)
        self._state.take(micro, where)
        for _ in range(FAW_OPS.get(micro.op, 0)):
            self._activations.append(cycle)
        if Violation.REFRESH_LATE in found:
            self._window.forgive(cycle)  # one finding a lapse
        if micro.op in (Op.REFPB, Op.REFAB):
            self._window.refresh(cycle, where.banks)
        return found

    def earliest(self, micro: Micro, not_before: int = 0, slot: int | None = None) -> int:
        """First cycle from ``not_before`` on in which the command breaks nothing.

        ``slot``: None for slot 1 of a register command and slot 0 of any other. Raises :class:`ProtocolError`
        when waiting cannot help. The refresh deadline, which waiting only makes worse, is left out.
        """
        if slot is None:
            slot = int(micro.op in REGISTER_OPS)
        where = self._touch(micro)
        lasting = [Violation.OPERAND] if where is None else self._state.probe(micro, where)
        if where is None or lasting or (slot == 1 and micro.op not in REGISTER_OPS):
            raise ProtocolError(not_before, micro, lasting or [Violation.COMMAND_BUS])
        cycle = max(not_before, 0, self._cycle + (slot <= self._slot))
        for tracker in self._after[micro.op]:
            cycle = max(cycle, tracker.last(where) + tracker.cycles)
        count = FAW_OPS.get(micro.op)
        if count is not None:
            cycle = max(cycle, self._activations[count - 1] + self._faw)
        return cycle + self._bus_conflict(cycle, slot, micro.op)

    def _since(self, cycle: int, micro: Micro, where: Touch | None) -> dict[Finding, str]:
        """For each timing rule that the command breaks: how long after which command it comes."""
        since: dict[Finding, str] = {}
        if where is None:
            return since
        for tracker in self._after[micro.op]:
            last = tracker.last(where)
            if cycle < last + tracker.cycles:
                before = (
                    str(earlier)
                    for at, earlier in reversed(self._recent)
                    if at == last and earlier.op in RULES[tracker.index].before
                )
                told = f"{next(before, 'a command')} in cycle {last}"
                since[tracker.index] = f"{cycle - last} of {tracker.cycles} cycles after {told}"
        return since

    def _bus_conflict(self, cycle: int, slot: int, op: Op) -> bool:
        """Slot 1 is for register commands; one register command and one data write in a cycle.

        A cycle of one CK holds one command, in either slot.
        """
        if slot == 1 and op not in REGISTER_OPS:
            return True
        if cycle != self._cycle:
            return False
        return (
            slot == self._slot
            or self._one_command
            or any(op in kind and self._first in kind for kind in (REGISTER_OPS, WRITE_DATA))
        )

    def _touch(self, micro: Micro) -> Touch | None:
        return touch(micro, self._geometry, self.config.dual_row_buffer)

    def _check_time(self, cycle: int, slot: int) -> None:
        if slot not in (0, 1):
            raise ValueError(f"slot must be 0 or 1, not {slot!r}")
        if (cycle, slot) < (self._cycle, self._slot):
            raise ValueError(
                f"cycle and slot must not be before ({self._cycle}, {self._slot}), not ({cycle}, {slot})"
            )
