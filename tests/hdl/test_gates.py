"""The timing gates: closed one cycle early, open on time. Waves are one character a cycle."""

import itertools
import random

import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.controller.gates import faw_gate, gate, gates

from .simulate import run


class GateUnderTest(wiring.Component):
    """A gate with a port for each strobe."""

    def __init__(self, cycles):
        self._cycles = cycles
        super().__init__({"strobes": In(len(cycles)), "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.ready.eq(gate(m, "dut", list(zip(self.strobes, self._cycles, strict=True))))
        m.d.sync += Signal().eq(1)  # a gate of one cycle has no register, and the simulator needs a clock
        return m


class GatesUnderTest(wiring.Component):
    """Gates side by side, and each alone."""

    def __init__(self, cycles, places):
        self._cycles, self._places = cycles, places
        super().__init__(
            {"strobes": In(places).array(len(cycles)), "together": Out(places), "alone": Out(places)}
        )

    def elaborate(self, platform):
        m = Module()
        waits = dict(zip(self._cycles, self.strobes, strict=True))
        m.d.comb += self.together.eq(gates(m, "dut", waits, self._places))
        for i in range(self._places):
            pairs = [(strobes[i], cycles) for cycles, strobes in waits.items()]
            m.d.comb += self.alone[i].eq(gate(m, f"alone{i}", pairs))
        m.d.sync += Signal().eq(1)
        return m


class FawUnderTest(wiring.Component):
    def __init__(self, cycles):
        self._cycles = cycles
        super().__init__({"strobes": In(1), "ready": Out(1)})

    def elaborate(self, platform):
        m = Module()
        strobe = Signal()
        m.d.comb += [strobe.eq(self.strobes), self.ready.eq(faw_gate(m, strobe, self._cycles))]
        return m


def ready_wave(dut, *strobe_waves: str) -> str:
    """``ready`` in each cycle of the strobes' waves ('x' is a strobe)."""
    seen = []

    async def testbench(ctx):
        for column in zip(*strobe_waves, strict=True):
            ctx.set(dut.strobes, sum((mark == "x") << i for i, mark in enumerate(column)))
            seen.append("-_"[not ctx.get(dut.ready)])
            await ctx.tick()

    run(dut, testbench)
    return "".join(seen)


# fmt: off
@pytest.mark.parametrize(("cycles", "strobes", "expected"), [
    ((1,),    ["x..xx..."],                 "--------"),
    ((2,),    ["x...x..."],                 "-_---_--"),
    ((4,),    ["x......."],                 "-___----"),
    ((4,),    ["x.x....."],                 "-_____--"),
    ((2, 5),  ["x.......", ".x......"],     "-_____--"),   # the longer wait counts
    ((5, 2),  ["x.......", "..x....."],     "-____---"),   # a shorter one does not cut it short
    ((5, 2),  ["x.......", "....x..."],     "-_____--"),   # but may outlast it
    ((3, 6),  ["x.......", "x......."],     "-_____--"),   # both in one cycle
])
def test_gate(cycles, strobes, expected):
    assert ready_wave(GateUnderTest(cycles), *strobes) == expected


# fmt: off
@pytest.mark.parametrize(("cycles", "strobes", "expected"), [
    (6, "xxxx........", "----__------"),   # the fifth activation waits for the first to leave the window
    (6, "x.x.xx......", "------------"),
])
def test_faw_gate(cycles, strobes, expected):
    assert ready_wave(FawUnderTest(cycles), strobes) == expected


@pytest.mark.parametrize("distance", range(1, 32))
def test_gate_is_exact(distance, seed):
    """Under random strobes that respect the gate, the smallest distance seen is the gate's."""
    rng = random.Random(f"{seed}/{distance}")
    dut = GateUnderTest((distance,))
    issued = []

    async def testbench(ctx):
        for cycle in range(20 * distance + 40):
            go = ctx.get(dut.ready) and rng.random() < 0.7
            ctx.set(dut.strobes, int(go))
            if go:
                issued.append(cycle)
            await ctx.tick()

    run(dut, testbench)
    assert min(later - earlier for earlier, later in itertools.pairwise(issued)) == distance


@pytest.mark.parametrize("cycles", [(1,), (2,), (3, 7), (8, 3, 16), (1, 5, 9, 36), (31, 32, 33)], ids=str)
def test_gates_side_by_side(cycles, seed):
    """Each is the gate that it would be alone, whatever the strobes."""
    rng = random.Random(f"{seed}/{cycles}")
    dut = GatesUnderTest(cycles, 4)
    seen = set()

    async def testbench(ctx):
        for _ in range(400):
            for strobes in dut.strobes:
                ctx.set(strobes, sum((rng.random() * 2 * max(cycles) < 1) << i for i in range(4)))
            assert ctx.get(dut.together) == ctx.get(dut.alone)
            seen.add(ctx.get(dut.alone))
            await ctx.tick()

    run(dut, testbench)
    assert len(seen) == 1 if cycles == (1,) else len(seen) > 4
