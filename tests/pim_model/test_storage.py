"""Sparse storage: any byte range, zeros where nothing was written, hooks before each change."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.spec.config import config
from pim_model.storage import Storage

TINY = config("tiny").geometry
IANUS = config("ianus").geometry


def test_unwritten_memory_reads_zero_and_costs_nothing() -> None:
    storage = Storage(IANUS)
    assert storage.read(IANUS.memory_bytes - 100, 100) == bytes(100)
    assert not storage.row(12345).any()
    assert storage.allocated_bytes == 0


def test_random_ranges_agree_with_flat_memory(rng: np.random.Generator) -> None:
    storage = Storage(TINY)
    flat = bytearray(TINY.memory_bytes)
    for _ in range(300):
        address = int(rng.integers(TINY.memory_bytes))
        size = min(int(rng.integers(1, 3 * TINY.slab_bytes)), TINY.memory_bytes - address)
        if rng.random() < 0.5:
            data = rng.bytes(size)
            storage.write(address, data)
            flat[address : address + size] = data
        else:
            assert storage.read(address, size) == flat[address : address + size]
    assert storage.read(0, TINY.memory_bytes) == flat


def test_slab_is_the_address_map(rng: np.random.Generator) -> None:
    storage = Storage(IANUS)
    row, channel, bank, column, byte = 20000, 5, 11, 37, 30
    storage.write(IANUS.address(row, channel, bank, column, byte), bytes([0x34, 0x12]))
    assert storage.row(row)[channel, bank, column * 16 + byte // 2] == 0x1234
    assert np.count_nonzero(storage.row(row)) == 1
    assert storage.allocated_bytes == IANUS.slab_bytes


def test_hook_hears_rows_before_they_change() -> None:
    storage = Storage(TINY)
    heard: list[tuple[int, int, bytes]] = []
    watched = 5 * TINY.slab_bytes - 1
    storage.add_write_hook(lambda first, end: heard.append((first, end, storage.read(watched, 1))))
    storage.write(watched, b"ab")
    storage.write(7 * TINY.slab_bytes - 1, b"c")
    storage.row_for_write(9)[0, 0, 0] = 1
    storage.write(0, b"")
    assert heard == [(4, 6, b"\0"), (6, 7, b"a"), (9, 10, b"a")]


def test_row_is_read_only() -> None:
    storage = Storage(TINY)
    storage.write(0, b"x")
    for row in (0, 1):
        with pytest.raises(ValueError, match="read-only"):
            storage.row(row)[0, 0, 0] = 1


@pytest.mark.parametrize(
    ("address", "size"),
    [(-1, 1), (TINY.memory_bytes, 1), (TINY.memory_bytes - 1, 2), (0, TINY.memory_bytes + 1)],
)
def test_range_outside_is_refused(address: int, size: int) -> None:
    storage = Storage(TINY)
    with pytest.raises(ValueError, match=r"^range must lie in the memory of 0x20000 bytes, not \d+ bytes"):
        storage.read(address, size)
    with pytest.raises(ValueError, match=r"^range must lie in the memory"):
        storage.write(address, bytes(size))
    assert storage.allocated_bytes == 0


@pytest.mark.parametrize("row", [-1, TINY.rows])
def test_row_outside_is_refused(row: int) -> None:
    with pytest.raises(ValueError, match=r"^row must be from 0 to 63, not"):
        Storage(TINY).row(row)
    with pytest.raises(ValueError, match=r"^row must be from 0 to 63, not"):
        Storage(TINY).row_for_write(row)
