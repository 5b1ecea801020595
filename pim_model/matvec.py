# Ref: IANUS (ASPLOS 2024), section 4.1; GDDR6-AiM notes, "Numbers"
"""What a MATVEC macro does to memory and activation buffer, through the fast kernels.

The bytes are those of the lowered micro commands (``lowering.py``) on golden channels; a test holds both
together.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pim_model.mapping.layout import gather, padded_columns, rows_needed
from pim_model.numerics import activation, kernels
from pim_model.numerics.bf16 import f32_to_bf16
from pim_model.spec.macro import MatVec
from pim_model.storage import Storage

__all__ = ["CACHE_BYTES", "MatrixCache", "activate", "execute", "table_in"]

CACHE_BYTES = 1_500_000_000
"""Prepared matrices kept by default."""


@dataclass(frozen=True)
class _Entry:
    prepared: kernels.PreparedMatrix
    first: int
    end: int


class MatrixCache:
    """Prepared weight matrices by place and shape, dropped when a row of theirs is written, oldest use first.

    Parameters
    ----------
    storage : Storage
        The memory; the cache listens to its writes.
    limit : int
        Bytes of prepared matrices to keep; the one in use is kept whatever its size.
    """

    def __init__(self, storage: Storage, limit: int = CACHE_BYTES) -> None:
        if limit < 0:
            raise ValueError(f"limit must be 0 or more bytes, not {limit!r}")
        self._storage = storage
        self._limit = limit
        self._entries: OrderedDict[tuple[int, int, int], _Entry] = OrderedDict()
        self.held_bytes = 0
        self.misses = 0
        storage.add_write_hook(self._drop_rows)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, weight_row: int, rows: int, columns: int) -> kernels.PreparedMatrix:
        """The matrix at DRAM row ``weight_row``, columns padded to 16 with what the memory holds there."""
        key = (weight_row, rows, padded_columns(columns))
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
            return entry.prepared
        self.misses += 1
        prepared = kernels.prepare(gather(self._storage, *key))
        end = weight_row + rows_needed(rows, key[2], self._storage.geometry)
        self._entries[key] = _Entry(prepared, weight_row, end)
        self.held_bytes += prepared.blocks.nbytes
        while self.held_bytes > self._limit and len(self._entries) > 1:
            self._drop(next(iter(self._entries)))
        return prepared

    def _drop(self, key: tuple[int, int, int]) -> None:
        self.held_bytes -= self._entries.pop(key).prepared.blocks.nbytes

    def _drop_rows(self, first: int, end: int) -> None:
        for key in [key for key, entry in self._entries.items() if entry.first < end and first < entry.end]:
            self._drop(key)


def execute(
    macro: MatVec, storage: Storage, cache: MatrixCache, buffer: npt.NDArray[np.uint8], profile_name: str
) -> None:
    """Run a decoded macro: read inputs and bias from ``buffer`` (``uint8[buffer_bytes]``), write the results
    there.

    All inputs and the bias are read before the first result is written.
    """
    halves = buffer.view("<u2")
    columns = padded_columns(macro.columns)
    first = macro.input_offset // 2
    inputs = halves[first : first + macro.tokens * columns].reshape(macro.tokens, columns).copy()
    inputs[:, macro.columns :] = 0
    part = macro.part_stride // 2
    outputs = []
    for matrix, weight_row in enumerate(macro.weight_rows):
        bias = None
        if macro.bias_offset is not None:
            first = macro.bias_offset // 2 + matrix * part
            bias = halves[first : first + macro.rows].copy()
        prepared = cache.get(weight_row, macro.rows, macro.columns)
        results = kernels.matvec(profile_name, prepared, inputs, bias)
        if macro.function is not None:
            results = activate(storage, macro.function, results)
        outputs.append(f32_to_bf16(results))
    first, size = macro.output_offset // 2, macro.tokens * macro.output_stride // 2
    target = halves[first : first + size].reshape(macro.tokens, len(outputs), part)
    for matrix, output in enumerate(outputs):
        target[:, matrix, : macro.rows] = output


def activate(storage: Storage, function: int, values: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Activate FP32 accumulators ``f32[tokens, rows]``, each output row through the table in its own bank."""
    geometry = storage.geometry
    rows = storage.row(geometry.table_row(function)).reshape(geometry.outputs, geometry.elements)
    if (rows == rows[0]).all():
        return activation.apply(table_in(rows[0]), values)
    result = np.empty_like(values)
    for output in range(min(geometry.outputs, values.shape[1])):
        mine = np.s_[:, output :: geometry.outputs]
        result[mine] = activation.apply(table_in(rows[output]), values[mine])
    return result


def table_in(row: npt.NDArray[np.uint16]) -> npt.NDArray[np.uint16]:
    """The table that AF sees in one bank's DRAM row: a shorter row repeats, as the address wraps."""
    return np.tile(row, activation.TABLE_ENTRIES // row.size)
