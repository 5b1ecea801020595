# Ref: GDDR6-AiM notes, "Commands"
"""One bank: which rows are open, and what its columns hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pim_model.spec.geometry import LANES
from pim_model.spec.micro import MicroOp
from pim_model.spec.row_buffers import MEM_ONLY, PIM_ONLY
from pim_model.storage import Storage

__all__ = ["Bank", "ImpossibleCommand"]

U16 = npt.NDArray[np.uint16]


class ImpossibleCommand(Exception):
    """A command that has no meaning in the device's state, such as a read with no row open.

    Not every illegal sequence is impossible: what breaks a timing or a protocol rule but still has one
    meaning is executed here, and found by :mod:`pim_model.checker`.
    """


class Bank:
    """State and data of one bank. Column data are ``uint16[16]``, BF16 bits in lane order.

    ``dual``: normal traffic and PIM have a row buffer each, otherwise they share one. Which one a command means is in
    ``spec/row_buffers.py``. Both show the same cells.
    """

    def __init__(self, storage: Storage, channel: int, index: int, *, dual: bool = False) -> None:
        self._storage = storage
        self._place = (channel, index)
        self._dual = dual
        # (row, what opened it) of each buffer: of normal traffic, of PIM.
        self._buffers: list[tuple[int, MicroOp] | None] = [None, None]

    @property
    def is_open(self) -> bool:
        """Whether any row is open."""
        return self._buffers != [None, None]

    def opened_by(self, command: MicroOp) -> MicroOp | None:
        """What opened the row that ``command`` would work on."""
        held = self._buffers[self._buffer(command)]
        return held[1] if held else None

    def open_row(self, command: MicroOp) -> int | None:
        """The row that ``command`` would work on."""
        held = self._buffers[self._buffer(command)]
        return held[0] if held else None

    def open(self, row: int, command: MicroOp) -> None:
        """Open ``row``; :class:`ImpossibleCommand` if one is open."""
        held = self.open_row(command)
        if held is not None:
            raise ImpossibleCommand(f"{command.name} to {self}, where row {held} is open")
        self._buffers[self._buffer(command)] = row, command

    def close(self, command: MicroOp) -> None:
        """Close what ``command`` closes; nothing happens if that is no row."""
        if command not in MEM_ONLY or not self._dual:
            self._buffers[1] = None
        if command not in PIM_ONLY or not self._dual:
            self._buffers[0] = None

    def _buffer(self, command: MicroOp) -> int:
        if not self._dual or command in MEM_ONLY:
            return 0
        return int(command in PIM_ONLY or self._buffers[1] is not None)

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
        row = self.open_row(command)
        if row is None:
            raise ImpossibleCommand(f"{command.name} to {self}, where no row is open")
        return row

    def __str__(self) -> str:
        return f"channel {self._place[0]} bank {self._place[1]}"
