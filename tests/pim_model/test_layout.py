"""Weight layout against the definition, element by element."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.mapping.layout import gather, pack, padded_columns, rows_needed, unpack
from pim_model.spec.config import config
from pim_model.storage import Storage

TINY = config("tiny").geometry
IANUS = config("ianus").geometry
SHAPES = [(1, 1), (8, 128), (9, 129), (7, 300), (40, 16), (17, 128), (24, 257)]


@pytest.mark.parametrize(("rows", "columns"), SHAPES)
def test_each_element_lies_where_the_map_says(rows: int, columns: int, rng: np.random.Generator) -> None:
    matrix = rng.integers(1, 1 << 16, (rows, columns), dtype=np.uint16)
    image = pack(matrix, TINY)
    tiles = -(-columns // 128)
    storage = Storage(TINY)
    storage.write(TINY.address(3), image.data)
    for r in range(rows):
        for c in range(columns):
            # 2 channels of 4 banks; a row of a bank is 128 elements, 16 to a column.
            address = TINY.address(
                3 + r // 8 * tiles + c // 128, r % 8 // 4, r % 4, c % 128 // 16, c % 16 * 2
            )
            assert storage.read(address, 2) == int(matrix[r, c]).to_bytes(2, "little")
    assert np.count_nonzero(image.view(np.uint16)) == matrix.size, "padding is not zero"


@pytest.mark.parametrize("geometry", [TINY, IANUS], ids=["tiny", "ianus"])
@pytest.mark.parametrize(("rows", "columns"), [*SHAPES, (300, 1300)])
def test_round_trip(rows: int, columns: int, geometry: object, rng: np.random.Generator) -> None:
    shape = IANUS if geometry is IANUS else TINY
    matrix = rng.integers(0, 1 << 16, (rows, columns), dtype=np.uint16)
    image = pack(matrix, shape)
    assert image.nbytes == rows_needed(rows, columns, shape) * shape.slab_bytes
    assert np.array_equal(unpack(image.tobytes(), rows, columns, shape), matrix)
    if rows_needed(rows, columns, shape) <= shape.rows:
        storage = Storage(shape)
        storage.write(0, image.data)
        assert np.array_equal(gather(storage, 0, rows, columns), matrix)


def test_gather_sees_what_memory_holds_beyond_the_matrix() -> None:
    storage = Storage(TINY)
    storage.write(TINY.address(0), pack(np.full((1, 17), 3, np.uint16), TINY).data)
    storage.write(TINY.address(0, column=1, byte=2), b"\x09\x00")
    assert gather(storage, 0, 1, padded_columns(17))[0, 15:19].tolist() == [3, 3, 9, 0]


@pytest.mark.parametrize(("columns", "padded"), [(1, 16), (16, 16), (17, 32), (1024, 1024)])
def test_padded_columns(columns: int, padded: int) -> None:
    assert padded_columns(columns) == padded


def test_rows_needed_of_known_shapes() -> None:
    assert rows_needed(50257, 768, IANUS) == 393
    assert rows_needed(1280, 5120, IANUS) == 50
    assert rows_needed(1, 1025, IANUS) == 2


def test_wrong_arguments() -> None:
    with pytest.raises(TypeError, match=r"^matrix must be a uint16 array .*, not float32 \(2, 2\)$"):
        pack(np.zeros((2, 2), np.float32), TINY)
    with pytest.raises(ValueError, match=r"^rows must be a positive integer, not 0$"):
        rows_needed(0, 4, TINY)
    with pytest.raises(ValueError, match=r"^image must be 2048 bytes for 2 x 2, not 64$"):
        unpack(bytes(64), 2, 2, TINY)
