# Ref: pim_model/program.py, closing
"""How long a recorded trace of ISR instructions took, and what closing the channels adds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from pim_model.earliest import Earliest
from pim_model.program import CLOSING, Context
from pim_model.program_schedule import burst_cycles
from pim_model.spec.config import Config
from pim_model.spec.micro import READ_DATA
from pim_model.spec.micro import MicroOp as Op
from pim_model.trace import Entry

__all__ = ["AROUND", "Span", "span"]

AROUND = CLOSING | {Op.REFAB, Op.REFPB}
"""Commands that no instruction ends with: before a channel's first own command, or after its last, they are others'."""

_CONTEXT = frozenset({Op.ACT, Op.ACTAB, Op.ACTAF, Op.TMOD_IN, *CLOSING})


@dataclass(frozen=True)
class Span:
    """From the first command on any channel to the end of the last that an instruction asked for.

    A refresh before the first command counts as idle time, a refresh or a closing after the last as what comes after.
    """

    first: int
    end: int
    """Cycle after the last command, or after the data burst of the last read if that is later."""
    closing: int
    """Cycles from there until all channels are closed: as recorded, or as early as the rules allow if nobody has
    closed them; 0 if they are closed by then."""

    @property
    def cycles(self) -> int:
        """Length of the span, without closing."""
        return self.end - self.first


def span(config: Config, entries: Iterable[Entry]) -> Span:
    """Span of a trace, whose entries stand by cycle on each channel; of nothing it is zero."""
    channels: defaultdict[int, list[Entry]] = defaultdict(list)
    for entry in entries:
        channels[entry.channel].append(entry)
    bursts = {op: burst_cycles(config, op) for op in READ_DATA}
    firsts, ends, closed = [], [0], [0]
    for own in channels.values():
        mine = [place for place, entry in enumerate(own) if entry.micro.op not in AROUND]
        if not mine:
            continue
        stop = mine[-1] + 1
        firsts.append(own[mine[0]].cycle)
        ends += [own[place].cycle + bursts.get(own[place].micro.op, 1) for place in mine]
        closed.append(_closed(config, own, stop))
    end = max(ends)
    return Span(min(firsts, default=end), end, max(0, max(closed) - end))


def _closed(config: Config, own: list[Entry], stop: int) -> int:
    """Cycle after the last closing command of a channel whose last own command stands before ``stop``."""
    context = Context(config)
    for entry in own[:stop]:
        if entry.micro.op in _CONTEXT:
            context.take(entry.micro)
    cycle = own[stop - 1].cycle
    for entry in own[stop:]:
        if entry.micro.op in CLOSING and context.closing() is not None:
            context.take(entry.micro)
            cycle = entry.cycle
    # Nobody has closed it: what is older than every rule's reach no longer binds.
    reach = cycle - max(rule.cycles for rule in config.timing.rules)
    earliest = Earliest(config)
    for entry in own:
        if entry.cycle >= reach:
            earliest.put(entry.slot, entry.micro, entry.cycle)
    while (micro := context.closing()) is not None:
        cycle = earliest.put(0, micro)
        context.take(micro)
    return cycle + 1
