# Ref: "Trace Event Format" (JSON that Perfetto and Chrome read)
"""The device's bus commands on the scheduler's time: each macro's and transfer's beside the command that caused it.

The device only runs while a macro or transfer is out, so its clock stands still in between. Each one's commands are
moved to where the scheduler began it: a macro's first to the end of its hand-over.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Any

from host_runtime.npu.session import Dispatched
from pim_model.npu.command import Unit
from pim_model.spec.micro import MicroOp
from pim_model.spec.npu import TICKS_PER_NS
from pim_model.trace import Entry

__all__ = ["device_events"]

_PROCESS = 200
"""Process of channel 0; the others follow."""

NORMAL = (MicroOp.ACT, MicroOp.RD, MicroOp.WR, MicroOp.PRE)


_SLOTS = ("slot 0: rows and columns", "slot 1: registers")


def _named(kind: str, channel: int, slot: int, text: str) -> dict[str, Any]:
    return {"name": kind, "ph": "M", "pid": _PROCESS + channel, "tid": slot, "args": {"name": text}}


def device_events(
    dispatched: Sequence[Dispatched], entries: Sequence[Entry], cycle_ticks: int
) -> Iterator[dict[str, Any]]:
    """Events of a stage's bus commands, a process for each channel and a thread for each slot of its bus.

    Of a macro, the PIM commands; of a transfer, the normal ones. The rest is the memory's own: refreshes, and writes
    that were posted earlier.
    """
    begins = [each.cycles[0] for each in dispatched]
    shifts: dict[int, int] = {}
    for channel in sorted({entry.channel for entry in entries}):
        yield _named("process_name", channel, 0, f"device, channel {channel}")
        for slot, what in enumerate(_SLOTS):
            yield _named("thread_name", channel, slot, what)
    for entry in entries:
        place = bisect_right(begins, entry.cycle) - 1
        if place < 0:
            continue
        out = dispatched[place]
        macro = out.unit is Unit.PIM
        if macro is (entry.micro.op in NORMAL) or entry.micro.op is MicroOp.REFAB:
            continue
        if place not in shifts:
            origin = entry.cycle if macro else out.cycles[0]
            shifts[place] = out.start - origin * cycle_ticks
        tick = entry.cycle * cycle_ticks + shifts[place]
        yield {
            "name": entry.micro.op.name,
            "ph": "X",
            "pid": _PROCESS + entry.channel,
            "tid": entry.slot,
            "ts": round(tick / TICKS_PER_NS / 1000, 7),
            "dur": round(cycle_ticks / TICKS_PER_NS / 1000, 7),
            "args": {"cycle": entry.cycle, "command": out.command, "row": entry.micro.row},
        }
