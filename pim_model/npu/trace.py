# Ref: "Trace Event Format" (JSON that Perfetto and Chrome read); IEEE 1364-2005, section 18 (VCD)
"""A run as a picture: units, queues, PCU and channels over time, as JSON for Perfetto and as VCD."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from vcd.writer import StringVariable, VCDWriter, VectorVariable

from pim_model.npu.command import OFF_CHIP, Unit
from pim_model.npu.record import CoreRecord, Record
from pim_model.spec.npu import TICKS_PER_NS

__all__ = ["write_perfetto", "write_vcd"]

_MEMORY, _PCU = 100, 99
"""Process of the memory, and its thread for the PCU."""


def write_perfetto(path: Path, record: Record, channels: int, more: Iterable[dict[str, Any]] = ()) -> None:
    """Write the JSON that ui.perfetto.dev opens.

    A process a core: a track for each unit, with each command's reasons to wait, and counters for its queues. A process
    for the memory: a track for the PCU and one for each of ``channels``. A core's transfers use its own share of these.
    ``more``: further events, in the same format.
    """
    events = list(_names(record, channels))
    for core in record.cores:
        events += _commands(core)
        events += _counters(core)
        events += _transfers(core, channels // len(record.cores))
    events += _macros(record, channels)
    events += more
    # In one piece: writing to a stream as it goes is ten times slower.
    path.write_text(json.dumps({"displayTimeUnit": "ns", "traceEvents": events}), encoding="ascii")


def _microseconds(ticks: int) -> float:
    return round(ticks / TICKS_PER_NS / 1000, 7)


def _named(kind: str, process: int, thread: int, text: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": process, "tid": thread, "args": {"name": text}}


def _names(record: Record, channels: int) -> Iterator[dict[str, Any]]:
    for core in record.cores:
        yield _named("process_name", core.core, 0, f"core {core.core}")
        for unit in Unit:
            yield _named("thread_name", core.core, unit, unit.name.lower().replace("_", " "))
    yield _named("process_name", _MEMORY, 0, "PIM memory")
    yield _named("thread_name", _MEMORY, _PCU, "PCU")
    for channel in range(channels):
        yield _named("thread_name", _MEMORY, channel, f"channel {channel}")


def _span(
    name: str, process: int, thread: int, start: int, end: int, arguments: dict[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "ph": "X",
        "pid": process,
        "tid": thread,
        "ts": _microseconds(start),
        "dur": _microseconds(end - start),
        "args": arguments,
    }


def _commands(core: CoreRecord) -> Iterator[dict[str, Any]]:
    for index, command in enumerate(core.program):
        waits = [
            f"{wait.cause.value}{'' if wait.command < 0 else f' command {wait.command}'}: "
            f"{(wait.end - wait.start) / TICKS_PER_NS:.1f} ns"
            for wait in core.waits(index)
        ]
        arguments: dict[str, Any] = {"command": index, "layer": command.layer, "head": command.head}
        arguments |= {"size": command.size, "needs": list(command.needs), "waited": waits}
        if command.macro is not None:
            arguments["macro"] = command.macro._asdict()
        yield _span(command.op.value, core.core, command.unit, core.start[index], core.end[index], arguments)


def _occupancy(core: CoreRecord) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    """(queue, its (tick, commands in it) whenever they change)."""
    for unit in Unit:
        changes = []
        for index, command in enumerate(core.program):
            if command.unit is unit:
                changes += [(core.queued[index], 1), (core.start[index], -1)]
        yield f"issue queue {unit.name.lower().replace('_', ' ')}", _summed(changes)
    pending = []
    for index in range(len(core.program)):
        pending += [(core.fetched[index], 1), (core.queued[index], -1)]
    yield "pending queue", _summed(pending)


def _summed(changes: list[tuple[int, int]]) -> list[tuple[int, int]]:
    found: dict[int, int] = {}
    held = 0
    for tick, change in sorted(changes):
        held += change
        found[tick] = held
    return list(found.items())


def _counters(core: CoreRecord) -> Iterator[dict[str, Any]]:
    for name, values in _occupancy(core):
        for tick, held in values:
            yield {
                "name": name,
                "ph": "C",
                "pid": core.core,
                "tid": 0,
                "ts": _microseconds(tick),
                "args": {"commands": held},
            }


def _transfers(core: CoreRecord, share: int) -> Iterator[dict[str, Any]]:
    for index, command in enumerate(core.program):
        if command.unit in OFF_CHIP:
            for channel in range(core.core * share, (core.core + 1) * share):
                arguments = {"core": core.core, "command": index, "bytes": command.size}
                yield _span(command.op.value, _MEMORY, channel, core.start[index], core.end[index], arguments)


def _macros(record: Record, channels: int) -> Iterator[dict[str, Any]]:
    for number, (accepted, start, end) in enumerate(record.macros):
        arguments = {
            "macro": number,
            "waited for transfers and hand-over, ns": (start - accepted) / TICKS_PER_NS,
        }
        yield _span("macro", _MEMORY, _PCU, accepted, end, arguments)
        for channel in range(channels):
            yield _span("macro", _MEMORY, channel, start, end, {"macro": number})


def write_vcd(path: Path, record: Record) -> None:
    """Write a VCD file: for each core what each unit does and how full its queues are, and whether a macro runs.

    Time is in units of 10 ps, to which ticks of 1/14 ns are rounded.
    """
    with (
        open(path, "w", encoding="ascii") as stream,
        VCDWriter(stream, timescale="10 ps", date="") as writer,
    ):
        changes: list[tuple[int, int, StringVariable | VectorVariable, str | int]] = []
        for core in record.cores:
            scope = f"core{core.core}"
            for unit in Unit:
                name = writer.register_var(scope, unit.name.lower(), "string", init="idle")
                assert isinstance(name, StringVariable)
                for index, command in enumerate(core.program):
                    if command.unit is unit:
                        changes.append((core.end[index], 0, name, "idle"))
                        changes.append((core.start[index], 1, name, command.op.name))
            for queue, values in _occupancy(core):
                wire = writer.register_var(scope, queue.replace(" ", "_"), "wire", size=10, init=0)
                assert isinstance(wire, VectorVariable)
                changes += [(tick, 1, wire, held) for tick, held in values]
        running = writer.register_var("memory", "channels", "string", init="normal")
        assert isinstance(running, StringVariable)
        for _, start, end in record.macros:
            changes += [(end, 0, running, "normal"), (start, 1, running, "macro")]
        for tick, _, variable, value in sorted(changes, key=lambda change: change[:2]):
            writer.change(variable, round(100 * (tick - record.start) / TICKS_PER_NS), value)
