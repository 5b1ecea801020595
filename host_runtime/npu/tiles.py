# Ref: IANUS (ASPLOS 2024), sections 3.2 and 5.2: NPU and PIM share one copy of the weights
"""Weights for the matrix unit: read from the tiles that PIM multiplies by, and multiplied tile by tile."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from host_runtime.bits import F32, from_bits
from host_runtime.llm.layers import rounding_of
from host_runtime.npu.placed import PlacedModel
from host_runtime.ops import Matrix
from pim_model.npu.command import Command, Op, Unit
from pim_model.spec.npu import ARRAY_COLUMNS

__all__ = ["Tile", "Tiles"]

_ROUNDED = rounding_of("bf16")
_OF_HEADS = {Op.QUERY: "query", Op.KEY: "key", Op.VALUE: "value"}


class Tile(NamedTuple):
    """What a load brings."""

    user: Command
    """The command of the matrix unit that it is for."""
    number: int
    """Of the tiles of that layer."""


class Tiles:
    """The tiles of one program.

    Parameters
    ----------
    placed : PlacedModel
        Where the weights are.
    program : sequence of Command
        Its loads of weights, and who uses each.
    """

    def __init__(self, placed: PlacedModel, program: Sequence[Command]):
        self._placed = placed
        self._tiles: dict[int, Tile] = {}
        self._load_of: dict[int, int] = {}
        self._held: dict[int, tuple[list[int], F32]] = {}
        counts: Counter[tuple[Op, int, int]] = Counter()
        for place, command in enumerate(program):
            if command.unit is not Unit.MATRIX:
                continue
            for needed in command.needs:
                if program[needed].op is Op.LOAD_WEIGHTS:
                    kind = (command.op, command.layer, command.head)
                    self._tiles[needed] = Tile(command, counts[kind])
                    self._load_of[place] = needed
                    counts[kind] += 1

    def matrix(self, command: Command) -> Matrix:
        """The weights of a fully connected layer's command."""
        placed = self._placed
        if command.op is Op.HEAD:
            return placed.head
        block = placed.blocks[command.layer]
        if command.op in _OF_HEADS:
            return block.heads[_OF_HEADS[command.op]][command.head]
        return {Op.PROJECTION: block.projection, Op.EXPAND: block.expand, Op.CONTRACT: block.contract}[
            command.op
        ]

    def load(self, place: int) -> None:
        """Read the tile of a load of weights from the device, all cores' parts."""
        tile = self._tiles[place]
        matrix = self.matrix(tile.user)
        rows = self._rows(tile, matrix)
        self._held[place] = (
            rows,
            from_bits(np.stack([self._placed.pim.read_row(matrix, row) for row in rows])),
        )

    def multiply(self, place: int, command: Command, x: F32, out: F32) -> None:
        """Fill the tile's columns of ``out`` [1, n, outputs] from ``x`` [1, n, inputs]; FP32 inside, BF16 out."""
        rows, weights = self._held.pop(self._load_of[place])
        matrix = self.matrix(command)
        made = np.matmul(x[0], weights.T)
        if matrix.bias is not None:
            made += from_bits(matrix.bias[rows])
        out[0][:, rows] = _ROUNDED(made)

    def _rows(self, tile: Tile, matrix: Matrix) -> list[int]:
        """Output rows of a tile: 64 of each core's share. A head's matrix is the share of every core as it is."""
        if tile.user.op in _OF_HEADS:
            return list(range(matrix.rows))
        share = -(-matrix.rows // self._placed.cores)
        first = tile.number * ARRAY_COLUMNS
        return [
            row
            for core in range(self._placed.cores)
            for row in range(core * share + first, core * share + min(first + ARRAY_COLUMNS, share))
            if row < matrix.rows
        ]
