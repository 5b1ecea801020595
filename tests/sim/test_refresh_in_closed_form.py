"""With refresh on, given its phase, a macro takes on the RTL the cycles of the closed form and the golden schedule."""

from collections.abc import Iterator

import numpy as np
import pytest

from pim_model.npu.closed_form import ClosedForm
from pim_model.npu.pim_time import GoldenTime
from pim_model.paper.bench import GPT2
from pim_model.paper.cycles import fc_shapes
from pim_model.spec.config import config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Control, Reg, macro_word
from pim_model.spec.timing import TIMINGS
from sim.build import library
from sim.native import NativeSimulation

pytestmark = pytest.mark.verilator

_RESULTS = (MicroOp.RDMAC, MicroOp.RDAF)


class PhasedRefresh:
    """Macros on a simulation, each with refresh switched on at a chosen cycle after it began."""

    def __init__(self, simulation: NativeSimulation):
        self.config = simulation.config
        self._simulation = simulation
        timing = simulation.config.timing
        self._interval = timing.refresh_interval
        self._arrival = max(1, timing.cycles("RLREG + BL"))
        simulation.write_register(Reg.IRQ_ENABLE, 1)
        # At rest, once eight are pulled in, one is taken as soon as one of them is used up: where intervals end.
        simulation.write_register(Reg.CONTROL, 0)
        simulation.idle(300)
        simulation.record(1000)
        enabled = simulation.cycles
        simulation.write_register(Reg.CONTROL, Control.REFRESH)
        simulation.idle(10 * self._interval + self._interval // 2)
        ahead = self._first_channel()
        assert set(ahead["op"]) == {MicroOp.REFAB}
        assert len(ahead) == 8 + 10
        self._phase = (int(ahead["cycle"][-1]) - enabled) % self._interval

    def cost(self, rows: int, columns: int, activation: bool, lead: int) -> tuple[int, int, int]:
        """(cycles, refreshes, cycle of the macro in which the first of them was due); ``lead``: cycles before."""
        simulation = self._simulation
        simulation.write_register(Reg.CONTROL, 0)
        simulation.idle(300)
        macro = MatVec(
            tag=1,
            rows=rows,
            columns=columns,
            weight_row=0,
            input_offset=0,
            output_offset=2 * columns + -2 * columns % COLUMN_BYTES,
            function=0 if activation else None,
        )
        for index, word in enumerate(macro.encode()):
            simulation.write_register(macro_word(index), word)
        simulation.record(1 << 20)
        simulation.write_register(Reg.MACRO_PUSH, 1)
        simulation.idle(lead)
        enabled = simulation.cycles
        simulation.write_register(Reg.CONTROL, Control.REFRESH)
        assert simulation.wait_interrupt(1_000_000)
        assert simulation.read_register(Reg.COMPLETION) >> 16 & 0xFF == 0
        simulation.write_register(Reg.COMPLETION_POP, 1)
        simulation.idle(300)  # the last row is closed after the last result is read
        own = self._first_channel()
        begin = int(own["cycle"][0])
        assert own["op"][0] != MicroOp.REFAB
        macros = own[own["op"] != MicroOp.REFAB]
        ends = macros["cycle"].astype(np.int64) + 1
        ends[np.isin(macros["op"], _RESULTS)] += self._arrival
        inside = own[own["cycle"] < macros["cycle"][-1]]
        refreshes = int(np.count_nonzero(inside["op"] == MicroOp.REFAB))
        return int(ends.max()) - begin, refreshes, enabled + self._phase + self._interval - begin

    def _first_channel(self) -> np.ndarray:
        trace = self._simulation.trace()
        return trace[trace["channel"] == 0]


@pytest.fixture
def phased(request: pytest.FixtureRequest) -> Iterator[PhasedRefresh]:
    preset = config(*request.param)
    with NativeSimulation(library(preset), preset) as simulation:
        yield PhasedRefresh(simulation)


@pytest.mark.slow
@pytest.mark.parametrize("phased", [("ianus", "ianus_ck")], indirect=True)
def test_every_fc_shape(phased: PhasedRefresh, rng: np.random.Generator) -> None:
    """Of GPT-2 base to 2.5B, activation tables included."""
    memory = config("ianus")
    closed, golden = ClosedForm(memory), GoldenTime(memory)
    shapes = sorted({shape for name in ("gpt2-base", *GPT2) for shape in fc_shapes(name)})
    assert len(shapes) > 20
    total = 0
    for shape in shapes:
        cycles, refreshes, due = phased.cost(*shape, lead=int(rng.integers(60, 400)))
        assert (cycles, refreshes) == closed.cost(*shape, due), (shape, due)
        assert (cycles, refreshes) == golden.cost(*shape, due), (shape, due)
        total += refreshes
    assert total > 2 * len(shapes)


@pytest.mark.parametrize("phased", [("tiny", timing) for timing in TIMINGS], indirect=True, ids=list(TIMINGS))
def test_random_shapes(phased: PhasedRefresh, rng: np.random.Generator) -> None:
    """25 in each preset, large enough that refreshes fall into them."""
    memory = phased.config
    closed, golden = ClosedForm(memory), GoldenTime(memory)
    total = 0
    for _ in range(25):
        shape = int(rng.integers(89, 105)), int(rng.integers(385, 513)), False
        cycles, refreshes, due = phased.cost(*shape, lead=int(rng.integers(60, 200)))
        assert (cycles, refreshes) == closed.cost(*shape, due), (shape, due)
        assert (cycles, refreshes) == golden.cost(*shape, due), (shape, due)
        total += refreshes
    assert total > 8  # else nothing was tried
