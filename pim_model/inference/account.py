"""Where the time of a run went: by part of the model, and by unit.

At each moment several commands run. The moment is booked once, to the first part in :data:`ORDER` of which one runs,
so the parts add up to the latency. Fully connected layers come first: a moment counts as theirs while their weights
move, from memory to the NPU or past the PUs in PIM, and what is hidden behind them costs nothing. That is how the
paper's 890 ms of two FCs on NPU-MEM come out at exactly the bandwidth of its memory.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

import numpy as np

from pim_model.npu.command import Part, Unit
from pim_model.npu.record import CoreRecord, Record

__all__ = ["ORDER", "busy", "parts"]

ORDER = (Part.HEAD, Part.EMBEDDING, Part.FFN, Part.ATTENTION_FC, Part.SELF_ATTENTION, Part.NORM)
_PLACE = {part: place for place, part in enumerate(ORDER)}


def parts(record: Record) -> Mapping[Part, int]:
    """Ticks of each part; they add up to the run's, less moments in which nothing ran."""
    core = record.cores[0]
    count = len(core.program)
    ticks = np.array(core.start + core.end, dtype=np.int64)
    kinds = np.array([_PLACE[command.part] for command in core.program], dtype=np.int64)
    order = np.argsort(ticks, kind="stable")
    lengths = np.diff(ticks[order])
    change = np.where(order < count, 1, -1)
    kind = np.concatenate([kinds, kinds])[order]
    left = np.ones(len(lengths), dtype=np.bool_)
    found: Counter[Part] = Counter()
    for place, part in enumerate(ORDER):
        running = np.cumsum(np.where(kind == place, change, 0))[:-1] > 0
        found[part] = int(lengths[left & running].sum())
        left &= ~running
    return found


def busy(core: CoreRecord) -> Mapping[Unit, int]:
    """Ticks in which each unit had a command."""
    found: Counter[Unit] = Counter()
    for command, start, end in zip(core.program, core.start, core.end, strict=True):
        found[command.unit] += end - start
    return found
