"""The data window: any offset and length, nothing beside it, one memory for the host and for PIM."""

from __future__ import annotations

import numpy as np
import pytest

from host_runtime.errors import AccessError
from pim_model.spec.registers import Reg
from tests.agree.bench import Bench

GUARD = 70  # more than two bus beats
SIZES = (1, 2, 3, 31, 32, 33, 63, 64, 65, 127, 1000, 4097)


def check_with_guards(bench: Bench, address: int, data: bytes) -> None:
    """Write ``data``; it must be there, and the bytes around it as before (the memory begins at zero)."""
    before = min(GUARD, address)
    guard = bench.bytes(before + len(data) + GUARD)
    bench.transport.write_memory(address - before, guard)
    bench.transport.write_memory(address, data)
    expected = guard[:before] + data + guard[before + len(data) :]
    assert bench.transport.read_memory(address - before, len(expected)) == expected
    assert bench.transport.read_memory(address, len(data)) == data


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("offset", [0, 1, 13, 31])
def test_memory_at_any_offset_and_length(bench: Bench, offset: int, size: int) -> None:
    check_with_guards(bench, 4096 + offset, bench.bytes(size))


@pytest.mark.parametrize("size", SIZES)
def test_buffer_at_any_offset_and_length(bench: Bench, size: int) -> None:
    offset = int(bench.rng.integers(100, 200))
    check_with_guards(bench, bench.config.buffer_base + offset, bench.bytes(size))


@pytest.mark.parametrize("border", ["column", "bank", "channel", "row"])
def test_access_across_borders(bench: Bench, border: str) -> None:
    geometry = bench.config.geometry
    step = {
        "column": 32,
        "bank": geometry.row_bytes,
        "channel": geometry.row_bytes * geometry.banks,
        "row": geometry.slab_bytes,
    }[border]
    for shift in (-33, -32, -31, -1):
        check_with_guards(bench, 2 * geometry.slab_bytes + 3 * step + shift, bench.bytes(67))


def test_every_bank_and_channel_is_its_own(bench: Bench) -> None:
    geometry = bench.config.geometry
    places = {}
    for row in (0, geometry.rows - 1):
        for channel in range(geometry.channels):
            for bank in range(geometry.banks):
                address = geometry.address(row, channel, bank, geometry.columns - 1, 5)
                places[address] = bench.bytes(7)
                bench.transport.write_memory(address, places[address])
    assert {a: bench.transport.read_memory(a, 7) for a in places} == places


def test_ends_of_memory_and_buffer(bench: Bench) -> None:
    size, base = bench.config.geometry.memory_bytes, bench.config.buffer_base
    end = base + bench.config.buffer_bytes
    for address in (0, size - 1, base, end - 1):
        byte = bench.bytes(1)
        bench.transport.write_memory(address, byte)
        assert bench.transport.read_memory(address, 1) == byte


def test_nothing_to_transfer(bench: Bench) -> None:
    bench.transport.write_memory(64, b"")
    assert bench.transport.read_memory(64, 0) == b""


@pytest.mark.parametrize(("beyond", "size"), [(0, 1), (0, 64), (-1, 2), (-32, 64), (4096, 1)])
def test_access_beyond_the_window_is_an_error_and_harmless(bench: Bench, beyond: int, size: int) -> None:
    end = bench.config.buffer_base + bench.config.buffer_bytes
    with pytest.raises(AccessError):
        bench.transport.read_memory(end + beyond, size)
    with pytest.raises(AccessError):
        bench.transport.write_memory(end + beyond, bytes(size))
    check_with_guards(bench, bench.config.buffer_base + 128, bench.bytes(50))
    assert bench.read(Reg.STATUS) == 0


def test_negative_address_is_an_error(bench: Bench) -> None:
    with pytest.raises(AccessError):
        bench.transport.read_memory(-32, 64)
    check_with_guards(bench, 0, bench.bytes(50))


def test_preload_is_what_the_window_reads(bench: Bench) -> None:
    geometry = bench.config.geometry
    address, data = geometry.address(3) + 32 * 5, bench.bytes(2 * geometry.slab_bytes)
    bench.transport.preload(address, data)
    inside = geometry.slab_bytes - 100
    assert bench.transport.read_memory(address, 300) == data[:300]
    assert bench.transport.read_memory(address + inside, 333) == data[inside : inside + 333]
    assert bench.transport.read_memory(address - 32, 32) == bytes(32)
    bench.transport.write_memory(address + 7, b"over")
    assert bench.transport.read_memory(address, 16) == data[:7] + b"over" + data[11:16]


def test_random_traffic_against_a_shadow(bench: Bench) -> None:
    size = 3 * bench.config.geometry.slab_bytes
    shadow = np.zeros(size, np.uint8)
    for _ in range(120):
        length = int(bench.rng.choice([1, 5, 32, 100, 600]))
        address = int(bench.rng.integers(0, size - length))
        if bench.rng.random() < 0.5:
            data = bench.bytes(length)
            shadow[address : address + length] = np.frombuffer(data, np.uint8)
            bench.transport.write_memory(address, data)
        else:
            assert (
                bench.transport.read_memory(address, length) == shadow[address : address + length].tobytes()
            )
    assert bench.read(Reg.VIOLATIONS) == 0


def test_devices_of_different_shape_side_by_side(bench: Bench) -> None:
    """Two in one process share nothing: neither cells nor what an unwritten row reads as."""
    other = {"tiny": "ianus", "ianus": "tiny"}[bench.config.name]
    with Bench.open(bench.way, other, bench.rng) as second:
        for each in (bench, second):
            geometry = each.config.geometry
            assert each.transport.read_memory(0, geometry.slab_bytes) == bytes(geometry.slab_bytes)
        mine, yours = bench.bytes(5000), bench.bytes(5000)
        bench.transport.write_memory(777, mine)
        second.transport.write_memory(777, yours)
        assert bench.transport.read_memory(777, 5000) == mine
        assert second.transport.read_memory(777, 5000) == yours
