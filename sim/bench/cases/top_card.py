"""The prototype as a card on a local socket: a host in another process drives its AXI buses through device files."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import cocotb
from cocotb.task import bridge, resume
from cocotb.triggers import SimTimeoutError
from cocotbext.axi import AxiResp

from sim.bench.top_bench import TopBench
from sim.card import Card
from sim.card_server import CardServer
from sim.native import AddressError, BusError, BusTimeout


class _Hosted:
    """The bench as what hangs on XDMA's AXI ports; the golden device's memory is written along."""

    def __init__(self, bench: TopBench):
        self._bench = bench
        self.read_register = resume(self._read_register)
        self.write_register = resume(self._write_register)
        self.read = resume(self._read)
        self.write = resume(self._write)
        self.wait_interrupt = resume(self._wait_interrupt)

    async def _read_register(self, offset: int) -> int:
        value, response = await self._answered(self._bench.try_read(offset))
        _require_okay("register read", offset, response)
        return value

    async def _write_register(self, offset: int, value: int) -> None:
        response = await self._answered(self._bench.try_write(offset, value.to_bytes(4, "little")))
        _require_okay("register write", offset, response)

    async def _read(self, address: int, size: int) -> bytes:
        self._require_window(address, size)
        data, response = await self._answered(self._bench.read(address, size))
        _require_okay("read", address, response)
        return data

    async def _write(self, address: int, data: bytes) -> None:
        self._require_window(address, len(data))
        response = await self._answered(self._bench.write(address, data))
        _require_okay("write", address, response)
        if address < self._bench.config.buffer_base:
            self._bench.golden.write_memory(address, data)

    async def _wait_interrupt(self, max_cycles: int) -> bool:
        irq = self._bench.dut.irq
        if max_cycles > 1 and not int(irq.value):
            with suppress(SimTimeoutError):
                await self._bench.within(max_cycles - 1, irq.value_change)
        await self._bench.edge()
        return bool(int(irq.value))

    def _require_window(self, address: int, size: int) -> None:
        """The bus has no more address bits, and nothing decodes them before it here."""
        if address + size > 1 << self._bench.config.window_bits:
            raise AddressError(f"{size} bytes from {address:#x} are beyond the window")

    @staticmethod
    async def _answered(transaction: Any) -> Any:
        try:
            return await transaction
        except SimTimeoutError:
            raise BusTimeout("the design made no progress") from None


def _require_okay(what: str, address: int, response: AxiResp) -> None:
    if response != AxiResp.OKAY:
        raise BusError(what, address, response.name)


def _serve(bench: TopBench, path: Path, hang_ups: int) -> None:
    """Until so many connections, of which a host has one for each device file, have ended."""
    ended = 0

    def received(count: int) -> None:
        nonlocal ended
        ended += count == 0
        if ended == hang_ups:
            server.stop()

    server = CardServer(Card(_Hosted(bench)), path, received)
    try:
        server.serve()
    finally:
        server.close()


@cocotb.test()
async def serve(dut: Any) -> None:
    """Hosts by the socket ``IANUS_BENCH_SOCKET``, until ``IANUS_BENCH_HANG_UPS`` connections have ended."""
    bench = TopBench(dut)
    await bench.begin()
    place, hang_ups = Path(os.environ["IANUS_BENCH_SOCKET"]), int(os.environ["IANUS_BENCH_HANG_UPS"])
    await bridge(_serve)(bench, place, hang_ups)
    await bench.finish()
