# Ref: IANUS (ASPLOS 2024), sections 5.1-5.2
"""Where a weight matrix lies: tiles of (banks x channels) output rows by one DRAM row of inputs.

Output row r is taken by group ``r // outputs``, channel ``r % outputs // banks``, bank ``r % banks``. Tile
(g, t) is DRAM row ``g * tiles + t`` of the matrix; element e of that row in the bank is ``W[r, t * elements +
e]``. Rows and columns beyond the matrix are zero.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pim_model.spec.geometry import LANES, Geometry
from pim_model.storage import Storage

__all__ = ["gather", "pack", "padded_columns", "rows_needed", "tile_grid", "unpack"]

U16 = npt.NDArray[np.uint16]


def tile_grid(rows: int, columns: int, geometry: Geometry) -> tuple[int, int]:
    """(groups of output rows, tiles along the input) of a matrix; ``ValueError`` for an empty one."""
    for name, value in (("rows", rows), ("columns", columns)):
        if value < 1:
            raise ValueError(f"{name} must be a positive integer, not {value!r}")
    return -(-rows // geometry.outputs), -(-columns // geometry.elements)


def rows_needed(rows: int, columns: int, geometry: Geometry) -> int:
    """DRAM rows (of all banks of all channels) that a matrix takes."""
    groups, tiles = tile_grid(rows, columns, geometry)
    return groups * tiles


def padded_columns(columns: int) -> int:
    """Columns up to the end of the last group of 16 lanes: what the PUs read."""
    return -(-columns // LANES) * LANES


def pack(matrix: U16, geometry: Geometry) -> npt.NDArray[np.uint8]:
    """Lay out ``matrix`` (BF16 bits, ``uint16[rows, columns]``) as the bytes of its DRAM rows, in address
    order.

    Returns ``uint8[rows_needed * slab_bytes]``, to be written from ``geometry.address(weight_row)`` on.
    """
    if matrix.dtype != np.uint16 or matrix.ndim != 2:
        raise TypeError(f"matrix must be a uint16 array [rows, columns], not {matrix.dtype} {matrix.shape!r}")
    rows, columns = matrix.shape
    groups, tiles = tile_grid(rows, columns, geometry)
    outputs, elements = geometry.outputs, geometry.elements
    image = np.zeros((groups, tiles, outputs, elements), dtype="<u2")
    for tile in range(tiles):
        part = matrix[:, tile * elements : (tile + 1) * elements]
        whole = rows // outputs
        width = part.shape[1]
        image[:whole, tile, :, :width] = part[: whole * outputs].reshape(whole, outputs, width)
        if rows % outputs:
            image[whole, tile, : rows % outputs, :width] = part[whole * outputs :]
    return image.reshape(-1).view(np.uint8)


def unpack(
    image: bytes | bytearray | memoryview | npt.NDArray[np.uint8], rows: int, columns: int, geometry: Geometry
) -> U16:
    """Read a matrix back from the bytes of its DRAM rows; the inverse of :func:`pack`."""
    groups, tiles = tile_grid(rows, columns, geometry)
    lines = np.frombuffer(image, dtype="<u2")
    expected = groups * tiles * geometry.slab_bytes
    if lines.nbytes != expected:
        raise ValueError(f"image must be {expected} bytes for {rows} x {columns}, not {lines.nbytes}")
    grid = lines.reshape(groups, tiles, geometry.outputs, geometry.elements)
    matrix = np.empty((groups, geometry.outputs, tiles * geometry.elements), dtype=np.uint16)
    for tile in range(tiles):
        matrix[:, :, tile * geometry.elements : (tile + 1) * geometry.elements] = grid[:, tile]
    return np.ascontiguousarray(matrix.reshape(groups * geometry.outputs, -1)[:rows, :columns])


def gather(storage: Storage, weight_row: int, rows: int, columns: int) -> U16:
    """Read the matrix from DRAM row ``weight_row`` on, as the PUs see it: ``uint16[rows, columns]``."""
    geometry = storage.geometry
    groups, tiles = tile_grid(rows, columns, geometry)
    outputs, elements = geometry.outputs, geometry.elements
    matrix = np.empty((rows, columns), dtype=np.uint16)
    for group in range(groups):
        for tile in range(tiles):
            target = matrix[group * outputs : (group + 1) * outputs, tile * elements : (tile + 1) * elements]
            slab = storage.row(weight_row + group * tiles + tile).reshape(outputs, elements)
            target[...] = slab[: target.shape[0], : target.shape[1]]
    return matrix
