"""The scheduler when its streams come late: what stands in both slots of one cycle, and what it remembers of rows.

In a channel that waits for another one (its refresh came at another time) tiles and steps come at any moment.
"""

from collections import defaultdict

import pytest
from amaranth import Module
from amaranth.lib import wiring

from hdl.checker import Checker
from hdl.controller.scheduler import Scheduler
from hdl.layouts import ChannelOp, RegisterKind, RegisterStep, Tile
from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp

from .simulate import run

WRGB, WRBIAS, RDMAC = RegisterKind.WRGB, RegisterKind.WRBIAS, RegisterKind.RDMAC


class Channel(wiring.Component):
    """A scheduler under the eyes of a checker."""

    def __init__(self, shape):
        self.scheduler, self.checker = Scheduler(shape), Checker(shape)
        super().__init__({})

    def elaborate(self, platform):
        m = Module()
        m.submodules.scheduler, m.submodules.checker = self.scheduler, self.checker
        for name in ("op0", "bank0", "row0", "column0", "mode0", "op1", "column1", "mode1"):
            m.d.comb += getattr(self.checker, name).eq(getattr(self.scheduler, name))
        return m


def play(shape, streams, *, exclusive=0, cycles=400, watch=None):
    """Offer each stream's payloads, each not before its cycle; the commands by slot, and the checker's complaints.

    ``streams`` maps a stream's name to a list of (cycle, payload).
    """
    dut = Channel(shape)
    shapes = {"tiles": Tile, "steps": RegisterStep, "ops": ChannelOp}
    commands, complaints = [], []

    async def testbench(ctx):
        scheduler = dut.scheduler
        ctx.set(scheduler.normal.idle, 1)
        ctx.set(scheduler.pim_request, 1)
        ctx.set(scheduler.result_space, 1)
        if shape.dual_row_buffer:
            ctx.set(scheduler.exclusive, exclusive)
        left = defaultdict(list, {name: list(items) for name, items in streams.items()})
        for cycle in range(cycles):
            for name in shapes:
                port, items = getattr(scheduler, name), left[name]
                offered = bool(items) and items[0][0] <= cycle
                ctx.set(port.valid, offered)
                ctx.set(port.p, items[0][1] if offered else {})
            if shape.dual_row_buffer:
                ctx.set(scheduler.exclusive, exclusive or bool(left["ops"] and not left["tiles"]))
            for name in shapes:
                port = getattr(scheduler, name)
                if ctx.get(port.valid) and ctx.get(port.ready):
                    left[name].pop(0)
            commands.append((MicroOp(ctx.get(scheduler.op0)), MicroOp(ctx.get(scheduler.op1))))
            if watch is not None:
                watch(ctx, scheduler)
            await ctx.tick()
            if ctx.get(dut.checker.violation):
                complaints.append((cycle, ctx.get(dut.checker.code), commands[-1]))
        assert not any(left.values()), f"not taken: {dict(left)}"

    run(dut, testbench, limit=cycles + 10)
    return commands, complaints


def in_cycle(first, second, commands):
    """How far apart two commands stand that come once each."""
    return next(i for i, (op, _) in enumerate(reversed(commands)) if op is first) - next(
        i for i, (_, op) in enumerate(reversed(commands)) if op is second
    )


@pytest.mark.slow
def test_results_are_not_read_beside_a_late_mac():
    """Two tokens on one row: the second one's run comes at any time around the first one's result."""
    steps = [
        *({"kind": WRBIAS, "accumulators": i} for i in (0, 1)),
        *({"kind": WRGB} for _ in (0, 1)),
        *({"kind": RDMAC, "accumulators": i, "final": i} for i in (0, 1)),
    ]
    first = {"row": 1, "columns": 1, "load": 1, "release": 1, "last": 1, "keep": 1}
    second = {**first, "accumulators": 1, "keep": 0}
    orders = set()
    for late in range(24, 40):
        commands, complaints = play(
            config("tiny"),
            {"tiles": [(0, first), (late, second)], "steps": [(0, step) for step in steps]},
            cycles=200,
        )
        assert not complaints, f"the second run comes in cycle {late}: {complaints}"
        reads = [i for i, (_, op) in enumerate(commands) if op is MicroOp.RDMAC]
        macs = [i for i, (op, _) in enumerate(commands) if op is MicroOp.MACAB]
        assert (len(reads), len(macs)) == (2, 2)
        orders.add(reads[0] < macs[1])
    assert orders == {False, True}


@pytest.mark.slow
@pytest.mark.parametrize("timing", ["aim_simulator", "fpga_controller"])
def test_register_mode_is_not_left_beside_a_register_command(timing):
    """A MATVEC after a program that has left register mode on: its steps come at any time around its tile."""
    item = {"op": MicroOp.WRGB, "count": 1}
    tile = {"row": 1, "columns": 1, "load": 1, "release": 1, "last": 1}
    steps = [{"kind": WRBIAS}, {"kind": WRGB}, {"kind": RDMAC, "final": 1}]
    for late in (60, 75):
        for behind in (0, 1, 2):
            _, complaints = play(
                config("tiny", timing),
                {
                    "ops": [(0, item)],
                    "tiles": [(late, tile)],
                    "steps": [(late + behind, step) for step in steps],
                },
                cycles=400,
            )
            assert not complaints, f"tile in cycle {late}, steps {behind} later: {complaints}"


def test_program_opens_the_row_that_a_matvec_has_closed():
    """With dual row buffers a MATVEC closes its row by PREP; a program on the same row has to open it again."""
    tile = {"row": 1, "columns": 1, "load": 1, "release": 1, "last": 1}
    steps = [{"kind": WRBIAS}, {"kind": WRGB}, {"kind": RDMAC, "final": 1}]
    commands, complaints = play(
        config("tiny_dual"),
        {
            "tiles": [(0, tile)],
            "steps": [(0, step) for step in steps],
            "ops": [(200, {"op": MicroOp.MACAB, "row": 1, "count": 1})],
        },
    )
    assert not complaints
    assert [op for op, _ in commands if op in (MicroOp.ACTAB, MicroOp.MACAB)] == [
        MicroOp.ACTAB,
        MicroOp.MACAB,
    ] * 2


def test_row_of_pim_stays_barred_while_its_next_run_is_late():
    """With dual row buffers: the row that PIM holds is told to normal traffic though no tile is queued."""
    tile = {"row": 5, "columns": 1, "load": 1, "release": 1, "last": 1, "keep": 1}
    steps = [*({"kind": WRBIAS, "accumulators": i} for i in (0, 1)), {"kind": WRGB}, {"kind": WRGB}]
    state = {"open": False, "empty": 0}

    def watch(ctx, scheduler):
        if state["open"]:
            assert ctx.get(scheduler.normal.barred)
            assert ctx.get(scheduler.normal.shared_row) == 5
            state["empty"] += not ctx.get(scheduler.tiles.valid)
        op = ctx.get(scheduler.op0)
        if op in (MicroOp.ACTAB, MicroOp.PREP):
            state["open"] = op == MicroOp.ACTAB

    play(
        config("tiny_dual"),
        {
            "tiles": [(0, tile), (80, {**tile, "accumulators": 1, "keep": 0})],
            "steps": [(0, s) for s in steps],
        },
        watch=watch,
        cycles=200,
    )
    assert state["empty"] > 10
