"""The PCU alone: good and malformed macros in any order, back-pressure on every stream, the host at the buffer."""

from __future__ import annotations

from typing import Any

import cocotb

from pim_model.spec.errors import Status
from pim_model.spec.geometry import COLUMN_BYTES
from sim.bench.pcu_bench import PcuBench
from sim.bench.workload import malformed, random_macro

MACROS = 30
HOST_BYTES = 1024  # of the buffer, which no macro of these tests uses


@cocotb.test()
async def macros(dut: Any) -> None:
    """Each macro completes once, in order, with the status of the golden decoder; results as the golden model's."""
    bench = PcuBench(dut)
    await bench.begin()
    rng = bench.rng("macros")
    host = cocotb.start_soon(_host(bench))
    wrong = 0
    for _ in range(MACROS * bench.rounds):
        macro = random_macro(rng, bench.config, rng.getrandbits(16), reserved=HOST_BYTES)
        bad = rng.random() < 0.4
        wrong += bad
        bench.push(malformed(rng, macro, bench.config) if bad else macro.encode())
        if rng.random() < 0.2:
            await bench.macros.drained()
            await bench.idle(rng.randrange(1, 500))
    await bench.within(20_000 * MACROS * bench.rounds, cocotb.start_soon(bench.settle()))
    host.cancel()
    dut.host_read.value = dut.host_write.value = 0
    await bench.edge()
    assert bench.completions.matched == MACROS * bench.rounds
    assert wrong, "no malformed macro among them"
    await bench.finish()


@cocotb.test()
async def each_status(dut: Any) -> None:
    """Malformed macros alone: all statuses occur, no stream moves."""
    bench = PcuBench(dut)
    await bench.begin()
    rng = bench.rng("macros")
    seen: set[Status] = set()
    while seen != set(Status) - {Status.OK}:
        macro = random_macro(rng, bench.config, rng.getrandbits(16))
        words = malformed(rng, macro, bench.config)
        status = bench.status(words)
        if status is not Status.OK and status not in seen:
            seen.add(status)
            bench.push(words)
    await bench.within(5_000, cocotb.start_soon(bench.settle()))
    assert all(board.matched == 0 for board in (*bench.tiles, *bench.steps))
    bench.completions.finish(at_least=len(seen))


@cocotb.test()
async def completions_wait(dut: Any) -> None:
    """With nobody to take completions, macros stop once queue and FIFO are full; nothing is lost or doubled."""
    bench = PcuBench(dut)
    await bench.begin(take_completions=False)
    rng = bench.rng("macros")
    count = 3 * (bench.config.macro_queue + bench.config.completion_queue)
    for tag in range(count):
        bench.push(random_macro(rng, bench.config, tag, most_tiles=2).encode())
    await bench.idle(4_000)
    assert bench.completions.matched == 0
    assert int(dut.completions__valid.value) == 1
    assert int(dut.busy.value) == 1
    held = len(bench.pushed)
    assert bench.config.completion_queue + bench.config.macro_queue <= held < count
    await bench.idle(1_000)
    assert len(bench.pushed) == held, "macros are accepted with no place for their completions"
    bench.take_completions()
    await bench.within(60_000, cocotb.start_soon(bench.settle()))
    bench.completions.finish(at_least=count)
    await bench.finish()


async def _host(bench: PcuBench) -> None:
    """Reads and masked writes of a part of the buffer that no macro uses, beside everything else."""
    rng = bench.rng("host")
    first = (bench.config.buffer_bytes - HOST_BYTES) // COLUMN_BYTES
    while True:
        await bench.idle(rng.randrange(1, 20))
        word = rng.randrange(first, bench.config.buffer_words)
        start = word * COLUMN_BYTES
        if rng.random() < 0.5:
            assert await bench.host_read(word) == bench.buffer[start : start + COLUMN_BYTES].tobytes()
            continue
        data, mask = rng.randbytes(COLUMN_BYTES), rng.getrandbits(COLUMN_BYTES)
        await bench.host_write(word, data, mask)
        for index in range(COLUMN_BYTES):
            if mask >> index & 1:
                bench.buffer[start + index] = data[index]
