"""Cutting one product into macros that fit the activation buffer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from host_runtime.errors import OutOfMemory
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES
from pim_model.spec.macro import TOKENS_BITS

__all__ = ["Part", "Plan", "stride"]

MAX_TOKENS = (1 << TOKENS_BITS) - 1


def stride(elements: int) -> int:
    """Bytes from one vector of ``elements`` BF16 to the next in the buffer."""
    return -(-elements // LANES) * COLUMN_BYTES


@dataclass(frozen=True)
class Part:
    """What one macro computes: ``rows`` outputs from ``row`` on, of the tokens staged."""

    row: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """Steps of ``tokens`` tokens each (the last may be shorter); in each step one macro a part."""

    tokens: int
    parts: tuple[Part, ...]

    @property
    def rows(self) -> int:
        """Most output rows of one macro."""
        return max(part.rows for part in self.parts)

    def steps(self, total: int) -> Iterator[range]:
        """The tokens of each step."""
        for first in range(0, total, self.tokens):
            yield range(first, min(first + self.tokens, total))

    @classmethod
    def make(cls, rows: int, columns: int, tokens: int, room: int, config: Config) -> Plan:
        """Fit as many tokens a macro as ``room`` bytes allow, and all rows; cut the rows if one token is too much.

        Rows are cut at whole output groups whose bias starts on 32 bytes. :class:`OutOfMemory` if the input and the
        smallest part of the outputs do not fit.
        """
        inputs = stride(columns)
        fitting = room // (inputs + stride(rows))
        if fitting:
            return cls(min(tokens, fitting, MAX_TOKENS), (Part(0, rows),))
        granule = math.lcm(config.geometry.outputs, LANES)
        cut = (room - inputs) // 2 // granule * granule
        if cut < granule:
            raise OutOfMemory("the activation buffer", inputs + 2 * granule, room, "bytes")
        return cls(1, tuple(Part(row, min(cut, rows - row)) for row in range(0, rows, cut)))
