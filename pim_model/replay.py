# Ref: pim_model/spec/timing_rules.py
"""Earliest, not only legal: a recorded command list issued again, in the same order, as early as the rules allow.

What is taken as given, and thus never counts as excess:

* the first command of a channel that is no refresh;
* the first such command of a channel at or after a *start*: a cycle at which the host handed over new work. What a
  channel waits for between is the host. Without ``starts`` no wait is told apart from any other;
* a refresh: when it is due is its timer's business. Given means as far behind the command before (closing apart) as
  recorded, or later where a rule says so.

Everything else counts, also what a channel waits for another channel or for the control unit.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pim_model.checker_rules import NEVER
from pim_model.earliest import GIVEN, Earliest
from pim_model.program import CLOSING
from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp as Op
from pim_model.trace import Entry

__all__ = ["Bound", "Replay", "replay"]

_REFRESHES = frozenset({Op.REFAB, Op.REFPB})


@dataclass(frozen=True)
class Bound:
    """What one reason bound."""

    commands: int
    cycles: int
    """Cycles that these commands waited after the bus was free for them."""


@dataclass(frozen=True)
class Replay:
    """A recording against its earliest form."""

    commands: int
    excess_by_channel: dict[int, int]
    """Cycles by which the last command of each channel stands later than in the earliest form."""
    bound_by: dict[str, Bound]
    """Commands of all channels by what bound them in the earliest form: a rule's name, ``tFAW``, ``bus`` (one command
    a slot and cycle), ``given``. Most commands first."""

    @property
    def excess_cycles(self) -> int:
        """Excess of the channel that has most."""
        return max(self.excess_by_channel.values(), default=0)


def replay(config: Config, entries: Iterable[Entry], starts: Sequence[int] = ()) -> Replay:
    """Replay a trace, whose entries stand by cycle and slot on each channel.

    Timing is all that is asked; whether the recording is legal is the checker's business. ``ValueError`` for a command
    with an operand that the device does not have. Some microseconds a command.
    """
    channels: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        channels[entry.channel].append(entry)
    bound: defaultdict[str, list[int]] = defaultdict(lambda: [0, 0])
    order = sorted(starts)
    excess = {channel: _channel(config, own, order, bound) for channel, own in sorted(channels.items())}
    ranked = sorted(bound.items(), key=lambda found: -found[1][0])
    return Replay(
        sum(len(own) for own in channels.values()),
        excess,
        {name: Bound(count, cycles) for name, (count, cycles) in ranked},
    )


def _channel(
    config: Config, entries: list[Entry], starts: list[int], bound: defaultdict[str, list[int]]
) -> int:
    """Excess of one channel; what bound its commands is added to ``bound``."""
    earliest = Earliest(config)
    put, bus = earliest.put, earliest.bus
    waiting = [*starts, 1 << 62]
    passed = 0
    late = now = 0  # how late the recording is: without closing commands, and with them
    begins = True  # the next command that is no refresh is given
    for cycle, _, slot, micro in entries:
        while cycle >= waiting[passed]:
            passed += 1
            begins = True
        refreshes = micro.op in _REFRESHES
        free = bus(slot)
        placed = put(slot, micro, cycle - late if begins or refreshes else NEVER)
        begins = begins and refreshes
        now = cycle - placed
        if micro.op not in CLOSING:
            late = now
        found = bound[earliest.bound]
        found[0] += 1
        if earliest.bound != GIVEN:
            found[1] += placed - free
    return now
