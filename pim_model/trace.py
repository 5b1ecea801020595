# Ref: IEEE 1364-2005, section 18 (VCD); "Trace Event Format" (JSON that Perfetto and Chrome read)
"""Command traces: records, export as VCD and as JSON for Perfetto, and the first difference explained."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any, NamedTuple

from vcd.writer import StringVariable, VCDWriter, VectorVariable

from pim_model.schedule import Placed
from pim_model.spec.micro import Micro, MicroOp

__all__ = ["Difference", "Entry", "broadcast", "diff", "write_perfetto", "write_vcd"]

_FIELDS = (("bank", 4), ("row", 16), ("column", 6), ("mode", 2))


class Entry(NamedTuple):
    """One command on one channel's bus. Entries of a trace stand in ascending (cycle, channel, slot)."""

    cycle: int
    channel: int
    slot: int
    micro: Micro

    def __str__(self) -> str:
        return f"cycle {self.cycle}, channel {self.channel}, slot {self.slot}: {self.micro}"


def broadcast(placed: Iterable[Placed], channels: int, start: int = 0) -> list[Entry]:
    """A golden schedule as the trace of channels in lock step, its cycle 0 at cycle ``start``."""
    entries = [
        Entry(start + cycle, channel, slot, micro)
        for cycle, slot, micro in placed
        for channel in range(channels)
    ]
    entries.sort(key=lambda entry: entry[:3])
    return entries


# --- comparison


@dataclass(frozen=True)
class Difference:
    """First place where two traces differ; an entry is None where its trace has ended."""

    position: int
    """Number of equal entries before it."""
    left: Entry | None
    right: Entry | None
    before: Entry | None
    """Last entry that both have."""

    def __str__(self) -> str:
        after = f"after {self.before}" if self.before is not None else "at the start"
        sides = f"  left:  {self.left}\n  right: {self.right}"
        return f"entry {self.position}, {after}:\n{sides}\n  {self.reason}"

    @property
    def reason(self) -> str:
        """What differs, in words."""
        left, right = self.left, self.right
        if left is None or right is None:
            longer, shorter = ("right", "left") if left is None else ("left", "right")
            return f"the {shorter} trace has ended, the {longer} one goes on"
        if left.channel != right.channel or left.slot != right.slot:
            return "another channel or slot comes first: a command is missing, or moved"
        if left.micro == right.micro:
            late = right.cycle - left.cycle
            return f"the same command {abs(late)} cycles {'later' if late > 0 else 'earlier'} on the right"
        if left.micro.op is not right.micro.op:
            return f"{left.micro.op.name} on the left, {right.micro.op.name} on the right"
        fields = [
            f"{name} {getattr(left.micro, name)} and {getattr(right.micro, name)}"
            for name, _ in _FIELDS
            if getattr(left.micro, name) != getattr(right.micro, name)
        ]
        return f"operands of {left.micro.op.name} differ: {', '.join(fields)}"


def diff(left: Sequence[Entry], right: Sequence[Entry], *, align: bool = False) -> Difference | None:
    """First difference of two traces, or None. ``align``: count each trace from its first command."""
    shifts = [trace[0].cycle if align and trace else 0 for trace in (left, right)]
    before: Entry | None = None
    for position, (a, b) in enumerate(zip_longest(left, right)):
        if a is None or b is None or _moved(a, shifts[0]) != _moved(b, shifts[1]):
            moved = [None if e is None else _moved(e, shift) for e, shift in zip((a, b), shifts, strict=True)]
            return Difference(position, moved[0], moved[1], before)
        before = _moved(a, shifts[0])
    return None


def _moved(entry: Entry, shift: int) -> Entry:
    return entry._replace(cycle=entry.cycle - shift) if shift else entry


# --- export


def write_vcd(path: Path, entries: Sequence[Entry], *, cycle_ns: float = 1.0) -> None:
    """Write a VCD file: per channel and slot the command's name and operands, NOP where none stands.

    ``cycle_ns``: length of a controller cycle, rounded to 0.1 ns.
    """
    units = round(10 * cycle_ns)
    with (
        open(path, "w", encoding="ascii") as stream,
        VCDWriter(stream, timescale="100 ps", date="") as writer,
    ):
        lanes = {
            (channel, slot): _Lane.register(writer, f"channel{channel}.slot{slot}")
            for channel in sorted({entry.channel for entry in entries})
            for slot in (0, 1)
        }
        for time, lane, micro in _changes(entries):
            lanes[lane].show(writer, time * units, micro)


@dataclass(frozen=True)
class _Lane:
    name: StringVariable
    fields: tuple[VectorVariable, ...]

    @classmethod
    def register(cls, writer: VCDWriter, scope: str) -> _Lane:
        name = writer.register_var(scope, "command", "string", init="NOP")
        fields = [writer.register_var(scope, field, "wire", size=size, init=0) for field, size in _FIELDS]
        assert isinstance(name, StringVariable)
        return cls(name, tuple(field for field in fields if isinstance(field, VectorVariable)))

    def show(self, writer: VCDWriter, time: int, micro: Micro) -> None:
        writer.change(self.name, time, micro.op.name)
        for variable, (field, _) in zip(self.fields, _FIELDS, strict=True):
            writer.change(variable, time, getattr(micro, field))


def _changes(entries: Sequence[Entry]) -> Iterator[tuple[int, tuple[int, int], Micro]]:
    """Each lane's commands in time order, and the NOP after a command that no other follows at once."""
    idle = Micro(MicroOp.NOP)
    shown: dict[tuple[int, int], int] = {}  # cycle of each lane's last command
    cycle = None
    for entry in entries:
        if entry.cycle != cycle:
            cycle = entry.cycle
            ended = [(last + 1, lane) for lane, last in shown.items() if last + 1 < cycle]
            for time, lane in sorted(ended):
                yield time, lane, idle
                del shown[lane]
        lane = (entry.channel, entry.slot)
        shown[lane] = entry.cycle
        yield entry.cycle, lane, entry.micro
    for time, lane in sorted((last + 1, lane) for lane, last in shown.items()):
        yield time, lane, idle


def write_perfetto(path: Path, entries: Sequence[Entry], *, cycle_ns: float = 1.0) -> None:
    """Write the JSON that ui.perfetto.dev opens: a process for each channel, a thread for each slot."""
    events: list[dict[str, Any]] = []
    for channel in sorted({entry.channel for entry in entries}):
        events.append(_name("process_name", channel, 0, f"channel {channel}"))
        events.append(_name("thread_name", channel, 0, "row slot"))
        events.append(_name("thread_name", channel, 1, "register slot"))
    for entry in entries:
        micro = entry.micro
        events.append(
            {
                "name": micro.op.name,
                "ph": "X",
                "pid": entry.channel,
                "tid": entry.slot,
                "ts": round(entry.cycle * cycle_ns / 1000, 6),
                "dur": cycle_ns / 1000,
                "args": {"cycle": entry.cycle, **{field: getattr(micro, field) for field, _ in _FIELDS}},
            }
        )
    with open(path, "w", encoding="ascii") as stream:
        json.dump({"displayTimeUnit": "ns", "traceEvents": events}, stream)


def _name(kind: str, channel: int, slot: int, text: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": channel, "tid": slot, "args": {"name": text}}
