"""One PIM memory controller between random traffic and a golden AiM channel."""

from __future__ import annotations

import random
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

from hdl.layouts import RegisterStep, Request, Tile
from pim_model.channel import Channel
from pim_model.lowering import Lowering
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import REGISTER_OPS, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.storage import Storage
from sim.bench import covered
from sim.bench.harness import Harness, pauses
from sim.bench.lowered import steps_of, tiles_of
from sim.bench.responder import AimResponder, Issued, respond
from sim.bench.scoreboard import Scoreboard
from sim.bench.stream import StreamMonitor, StreamSink, StreamSource
from sim.bench.workload import fill_buffer, fill_memory, lane_results

__all__ = ["ControllerBench"]

PIM = frozenset({Op.ACTAB, Op.ACTAF, Op.MACAB, Op.AF, Op.TMOD_IN, Op.TMOD_OUT}) | REGISTER_OPS
NORMAL = frozenset({Op.ACT, Op.RD, Op.WR, Op.PRE})


class ControllerBench(Harness):
    """Controller, responder, reference memory, and scoreboards for read data and results."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        config = self.config
        self.channel = config.geometry.channels - 1
        """Which channel the controller is; any: it does not know."""
        numbers = self.numpy_rng("contents")
        self.storage, self.reference = Storage(config.geometry), Storage(config.geometry)
        fill_memory(numbers, self.storage, self.reference)
        self.buffer: npt.NDArray[np.uint8] = fill_buffer(numbers, config)
        self.device = AimResponder(
            dut, "phy__", Channel(self.storage, self.channel, dual=config.dual_row_buffer), config
        )
        self.reads = Scoreboard("read data", lambda word: f"{word:#x}")
        self.results = Scoreboard("results", lambda word: f"{word:#x}")
        self.heard = covered.requests(config)
        self.writes = 0
        """Writes accepted; each becomes one WR, sooner or later."""
        self.beside = 0
        """Normal accesses between the first and the last PIM command of macros."""

    async def begin(self, *, flow: bool = True) -> None:
        """Reset, connect drivers and monitors, turn refresh on. ``flow``: random back-pressure."""

        def pause(name: str) -> Any:
            return pauses(self.rng(f"pauses {name}")) if flow else repeat(False)

        await self.start()
        self.dut.refresh.value = 1
        if self.config.dual_row_buffer:
            self.dut.exclusive.value = self.dut.started.value = 0
        self.requests = StreamSource(self, "requests", Request, pause("requests"))
        self.tiles = StreamSource(self, "tiles", Tile, pause("tiles"))
        self.steps = StreamSource(self, "steps", RegisterStep, pause("steps"))
        StreamSink(self, "reads", pause("reads"))
        StreamSink(self, "results", pause("results"))
        self.request_monitor = StreamMonitor(self, "requests", Request, self._requested, lambda: True)
        StreamMonitor(self, "reads", None, self._answered)
        StreamMonitor(self, "results", None, self.results.check, lambda: int(self.dut.abort.value) == 1)
        if self.heard:
            self.device.hears = self.heard.command
        respond(self, self.device)

    def _answered(self, word: int) -> None:
        self.reads.check(word)
        if self.heard:
            self.heard.answered()

    def _requested(self, request: Any) -> None:
        """A request was accepted: what it reads, or what it writes, is settled now."""
        assert self.config.dual_row_buffer or int(self.dut.pim_request.value) == 0, (
            "a normal request was accepted while a macro has the channel"
        )
        if self.heard:
            self.heard.requested(
                self.cycle,
                write=bool(request.write),
                bank=int(request.bank),
                row=int(request.row),
                column=int(request.column),
                mask=int(request.mask),
            )
        address = self.config.geometry.address(request.row, self.channel, request.bank, request.column)
        old = self.reference.read(address, COLUMN_BYTES)
        if not request.write:
            self.reads.expect(int.from_bytes(old, "little"))
            return
        self.writes += 1
        new = int(request.data).to_bytes(COLUMN_BYTES, "little")
        mask = int(request.mask)
        merged = bytes(n if mask >> i & 1 else o for i, (n, o) in enumerate(zip(new, old, strict=True)))
        self.reference.write(address, merged)

    def random_request(self, rng: random.Random) -> dict[str, int]:
        """Mostly a few hot rows, so that hits, conflicts and idle banks all occur; masks of every kind."""
        geometry = self.config.geometry
        rows = geometry.weight_rows
        write = rng.random() < 0.5
        return {
            "write": int(write),
            "bank": rng.randrange(geometry.banks),
            "row": rng.choice((3, 4)) if rng.random() < 0.9 else rng.randrange(rows),
            "column": rng.randrange(geometry.columns),
            "data": rng.getrandbits(256) if write else 0,
            "mask": rng.choice((0xFFFFFFFF, 0xFFFFFFFF, 0, 1 << rng.randrange(32), rng.getrandbits(32))),
        }

    def random_request_and_quiet(self, rng: random.Random) -> tuple[dict[str, int], int]:
        """A request, and cycles without any after it, mostly none."""
        return self.random_request(rng), rng.randrange(1, 400) if rng.random() < 0.02 else 0

    async def saturate(self, until: int, batch: int = 200, **fields: int) -> None:
        """Reads all over the memory without a pause up to that cycle; ``fields``: what all requests share."""
        rng = self.rng("requests")
        while self.cycle < until:
            self.requests.send(*({**self.random_request(rng), "write": 0, **fields} for _ in range(batch)))
            await self.requests.drained()

    # ------------------------------------------------------------------------------------------------------- macros

    async def start_macro(self, macro: MatVec) -> tuple[int, int]:
        """Take the channel and queue the macro's streams; (first entry of the command log, results to come)."""
        lowering = Lowering(self.config, macro)
        self.dut.pim_request.value = 1
        if self.config.dual_row_buffer:
            self.dut.started.value = 1
        await self.edge()  # whatever was accepted up to here goes before the macro
        if self.config.dual_row_buffer:
            self.dut.started.value = 0
        await self.edge()
        expected = lane_results(self.config, macro, self.reference, self.buffer)[:, :, self.channel]
        words = [expected[lane.token, lane.group] for lanes in lowering.passes() for lane in lanes]
        self.results.expect(*(int.from_bytes(word.astype("<u2").tobytes(), "little") for word in words))
        first = len(self.device.log)
        self.tiles.send(*tiles_of(lowering))
        self.steps.send(*steps_of(lowering, self.buffer, self.channel))
        return first, len(words)

    async def run_macro(self, macro: MatVec) -> None:
        """Run one macro to its last result, and judge the commands it took."""
        first, _ = await self.start_macro(macro)
        while self.results.pending:
            await self.edge()
        self.dut.pim_request.value = 0
        # The last row is closed after the last result, and commands reach the bus a cycle after their decision.
        while not int(self.dut.quiet.value):
            await self.edge()
        await self.edge()
        self.judge_macro(macro, self.device.log[first:])

    def judge_macro(self, macro: MatVec, log: list[Issued]) -> None:
        """Both streams as lowered and in order. Without dual row buffers no normal command between the first and last
        PIM command."""
        lowering = Lowering(self.config, macro)
        row_stream = frozenset({Op.ACTAB, Op.ACTAF, Op.MACAB, Op.AF, self.config.row_closer})
        places = [index for index, entry in enumerate(log) if entry.micro.op in PIM | row_stream]
        while log[places[0]].micro.op not in PIM:  # the precharge that made room
            del places[0]
        inside = log[places[0] : places[-1] + 1]
        strangers = [entry for entry in inside if entry.micro.op in NORMAL]
        if self.config.dual_row_buffer:
            self.beside += sum(entry.micro.op in (Op.RD, Op.WR) for entry in strangers)
        else:
            assert not strangers, f"{strangers[0]} inside {macro}"
        slot0 = [entry.micro for entry in inside if entry.slot == 0]
        if lowering.order.stays:
            slot0 = self._without_detours(slot0)
        rows = [micro for micro in slot0 if micro.op in row_stream]
        registers = [entry.micro for entry in inside if entry.slot == 1]
        wanted = [item.micro for item in lowering.row_stream()]
        _same("row stream", rows, wanted)
        _same("register stream", registers, [item.micro for item in lowering.register_stream()])

    def _without_detours(self, slot0: list[Micro]) -> list[Micro]:
        """The commands without those that close a row between two passes and open it again: for a refresh, or with dual
        row buffers for an old request."""
        kept: list[Micro] = []
        row, closed, served = None, False, False
        for micro in slot0:
            if micro.op is Op.ACTAB:
                if closed and served and micro == row:
                    while kept.pop().op is not self.config.row_closer:
                        pass
                    closed = False
                    continue
                row = micro
            closed = micro.op is self.config.row_closer or (closed and micro.op in (Op.REFAB, *NORMAL))
            served = micro.op is not self.config.row_closer and closed
            kept.append(micro)
        return kept

    async def settled(self) -> None:
        """Wait until every request has been served."""
        await self.requests.drained()
        while self.reads.pending or self.device.counts[Op.WR] < self.writes:
            await self.edge()
        await self.idle(200)

    def finish(self, *, refreshed: bool = True, writes_only: bool = False) -> None:
        """Everything came, memory is as it should be, and (``refreshed``) the refresh deadline was kept to the end."""
        self.reads.finish(at_least=int(not writes_only))
        for row in {*self.storage.written_rows, *self.reference.written_rows}:
            same = (self.storage.row(row)[self.channel] == self.reference.row(row)[self.channel]).all()
            assert same, f"memory differs from the reference in row {row}"
        if not refreshed:
            return
        last = self.device.last_refresh()
        assert self.cycle - last <= self.config.timing.refresh_limit, f"no refresh since cycle {last}"


def _same(name: str, actual: list[Micro], wanted: list[Micro]) -> None:
    for index, (a, w) in enumerate(zip(actual, wanted, strict=False)):
        assert a == w, f"{name}, command {index}: {a}, lowered as {w}"
    assert len(actual) == len(wanted), f"{name}: {len(actual)} commands, lowered as {len(wanted)}"
