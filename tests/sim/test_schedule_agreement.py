"""The RTL's commands are the golden schedule's, cycle for cycle, and the golden checker finds them legal.

The golden schedule places every command at its earliest legal cycle, so equality says that the RTL is legal and
wastes no cycle.
"""

import random
from collections.abc import Iterator

import pytest

from pim_model.checker import Checker
from pim_model.schedule import Placed, macro_cycles, place
from pim_model.spec.config import config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import Micro, MicroOp
from pim_model.spec.registers import Control, Reg, macro_word
from pim_model.spec.timing import TIMINGS
from sim.build import library
from sim.native import NativeSimulation
from tests.sim.macros import push

pytestmark = pytest.mark.verilator

_OUTPUT, _BIAS = 8192, 12288
_SHAPES = [
    *[(1, 1, 1), (8, 128, 1), (9, 129, 1), (20, 300, 1), (8, 16, 3), (30, 200, 2), (33, 513, 1)],
    *[(1, 1, 2), (7, 300, 5), (16, 17, 4), (24, 128, 2), (40, 112, 3), (24, 290, 3)],
]


@pytest.fixture(params=[*(("tiny", name) for name in TIMINGS), ("tiny_dual", "ianus_ck")], ids="-".join)
def simulation(request: pytest.FixtureRequest) -> Iterator[NativeSimulation]:
    preset = config(*request.param)
    with NativeSimulation(library(preset), preset) as opened:
        opened.write_register(Reg.IRQ_ENABLE, 1)
        yield opened


def micro(record) -> Micro:
    """A recorded command with the operands that its kind uses."""
    return Micro.seen(*(int(record[name]) for name in ("op", "bank", "row", "column", "mode")))


def commands(simulation: NativeSimulation) -> list[list[Placed]]:
    """What was recorded, by channel."""
    trace = simulation.trace()
    return [
        [(int(r["cycle"]), int(r["slot"]), micro(r)) for r in trace[trace["channel"] == channel]]
        for channel in range(simulation.config.geometry.channels)
    ]


def run(simulation: NativeSimulation, macro: MatVec) -> None:
    push(simulation, macro.encode())
    assert simulation.wait_interrupt(100_000)
    assert simulation.read_register(Reg.COMPLETION) >> 16 & 0xFF == 0
    simulation.write_register(Reg.COMPLETION_POP, 1)


def matvec(
    rows: int,
    columns: int,
    tokens: int,
    *,
    bias: bool = False,
    function: int | None = None,
    kv_rows: tuple[int, int] | None = None,
) -> MatVec:
    return MatVec(
        tag=1,
        rows=rows,
        columns=columns,
        tokens=tokens,
        weight_row=1,
        input_offset=0,
        output_offset=_OUTPUT,
        bias_offset=_BIAS if bias else None,
        function=function,
        kv_rows=kv_rows,
    )


def shifted(schedule: list[Placed], to: list[Placed]) -> list[Placed]:
    """``schedule`` moved so that its first slot-0 command stands where that of ``to`` does."""
    offset = next(c for c, slot, _ in to if slot == 0) - next(c for c, slot, _ in schedule if slot == 0)
    return [(cycle + offset, slot, command) for cycle, slot, command in schedule]


@pytest.mark.parametrize("function", [None, 0])
@pytest.mark.parametrize("kv_rows", [None, (30, 3)], ids=["matvec", "qkv"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_rtl_is_the_golden_schedule(simulation, shape, kv_rows, function):
    simulation.write_register(Reg.CONTROL, 0)
    macro = matvec(*shape, function=function, kv_rows=kv_rows)
    simulation.record(10_000)
    run(simulation, macro)
    simulation.idle(300)
    golden = place(simulation.config, macro)
    for channel, got in enumerate(commands(simulation)):
        assert got == shifted(golden, got), f"channel {channel}"


@pytest.mark.parametrize("kv_rows", [None, (30, 3)], ids=["matvec", "qkv"])
@pytest.mark.parametrize("shape", _SHAPES)
def test_a_bias_costs_the_row_stream_nothing(simulation, shape, kv_rows):
    """Each channel's bias is a word of its own, so the first buffer loads may come a cycle a channel later."""
    simulation.write_register(Reg.CONTROL, 0)
    macro = matvec(*shape, bias=True, kv_rows=kv_rows)
    simulation.record(10_000)
    run(simulation, macro)
    simulation.idle(300)
    golden = place(simulation.config, macro)
    channels = simulation.config.geometry.channels
    for got in commands(simulation):
        expected = shifted(golden, got)
        assert [entry for entry in got if entry[1] == 0] == [entry for entry in expected if entry[1] == 0]
        late = [
            (a[0] - b[0], a[2] == b[2])
            for a, b in zip([e for e in got if e[1] == 1], [e for e in expected if e[1] == 1], strict=True)
        ]
        assert all(same and 0 <= cycles < channels for cycles, same in late), late


@pytest.mark.parametrize(
    ("columns", "tokens", "intervals", "at_rest", "refreshes"),
    # 3 or 4: by the phase and the preset's row period
    [(256, 9, 7.7, {1}, {8}), (128, 14, 3.7, {0}, {3, 4})],
    ids=["rows", "row-that-stays"],
)
def test_refreshes_are_where_the_golden_schedule_has_them(
    simulation, columns, tokens, intervals, at_rest, refreshes
):
    """Each goes before the first row that could be opened when it is due, after rest and without; a row that stays open
    from pass to pass is closed for it.

    The golden schedule knows no rest, so it is told when the first refresh is due. With eight pulled in, that is eight
    intervals after the last of them, not nine: none is owed then, but no bank waits for longer.
    """
    interval = simulation.config.timing.refresh_interval
    macros = (matvec(8 * groups, columns, tokens) for groups in range(1, 56))
    macro = next(m for m in macros if macro_cycles(simulation.config, m).cycles > intervals * interval)
    plain = place(simulation.config, macro)
    phase = 0
    for rest, lead in ((True, 0), (False, 50), (False, 53), (False, 64)):
        simulation.write_register(Reg.CONTROL, 0)
        simulation.idle(300)
        for index, word in enumerate(macro.encode()):
            simulation.write_register(macro_word(index), word)
        simulation.record(100_000)
        if not rest:  # the channel has rested up to here, and would pull one in at once
            simulation.write_register(Reg.MACRO_PUSH, 1)
            simulation.idle(lead)
        enabled = simulation.cycles
        simulation.write_register(Reg.CONTROL, Control.REFRESH)
        if rest:
            simulation.idle(10 * interval + interval // 2)
            simulation.write_register(Reg.MACRO_PUSH, 1)
        assert simulation.wait_interrupt(100_000)
        simulation.write_register(Reg.COMPLETION_POP, 1)
        simulation.idle(300)
        for channel, got in enumerate(commands(simulation)):
            begin = next(place for place, entry in enumerate(got) if entry[2].op is not MicroOp.REFAB)
            ahead, mine = [cycle for cycle, _, _ in got[:begin]], got[begin:]
            assert len(ahead) == (8 + 10) * rest
            if rest:
                # At rest, one is taken as soon as one of the eight is used up: that shows where the intervals end.
                phase = (ahead[-1] - enabled) % interval
            due = ahead[-1] + 8 * interval if rest else enabled + phase + interval
            row = next(cycle for cycle, slot, _ in mine if slot == 0)
            start = row - next(cycle for cycle, slot, _ in plain if slot == 0)
            golden = place(simulation.config, macro, due - start)
            count = sum(command.op is MicroOp.REFAB for _, _, command in golden)
            assert count in (at_rest if rest else refreshes)
            assert mine[: len(golden)] == [(cycle + start, *what) for cycle, *what in golden], (
                f"channel {channel}"
            )


def test_random_traffic_is_legal(simulation, seed):
    """Reads, writes, macros and refreshes in random order: the golden checker finds nothing."""
    rng = random.Random(f"{seed}/{simulation.config.timing_name}")
    geometry = simulation.config.geometry
    simulation.write_register(Reg.CONTROL, Control.REFRESH)
    simulation.record(200_000)
    for _ in range(120):
        kind = rng.choice("rrrwwwm")
        size = rng.choice((1, 32, 33, 300, 2000))
        address = rng.randrange(geometry.memory_bytes - size)
        if kind == "r":
            simulation.read(address, size)
        elif kind == "w":
            simulation.write(address, rng.randbytes(size))
        else:
            rows, columns, tokens = rng.choice(_SHAPES)
            run(
                simulation,
                matvec(
                    rows,
                    columns,
                    tokens,
                    bias=rng.random() < 0.5,
                    function=rng.choice((None, 1)),
                    kv_rows=rng.choice((None, (30, 3))),
                ),
            )
        simulation.idle(rng.choice((0, 0, 3, 700)))
    kinds = set()
    for channel, got in enumerate(commands(simulation)):
        checker = Checker(simulation.config, refresh=False)  # time before the recording is not known to it
        for cycle, slot, command in got:
            assert not checker.issue(cycle, slot, command), f"channel {channel}, cycle {cycle}: {command}"
            kinds.add(command.op)
    assert kinds >= {MicroOp.REFAB, MicroOp.RD, MicroOp.WR, MicroOp.PRE, MicroOp.ACT, MicroOp.AF}
    assert simulation.read_register(Reg.VIOLATIONS) == 0
