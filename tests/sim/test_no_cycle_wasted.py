"""Where no golden schedule is compared: programs and normal traffic are as early as the rules allow."""

from collections.abc import Iterator

import pytest

from pim_model.spec.config import config
from pim_model.spec.isr import Instruction
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Reg
from pim_model.spec.timing_rules import Scope
from sim.build import library
from sim.native import NativeSimulation
from tests.pim_model.test_program import isr
from tests.sim.macros import push, put_program

pytestmark = pytest.mark.verilator

_RUNS = 8
"""Cycles after its push when a macro surely has begun: what is written before, it waits for."""


@pytest.fixture(params=["tiny", "tiny_dual"])
def simulation(request: pytest.FixtureRequest) -> Iterator[NativeSimulation]:
    preset = config(request.param)
    with NativeSimulation(library(preset), preset) as opened:
        opened.write_register(Reg.IRQ_ENABLE, 1)
        opened.write_register(Reg.CONTROL, 0)
        yield opened


def cycles(simulation: NativeSimulation) -> int:
    """Of the macro that was pushed."""
    assert simulation.wait_interrupt(100_000)
    assert simulation.read_register(Reg.COMPLETION) >> 16 & 0xFF == 0
    duration = simulation.read_register(Reg.COMPLETION_CYCLES)
    simulation.write_register(Reg.COMPLETION_POP, 1)
    return duration


def commands(
    simulation: NativeSimulation, program: list[Instruction], *ops: MicroOp
) -> list[list[tuple[MicroOp, int]]]:
    """Those of ``ops`` that the program gives on each channel, and their cycles."""
    macro = put_program(simulation, program)
    simulation.record(1000)
    push(simulation, macro.encode())
    cycles(simulation)
    trace = simulation.trace()
    return [
        [
            (MicroOp(int(each["op"])), int(each["cycle"]))
            for each in trace[trace["channel"] == channel]
            if each["op"] in ops
        ]
        for channel in range(simulation.config.geometry.channels)
    ]


@pytest.mark.parametrize(
    ("instruction", "op"), [(MacroOp.MAC_ABK, MicroOp.MACAB), (MacroOp.MAC_SBK, MicroOp.MACSB)]
)
def test_a_product_follows_the_load_of_its_column_at_once(
    simulation: NativeSimulation, instruction: MacroOp, op: MicroOp
) -> None:
    """In an open row; the load's data is the only thing it waits for."""
    load, multiply = isr(MacroOp.WR_GB, 1, gpr0=0), isr(instruction, 1, row=1)
    program = [multiply, load, multiply, multiply, load, load, multiply]
    found = commands(simulation, program, MicroOp.WRGB, op)[0]
    assert [each for each, _ in found] == [MicroOp.WRGB if each is load else op for each in program]
    wait = simulation.config.timing.between(MicroOp.WRGB, op, Scope.COLUMN)
    for place in (2, 6):
        assert found[place][1] - found[place - 1][1] == wait


def test_a_channel_goes_on_while_all_results_wait_for_another(simulation: NativeSimulation) -> None:
    """As many as are announced at once; what has no result needs no announcement."""
    slow = [isr(MacroOp.MAC_ABK, 8, mask=1, row=row) for row in (1, 2)] + [
        isr(MacroOp.RD_MAC, mask=1, gpr0=0)
    ]
    announced = [isr(MacroOp.RD_MAC, mask=2, gpr0=1024)] * 15
    load = isr(MacroOp.WR_GB, 1, mask=2, gpr0=2048)
    first, second = commands(simulation, [*slow, *announced, load], MicroOp.RDMAC, MicroOp.WRGB)
    assert [op for op, _ in first] == [MicroOp.RDMAC]
    assert [op for op, _ in second] == [MicroOp.RDMAC] * 15 + [MicroOp.WRGB]
    assert second[-1][1] < first[0][1]


def test_rows_are_opened_beside_the_columns_of_others(simulation: NativeSimulation) -> None:
    """A long burst takes a beat a cycle, though every eighth word stands in another bank."""
    beats = 512
    before = simulation.cycles
    simulation.read(0, 32 * beats)
    assert simulation.cycles - before < beats + 64


_MACRO = MatVec(tag=0, rows=8, columns=128, tokens=1, weight_row=1, input_offset=0, output_offset=2048)


@pytest.mark.parametrize("op", [MicroOp.RD, MicroOp.WR], ids=lambda op: op.name)
@pytest.mark.parametrize("simulation", ["tiny_dual"], indirect=True)
def test_an_access_beside_a_macro_waits_for_its_products_and_no_longer(
    simulation: NativeSimulation, op: MicroOp
) -> None:
    """At every alignment, once the macro runs. The closest one to the first product is as close as may be: a read's
    data are off the bus when the buffer load comes that this product reads."""
    timing, place = simulation.config.timing, simulation.config.geometry.address(5)
    push(simulation, _MACRO.encode())
    alone = cycles(simulation)
    distances = []
    for alignment in range(_RUNS, alone + 20):
        simulation.write(place, bytes(32))  # opens its row, which stays open beside the macro's
        simulation.idle(100)
        simulation.record(1000)
        push(simulation, _MACRO.encode())
        simulation.idle(alignment)
        if op is MicroOp.WR:
            simulation.write(place, bytes(32))
        else:
            simulation.read(place, 32)
        assert cycles(simulation) == alone, f"an access {alignment} cycles after the push"
        trace = simulation.trace()
        trace = trace[trace["channel"] == 0]
        accesses = trace["cycle"][trace["op"] == op].astype(int)
        distances += [int(trace["cycle"][trace["op"] == MicroOp.MACAB][0]) - int(each) for each in accesses]
    least = {
        MicroOp.WR: timing.between(MicroOp.WR, MicroOp.MACAB, Scope.CHANNEL),
        MicroOp.RD: timing.between(MicroOp.RD, MicroOp.WRGB, Scope.CHANNEL)
        + timing.between(MicroOp.WRGB, MicroOp.MACAB, Scope.COLUMN),
    }
    assert min(each for each in distances if each > 0) == least[op]
    assert any(each < 0 for each in distances)
    assert simulation.read_register(Reg.VIOLATIONS) == 0
