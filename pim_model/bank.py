# Ref: GDDR6-AiM notes, "Commands"
"""One bank: which row is open, and what its columns hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pim_model.spec.geometry import LANES
from pim_model.spec.micro import MicroOp
from pim_model.storage import Storage

__all__ = ["Bank", "ImpossibleCommand"]

U16 = npt.NDArray[np.uint16]


class ImpossibleCommand(Exception):
    """A command that has no meaning in the device's state, such as a read with no row open.

    Not every illegal sequence is impossible: what breaks a timing or a protocol rule but still has one
    meaning is executed here, and found by :mod:`pim_model.checker`.
    """


class Bank:
    """State and data of one bank. Column data are ``uint16[16]``, BF16 bits in lane order."""

    def __init__(self, storage: Storage, channel: int, index: int) -> None:
        self._storage = storage
        self._place = (channel, index)
        self.open_row: int | None = None
        self.opened_by: MicroOp | None = None

    def open(self, row: int, command: MicroOp) -> None:
        """Open ``row``; :class:`ImpossibleCommand` if one is open."""
        if self.open_row is not None:
            raise ImpossibleCommand(f"{command.name} to {self}, where row {self.open_row} is open")
        self.open_row = row
        self.opened_by = command

    def close(self) -> None:
        """Close the open row; nothing happens if none is open."""
        self.open_row = None
        self.opened_by = None

    def row(self, command: MicroOp) -> U16:
        """All elements of the open row, to be read only."""
        row: U16 = self._storage.row(self._open(command))[self._place]
        return row

    def read(self, column: int, command: MicroOp) -> U16:
        """One column of the open row."""
        return self.row(command)[column * LANES : (column + 1) * LANES].copy()

    def write(self, column: int, lanes: U16, command: MicroOp, mask: int | None = None) -> None:
        """Write one column of the open row; bit i of ``mask`` enables byte i (None: all)."""
        slab = self._storage.row_for_write(self._open(command))
        target = slab[self._place][column * LANES : (column + 1) * LANES]
        if mask is None:
            target[:] = lanes
            return
        enabled = (mask >> np.arange(2 * LANES, dtype=np.int64)) & 1
        target.view(np.uint8)[:] = np.where(enabled, lanes.view(np.uint8), target.view(np.uint8))

    def _open(self, command: MicroOp) -> int:
        if self.open_row is None:
            raise ImpossibleCommand(f"{command.name} to {self}, where no row is open")
        return self.open_row

    def __str__(self) -> str:
        return f"channel {self._place[0]} bank {self._place[1]}"
