"""Sums of GPRs: the words of the buffer afterwards, and the cycles that they take."""

import random

import numpy as np
import pytest

from hdl.pcu.ewadd import GprAdder
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16

from .simulate import run

CYCLES_A_WORD = 1 + 1 + 1 + 16 + 1
"""Both operands read, the second taken, a lane a cycle, the sum written."""


def to_int(lanes: np.ndarray) -> int:
    return int.from_bytes(lanes.astype("<u2").tobytes(), "little")


def to_lanes(word: int) -> np.ndarray:
    return np.frombuffer(word.to_bytes(32, "little"), "<u2").astype(np.uint16)


@pytest.mark.parametrize("free", [1.0, 0.4], ids=["port free", "port shared"])
def test_sums(free, seed):
    """Several requests after another; the buffer's read port is not always free, and at first results are awaited."""
    rng = random.Random(f"{seed}/{free}")
    dut = GprAdder()
    # Small integers, so that every sum is exact.
    numbers = np.random.default_rng(seed).integers(-64, 64, (40, 16)).astype(np.float32)
    memory = [to_int(f32_to_bf16(row)) for row in numbers]
    expected = memory.copy()
    requests = [(3, 20, 4), (5, 6, 3), (0, 39, 1)]
    for first, second, count in requests:
        for place in range(count):
            a, b = (bf16_to_f32(to_lanes(expected[at + place])) for at in (first, second))
            expected[first + place] = to_int(f32_to_bf16(a + b))
    writes = []

    async def cycle(ctx):
        """One cycle of the buffer; whether the unit is busy in it."""
        granted = ctx.get(dut.read) and rng.random() < free
        ctx.set(dut.granted, int(granted))
        address, busy = ctx.get(dut.address), ctx.get(dut.busy)
        if ctx.get(dut.write):
            memory[ctx.get(dut.write_address)] = ctx.get(dut.write_data)
            writes.append(ctx.get(dut.write_address))
        await ctx.tick()
        # A port that was used for another shows the other's word.
        ctx.set(dut.data, memory[address] if granted else rng.getrandbits(256))
        return busy

    async def testbench(ctx):
        assert not ctx.get(dut.busy)
        for place, (first, second, count) in enumerate(requests):
            ctx.set(dut.sums.p.first, first)
            ctx.set(dut.sums.p.second, second)
            ctx.set(dut.sums.p.count, count)
            ctx.set(dut.sums.valid, 1)
            assert ctx.get(dut.sums.ready)
            assert not await cycle(ctx)
            ctx.set(dut.sums.valid, 0)
            ctx.set(dut.wait, 1)
            for _ in range(5 if place == 0 else 0):
                assert not ctx.get(dut.read), "results of instructions are still to come"
                assert await cycle(ctx)
            ctx.set(dut.wait, 0)
            cycles = 0
            while await cycle(ctx):
                cycles += 1
            if free == 1.0:
                assert cycles == count * CYCLES_A_WORD
            else:
                assert cycles >= count * CYCLES_A_WORD

    run(dut, testbench)
    assert memory == expected
    assert writes == [first + place for first, _, count in requests for place in range(count)]
