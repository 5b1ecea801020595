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

OVERLAPPED_PARTS = 8
PART_GROUPS = 4
"""Most parts whose results are read while later parts run, and the fewest output groups of each: a group takes about a
hundred cycles; pushing a macro and taking its completion over the register bus, sixty."""


def stride(elements: int) -> int:
    """Bytes from one vector of ``elements`` BF16 to the next in the buffer."""
    return -(-elements // LANES) * COLUMN_BYTES


@dataclass(frozen=True)
class Part:
    """What one macro computes: ``rows`` outputs of each matrix from ``row`` on, of the tokens staged."""

    row: int
    rows: int


@dataclass(frozen=True)
class Plan:
    """Steps of ``tokens`` tokens each (the last may be shorter); in each step one macro a part."""

    tokens: int
    parts: tuple[Part, ...]
    together: bool
    """There is room for the results of all parts at once: all are queued, and read one by one as they end."""

    @property
    def rows(self) -> int:
        """Output rows of each matrix whose results have room at the same time."""
        return (sum if self.together else max)(part.rows for part in self.parts)

    def steps(self, total: int) -> Iterator[range]:
        """The tokens of each step."""
        for first in range(0, total, self.tokens):
            yield range(first, min(first + self.tokens, total))

    @classmethod
    def make(
        cls,
        rows: int,
        columns: int,
        tokens: int,
        room: int,
        config: Config,
        *,
        matrices: int = 1,
        whole: bool = False,
    ) -> Plan:
        """Fit as many tokens a macro as ``room`` bytes allow, and all rows; cut the rows if one token is too much.

        With direct register access, where queued macros run without a gap, the rows are also cut so that most results
        are read while the device works; and two tokens cost little more than one (``spec/order.py``), so steps take an
        even number. Rows are cut at whole output groups whose bias starts on 32 bytes; of several ``matrices`` of one
        shape, all at the same rows. ``whole``: rows are cut only if one token is too much.
        :class:`OutOfMemory` if the input and the smallest part of the outputs do not fit.
        """
        inputs = stride(columns)
        fitting = room // (inputs + matrices * stride(rows))
        granule = math.lcm(config.geometry.outputs, LANES)
        if fitting:
            groups = matrices * -(-rows // config.geometry.outputs)
            overlap = config.timing.direct and not whole
            count = max(1, min(OVERLAPPED_PARTS, groups // PART_GROUPS)) if overlap else 1
            cut = -(-rows // (count * granule)) * granule
            most = min(fitting, MAX_TOKENS)
            if config.timing.direct and 1 < most < tokens:
                most -= most % 2
            return cls(min(tokens, most), cls._cut(rows, cut), True)
        cut = (room - inputs) // (2 * matrices) // granule * granule
        if cut < granule:
            raise OutOfMemory("the activation buffer", inputs + 2 * matrices * granule, room, "bytes")
        return cls(1, cls._cut(rows, cut), False)

    @staticmethod
    def _cut(rows: int, most: int) -> tuple[Part, ...]:
        return tuple(Part(row, min(most, rows - row)) for row in range(0, rows, most))
