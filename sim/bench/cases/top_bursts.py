"""Many bursts under way on the data window: order, rate, back-pressure, and what is refused."""

from __future__ import annotations

import random
from collections import Counter
from itertools import pairwise, repeat
from typing import Any

import cocotb
from cocotbext.axi import AxiResp

from hdl.host.window import BURSTS
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.registers import Reg
from sim.bench.bursts import FULL, PAGE, Burst
from sim.bench.harness import pauses
from sim.bench.top_bench import FIXED, WRAP, TopBench

RANDOM = 500
MOST = 4 * BURSTS
"""Bursts that the random test has under way or queued."""
SLICE = 2
"""Places of a channel in the register slice before the window."""


def _golden_write(bench: TopBench, burst: Burst, words: list[bytes], strobes: list[int]) -> None:
    for address, word, strobe in zip(burst.words, words, strobes, strict=True):
        old = bench.golden.read_memory(address, COLUMN_BYTES)
        bench.golden.write_memory(
            address,
            bytes(
                new if strobe >> i & 1 else kept for i, (new, kept) in enumerate(zip(word, old, strict=True))
            ),
        )


def _good_write(bench: TopBench, rng: random.Random, burst: Burst, strobes: list[int] | None = None) -> None:
    words = [rng.randbytes(COLUMN_BYTES) for _ in range(burst.beats)]
    _golden_write(bench, burst, words, strobes or [FULL] * burst.beats)
    bench.bursts.write(burst, words, strobes=strobes)


def _good_read(bench: TopBench, burst: Burst) -> None:
    bench.bursts.read(burst, [bench.golden.read_memory(address, COLUMN_BYTES) for address in burst.words])


async def _settle(bench: TopBench) -> None:
    await bench.within(100_000, cocotb.start_soon(bench.bursts.settled()))


async def _no_refresh(bench: TopBench) -> None:
    """So that nothing but the data window and the controllers decides when a beat comes."""
    await bench.write_register(Reg.CONTROL, 0)
    await bench.idle(300)


def _gaps(cycles: list[int]) -> Counter[int]:
    return Counter(b - a for a, b in pairwise(cycles))


@cocotb.test()
async def no_bubbles(dut: Any) -> None:
    """Bursts of one beat come a cycle apart, as the beats of a long one do, in the buffer and in open rows."""
    bench = TopBench(dut)
    await bench.begin(flow=False, bursts=True)
    await _no_refresh(bench)
    rng, watched = bench.rng("data"), bench.bursts.watched
    geometry = bench.config.geometry
    assert bench.config.timing.cycles("tCCD") == 1, "row hits do not come a cycle apart under this timing"
    slab = [geometry.address(5) + offset for offset in range(0, geometry.slab_bytes, COLUMN_BYTES)]
    buffer = [bench.config.buffer_base + offset for offset in range(0, 2048, COLUMN_BYTES)]
    for addresses in (buffer, slab):
        for again in (False, True):  # the first accesses to the memory open its rows
            for answers in (watched.cycles["b"], watched.cycles["r"]):
                first = len(answers)
                for address in addresses:
                    burst = Burst(address=address, id=rng.randrange(16))
                    if answers is watched.cycles["b"]:
                        _good_write(bench, rng, burst)
                    else:
                        _good_read(bench, burst)
                await _settle(bench)
                await bench.idle(200)
                cycles = answers[first:]
                assert len(cycles) == len(addresses)
                if again:
                    assert _gaps(cycles) == {1: len(cycles) - 1}, f"{addresses[0]:#x}: {_gaps(cycles)}"
    await bench.finish()


@cocotb.test()
async def buffer_takes_turns(dut: Any) -> None:
    """An endless row of writes to the buffer leaves its reads every other cycle, and the other way round."""
    bench = TopBench(dut)
    await bench.begin(flow=False, bursts=True)
    rng, watched = bench.rng("data"), bench.bursts.watched
    base = bench.config.buffer_base
    for number in range(200):
        _good_write(bench, rng, Burst(address=base + number % 64 * COLUMN_BYTES, id=number % 16))
        _good_read(bench, Burst(address=base + PAGE + number % 64 * COLUMN_BYTES))
    await _settle(bench)
    for name in ("w", "r"):
        gaps = _gaps(watched.cycles[name])
        assert max(gaps) == 2, f"{name}: {gaps}"
    assert watched.cycles["r"][-1] - watched.cycles["w"][0] < 2 * 200 + 30
    await bench.finish()


@cocotb.test()
async def answers_wait(dut: Any) -> None:
    """A host that takes no answers stops data when the queue of answers is full, and not before; nothing is lost."""
    bench = TopBench(dut)
    await bench.begin(flow=False, bursts=True)
    rng, bursts = bench.rng("data"), bench.bursts
    bursts.pause("b", repeat(True))
    await bench.idle(2)
    count = 2 * BURSTS + 8
    for number in range(count):
        place = bench.config.buffer_base if number & 1 else 0
        _good_write(bench, rng, Burst(address=place + number * COLUMN_BYTES, id=number % 16))
    await bench.idle(400)
    # Answers are held by the window and its slice; behind them wait the beats that the slice has taken.
    assert len(bursts.watched.cycles["w"]) == BURSTS + SLICE + SLICE
    assert int(dut.mem__bvalid.value) == 1, "BVALID waits for BREADY"
    assert not bursts.watched.cycles["b"]
    # Reads go on meanwhile.
    _good_read(bench, Burst(address=bench.config.geometry.memory_bytes - PAGE, beats=128))
    await bench.idle(600)
    assert bursts.watched.last["r"]
    bursts.pause("b", pauses(bench.rng("b")))
    await _settle(bench)
    assert len(bursts.watched.cycles["b"]) == count
    await bench.finish()


@cocotb.test()
async def addresses_wait(dut: Any) -> None:
    """A queue full of addresses is taken before any data, and data before its address; each gets what is its own."""
    bench = TopBench(dut)
    await bench.begin(flow=False, bursts=True)
    rng, bursts = bench.rng("data"), bench.bursts
    watched = bursts.watched
    writes = [Burst(address=(16 + n) * PAGE + n * 40, beats=n + 1, id=n % 16) for n in range(BURSTS + 6)]
    contents = [[rng.randbytes(COLUMN_BYTES) for _ in range(burst.beats)] for burst in writes]
    for burst, words in zip(writes, contents, strict=True):
        bursts.address("aw", burst)
        bursts.expect_answer(burst, AxiResp.OKAY)
        _golden_write(bench, burst, words, [FULL] * burst.beats)
    bursts.pause("r", repeat(True))
    reads = [Burst(address=n * PAGE, beats=128, id=n % 16) for n in range(BURSTS + 6)]
    for burst in reads:
        _good_read(bench, burst)
    await bench.idle(400)
    assert len(watched.cycles["aw"]) == BURSTS + SLICE
    assert not watched.cycles["b"]
    assert len(watched.cycles["ar"]) == BURSTS + SLICE
    assert int(dut.mem__rvalid.value) == 1, "RVALID waits for RREADY"
    for words in contents:
        bursts.data(words)
    bursts.pause("r", repeat(False))
    await _settle(bench)
    # And data first.
    late = Burst(address=100, beats=3, id=9)
    words = [rng.randbytes(COLUMN_BYTES) for _ in range(3)]
    bursts.data(words)
    await bench.idle(100)
    answered = len(watched.cycles["b"])
    bursts.expect_answer(late, AxiResp.OKAY)
    bursts.address("aw", late)
    _golden_write(bench, late, words, [FULL] * 3)
    await _settle(bench)
    assert len(watched.cycles["b"]) == answered + 1
    for burst in (*writes, late):
        _good_read(bench, burst)
    await _settle(bench)
    await bench.finish()


@cocotb.test()
async def four_kilobytes(dut: Any) -> None:
    """A burst up to the last word of 4 KB is served; one word further all of it is refused, and nothing written."""
    bench = TopBench(dut)
    await bench.begin(bursts=True)
    rng, bursts = bench.rng("data"), bench.bursts
    for base in (0, PAGE, bench.config.buffer_base, bench.config.buffer_base + PAGE):
        for beats in (1, 2, 3, 16, 127, 128):
            skew = rng.randrange(COLUMN_BYTES)
            inside = Burst(
                address=base + PAGE - beats * COLUMN_BYTES + skew, beats=beats, id=rng.randrange(16)
            )
            _good_write(bench, rng, inside)
            await _settle(bench)
            outside = [
                Burst(address=inside.address, beats=more, id=rng.randrange(16)) for more in (beats + 1, 256)
            ]
            outside.append(Burst(address=base, beats=rng.choice((129, 255, 256))))
            for burst in outside:
                assert not burst.legal
                bursts.write(burst, [rng.randbytes(COLUMN_BYTES)] * burst.beats, AxiResp.SLVERR)
                bursts.read(burst, None, AxiResp.SLVERR)
            _good_read(bench, inside)
            await _settle(bench)
        for page in (base, base + PAGE):
            _good_read(bench, Burst(address=page, beats=128))
        await _settle(bench)
    await bench.finish()


def _burst(bench: TopBench, rng: random.Random) -> Burst:
    """Any burst that a manager may send, and some that none may."""
    pages = [*range(6), *range(bench.config.buffer_base // PAGE - 1, bench.config.buffer_base // PAGE + 6)]
    address = rng.choice(pages) * PAGE + rng.choice((0, rng.randrange(PAGE), PAGE - rng.randrange(1, 64)))
    identifier = rng.randrange(16)
    kind = rng.random()
    if kind < 0.08:
        beats = rng.choice((2, 4, 8, 16))
        return Burst(address=address // (beats * 32) * beats * 32, beats=beats, id=identifier, kind=WRAP)
    if kind < 0.14:
        return Burst(
            address=address, beats=rng.choice((1, 16, rng.randrange(2, 16))), id=identifier, kind=FIXED
        )
    if kind < 0.22:
        return Burst(address=address, beats=rng.randrange(1, 12), id=identifier, size=rng.randrange(5))
    if kind < 0.30:
        return Burst(address=address, beats=rng.randrange(100, 257), id=identifier)
    room = (PAGE - address % PAGE + COLUMN_BYTES - 1) // COLUMN_BYTES
    beats = rng.choice((1, 1, 1, 2, rng.randrange(1, 20), rng.randrange(1, 129)))
    return Burst(address=address, beats=min(beats, room), id=identifier)


@cocotb.test()
async def random_bursts(dut: Any) -> None:
    """Reads and writes of every kind and id, as many at once as there is room for, pauses on every channel.

    What is under way at the same time shares no 4 KB in both directions, so each beat has one right answer.
    """
    bench = TopBench(dut)
    await bench.begin(bursts=True)
    bursts, config = bench.bursts, bench.config
    served: Counter[str] = Counter()

    def turn(rng: random.Random) -> tuple[Burst, bool, int]:
        """A burst, whether it writes, cycles until the next."""
        return _burst(bench, rng), rng.random() < 0.5, rng.choice((0, 0, 0, 0, rng.randrange(100)))

    for number, (burst, write, rest) in bench.items("bursts", RANDOM * bench.rounds, turn):
        rng = bench.rng(f"data {number}")
        while len(bursts.pending) > MOST or any(
            other.address // PAGE == burst.address // PAGE
            for other in (bursts.reads_pending if write else bursts.writes_pending)
        ):
            await bench.edge()
        there = all(
            address < config.geometry.memory_bytes or 0 <= address - config.buffer_base < config.buffer_bytes
            for address in burst.words
        )
        response = AxiResp.SLVERR if not burst.legal else AxiResp.OKAY if there else AxiResp.DECERR
        served[response.name] += 1
        if response == AxiResp.OKAY and write:
            strobes = [rng.choice((FULL, 0, rng.getrandbits(COLUMN_BYTES))) for _ in range(burst.beats)]
            _good_write(bench, rng, burst, strobes)
        elif response == AxiResp.OKAY:
            _good_read(bench, burst)
        elif write:
            bursts.write(burst, [rng.randbytes(COLUMN_BYTES) for _ in range(burst.beats)], response)
        else:
            bursts.read(burst, None, response)
        await bench.idle(rest)
    await _settle(bench)
    if bench.whole:
        assert min(served[name] for name in ("OKAY", "SLVERR", "DECERR")) > 20, served
        for asked, answered in (("aw", "b"), ("ar", "r")):
            most = bursts.watched.outstanding(asked, answered)
            assert most >= BURSTS, f"never more than {most} bursts of {asked} under way"
    for address in range(config.buffer_base, config.buffer_base + config.buffer_bytes, PAGE):
        _good_read(bench, Burst(address=address, beats=PAGE // COLUMN_BYTES))
    await _settle(bench)
    await bench.finish()
