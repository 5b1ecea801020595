"""The PCU alone: good and malformed macros in any order, back-pressure on every stream, the host at the buffer."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import cocotb

from pim_model.spec.errors import MALFORMED, Status
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MatVec
from sim.bench.pcu_bench import PcuBench
from sim.bench.workload import malformed, random_macro

MACROS = 30
INSTRUCTIONS_ONLY = (Status.CHANNEL_MASK, Status.ADDRESS_RANGE)
HOST_BYTES = 1024  # of the buffer, which no macro of these tests uses


@cocotb.test()
async def macros(dut: Any) -> None:
    """Each macro completes once, in order, with the status of the golden decoder; results as the golden model's."""
    bench = PcuBench(dut)
    await bench.begin()

    def turn(rng: random.Random) -> tuple[MatVec, tuple[int, ...], int]:
        """A macro, its words, which may be malformed, and cycles of quiet after it."""
        macro = random_macro(rng, bench.config, rng.getrandbits(16), reserved=HOST_BYTES)
        words = malformed(rng, macro, bench.config) if rng.random() < 0.4 else macro.encode()
        return macro, words, rng.randrange(1, 500) if rng.random() < 0.2 else 0

    host = cocotb.start_soon(_host(bench))
    count = wrong = 0
    for _, (macro, words, quiet) in bench.items("macros", MACROS * bench.rounds, turn):
        count += 1
        wrong += words != macro.encode()
        bench.push(words)
        if quiet:
            await bench.macros.drained()
            await bench.idle(quiet)
    await bench.within(20_000 * MACROS * bench.rounds, cocotb.start_soon(bench.settle()))
    host.cancel()
    dut.host_read.value = dut.host_write.value = 0
    await bench.edge()
    assert bench.completions.matched == count
    assert wrong or not bench.whole, "no malformed macro among them"
    await bench.finish()


@cocotb.test()
async def each_status(dut: Any) -> None:
    """Malformed macros alone: all statuses occur, no stream moves."""
    bench = PcuBench(dut)
    await bench.begin()
    rng = bench.rng("macros")
    seen: set[Status] = set()
    while seen != MALFORMED - {*INSTRUCTIONS_ONLY}:
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
async def borders(dut: Any) -> None:
    """Operands that just fit and just do not: at the buffer's end, beside each other, below the table rows."""
    bench = PcuBench(dut)
    await bench.begin()
    config, geometry = bench.config, bench.config.geometry
    base = MatVec(
        tag=1,
        rows=geometry.outputs + 1,
        columns=geometry.elements + 1,
        tokens=2,
        weight_row=0,
        input_offset=4096,
        output_offset=0,
        bias_offset=8192,
    )
    inputs, results = base.tokens * base.input_stride, base.tokens * base.output_stride
    word, end = COLUMN_BYTES, config.buffer_bytes
    tiles = base.groups(config) * base.tiles(config)
    cases: list[tuple[Status, dict[str, int]]] = []
    for name, size, status in (
        ("input_offset", inputs, Status.BUFFER_RANGE),
        ("output_offset", results, Status.BUFFER_RANGE),
        ("bias_offset", base.output_stride, Status.BUFFER_RANGE),
    ):
        cases += [(Status.OK, {name: end - size}), (status, {name: end - size + word})]
    for first, size in ((4096, inputs), (8192, base.output_stride)):
        cases += [(Status.OK, {"output_offset": place}) for place in (first - results, first + size)]
        inside = (first - results + word, first, first + size - word)
        cases += [(Status.OVERLAP, {"output_offset": place}) for place in inside]
    cases += [
        (Status.OK, {"weight_row": geometry.weight_rows - tiles}),
        (Status.WEIGHT_RANGE, {"weight_row": geometry.weight_rows - tiles + 1}),
    ]
    for status, fields in cases:
        words = replace(base, **fields).encode()  # type: ignore[arg-type]
        assert bench.status(words) is status, f"{fields}: the golden decoder says {bench.status(words).name}"
        bench.push(words)
    await bench.within(20_000 * len(cases), cocotb.start_soon(bench.settle()))
    bench.completions.finish(at_least=len(cases))
    await bench.finish()


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
