# Ref: IANUS (ASPLOS 2024), section 4.1: no normal command gets between the micro commands of a macro
"""The device's commands beside the scheduler's: what stood on the buses while each macro or transfer was out."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from host_runtime.npu.session import Dispatched
from pim_model.npu.command import Unit
from pim_model.spec.micro import MicroOp
from pim_model.trace import Entry

__all__ = ["Lineup", "line_up"]

NORMAL = frozenset({MicroOp.RD, MicroOp.WR})
MULTIPLIES = frozenset({MicroOp.MACAB, MicroOp.AF})


@dataclass(frozen=True)
class Lineup:
    """What was found, over all channels."""

    macros: int
    """Macros of the scheduler during which the device multiplied."""
    transfers: int
    """Transfers during which it read or wrote."""
    misplaced: int
    """Reads and writes inside a macro's first and last multiplication, multiplications outside of macros."""
    silent: int
    """Macros and transfers in which the device did nothing of their kind."""


def line_up(dispatched: Sequence[Dispatched], entries: Sequence[Entry]) -> Lineup:
    """Compare what went to the device with what its buses showed; both by the device's cycle counter.

    ``entries`` must be all commands since before the first of ``dispatched``. A write may reach its bank after the
    transfer that brought it, since writes are posted, but never inside a macro.
    """
    begins = [each.cycles[0] for each in dispatched]
    found: list[set[str]] = [set() for _ in dispatched]
    inside: dict[tuple[int, int], tuple[int, int]] = {}
    normal: list[tuple[int, int]] = []
    misplaced = 0
    for entry in entries:
        place = bisect_right(begins, entry.cycle) - 1
        if entry.micro.op in MULTIPLIES:
            if (
                place < 0
                or dispatched[place].unit is not Unit.PIM
                or entry.cycle > dispatched[place].cycles[1]
            ):
                misplaced += 1
                continue
            found[place].add("multiplies")
            key = (place, entry.channel)
            first, _ = inside.get(key, (entry.cycle, 0))
            inside[key] = (first, entry.cycle)
        elif entry.micro.op in NORMAL:
            normal.append((entry.channel, entry.cycle))
            if place >= 0:
                found[place].add("moves")
    spans: dict[int, list[tuple[int, int]]] = {}
    for (_, channel), span in sorted(inside.items()):
        spans.setdefault(channel, []).append(span)
    for channel, cycle in normal:
        own = spans.get(channel, [])
        place = bisect_right(own, (cycle, 1 << 62)) - 1
        misplaced += place >= 0 and own[place][0] <= cycle <= own[place][1]
    macros = [each.unit is Unit.PIM for each in dispatched]
    multiplied = sum(
        is_macro and "multiplies" in kinds for is_macro, kinds in zip(macros, found, strict=True)
    )
    moved = sum(not is_macro and "moves" in kinds for is_macro, kinds in zip(macros, found, strict=True))
    return Lineup(multiplied, moved, misplaced, len(dispatched) - multiplied - moved)
