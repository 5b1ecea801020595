"""Drivers and monitors of Amaranth streams (``<name>__payload``, ``__valid``, ``__ready``).

A monitor hears the bus, not the driver, so that a broken driver cannot hide.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

import cocotb
from cocotb.task import Task

from sim.bench.harness import Harness

__all__ = ["StreamMonitor", "StreamSink", "StreamSource"]


class _Port:
    """Handles of one stream, and one payload packed or unpacked by its layout (None: a plain integer)."""

    def __init__(self, bench: Harness, name: str, layout: Any) -> None:
        self.bench = bench
        self.name = name
        self._layout = layout
        self.payload, self.valid, self.ready = (
            getattr(bench.dut, f"{name}__{part}") for part in ("payload", "valid", "ready")
        )

    def pack(self, item: Any) -> int:
        return int(item) if self._layout is None else int(self._layout.const(item).as_bits())

    def unpack(self) -> Any:
        bits = int(self.payload.value)
        return bits if self._layout is None else self._layout.from_bits(bits)

    @property
    def transferred(self) -> bool:
        """Whether a payload changed hands in the cycle that this edge ends."""
        return int(self.valid.value) == 1 and int(self.ready.value) == 1


class StreamSource:
    """Drives payloads, in order; ``pauses`` says in which cycles it has none to offer, and may be replaced."""

    def __init__(self, bench: Harness, name: str, layout: Any, pauses: Iterator[bool]) -> None:
        self._port = _Port(bench, name, layout)
        self.pauses = pauses
        self._queue: deque[Any] = deque()
        self._task: Task[None] = cocotb.start_soon(self._run())

    def send(self, *items: Any) -> None:
        """Queue payloads: what the layout's ``const`` takes."""
        self._queue.extend(items)

    @property
    def idle(self) -> bool:
        """Nothing is queued or offered."""
        return not self._queue

    def clear(self) -> None:
        """Drop what is queued and withdraw what is offered."""
        self._task.cancel()
        self._queue.clear()
        self._port.valid.value = 0
        self._task = cocotb.start_soon(self._run())

    async def drained(self) -> None:
        """Wait until everything queued was taken."""
        while self._queue:
            await self._port.bench.edge()

    async def _run(self) -> None:
        port = self._port
        port.valid.value = 0
        while True:
            await port.bench.edge()
            while not self._queue or next(self.pauses):
                await port.bench.edge()
            port.payload.value = port.pack(self._queue[0])
            port.valid.value = 1
            while True:
                await port.bench.edge()
                if port.transferred:
                    break
            self._queue.popleft()
            while self._queue and not next(self.pauses):  # back to back
                port.payload.value = port.pack(self._queue[0])
                while True:
                    await port.bench.edge()
                    if port.transferred:
                        break
                self._queue.popleft()
            port.valid.value = 0


class StreamSink:
    """Takes payloads; ``pauses`` says in which cycles it is not ready."""

    def __init__(self, bench: Harness, name: str, pauses: Iterator[bool]) -> None:
        self._ready = getattr(bench.dut, f"{name}__ready")
        self._bench = bench
        self._pauses = pauses
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        shown = None
        while True:
            ready = int(not next(self._pauses))
            if ready != shown:
                self._ready.value = shown = ready
            await self._bench.edge()


class StreamMonitor:
    """Calls ``heard(payload)`` for every transfer, at the edge that ends its cycle.

    It also holds the driving side to the rule of a stream: what was offered stays, unchanged, until it is taken.
    ``withdrawn``, if given, says in which cycles an offer may be withdrawn.
    """

    def __init__(
        self,
        bench: Harness,
        name: str,
        layout: Any,
        heard: Callable[[Any], None],
        withdrawn: Callable[[], bool] | None = None,
    ) -> None:
        self._port = _Port(bench, name, layout)
        self._heard = heard
        self._withdrawn = withdrawn
        self.count = 0
        cocotb.start_soon(self._run())

    async def _run(self) -> None:
        port = self._port
        offered: int | None = None
        while True:
            await port.bench.edge()
            valid = int(port.valid.value)
            if offered is not None and not (self._withdrawn and self._withdrawn()):
                assert valid, f"{port.name}: an offer was withdrawn before cycle {port.bench.cycle}"
                assert int(port.payload.value) == offered, (
                    f"{port.name}: an offer changed, cycle {port.bench.cycle}"
                )
            offered = None
            if not valid:
                continue
            if int(port.ready.value):
                self.count += 1
                self._heard(port.unpack())
            else:
                offered = int(port.payload.value)
