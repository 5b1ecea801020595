"""Tests of the runner itself: what it must let Python see, and what it must report."""

from __future__ import annotations

from typing import Any

import cocotb

from sim.bench.harness import Harness


@cocotb.test()
async def ports_only(dut: Any) -> None:
    """Python sees the ports of the design and nothing inside it."""
    bench = Harness(dut)
    await bench.start()
    names = {handle._name for handle in dut}
    assert {
        "op0",
        "bank0",
        "row0",
        "column0",
        "op1",
        "column1",
        "mode0",
        "mode1",
        "refresh",
        "violation",
        "code",
        "op",
    } <= names
    assert len(names) == 14, f"{len(names)} names, but twelve ports, clock and reset"


@cocotb.test()
async def fails(dut: Any) -> None:
    """Fails, with a number that follows from the seed."""
    bench = Harness(dut)
    await bench.start()
    await bench.idle(20)
    raise AssertionError(f"drew {bench.rng('x').getrandbits(60)}")


@cocotb.test()
async def fails_on_a_few(dut: Any) -> None:
    """Fails once three of its 300 numbers are above 900, and in another way if none is."""
    bench = Harness(dut)
    await bench.start()
    large = 0
    for _, number in bench.items("numbers", 300, lambda rng: rng.randrange(1000)):
        dut.row0.value = number
        await bench.idle(20)
        large += number > 900
        assert large < 3, f"{large} numbers are large at cycle {bench.cycle}"
    assert large, "none is large"


@cocotb.test()
async def time_counts(dut: Any) -> None:
    """Cycle 0 is the first one out of reset; waiting costs what it says."""
    bench = Harness(dut)
    await bench.start()
    assert bench.cycle == -1
    for cycles in (1, 2, 3, 100, 1):
        before = bench.cycle
        await bench.idle(cycles)
        assert bench.cycle == before + cycles
    await bench.edge()
    assert bench.cycle == 107
