# Ref: AMBA AXI and ACE Protocol Specification (ARM IHI 0022), chapters A3 and A5
"""AXI4 bursts as they are on the data window's bus: many at once, of any id, kind, size and length, legal or not."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

import cocotb
from cocotbext.axi import AxiBurstType, AxiResp
from cocotbext.axi.axi_channels import (
    AxiARSource,
    AxiAWSource,
    AxiBSink,
    AxiReadBus,
    AxiRSink,
    AxiWriteBus,
    AxiWSource,
)

from pim_model.spec.geometry import COLUMN_BYTES
from sim.bench.harness import Harness, pauses

__all__ = ["PAGE", "Burst", "BurstMaster", "Watched"]

PAGE = 4096
"""No burst may leave so many bytes."""

FULL = (1 << COLUMN_BYTES) - 1


@dataclass(frozen=True, kw_only=True)
class Burst:
    """One burst of ``beats`` beats from byte ``address`` on."""

    address: int
    beats: int = 1
    id: int = 0
    kind: AxiBurstType = AxiBurstType.INCR
    size: int = 5

    @property
    def words(self) -> range:
        """Addresses of the 32-byte words of an incrementing burst of whole words."""
        first = self.address // COLUMN_BYTES * COLUMN_BYTES
        return range(first, first + self.beats * COLUMN_BYTES, COLUMN_BYTES)

    @property
    def legal(self) -> bool:
        """The window takes it, wherever it goes."""
        inside = self.words[0] // PAGE == self.words[-1] // PAGE
        return self.kind == AxiBurstType.INCR and self.size == 5 and inside

    def fields(self, channel: str) -> dict[str, int]:
        """What the address channel ``aw`` or ``ar`` carries."""
        values = {
            "id": self.id,
            "addr": self.address,
            "len": self.beats - 1,
            "size": self.size,
            "burst": self.kind,
        }
        return {channel + name: int(value) for name, value in values.items()}


@dataclass
class Watched:
    """Cycles of the transfers on one bus; of ``w`` and ``r`` also those of the last beats."""

    cycles: dict[str, list[int]] = field(
        default_factory=lambda: {name: [] for name in ("aw", "w", "b", "ar", "r")}
    )
    last: dict[str, list[int]] = field(default_factory=lambda: {"w": [], "r": []})

    def outstanding(self, asked: str, answered: str) -> int:
        """The most bursts that were accepted and not answered at any time."""
        answers = self.last["r"] if answered == "r" else self.cycles[answered]
        changes = [(cycle, 1) for cycle in self.cycles[asked]] + [(cycle, -1) for cycle in answers]
        level = most = 0
        for _, change in sorted(changes):
            level += change
            most = max(most, level)
        return most


class BurstMaster:
    """Sends bursts without waiting for answers; answers come back in the order of the bursts, or an assertion fails.

    It also watches the bus: what the design offers stays until it is taken, and a write is answered after its address
    and its last beat.
    """

    def __init__(self, bench: Harness, *, flow: bool) -> None:
        dut = bench.dut
        write, read = AxiWriteBus.from_prefix(dut, "mem_"), AxiReadBus.from_prefix(dut, "mem_")
        self.channels: dict[str, Any] = {
            "aw": AxiAWSource(write.aw, dut.clk, dut.rst),
            "w": AxiWSource(write.w, dut.clk, dut.rst),
            "b": AxiBSink(write.b, dut.clk, dut.rst),
            "ar": AxiARSource(read.ar, dut.clk, dut.rst),
            "r": AxiRSink(read.r, dut.clk, dut.rst),
        }
        for name in self.channels:
            self.pause(name, pauses(bench.rng(f"pauses mem {name}")) if flow else repeat(False))
        self.watched = Watched()
        self._bench = bench
        self._writes: deque[tuple[Burst, AxiResp]] = deque()
        self._reads: deque[tuple[Burst, AxiResp, list[bytes | None]]] = deque()
        cocotb.start_soon(self._watch())
        cocotb.start_soon(self._take_answers())
        cocotb.start_soon(self._take_data())

    def pause(self, name: str, generator: Iterator[bool]) -> None:
        """In which cycles a channel pauses, from now on."""
        self.channels[name].set_pause_generator(generator)

    @property
    def pending(self) -> list[Burst]:
        """Bursts without an answer."""
        return [*self.writes_pending, *self.reads_pending]

    @property
    def writes_pending(self) -> list[Burst]:
        return [burst for burst, _ in self._writes]

    @property
    def reads_pending(self) -> list[Burst]:
        return [burst for burst, _, _ in self._reads]

    async def settled(self) -> None:
        """Wait until every burst has been answered."""
        while self.pending:
            await self._bench.edge()

    def address(self, channel: str, burst: Burst) -> None:
        """Offer an address on ``aw`` or ``ar``."""
        source = self.channels[channel]
        source.send_nowait(source._transaction_obj(**burst.fields(channel)))

    def data(self, words: list[bytes], strobes: list[int] | None = None) -> None:
        """Offer the beats of one burst."""
        source = self.channels["w"]
        for index, word in enumerate(words):
            beat = source._transaction_obj()
            beat.wdata = int.from_bytes(word, "little")
            beat.wstrb = FULL if strobes is None else strobes[index]
            beat.wlast = int(index + 1 == len(words))
            source.send_nowait(beat)

    def expect_answer(self, burst: Burst, response: AxiResp) -> None:
        """The next write to be answered."""
        self._writes.append((burst, response))

    def write(
        self,
        burst: Burst,
        words: list[bytes],
        response: AxiResp = AxiResp.OKAY,
        strobes: list[int] | None = None,
    ) -> None:
        """Offer a write, address and data; it has to be answered with ``response``."""
        assert len(words) == burst.beats
        self.expect_answer(burst, response)
        self.address("aw", burst)
        self.data(words, strobes)

    def read(self, burst: Burst, words: list[bytes] | None, response: AxiResp = AxiResp.OKAY) -> None:
        """Offer a read; every beat has to bring its word (None: any) and ``response``."""
        wanted: list[bytes | None] = [None] * burst.beats if words is None else [*words]
        assert len(wanted) == burst.beats
        self._reads.append((burst, response, wanted))
        self.address("ar", burst)

    async def _take_answers(self) -> None:
        while True:
            beat = await self.channels["b"].recv()
            assert self._writes, "an answer to no write"
            burst, response = self._writes.popleft()
            assert (int(beat.bid), AxiResp(beat.bresp)) == (burst.id, response), f"{burst}: {beat!r}"

    async def _take_data(self) -> None:
        while True:
            beat = await self.channels["r"].recv()
            assert self._reads, "data of no read"
            burst, response, wanted = self._reads[0]
            word, number = wanted.pop(0), burst.beats - len(wanted)
            assert (int(beat.rid), AxiResp(beat.rresp)) == (burst.id, response), (
                f"{burst}, beat {number}: {beat!r}"
            )
            assert int(beat.rlast) == (not wanted), f"{burst}: RLAST in beat {number}"
            data = int(beat.rdata).to_bytes(COLUMN_BYTES, "little")
            assert word in (None, data), (
                f"{burst}, beat {number}: {data.hex()}, expected {word.hex() if word else ''}"
            )
            if not wanted:
                self._reads.popleft()

    async def _watch(self) -> None:
        dut, watched = self._bench.dut, self.watched
        pins = {
            name: (getattr(dut, f"mem__{name}valid"), getattr(dut, f"mem__{name}ready"))
            for name in self.channels
        }
        last = {"w": dut.mem__wlast, "r": dut.mem__rlast}
        payload = {
            "b": (dut.mem__bid, dut.mem__bresp),
            "r": (dut.mem__rid, dut.mem__rresp, dut.mem__rlast, dut.mem__rdata),
        }
        offered: dict[str, list[int] | None] = dict.fromkeys(payload)
        while True:
            await self._bench.edge()
            for name, (valid, ready) in pins.items():
                now = (
                    [int(pin.value) for pin in payload[name]]
                    if name in payload and int(valid.value)
                    else None
                )
                if offered.get(name) is not None:
                    assert now == offered[name], (
                        f"{name}: an offer was withdrawn or changed, cycle {self._bench.cycle}"
                    )
                taken = int(valid.value) and int(ready.value)
                if name in payload:
                    offered[name] = None if taken else now
                if name == "b" and now is not None:
                    due = min(len(watched.cycles["aw"]), len(watched.last["w"]))
                    assert len(watched.cycles["b"]) < due, "an answer before the address or the last beat"
                if not taken:
                    continue
                watched.cycles[name].append(self._bench.cycle)
                if name in last and int(last[name].value):
                    watched.last[name].append(self._bench.cycle)
