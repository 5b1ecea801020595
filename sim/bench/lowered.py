"""The two streams of a macro as the structs that PCU and controllers exchange, made from the golden lowering."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from hdl.layouts import RegisterKind
from pim_model.lowering import Item, Lowering
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.micro import MicroOp as Op

__all__ = ["steps_of", "tiles_of"]

_KINDS = {
    Op.WRGB: RegisterKind.WRGB,
    Op.WRBIAS: RegisterKind.WRBIAS,
    Op.RDMAC: RegisterKind.RDMAC,
    Op.RDAF: RegisterKind.RDAF,
}


def tiles_of(lowering: Lowering) -> list[dict[str, int]]:
    """The row stream, one :class:`~hdl.layouts.Tile` for each run."""
    runs = [run for lanes in lowering.passes() for run in lowering.runs(lanes)]
    tiles = lowering.grid[1]
    found: list[dict[str, int]] = []
    loads_next = True  # the next run that reads the buffer has it written first
    for run in reversed(runs):
        table = not run.columns
        found.append(
            {
                "row": lowering.row(run),
                "columns": run.columns,
                "accumulators": run.accumulators,
                "load": int(run.load),
                "release": int(loads_next and not table),
                "last": int(run.tile == tiles - 1),
                "table": int(table),
                "keep": int(not run.closes),
                "yields": int(run.yields),
            }
        )
        loads_next = loads_next if table else run.load
    return found[::-1]


def steps_of(lowering: Lowering, buffer: npt.NDArray[np.uint8], channel: int) -> list[dict[str, Any]]:
    """The register stream of one channel, one :class:`~hdl.layouts.RegisterStep` for each command."""
    steps = [
        {
            "kind": _KINDS[item.micro.op],
            "column": item.micro.column,
            "accumulators": item.micro.mode,
            "data": _data(lowering, item, buffer, channel),
            "final": 0,
        }
        for item in lowering.register_stream()
    ]
    steps[-1]["final"] = 1
    return steps


def _data(lowering: Lowering, item: Item, buffer: npt.NDArray[np.uint8], channel: int) -> int:
    if item.micro.op not in (Op.WRGB, Op.WRBIAS):
        return 0
    offset, size = lowering.operand(item, channel)
    return int.from_bytes(buffer[offset : offset + size].tobytes().ljust(COLUMN_BYTES, b"\0"), "little")
