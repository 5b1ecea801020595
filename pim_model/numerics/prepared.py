"""Weight matrices laid out for the kernels: 2 bytes a weight, 32 rows side by side."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pim_model.numerics.bf16 import U16, check_bits, flush_bf16
from pim_model.numerics.lanes import LANES

__all__ = ["BLOCK_ROWS", "NOTHING", "SPECIAL", "PreparedMatrix", "prepare"]

BLOCK_ROWS = 32  #: rows of a block; kernels.cpp: kRows
SPECIAL = 10000  #: `exponent_high` of a row with an infinity or NaN; kernels.cpp: kSpecial
NOTHING = 1000  #: `exponent_low`, and minus `exponent_high`, of a row of zeros; kernels.cpp: kNothing


@dataclass(frozen=True, eq=False)
class PreparedMatrix:
    """A weight matrix ready for ``matvec``.

    ``blocks``: u16[ceil(rows / 32), padded columns, 32], columns padded to a multiple of 16 and rows to a
    multiple of 32 with zeros, subnormals replaced by zeros of their sign (the PU reads them so).
    ``exponent_low``, ``exponent_high``: int16[rows], range of the unbiased exponents of a row's non-zero
    weights.
    """

    rows: int
    cols: int
    blocks: U16
    exponent_low: npt.NDArray[np.int16]
    exponent_high: npt.NDArray[np.int16]

    @property
    def padded_cols(self) -> int:
        return int(self.blocks.shape[1])

    def group(self, rows: npt.NDArray[np.intp], first_column: int) -> U16:
        """Gather 16 columns of some rows, padding included: u16[len(rows), 16]."""
        return self.blocks[rows // BLOCK_ROWS, first_column : first_column + LANES, rows % BLOCK_ROWS]


def prepare(weights: U16) -> PreparedMatrix:
    """Lay out a matrix for ``matvec``.

    ``weights``: BF16 bits, u16[rows, cols], one row per output. TypeError unless uint16, ValueError unless it
    has two dimensions, none of them zero. The input is copied.
    """
    check_bits("Weight matrix", weights)
    if weights.ndim != 2 or 0 in weights.shape:
        raise ValueError(f"Weight matrix must have shape (rows, cols), both positive, not {weights.shape!r}")
    rows, cols = weights.shape
    blocks = np.zeros((-(-rows // BLOCK_ROWS), -(-cols // LANES) * LANES, BLOCK_ROWS), np.uint16)
    low = np.empty(rows, np.int16)
    high = np.empty(rows, np.int16)
    for index, block in enumerate(blocks):  # a block at a time keeps temporaries small beside a large matrix
        here = slice(index * BLOCK_ROWS, min((index + 1) * BLOCK_ROWS, rows))
        values = flush_bf16(weights[here])
        block[:cols, : len(values)] = values.T
        biased = ((values >> 7) & 0xFF).astype(np.int16)
        low[here] = np.where(biased == 0, NOTHING, biased - 127).min(axis=1)
        top = np.where(biased == 255, SPECIAL, biased - 127)
        high[here] = np.where(biased == 0, -NOTHING, top).max(axis=1)
    return PreparedMatrix(rows, cols, blocks, low, high)
