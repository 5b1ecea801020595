# Ref: IANUS (ASPLOS 2024), sections 4.1 and 5.2; GDDR6-AiM notes, "Access to global buffer, bias and results"
"""A MATVEC macro as the two in-order streams of micro commands that each channel's controller issues.

The row stream goes to slot 0 (open, multiply, close, activate), the register stream to slot 1 (bias, buffer,
results). What one needs of the other is data: item ``needs`` says how many commands of the *other* stream
must have gone before. Mode switches and refreshes are the controller's and stand in neither stream.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from pim_model.mapping.layout import padded_columns, tile_grid
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES, Geometry
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import Micro, MicroOp

__all__ = ["Item", "Lowering", "Operand"]


class Item(NamedTuple):
    """One command of a stream and where in the macro it stands."""

    micro: Micro
    needs: int
    """Commands of the other stream that must have been issued before."""
    token: int
    group: int
    tile: int


class Operand(NamedTuple):
    """Bytes of the activation buffer that a register command moves."""

    offset: int
    size: int
    """May be less than 32, or 0: the rest is zeros (to the device) or dropped (from it)."""


@dataclass(frozen=True)
class Lowering:
    """The streams of one macro on one configuration."""

    config: Config
    macro: MatVec

    @property
    def geometry(self) -> Geometry:
        """Shape of the memory."""
        return self.config.geometry

    @property
    def grid(self) -> tuple[int, int]:
        """(groups, tiles)."""
        return tile_grid(self.macro.rows, self.macro.columns, self.geometry)

    @property
    def total_columns(self) -> int:
        """Columns of 32 bytes of one input vector."""
        return padded_columns(self.macro.columns) // LANES

    def columns(self, tile: int) -> int:
        """Columns of 32 bytes that ``tile`` uses."""
        return min(self.geometry.columns, self.total_columns - tile * self.geometry.columns)

    def loads(self, group: int) -> bool:
        """Whether tiles of ``group`` load the buffer: a single tile's input stays for a whole token."""
        return self.grid[1] > 1 or group == 0

    def row_stream(self) -> Iterator[Item]:
        """Commands of slot 0, in order."""
        groups, tiles = self.grid
        macro = self.macro
        mac = [Micro(MicroOp.MACAB, column=column) for column in range(self.geometry.columns)]
        close = Micro(MicroOp.PREA)
        for token in range(macro.tokens):
            for group in range(groups):
                biased = self._register_index(token, group) + 1
                for tile in range(tiles):
                    here = (token, group, tile)
                    yield Item(Micro(MicroOp.ACTAB, row=macro.weight_row + group * tiles + tile), 0, *here)
                    loaded = biased + tile * self.geometry.columns
                    for column in range(self.columns(tile)):
                        needs = loaded + column + 1 if self.loads(group) else biased
                        yield Item(mac[column], needs, *here)
                    yield Item(close, 0, *here)
                if macro.function is not None:
                    here = (token, group, tiles)
                    yield Item(Micro(MicroOp.ACTAF, row=macro.function), 0, *here)
                    yield Item(Micro(MicroOp.AF), biased, *here)
                    yield Item(close, 0, *here)

    def register_stream(self) -> Iterator[Item]:
        """Commands of slot 1, in order."""
        groups, tiles = self.grid
        bias = Micro(MicroOp.WRBIAS)
        write = [Micro(MicroOp.WRGB, column=column) for column in range(self.geometry.columns)]
        result = Micro(MicroOp.RDMAC if self.macro.function is None else MicroOp.RDAF)
        previous_mac, previous_columns = 0, 0  # the tile whose buffer contents the next load replaces
        for token in range(self.macro.tokens):
            for group in range(groups):
                start = self._row_index(token, group)
                yield Item(bias, 0, token, group, 0)
                for tile in range(tiles):
                    if self.loads(group):
                        for column in range(self.columns(tile)):
                            # A column that the previous tile did not use is covered by the one before it in
                            # order.
                            needs = previous_mac + min(column + 1, previous_columns)
                            yield Item(write[column], needs, token, group, tile)
                    previous_mac = start + tile * (self.geometry.columns + 2) + 1
                    previous_columns = self.columns(tile)
                done = previous_mac + previous_columns
                needs = done if self.macro.function is None else done + 3
                yield Item(result, needs, token, group, tiles)

    def operand(self, item: Item, channel: int) -> Operand:
        """What a register command moves from or to ``channel``; size 0 for a bias not given."""
        macro = self.macro
        if item.micro.op is MicroOp.WRGB:
            first = item.tile * self.geometry.elements + item.micro.column * LANES
            offset = macro.input_offset + item.token * macro.input_stride + 2 * first
            return Operand(offset, min(COLUMN_BYTES, 2 * (macro.columns - first)))
        first = item.group * self.geometry.outputs + channel * self.geometry.banks
        size = 2 * max(0, min(self.geometry.banks, macro.rows - first))
        if item.micro.op is MicroOp.WRBIAS:
            return (
                Operand(macro.bias_offset + 2 * first, size)
                if macro.bias_offset is not None
                else Operand(0, 0)
            )
        if item.micro.op in (MicroOp.RDMAC, MicroOp.RDAF):
            return Operand(macro.output_offset + item.token * macro.output_stride + 2 * first, size)
        raise ValueError(f"item must be a register command, not {item.micro}")

    def _register_index(self, token: int, group: int) -> int:
        """Commands of the register stream before the WRBIAS of a group."""
        groups, tiles = self.grid
        if tiles > 1:
            return (token * groups + group) * (2 + self.total_columns)
        return token * (2 * groups + self.total_columns) + 2 * group + (self.total_columns if group else 0)

    def _row_index(self, token: int, group: int) -> int:
        """Commands of the row stream before the first ACTAB of a group."""
        groups, tiles = self.grid
        activation = 3 if self.macro.function is not None else 0
        return (token * groups + group) * (self.total_columns + 2 * tiles + activation)
