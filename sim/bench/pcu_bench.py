"""The PIM control unit alone, between random macros and golden channels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import cocotb
import numpy as np
import numpy.typing as npt

from hdl.layouts import Completion, MacroEntry, RegisterKind, RegisterStep, Tile
from pim_model import matvec
from pim_model.channel import Channel
from pim_model.lowering import Item, Lowering
from pim_model.spec.errors import Status
from pim_model.spec.geometry import COLUMN_BYTES, LANES
from pim_model.spec.macro import MacroError, decode, tag_of
from pim_model.storage import Storage
from sim import coverage
from sim.bench.channel_model import ChannelModel
from sim.bench.harness import Harness, pauses
from sim.bench.lowered import steps_of, tiles_of
from sim.bench.scoreboard import Scoreboard
from sim.bench.stream import StreamMonitor, StreamSink, StreamSource
from sim.bench.workload import fill_buffer, fill_memory
from sim.coverage import macros
from sim.coverage.files import hit

__all__ = ["PcuBench"]

_TILE_FIELDS = ("row", "columns", "accumulators", "load", "release", "last", "table", "keep", "yields")


class _Step(NamedTuple):
    kind: RegisterKind
    column: int
    accumulators: int
    data: int
    final: int
    mask: int
    """Bits of ``data`` that count."""


class PcuBench(Harness):
    """PCU, a model for each channel, and scoreboards for tiles, steps and completions.

    The model hears the monitor at the macro queue: what was accepted there decides what has to come.
    """

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        config = self.config
        numbers = self.numpy_rng("contents")
        self.storage = Storage(config.geometry)
        fill_memory(numbers, self.storage)
        self.buffer: npt.NDArray[np.uint8] = fill_buffer(numbers, config)
        channels = range(config.geometry.channels)
        self.models = [
            ChannelModel(
                Channel(self.storage, index, dual=self.config.dual_row_buffer), self.config.row_closer
            )
            for index in channels
        ]
        self.tiles = [Scoreboard(f"tiles of channel {index}") for index in channels]
        self.steps = [Scoreboard(f"steps of channel {index}", _show_step) for index in channels]
        self.completions = Scoreboard("completions")
        self.pushed: list[int] = []
        self.accepted: list[tuple[int, ...]] = []
        self._cache = matvec.MatrixCache(self.storage)

    async def begin(self, *, take_completions: bool = True) -> None:
        """Reset, connect drivers and monitors, write the activation buffer."""

        def pause(name: str) -> Any:
            return pauses(self.rng(f"pauses {name}"))

        await self.start()
        for index in range(self.config.geometry.channels):
            getattr(self.dut, f"idle__{index}").value = 1  # no instructions here
        if take_completions:
            self.take_completions()
        self.macros = StreamSource(self, "macros", MacroEntry, pause("macros"))
        StreamMonitor(self, "macros", MacroEntry, self._accepted)
        StreamMonitor(self, "completions", Completion, self._completed)
        for index, model in enumerate(self.models):
            for kind, layout, heard in (
                ("tiles", Tile, self._tile_heard(index)),
                ("steps", RegisterStep, self._step_heard(index)),
            ):
                StreamSink(self, f"{kind}__{index}", pause(f"{kind} {index}"))
                # A tile or step leaves when all its channels are ready, so an offer is a transfer.
                StreamMonitor(self, f"{kind}__{index}", layout, heard)
            source = StreamSource(self, f"results__{index}", None, pause(f"results {index}"))
            cocotb.start_soon(self._results(model, source))
        cocotb.start_soon(self._time())
        for word in range(self.config.buffer_words):
            await self.host_write(
                word, self.buffer[word * COLUMN_BYTES : (word + 1) * COLUMN_BYTES].tobytes()
            )

    # ------------------------------------------------------------------------------------------------------ monitors

    def _accepted(self, entry: Any) -> None:
        words = tuple(int(word) for word in entry.words)
        self.pushed.append(int(entry.pushed))
        self.accepted.append(words)
        if coverage.directory():
            macros.sample(words, self.config)
        try:
            macro = decode(words, self.config)
        except MacroError as error:
            self.completions.expect((tag_of(words), error.status))
            return
        self.completions.expect((macro.tag, Status.OK))
        lowering = Lowering(self.config, macro)
        for board in self.tiles:
            board.expect(*(tuple(tile[name] for name in _TILE_FIELDS) for tile in tiles_of(lowering)))
        for index, steps in enumerate(self.steps):
            lowered = zip(steps_of(lowering, self.buffer, index), lowering.register_stream(), strict=True)
            steps.expect(*(_expected_step(step, lowering, item, index) for step, item in lowered))
        matvec.execute(macro, self.storage, self._cache, self.buffer, "aligned")

    def _completed(self, completion: Any) -> None:
        pushed = self.pushed[self.completions.matched]
        words = self.accepted[self.completions.matched]
        self.completions.check((completion.tag, completion.status))
        if coverage.directory():
            hit("status", macros.kind_of(words), macros.ALONE, Status(int(completion.status)).name)
        taken = self.cycle - pushed
        assert 0 < completion.cycles <= taken, f"{completion.cycles} cycles, but {taken} have passed"

    def _tile_heard(self, index: int) -> Callable[[Any], None]:
        def heard(tile: Any) -> None:
            self.tiles[index].check(tuple(int(getattr(tile, name)) for name in _TILE_FIELDS))
            self.models[index].tile(tile)

        return heard

    def _step_heard(self, index: int) -> Callable[[Any], None]:
        banks = (1 << 16 * self.config.geometry.banks) - 1
        board = self.steps[index]

        def heard(step: Any) -> None:
            mask = board.head.mask if board.pending else -1
            data = int(step.data) & mask
            if step.kind is RegisterKind.WRBIAS:
                data &= banks  # lanes beyond the banks reach nothing
            column = int(step.column) if step.kind is RegisterKind.WRGB else 0
            of_set = step.kind in (RegisterKind.WRBIAS, RegisterKind.RDMAC)
            accumulators = int(step.accumulators) if of_set else 0
            board.check(_Step(step.kind, column, accumulators, data, int(step.final), mask))
            self.models[index].step(step)

        return heard

    # ------------------------------------------------------------------------------------------------------ drivers

    async def _results(self, model: ChannelModel, source: StreamSource) -> None:
        while True:
            await self.edge()
            while model.results:
                source.send(model.results.popleft())

    async def _time(self) -> None:
        while True:
            self.dut.now.value = max(0, self.cycle + 1) & 0xFFFFFFFF
            await self.edge()

    async def host_write(self, word: int, data: bytes, mask: int = (1 << 32) - 1) -> None:
        """Write a word of the buffer through the host's port."""
        dut = self.dut
        dut.host_address.value = word
        dut.host_write_data.value = int.from_bytes(data, "little")
        dut.host_write_mask.value = mask
        dut.host_write.value = 1
        while True:
            await self.edge()
            if int(dut.host_write_ready.value):
                break
        dut.host_write.value = 0

    async def host_read(self, word: int) -> bytes:
        """Read a word of the buffer through the host's port."""
        dut = self.dut
        dut.host_address.value = word
        dut.host_read.value = 1
        await self.edge()
        dut.host_read.value = 0
        await self.edge()
        return int(dut.host_data.value).to_bytes(COLUMN_BYTES, "little")

    def take_completions(self) -> None:
        """Take completions from now on, with pauses."""
        StreamSink(self, "completions", pauses(self.rng("pauses completions")))

    def status(self, words: tuple[int, ...]) -> Status:
        """What the golden decoder says of a macro."""
        try:
            decode(words, self.config)
        except MacroError as error:
            return error.status
        return Status.OK

    def push(self, words: tuple[int, ...]) -> None:
        """Queue a macro."""
        self.macros.send({"words": list(words), "pushed": max(0, self.cycle)})

    # --------------------------------------------------------------------------------------------------------- end

    async def settle(self) -> None:
        """Wait until every accepted macro has completed."""
        await self.macros.drained()
        while self.completions.pending:
            await self.edge()
        await self.idle(50)

    async def finish(self) -> None:
        """Every stream ended where it should, and the buffer holds what the golden model says."""
        self.completions.finish()
        for board in (*self.tiles, *self.steps):
            board.finish()
        assert all(model.idle for model in self.models)
        assert int(self.dut.busy.value) == 0
        assert int(self.dut.space.value) == self.config.macro_queue
        for word in range(self.config.buffer_words):
            actual = await self.host_read(word)
            wanted = self.buffer[word * COLUMN_BYTES : (word + 1) * COLUMN_BYTES].tobytes()
            assert actual == wanted, f"buffer word {word}: {actual.hex()}, expected {wanted.hex()}"


def _expected_step(step: dict[str, Any], lowering: Lowering, item: Item, channel: int) -> _Step:
    """Only lanes that hold an output row are compared: the others' bias is what the buffer happens to hold."""
    lanes = lowering.operand(item, channel).size // 2 if step["kind"] is RegisterKind.WRBIAS else LANES
    mask = (1 << 16 * lanes) - 1
    if lowering.macro.bias_offset is None:
        mask = -1
    return _Step(step["kind"], step["column"], step["accumulators"], step["data"], step["final"], mask)


def _show_step(step: _Step) -> str:
    return f"{step.kind.name} {step.column} {step.data:#x}{' final' if step.final else ''}"
