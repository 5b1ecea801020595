"""The data window of the prototype: any bytes anywhere, and what it refuses."""

from __future__ import annotations

import random
from typing import Any

import cocotb
from cocotb.triggers import gather
from cocotbext.axi import AxiResp

from sim.bench.top_bench import FIXED, WRAP, TopBench

ACCESSES = 60  # of each worker
WORKERS = 4


@cocotb.test()
async def any_bytes(dut: Any) -> None:
    """Unaligned reads and writes of any length in memory and buffer, several at once, against the golden device."""
    bench = TopBench(dut)
    await bench.begin()
    end = bench.config.buffer_base + bench.config.buffer_bytes
    # Neighbours share words, DRAM rows and, at the upper ones, the border between memory and buffer.
    borders = [0x1003, 0x2511, 0x2FF7, bench.config.buffer_base - 0x33, end]
    workers = [
        cocotb.start_soon(_worker(bench, index, *borders[index : index + 2])) for index in range(WORKERS)
    ]
    await gather(*workers)
    await bench.finish()


async def _worker(bench: TopBench, index: int, first: int, end: int) -> None:
    def access(rng: random.Random) -> tuple[int, int, bytes | None, int]:
        """Address, size, what is written if anything, cycles until the next."""
        size = rng.choice(
            (1, 2, 31, 32, 33, rng.randrange(1, 100), rng.randrange(1, 700), rng.randrange(1, 2500))
        )
        size = min(size, end - first)
        # Both ends of the range as often as its middle.
        address = rng.choice((first, end - size, rng.randrange(first, end - size + 1)))
        data = rng.randbytes(size) if rng.random() < 0.5 else None
        return address, size, data, rng.choice((0, 0, 1, rng.randrange(100)))

    for _, (address, size, data, rest) in bench.items(f"worker{index}", ACCESSES * bench.rounds, access):
        if data is not None:
            await bench.write_both(address, data)
        else:
            await bench.compare(address, size)
        await bench.idle(rest)


@cocotb.test()
async def refused(dut: Any) -> None:
    """Addresses outside memory and buffer, wrapping, fixed and narrow bursts: an error, and nothing is written."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("accesses")
    config = bench.config
    end = config.buffer_base + config.buffer_bytes
    assert end < 1 << config.window_bits, "this configuration has no hole to address"
    bad: list[tuple[AxiResp, int, int, dict[str, Any]]] = []
    for _ in range(8 * bench.rounds):
        words = rng.choice((2, 4, 8, 16))
        aligned = rng.randrange(0, config.geometry.memory_bytes - 1024, 32)
        bad += [
            (AxiResp.DECERR, rng.choice((end, rng.randrange(end, (1 << config.window_bits) - 600))), 600, {}),
            (AxiResp.SLVERR, aligned // (32 * words) * 32 * words, 32 * words, {"burst": WRAP}),
            (AxiResp.SLVERR, aligned, 32 * words, {"burst": FIXED}),
            (AxiResp.SLVERR, aligned + rng.randrange(32), rng.randrange(1, 100), {"size": rng.randrange(5)}),
            (AxiResp.SLVERR, config.buffer_base + aligned % config.buffer_bytes // 2, 32, {"burst": FIXED}),
            (AxiResp.SLVERR, end, 64, {"burst": WRAP}),
        ]
    rng.shuffle(bad)
    for wanted, address, size, burst in bad:
        shown = f"{size} bytes at {address:#x} {burst}"
        if rng.random() < 0.6:
            assert await bench.write(address, rng.randbytes(size), **burst) == wanted, f"write of {shown}"
        else:
            _, response = await bench.read(address, size, **burst)
            assert response == wanted, f"read of {shown}"
        if rng.random() < 0.3:  # a good one in between
            place = rng.randrange(0, config.geometry.memory_bytes - 100)
            await bench.write_both(place, rng.randbytes(100))
            await bench.compare(place, 100)
    for offset in range(0, config.buffer_bytes, 4096):
        await bench.compare(config.buffer_base + offset, 4096)
    await bench.finish()
