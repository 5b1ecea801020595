# Ref: IANUS (ASPLOS 2024), section 4.1
"""What must hold in every run, read off its record alone: the scheduler is not asked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence

from pim_model.npu.command import Unit
from pim_model.npu.record import CoreRecord, Record
from pim_model.spec.npu import WEIGHT_BYTES

__all__ = ["Violation", "check"]


class Violation(Exception):
    """A run that broke a rule of the command scheduler: a fault of this program, never of its input."""


def check(record: Record, *, exclusive: bool, issue_slots: int, pending_slots: int) -> int:
    """Check a run; the number of facts checked. :class:`Violation` names the first command that breaks a rule."""
    facts = 0
    for core in record.cores:
        by_unit: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        for index, command in enumerate(core.program):
            by_unit[command.unit].append(index)
        facts += _each_once(core)
        facts += _one_at_a_time(core, by_unit)
        facts += _scratchpad(core)
        if core.most_pending > pending_slots:
            raise Violation(
                f"core {core.core}: {core.most_pending} commands were pending, not {pending_slots}"
            )
        for places in by_unit.values():
            facts += _queue(core, places, issue_slots)
        if exclusive:
            transfers = [*by_unit[Unit.DMA_IN], *by_unit[Unit.DMA_OUT]]
            facts += _no_transfer_in_macro(core, transfers, record.macros)
    return facts


def _each_once(core: CoreRecord) -> int:
    """Every command began and ended once, and not before what it needs."""
    end = core.end
    for index, (start, command) in enumerate(zip(core.start, core.program, strict=True)):
        if core.finishes[index] != 1 or not 0 <= start <= end[index]:
            raise Violation(f"core {core.core}: command {index} must begin and end once")
        for needed in command.needs:
            if end[needed] > start:
                raise Violation(f"core {core.core}: command {index} began before {needed} had ended")
    return len(end)


def _one_at_a_time(core: CoreRecord, by_unit: Mapping[Unit, Sequence[int]]) -> int:
    """A unit has one command at a time; so has the DMA engine, which three units share."""
    start, end = core.start, core.end
    engine = [*by_unit[Unit.DMA_IN], *by_unit[Unit.DMA_OUT], *by_unit[Unit.ONCHIP]]
    for places in (by_unit[Unit.MATRIX], by_unit[Unit.VECTOR], engine, by_unit[Unit.PIM], by_unit[Unit.SYNC]):
        last = -1
        for begun, ended, index in sorted((start[index], end[index], index) for index in places):
            if begun < last:
                raise Violation(f"core {core.core}: command {index} began on a unit that was busy")
            last = ended
    # A transfer on chip waits for the engine and for nothing else, least of all for a macro.
    ends = {end[index] for index in engine}
    for index in by_unit[Unit.ONCHIP]:
        if start[index] > core.queued[index] and start[index] not in ends:
            raise Violation(f"core {core.core}: transfer on chip {index} waited for more than the DMA engine")
    return len(end)


def _no_transfer_in_macro(
    core: CoreRecord, transfers: Sequence[int], macros: Sequence[tuple[int, int, int]]
) -> int:
    """No transfer of memory begins while the PCU has a macro, and none runs while the channels execute it."""
    accepted = [macro[0] for macro in macros]
    for index in transfers:
        start, end = core.start[index], core.end[index]
        place = bisect_right(accepted, end - 1) - 1
        while place >= 0 and macros[place][2] > start:
            taken, first, _ = macros[place]
            if taken < start or first < end:
                raise Violation(f"core {core.core}: transfer {index} and a macro used memory at once")
            place -= 1
    return len(transfers)


def _queue(core: CoreRecord, places: Sequence[int], slots: int) -> int:
    """An issue queue is in order, and holds no more than its places."""
    starts: list[int] = []
    # What enters in one tick enters in program order.
    for entered, index in sorted((core.queued[index], index) for index in places):
        start = core.start[index]
        if starts and start < starts[-1]:
            raise Violation(f"core {core.core}: command {index} overtook another in its issue queue")
        if len(starts) >= slots and starts[-slots] > entered:
            raise Violation(f"core {core.core}: command {index} had no place in its issue queue")
        starts.append(start)
    return len(places)


def _scratchpad(core: CoreRecord) -> int:
    """The weight scratch-pad never holds more than it has room for, and is empty at the end."""
    changes = []
    for index, command in enumerate(core.program):
        if command.claims:
            changes.append((core.start[index], 1, command.claims))
        if command.frees:
            changes.append((core.end[index], 0, -command.frees))
    held = 0
    for tick, _, change in sorted(changes):
        held += change
        if held > WEIGHT_BYTES:
            raise Violation(f"core {core.core}: {held} bytes in a weight scratch-pad at tick {tick}")
    if held:
        raise Violation(f"core {core.core}: {held} bytes were left in the weight scratch-pad")
    return len(changes)
