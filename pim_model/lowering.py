# Ref: IANUS (ASPLOS 2024), sections 4.1 and 5.2; GDDR6-AiM notes, "Access to global buffer, bias and results"
"""A MATVEC macro as the two in-order streams of micro commands that each channel's controller issues.

The row stream goes to slot 0 (open, multiply, close, activate), the register stream to slot 1 (bias, buffer,
results). What one needs of the other is data: item ``needs`` says how many commands of the *other* stream
must have gone before. Mode switches and refreshes are the controller's and stand in neither stream.

A macro is a sequence of *passes*, a pass a sequence of *runs* on open rows: see ``spec/order.py`` and :class:`Run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from pim_model.mapping.layout import padded_columns, tile_grid
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES, Geometry
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import SETS, Micro, MicroOp
from pim_model.spec.order import Order, best_order

__all__ = ["Item", "Lane", "Lowering", "Operand", "Run"]


class Item(NamedTuple):
    """One command of a stream and where in the macro it stands."""

    micro: Micro
    needs: int
    """Commands of the other stream that must have been issued before."""
    token: int
    group: int
    """Of all matrices, as in :class:`Lane`."""
    tile: int


class Lane(NamedTuple):
    """One result of a pass; its place in the pass is its accumulator set."""

    token: int
    group: int
    """Counted through all matrices of the macro."""


class Run(NamedTuple):
    """What one lane does on an open row: the MACABs of a tile, or its activation."""

    lane: Lane
    accumulators: int
    """Accumulator set."""
    tile: int
    """Number of tiles for an activation."""
    columns: int
    """MACABs; 0 for an activation."""
    load: bool
    """The run's columns of the buffer are written for it."""
    opens: bool
    closes: bool
    """The run opens its row, or the one before left it open; it closes it, or leaves it to the next."""
    yields: bool
    """It leaves it to the next pass, unless a refresh is due when its last MACAB goes."""


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
    forced: Order | None = None
    """Another order than the best, to compare."""

    @property
    def geometry(self) -> Geometry:
        """Shape of the memory."""
        return self.config.geometry

    @property
    def grid(self) -> tuple[int, int]:
        """(groups, tiles) of each matrix."""
        return tile_grid(self.macro.rows, self.macro.columns, self.geometry)

    @property
    def groups(self) -> int:
        """Groups of a token: of all matrices, one after the other."""
        return len(self.macro.weight_rows) * self.grid[0]

    @property
    def total_columns(self) -> int:
        """Columns of 32 bytes of one input vector."""
        return padded_columns(self.macro.columns) // LANES

    def columns(self, tile: int) -> int:
        """Columns of 32 bytes that ``tile`` uses."""
        return min(self.geometry.columns, self.total_columns - tile * self.geometry.columns)

    @cached_property
    def order(self) -> Order:
        """What goes in pairs."""
        macro = self.macro
        return self.forced or best_order(
            self.config.timing.direct, self.groups, self.grid[1], int(macro.function is not None)
        )

    def passes(self) -> Iterator[tuple[Lane, ...]]:
        """The passes of the macro, in order."""
        groups, tokens = self.groups, self.macro.tokens
        if self.order.stays:
            step = SETS if self.order.tokens else 1
            for group in range(groups):
                for first in range(0, tokens, step):
                    yield tuple(Lane(token, group) for token in range(first, min(first + step, tokens)))
            return
        token = 0
        while token < tokens:
            if self.order.tokens and token + 1 < tokens:
                for group in range(groups):
                    yield Lane(token, group), Lane(token + 1, group)
                token += 2
                continue
            step = SETS if self.order.groups else 1
            for first in range(0, groups, step):
                yield tuple(Lane(token, group) for group in range(first, min(first + step, groups)))
            token += 1

    def runs(self, lanes: tuple[Lane, ...]) -> Iterator[Run]:
        """The runs of one pass, in order: tile by tile, of each lane in turn; then the activations."""
        tiles, last = self.grid[1], len(lanes) - 1
        one_group = lanes[0].group == lanes[last].group
        stays = bool(self.order.stays)
        after = stays and lanes[0].token > 0
        before = stays and lanes[last].token < self.macro.tokens - 1
        # Loads, and a result between two activations, come beside an open row or want it closed.
        beside = self.config.timing.direct
        for tile in range(tiles):
            for index, lane in enumerate(lanes):
                # Where the next pass is of the same token, the input of a single tile stays in the buffer for it.
                same_token = lanes[0].token == lanes[last].token and not (stays and self.macro.tokens > 1)
                again = tiles > 1 or lane.group == 0 or not same_token
                load = again and (index == 0 or one_group)
                opens, closes = self._row_use(beside and one_group, index, last)
                yields = before and closes
                use = opens and not after, closes and not before, yields
                yield Run(lane, index, tile, self.columns(tile), load, *use)
        if self.macro.function is not None:
            for index, lane in enumerate(lanes):
                yield Run(lane, index, tiles, 0, False, *self._row_use(beside, index, last), False)

    @staticmethod
    def _row_use(kept: bool, index: int, last: int) -> tuple[bool, bool]:
        """Whether the run of a lane opens its row and closes it; ``kept``: the row serves all lanes."""
        return not kept or index == 0, not kept or index == last

    def row(self, run: Run) -> int:
        """Row operand of the command that opens a run's row: a DRAM row, or the function of a table."""
        macro = self.macro
        if not run.columns:
            return macro.function or 0
        groups, tiles = self.grid
        matrix, group = divmod(run.lane.group, groups)
        return macro.weight_rows[matrix] + group * tiles + run.tile

    def row_stream(self) -> Iterator[Item]:
        """Commands of slot 0, in order."""
        return (item for slot, item in self._commands() if slot == 0)

    def register_stream(self) -> Iterator[Item]:
        """Commands of slot 1, in order."""
        return (item for slot, item in self._commands() if slot == 1)

    def _commands(self) -> Iterator[tuple[int, Item]]:
        """(slot, command) of both streams, in an order in which they could be issued one by one."""
        columns = range(self.geometry.columns)
        mac = [[Micro(MicroOp.MACAB, column=column, mode=mode) for column in columns] for mode in range(SETS)]
        write = [Micro(MicroOp.WRGB, column=column) for column in columns]
        close = Micro(self.config.row_closer)
        gone = [0, 0]

        def command(slot: int, micro: Micro, needs: int, lane: Lane, tile: int) -> tuple[int, Item]:
            gone[slot] += 1
            return slot, Item(micro, needs, *lane, tile)

        read, read_columns = 0, 0  # the run whose columns of the buffer the next load replaces
        for lanes in self.passes():
            biased = []
            for index, lane in enumerate(lanes):
                yield command(1, Micro(MicroOp.WRBIAS, mode=index), 0, lane, 0)
                biased.append(gone[1])
            for run in self.runs(lanes):
                here = (run.lane, run.tile)
                loaded = gone[1]
                for column in range(run.columns if run.load else 0):
                    # A column that the run before did not use is covered by the one before it in order.
                    yield command(1, write[column], read + min(column + 1, read_columns), *here)
                if run.opens:
                    op = MicroOp.ACTAB if run.columns else MicroOp.ACTAF
                    yield command(0, Micro(op, row=self.row(run)), 0, *here)
                if run.columns:
                    read, read_columns = gone[0], run.columns
                for column in range(run.columns):
                    needs = loaded + column + 1 if run.load else biased[run.accumulators]
                    yield command(0, mac[run.accumulators][column], needs, *here)
                if not run.columns:
                    # After the result before it: there is one result register for both sets.
                    yield command(0, Micro(MicroOp.AF, mode=run.accumulators), gone[1], *here)
                    yield command(1, Micro(MicroOp.RDAF), gone[0], *here)
                if run.closes:
                    yield command(0, close, 0, *here)
            if self.macro.function is None:
                for index, lane in enumerate(lanes):
                    yield command(
                        1, Micro(MicroOp.RDMAC, mode=index), read + read_columns, lane, self.grid[1]
                    )

    def operand(self, item: Item, channel: int) -> Operand:
        """What a register command moves from or to ``channel``; size 0 for a bias not given."""
        macro = self.macro
        if item.micro.op is MicroOp.WRGB:
            first = item.tile * self.geometry.elements + item.micro.column * LANES
            offset = macro.input_offset + item.token * macro.input_stride + 2 * first
            return Operand(offset, min(COLUMN_BYTES, 2 * (macro.columns - first)))
        matrix, group = divmod(item.group, self.grid[0])
        first = group * self.geometry.outputs + channel * self.geometry.banks
        size = 2 * max(0, min(self.geometry.banks, macro.rows - first))
        place = matrix * macro.part_stride + 2 * first
        if item.micro.op is MicroOp.WRBIAS:
            return (
                Operand(macro.bias_offset + place, size) if macro.bias_offset is not None else Operand(0, 0)
            )
        if item.micro.op in (MicroOp.RDMAC, MicroOp.RDAF):
            return Operand(macro.output_offset + item.token * macro.output_stride + place, size)
        raise ValueError(f"item must be a register command, not {item.micro}")
