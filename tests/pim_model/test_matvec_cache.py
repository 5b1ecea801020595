"""The cache of prepared matrices: bounded, least recently used first out, dropped on writes."""

from __future__ import annotations

import pytest

from pim_model.matvec import MatrixCache
from pim_model.spec.config import config
from pim_model.storage import Storage

TINY = config("tiny").geometry


def test_same_place_and_shape_is_prepared_once() -> None:
    cache = MatrixCache(Storage(TINY))
    first = cache.get(0, 8, 100)
    assert cache.get(0, 8, 112) is first, "both take seven groups of 16 lanes"
    assert cache.get(0, 8, 113) is not first
    assert cache.misses == 2


def test_write_drops_what_it_touches() -> None:
    storage = Storage(TINY)
    cache = MatrixCache(storage)
    kept, dropped = cache.get(0, 16, 128), cache.get(2, 16, 256)  # rows 0 and 1; rows 2 to 5
    storage.write(TINY.address(6), b"a")
    assert cache.get(2, 16, 256) is dropped
    storage.write(TINY.address(6) - 1, b"ab")
    assert len(cache) == 1
    assert cache.get(0, 16, 128) is kept
    assert cache.get(2, 16, 256) is not dropped


def test_memory_is_bounded() -> None:
    size = MatrixCache(Storage(TINY)).get(0, 32, 128).blocks.nbytes
    cache = MatrixCache(Storage(TINY), 2 * size)
    first, second = cache.get(0, 32, 128), cache.get(4, 32, 128)
    assert cache.get(0, 32, 128) is first
    cache.get(8, 32, 128)
    assert cache.held_bytes == 2 * size
    assert cache.get(0, 32, 128) is first
    assert cache.get(4, 32, 128) is not second, "the least recently used one went first"
    tight = MatrixCache(Storage(TINY), 0)
    tight.get(0, 8, 16)
    assert len(tight) == 1, "the one in use is kept whatever its size"
    with pytest.raises(ValueError, match=r"^limit must be 0 or more bytes, not -1$"):
        MatrixCache(Storage(TINY), -1)
