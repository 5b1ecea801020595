"""What lies between a card's DMA engine and the prototype: buses between two clocks, and the interrupt."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from amaranth import ClockDomain, Module, ResetSignal, Signal
from amaranth.sim import Simulator

from hdl.card_prototype import CardPrototype
from hdl.host.axi import Axi4LiteSignature, Axi4Signature
from hdl.host.crossing import DEPTH, BusCrossing
from hdl.host.interrupt import UserInterrupt
from pim_model.spec.config import Config, config
from pim_model.spec.geometry import Geometry
from tests.hdl.simulate import run

_OUTER = 4e-9
_FORWARD, _BACK = ("aw", "w", "ar"), ("b", "r")


def _fields(bus, channel: str) -> list:
    handshake = (f"{channel}valid", f"{channel}ready")
    names = [name for name in bus.signature.members if name.startswith(channel) and name not in handshake]
    return [getattr(bus, name) for name in names]


def _simulate(dut, testbenches: list[Callable], inner: float, phase: float = 0.0) -> None:
    simulator = Simulator(dut)
    simulator.add_clock(_OUTER, domain="host")
    simulator.add_clock(inner, phase=phase, domain="sync")
    for testbench in testbenches:
        simulator.add_testbench(testbench)
    simulator.run_until(4000 * max(inner, _OUTER))


@pytest.mark.parametrize(("inner", "phase"), [(20e-9, 3e-9), (4e-9, 1e-9), (1.3e-9, 0.0)])
def test_every_channel_keeps_its_beats_in_order(rng: np.random.Generator, inner: float, phase: float) -> None:
    dut = BusCrossing(Axi4Signature(20), outer="host")
    count = 2 * DEPTH
    sent: dict[str, list[list[int]]] = {}
    came: dict[str, list[list[int]]] = {channel: [] for channel in (*_FORWARD, *_BACK)}
    testbenches = []
    for channel in (*_FORWARD, *_BACK):
        ends = (dut.outer, dut.inner) if channel in _FORWARD else (dut.inner, dut.outer)
        domains = ("host", "sync") if channel in _FORWARD else ("sync", "host")
        widths = [len(field) for field in _fields(ends[0], channel)]
        sent[channel] = [
            [int.from_bytes(rng.bytes(32), "little") & (1 << width) - 1 for width in widths]
            for _ in range(count)
        ]
        waits, holds = (iter(rng.random(20 * count) < 0.3) for _ in range(2))

        async def send(ctx, channel=channel, end=ends[0], domain=domains[0], waits=waits):
            valid, ready = getattr(end, f"{channel}valid"), getattr(end, f"{channel}ready")
            for beat in sent[channel]:
                while next(waits):
                    await ctx.tick(domain)
                for field, value in zip(_fields(end, channel), beat, strict=True):
                    ctx.set(field, value)
                ctx.set(valid, 1)
                await ctx.tick(domain).until(ready)
                ctx.set(valid, 0)

        async def receive(ctx, channel=channel, end=ends[1], domain=domains[1], holds=holds):
            valid, ready = getattr(end, f"{channel}valid"), getattr(end, f"{channel}ready")
            while len(came[channel]) < count:
                ctx.set(ready, not next(holds))
                _, _, *values, took = await ctx.tick(domain).sample(*_fields(end, channel), valid & ready)
                if took:
                    came[channel].append(values)

        testbenches += [send, receive]
    _simulate(dut, testbenches, inner, phase)
    assert came == sent


def test_a_full_queue_takes_no_more() -> None:
    dut = BusCrossing(Axi4LiteSignature(16), outer="host")
    taken = 0

    async def send(ctx):
        nonlocal taken
        ctx.set(dut.outer.awvalid, 1)
        for _ in range(20 * DEPTH):
            _, _, ready = await ctx.tick("host").sample(dut.outer.awready)
            taken += ready

    _simulate(dut, [send], 20e-9)
    assert taken == DEPTH


@pytest.mark.parametrize("later", ["host", "sync"])
def test_what_comes_at_the_end_of_a_reset_is_not_lost(later: str) -> None:
    crossing = BusCrossing(Axi4LiteSignature(16), outer="host")
    m = Module()
    m.submodules.crossing = crossing
    resets = {domain: Signal(init=1, name=f"{domain}_reset") for domain in ("host", "sync")}
    for domain, reset in resets.items():
        setattr(m.domains, domain, ClockDomain(domain))
        m.d.comb += ResetSignal(domain).eq(reset)
    taken, came = [], []

    async def release(ctx):
        await ctx.delay(10 * _OUTER)
        for domain in ("sync", "host") if later == "host" else ("host", "sync"):
            ctx.set(resets[domain], 0)
            await ctx.delay(3 * _OUTER)

    async def send(ctx):
        ctx.set(crossing.outer.awvalid, 1)
        number = 0
        while number < 40:
            ctx.set(crossing.outer.awaddr, number)
            _, _, ready = await ctx.tick("host").sample(crossing.outer.awready)
            if ready:
                taken.append(number)
            number += 1
        ctx.set(crossing.outer.awvalid, 0)

    async def receive(ctx):
        ctx.set(crossing.inner.awready, 1)
        while True:
            _, reset, valid, address = await ctx.tick("sync").sample(
                crossing.inner.awvalid, crossing.inner.awaddr
            )
            if valid and not reset:
                came.append(address)

    simulator = Simulator(m)
    simulator.add_clock(_OUTER, domain="host")
    simulator.add_clock(_OUTER, phase=1e-9, domain="sync")
    for each in (release, send):
        simulator.add_testbench(each)
    simulator.add_testbench(receive, background=True)
    simulator.run_until(200 * _OUTER)
    assert taken
    assert came == taken


@pytest.mark.parametrize("sent_after", [1, 2, 9])
@pytest.mark.parametrize("cause", [1, 5, 40])
def test_a_request_stays_until_it_is_sent_and_its_cause_gone(cause: int, sent_after: int) -> None:
    dut = UserInterrupt("sync")

    async def bench(ctx):
        ctx.set(dut.cause, 1)
        high, rises, since, was = [], 0, 0, 0
        for cycle in range(80):
            if cycle == cause:
                ctx.set(dut.cause, 0)
            ctx.set(dut.acknowledge, since == sent_after)
            _, _, request = await ctx.tick().sample(dut.request)
            since = since + 1 if request else 0
            rises += request and not was
            was = request
            high.append(request)
        assert rises == 1
        first = high.index(1)
        last = len(high) - 1 - high[::-1].index(1)
        assert all(high[first : last + 1])
        # two stages of synchronisation and the register lie before the request and before its end
        assert first == 3
        assert last == max(cause + 2, first + sent_after)

    run(dut, bench)


def test_the_next_cause_is_another_request() -> None:
    dut = UserInterrupt("sync")

    async def bench(ctx):
        rises, was = 0, 0
        ctx.set(dut.acknowledge, 1)
        for cycle in range(60):
            ctx.set(dut.cause, cycle // 10 % 2)
            _, _, request = await ctx.tick().sample(dut.request)
            rises += request and not was
            was = request
        assert rises == 3

    run(dut, bench)


def test_an_address_outside_the_window_goes_to_its_last_page() -> None:
    # The window of `tiny`: 128 KB of memory below 256 KB, and from there on the buffer of 16 KB.
    shape = config("tiny")
    core = CardPrototype(shape)
    m = Module()
    address, inside = Signal(64), Signal(shape.window_bits)
    m.d.comb += inside.eq(core._inside(address))
    end = 1 << shape.window_bits

    async def bench(ctx):
        for given, expected in {
            0: 0,
            0x1FFFF: 0x1FFFF,
            shape.buffer_base: shape.buffer_base,
            end - 1: end - 1,
            end: end - 0x1000,
            end + 0x12345: end - 0x1000 + 0x345,
            1 << 63: end - 0x1000,
            (1 << 64) - 32: end - 32,
        }.items():
            ctx.set(address, given)
            assert ctx.get(inside) == expected, hex(given)
        assert shape.buffer_base + shape.buffer_bytes <= end - 0x1000  # where nothing is

    m.domains.sync = ClockDomain()
    run(m, bench)


def test_a_buffer_as_large_as_half_the_window_is_refused() -> None:
    one = Config(name="one", geometry=Geometry(channels=1, banks=4, rows=16, row_bytes=64), buffer_bytes=4096)
    with pytest.raises(
        ValueError, match=r"^buffer_bytes must be less than half of the data window on a card"
    ):
        CardPrototype(one)
