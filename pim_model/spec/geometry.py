"""The shape of the memory and its address map.

A byte address is ``row | channel | bank | column | byte``, most significant first, so that one DRAM row address
names a tile: the same row of every bank of every channel.

# Ref: IANUS (ASPLOS 2024), Table 1 and section 5.1
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

LANES = 16
"""BF16 lanes of one processing unit: one column of 32 bytes."""

COLUMN_BYTES = 32
"""Bytes that one normal or PIM column access moves."""

TABLE_ROWS = 8
"""Rows at the top of every bank that hold activation tables (one function a row)."""


class Location(NamedTuple):
    """Where one byte lives."""

    row: int
    channel: int
    bank: int
    column: int
    byte: int


def _power_of_two(name: str, value: int, low: int, high: int) -> None:
    if not isinstance(value, int) or value < low or value > high or value & (value - 1):
        raise ValueError(f"{name} must be a power of two from {low} to {high}, not {value!r}")


@dataclass(frozen=True, kw_only=True)
class Geometry:
    """Channels x banks x rows x bytes a row.

    Parameters
    ----------
    channels : int
        Channels, each with its own PIM memory controller; a power of two, 1 to 32.
    banks : int
        Banks a channel, each with one processing unit; a power of two, 4 to 16.
    rows : int
        DRAM rows a bank, the reserved table rows included; a power of two, 16 to 65536.
    row_bytes : int
        Bytes a row of one bank, also the size of the global buffer; a power of two, 64 to 2048.
    """

    channels: int
    banks: int
    rows: int
    row_bytes: int = 2048

    def __post_init__(self) -> None:
        _power_of_two("channels", self.channels, 1, 32)
        _power_of_two("banks", self.banks, 4, 16)
        _power_of_two("rows", self.rows, 16, 65536)
        _power_of_two("row_bytes", self.row_bytes, 64, 2048)

    banks_per_group = 4
    """Banks a bank group (GDDR6: four groups of four)."""

    @property
    def columns(self) -> int:
        """Columns of 32 bytes in a row of one bank."""
        return self.row_bytes // COLUMN_BYTES

    @property
    def elements(self) -> int:
        """BF16 elements in a row of one bank: the longest input slice that one tile takes."""
        return self.row_bytes // 2

    @property
    def outputs(self) -> int:
        """Output rows of one tile: one for every bank of every channel."""
        return self.channels * self.banks

    @property
    def slab_bytes(self) -> int:
        """Bytes that share one DRAM row address over all channels and banks."""
        return self.outputs * self.row_bytes

    @property
    def memory_bytes(self) -> int:
        """Size of the whole memory in bytes."""
        return self.rows * self.slab_bytes

    @property
    def weight_rows(self) -> int:
        """Rows that weights and data may use: all but the table rows at the top."""
        return self.rows - TABLE_ROWS

    def table_row(self, function: int) -> int:
        """Row that holds the table of activation ``function``."""
        if not 0 <= function < TABLE_ROWS:
            raise ValueError(f"function must be a number from 0 to {TABLE_ROWS - 1}, not {function!r}")
        return self.weight_rows + function

    @property
    def column_bits(self) -> int:
        """Address bits of the column."""
        return (self.columns - 1).bit_length()

    @property
    def bank_bits(self) -> int:
        """Address bits of the bank."""
        return (self.banks - 1).bit_length()

    @property
    def channel_bits(self) -> int:
        """Address bits of the channel (0 with one channel)."""
        return (self.channels - 1).bit_length()

    @property
    def row_bits(self) -> int:
        """Address bits of the row."""
        return (self.rows - 1).bit_length()

    @property
    def address_bits(self) -> int:
        """Bits of a byte address in the memory."""
        return (self.memory_bytes - 1).bit_length()

    def locate(self, address: int) -> Location:
        """Split a byte address; ``ValueError`` outside the memory."""
        if not 0 <= address < self.memory_bytes:
            raise ValueError(f"address must be from 0 to {self.memory_bytes - 1:#x}, not {address:#x}")
        rest, byte = divmod(address, COLUMN_BYTES)
        rest, column = divmod(rest, self.columns)
        rest, bank = divmod(rest, self.banks)
        row, channel = divmod(rest, self.channels)
        return Location(row, channel, bank, column, byte)

    def address(self, row: int, channel: int = 0, bank: int = 0, column: int = 0, byte: int = 0) -> int:
        """Byte address of a place; the inverse of :meth:`locate`."""
        for name, value, limit in (
            ("row", row, self.rows),
            ("channel", channel, self.channels),
            ("bank", bank, self.banks),
            ("column", column, self.columns),
            ("byte", byte, COLUMN_BYTES),
        ):
            if not 0 <= value < limit:
                raise ValueError(f"{name} must be from 0 to {limit - 1}, not {value!r}")
        line = (row * self.channels + channel) * self.banks + bank
        return (line * self.columns + column) * COLUMN_BYTES + byte
