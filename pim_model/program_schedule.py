# Ref: "GDDR6-AiM: what is publicly known", Timing; pim_model/program.py
"""Golden schedule of ISR instructions: each channel's commands in the controller's order, each as early as is legal.

Channels whose items were the same so far share one *lane*: one context, one placement. What aligns the channels is
kept simple: SYNC, EWADD, and an instruction that sends a GPR which an RD_* wrote since the last alignment; after it no
channel issues before all have ended what came before. The PCU's own work (EWADD, decoding) takes no cycles, as in
``schedule.py``.

Refresh: while an item has issued none of its own commands and a refresh is due by the cycle in which its next command
could be issued, the channel closes, not before the refresh is due, refreshes, and prepares again. A channel that waits
for the others refreshes when it is due.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from pim_model.checker_rules import NEVER
from pim_model.earliest import Earliest
from pim_model.program import Context, Item, items, slot_of
from pim_model.schedule import Placed
from pim_model.spec.config import Config
from pim_model.spec.isr import Instruction
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import READ_DATA, REGISTER_OPS, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import Timing
from pim_model.spec.timing_rules import Scope
from pim_model.trace import Entry

__all__ = ["Controllers", "ProgramCost", "Sink", "burst_cycles", "place_program", "program_cost"]

Sink = Callable[[Sequence[int], Sequence[Micro]], None]
"""``sink(channels, commands)``: these channels issue these commands, in order."""

_SENDS = frozenset({MacroOp.WR_SBK, MacroOp.WR_ABK, MacroOp.WR_GB, MacroOp.WR_BIAS})
_RETURNS = frozenset({MacroOp.RD_MAC, MacroOp.RD_AF, MacroOp.RD_SBK})
_REFRESH = Micro(Op.REFAB)


def burst_cycles(config: Config, op: Op) -> int:
    """Cycles from a read command to the end of its data; 0 for a command that returns none."""
    if op not in READ_DATA:
        return 0
    return max(1, config.timing.cycles("RLREG + BL" if op in REGISTER_OPS else "RL + BL"))


class _Lane:
    """Channels in lock step: their context, the placement of their commands, their refresh."""

    def __init__(
        self, config: Config, channels: list[int], start: int, due: int | None, sink: Sink | None
    ) -> None:
        self._config = config
        self._sink = sink
        self._context = Context(config)
        self._earliest = Earliest(config)
        self._start = start  # nothing is issued before
        self.channels = channels
        self.due = due
        self.end = start
        """Cycle after the last command and the last result's arrival."""
        self.placed: list[Placed] = []

    def split(self, channels: list[int]) -> _Lane:
        """Give up ``channels``, which go on as a lane of their own."""
        other = _Lane(self._config, channels, self._start, self.due, self._sink)
        other._context, other._earliest = self._context.copy(), self._earliest.copy()
        other.end, other.placed = self.end, self.placed.copy()
        self.channels = [channel for channel in self.channels if channel not in channels]
        return other

    def item(self, item: Item) -> None:
        """Prepare and issue an item."""
        first, *rest = item.commands()
        while True:
            micro = self._context.preparing(item) or first
            if self.due is not None and self.due <= self._probe(micro):
                self.refresh()
                continue
            if micro is first:
                break
            self._issue([micro])
        self._issue([first, *rest])

    def hold(self, until: int) -> None:
        """Issue no item before ``until``; refresh on time while waiting."""
        while self.due is not None and self.due < until:
            self.refresh()
        self._start = max(self._start, until)

    def refresh(self) -> None:
        """Close and refresh, not before it is due."""
        assert self.due is not None
        self.close(self.due)
        self._issue([_REFRESH], self.due)
        self.due += self._config.timing.refresh_interval

    def close(self, not_before: int = NEVER) -> None:
        """Leave register mode, or close all rows."""
        while (micro := self._context.closing()) is not None:
            self._issue([micro], not_before)

    def free(self) -> int:
        """First cycle in which a closed channel takes whatever a MATVEC may begin with."""
        begins = [Micro(Op.ACTAB), Micro(Op.WRBIAS), Micro(Op.WRGB)]
        if not self._config.timing.direct:
            begins = [Micro(Op.ACTAB), Micro(Op.TMOD_IN)]
        return max(self._probe(micro) for micro in begins)

    def _probe(self, micro: Micro) -> int:
        return self._earliest.probe(slot_of(micro.op), micro, self._start)

    def _issue(self, commands: list[Micro], not_before: int = NEVER) -> None:
        slot, after = slot_of(commands[0].op), max(self._start, not_before)
        cycle = self.end
        for micro in commands:
            cycle = self._earliest.put(slot, micro, after)
            self._context.take(micro)
            self.placed.append((cycle, slot, micro))
        arrival = burst_cycles(self._config, commands[-1].op)
        self.end = max(self.end, cycle + arrival + 1)
        if self._sink is not None:
            self._sink(self.channels, commands)


class Controllers:
    """The controllers of all channels, without data.

    Between :meth:`start` and :meth:`close` they belong to ISR instructions; rows and register mode stay as the last
    item left them.

    Parameters
    ----------
    config : Config
        Geometry and timing.
    due : int, optional
        Cycle of the next refresh; None for none.
    sink : Sink, optional
        Told of all commands as they are issued.
    """

    def __init__(self, config: Config, due: int | None = None, sink: Sink | None = None) -> None:
        self._config = config
        self._sink = sink
        self._lanes: list[_Lane] = []
        self._due = due
        self._follows_matvec = False
        self._returned: set[int] = set()  # GPRs written by RD_* since the channels were aligned

    def start(self, cycle: int) -> None:
        """Instructions may be issued from ``cycle`` on."""
        if not self._lanes:
            every = list(range(self._config.geometry.channels))
            after = cycle + (_rest(self._config.timing) if self._follows_matvec else 0)
            self._lanes = [_Lane(self._config, every, after, self._due, self._sink)]
        for lane in self._lanes:
            lane.hold(cycle)

    @property
    def due(self) -> int | None:
        """Cycle of the next refresh, once closed."""
        return self._due

    @property
    def end(self) -> int:
        """Cycle after the last command and the last result on any channel; 0 if none is in use."""
        return max((lane.end for lane in self._lanes), default=0)

    def set_refresh(self, due: int | None) -> None:
        """Refresh from ``due`` on, or not at all."""
        self._due = due
        for lane in self._lanes:
            lane.due = due

    def run(self, instruction: Instruction) -> None:
        """Issue an instruction on the channels of its mask."""
        sent = set()
        if instruction.op in _SENDS:
            sent = instruction.gpr_offsets()
        if instruction.op in (MacroOp.SYNC, MacroOp.EWADD) or not self._returned.isdisjoint(sent):
            self.align()
        lanes = self._lanes_of(instruction.channels)
        for item in items(instruction):
            for lane in lanes:
                lane.item(item)
        if instruction.op in _RETURNS:
            self._returned |= instruction.gpr_offsets()

    def align(self) -> None:
        """No channel goes on before all have ended what they do."""
        self._returned.clear()
        end = self.end
        for lane in self._lanes:
            lane.hold(end)

    def close(self, cycle: int) -> int:
        """Close all channels, not before ``cycle``; the first cycle from there on that is free for a MATVEC.

        All channels then have the same number of refreshes behind them. Nothing happens if they are not in use.
        """
        if not self._lanes:
            return cycle
        self.start(cycle)
        dues = [lane.due for lane in self._lanes if lane.due is not None]
        for lane in self._lanes:
            lane.close()
            while lane.due is not None and lane.due < max(dues):
                lane.refresh()
        if dues:
            self._due = max(dues)
        self._returned.clear()
        return max(lane.free() for lane in self._lanes)

    def stop(self) -> None:
        """A MATVEC takes the channels, closed before; its commands' timing binds only as a whole."""
        self._lanes = []
        self._follows_matvec = True

    def entries(self) -> list[Entry]:
        """The commands issued since :meth:`forget`, by cycle, channel and slot."""
        found = [
            Entry(cycle, channel, slot, micro)
            for lane in self._lanes
            for channel in lane.channels
            for cycle, slot, micro in lane.placed
        ]
        found.sort(key=lambda entry: entry[:3])
        return found

    def counts(self) -> list[tuple[list[int], Counter[Op]]]:
        """How many of :meth:`entries` there are by command, for channels that have the same."""
        return [(lane.channels, Counter(micro.op for _, _, micro in lane.placed)) for lane in self._lanes]

    def forget(self) -> None:
        """Drop the record of the commands issued so far; their timing still binds."""
        for lane in self._lanes:
            lane.placed.clear()

    def _lanes_of(self, channels: Sequence[int]) -> list[_Lane]:
        """Lanes that are these channels and no others, cut out of wider ones where needed."""
        wanted, found, rest = set(channels), [], []
        for lane in self._lanes:
            mine = [channel for channel in lane.channels if channel in wanted]
            if len(mine) == len(lane.channels):
                found.append(lane)
                continue
            if mine:
                found.append(lane.split(mine))
            rest.append(lane)
        self._lanes = found + rest
        return found


def _rest(timing: Timing) -> int:
    """Cycles after which nothing that a MATVEC may end with binds."""
    ends = (Op.PREA, Op.PREP, Op.TMOD_OUT, Op.RDMAC, Op.RDAF)
    return max(timing.between(end, op, scope) for end in ends for op in Op for scope in Scope)


@dataclass(frozen=True)
class ProgramCost:
    """What instructions take; the counterpart of :class:`pim_model.schedule.Cost`."""

    cycles: int
    """From the first possible command to the cycle after the last command and the last result on any channel."""
    commands: tuple[Counter[Op], ...]
    """By channel."""


def place_program(
    config: Config, instructions: Iterable[Instruction], refresh_due: int | None = None
) -> list[Entry]:
    """The commands of ISR instructions on closed, idle channels, cycle 0 being the first possible."""
    return _placed(config, instructions, refresh_due).entries()


def program_cost(
    config: Config, instructions: Iterable[Instruction], refresh_due: int | None = None
) -> ProgramCost:
    """Cycles and commands of :func:`place_program`."""
    controllers = _placed(config, instructions, refresh_due)
    counts = {channel: count for group, count in controllers.counts() for channel in group}
    return ProgramCost(controllers.end, tuple(counts[channel] for channel in range(config.geometry.channels)))


def _placed(config: Config, instructions: Iterable[Instruction], refresh_due: int | None) -> Controllers:
    controllers = Controllers(config, refresh_due)
    controllers.start(0)
    for instruction in instructions:
        controllers.run(instruction)
    return controllers
