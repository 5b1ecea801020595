# Ref: pim_model/spec/registers.py
"""The whole prototype behind its two AXI buses, golden channels at its PHYs, the golden device as reference."""

from __future__ import annotations

import logging
import random
import struct
import warnings
from collections import deque
from typing import Any

from cocotbext.axi import AxiBurstType, AxiBus, AxiLiteBus, AxiLiteMaster, AxiMaster, AxiResp

from pim_model.channel import Channel
from pim_model.device import Device
from pim_model.spec.macro import tag_of
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import (
    COMPLETION_VALID,
    Event,
    Irq,
    Reg,
    command_counter,
    event_counter,
    macro_word,
)
from pim_model.storage import Storage
from sim.bench import covered
from sim.bench.bursts import BurstMaster
from sim.bench.harness import Harness, pauses
from sim.bench.responder import AimResponder, Issued, respond
from sim.bench.workload import fill_memory

__all__ = ["TopBench"]

# Written against cocotb 1.x.
warnings.filterwarnings("ignore", category=DeprecationWarning, module="cocotbext")

PATIENCE = 20_000
"""Cycles in which any single transaction has to be answered; a macro may hold normal traffic that long."""

_LITE = (("aw", "w", "b"), ("ar", "r"))


class TopBench(Harness):
    """Masters on both buses, responders on all channels, and the golden device, which sees the same accesses."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        config = self.config
        self.golden = Device(config)
        self.storage = Storage(config.geometry)
        fill_memory(self.numpy_rng("contents"), self.storage, self.golden.storage)
        self.channels = [
            AimResponder(
                dut, f"phy__{index}__", Channel(self.storage, index, dual=config.dual_row_buffer), config
            )
            for index in range(config.geometry.channels)
        ]
        self.heard = covered.host(config)
        self.due: deque[tuple[int, int]] = deque()
        """(tag, status) of the completions that have to come."""

    async def begin(self, *, flow: bool = True, bursts: bool = False) -> None:
        """Reset, connect masters and responders.

        ``flow``: random pauses on every channel of both buses. ``bursts``: no transfers on the data window but single
        bursts, through :attr:`bursts`.
        """
        await self.start()
        logging.getLogger("cocotb.top").setLevel(logging.WARNING)
        if bursts:
            self.bursts = BurstMaster(self, flow=flow)
        else:
            self.mem = AxiMaster(AxiBus.from_prefix(self.dut, "mem_"), self.dut.clk, self.dut.rst)
        self.regs = AxiLiteMaster(AxiLiteBus.from_prefix(self.dut, "regs_"), self.dut.clk, self.dut.rst)
        if flow:
            masters = {"regs": self.regs} if bursts else {"mem": self.mem, "regs": self.regs}
            for name, master in masters.items():
                for side, channels in zip((master.write_if, master.read_if), _LITE, strict=True):
                    for channel in channels:
                        generator = pauses(self.rng(f"pauses {name} {channel}"))
                        getattr(side, f"{channel}_channel").set_pause_generator(generator)
        respond(self, *self.channels)
        await self.idle(4)

    # -------------------------------------------------------------------------------------------------- data window

    async def write(self, address: int, data: bytes, **burst: Any) -> AxiResp:
        """Write bytes of the data window; the response."""
        answer = await self.within(PATIENCE, self.mem.write(address, data, **burst))
        if self.heard:
            self.heard.transfer(address, data, len(data), refused=answer.resp != AxiResp.OKAY)
        return AxiResp(answer.resp)

    async def read(self, address: int, length: int, **burst: Any) -> tuple[bytes, AxiResp]:
        """Read bytes of the data window; they and the response."""
        answer = await self.within(PATIENCE, self.mem.read(address, length, **burst))
        if self.heard:
            self.heard.transfer(address, None, length, refused=answer.resp != AxiResp.OKAY)
        return bytes(answer.data), AxiResp(answer.resp)

    async def write_both(self, address: int, data: bytes) -> None:
        """Write to the design and to the golden device."""
        self.golden.write_memory(address, data)
        assert await self.write(address, data) == AxiResp.OKAY, f"{len(data)} bytes to {address:#x}"

    async def compare(self, address: int, size: int) -> None:
        """Read from the design and from the golden device; the same bytes."""
        wanted = self.golden.read_memory(address, size)
        data, response = await self.read(address, size)
        assert response == AxiResp.OKAY, f"{size} bytes from {address:#x}: {response!r}"
        if data != wanted:
            place = next(index for index in range(size) if data[index] != wanted[index])
            raise AssertionError(
                f"{size} bytes from {address:#x}: byte {place} is {data[place]:#x}, expected {wanted[place]:#x}"
            )

    # ----------------------------------------------------------------------------------------------------- registers

    async def read_register(self, offset: int) -> int:
        """Value of a register that is there."""
        value, response = await self.try_read(offset)
        assert response == AxiResp.OKAY, f"read of {offset:#x}: {response!r}"
        return value

    async def write_register(self, offset: int, value: int) -> None:
        """Write a register that is there."""
        response = await self.try_write(offset, struct.pack("<I", value))
        assert response == AxiResp.OKAY, f"write of {offset:#x}: {response!r}"

    async def try_read(self, offset: int, size: int = 4) -> tuple[int, AxiResp]:
        """Value and response, whatever it is."""
        answer = await self.within(PATIENCE, self.regs.read(offset, size))
        value, response = int.from_bytes(answer.data, "little"), AxiResp(answer.resp)
        if self.heard and size == 4:
            self.heard.register_read(offset, value if response == AxiResp.OKAY else None)
        return value, response

    async def try_write(self, offset: int, data: bytes) -> AxiResp:
        """Response of a write of up to four bytes."""
        answer = await self.within(PATIENCE, self.regs.write(offset, data))
        if self.heard and len(data) == 4:
            refused = answer.resp != AxiResp.OKAY
            self.heard.register_write(offset, int.from_bytes(data, "little"), refused=refused)
        return AxiResp(answer.resp)

    # -------------------------------------------------------------------------------------------------------- macros

    async def push(self, words: tuple[int, ...]) -> None:
        """Push a macro that has a place; the golden device runs it at once and says what has to complete."""
        for index, word in enumerate(words):
            await self.write_register(macro_word(index), word)
            self.golden.write_register(macro_word(index), word)
        await self.write_register(Reg.MACRO_PUSH, 1)
        self.golden.write_register(Reg.MACRO_PUSH, 1)
        assert self.golden.step()
        completion = self.golden.read_register(Reg.COMPLETION)
        self.golden.write_register(Reg.COMPLETION_POP, 1)
        assert completion & COMPLETION_VALID
        assert completion & 0xFFFF == tag_of(words)
        self.due.append((completion & 0xFFFF, completion >> 16 & 0xFF))

    async def wait_irq(self, cycles: int = 60_000) -> None:
        """Wait until the interrupt line is high."""
        while not int(self.dut.irq.value):
            await self.within(cycles, self.dut.irq.value_change)
            await self.edge()

    async def complete(self, rng: random.Random) -> None:
        """Take one completion: the line is high until it is popped, reads of it change nothing."""
        await self.wait_irq()
        for _ in range(rng.randrange(1, 3)):
            await self.idle(rng.randrange(0, 40))
            assert int(self.dut.irq.value) == 1, "the interrupt was taken back before it was acknowledged"
            word = await self.read_register(Reg.COMPLETION)
            assert word & COMPLETION_VALID
            assert self.due, f"completion {word:#x} was not expected"
            assert (word & 0xFFFF, word >> 16 & 0xFF) == self.due[0]
        cycles = await self.read_register(Reg.COMPLETION_CYCLES)
        assert 0 < cycles <= self.cycle
        assert await self.read_register(Reg.IRQ_STATUS) & Irq.COMPLETION
        self.due.popleft()
        await self.write_register(Reg.COMPLETION_POP, 1)

    # ----------------------------------------------------------------------------------------------------------- end

    async def finish(self) -> None:
        """No violation, command counters as on the bus, memory as the golden device's, refresh in time."""
        await self.idle(4_000)  # a write is answered before it is done; up to 32 a channel wait
        assert await self.read_register(Reg.VIOLATIONS) == 0
        geometry = self.config.geometry
        for row in range(geometry.rows):
            same = self.storage.row(row) == self.golden.storage.row(row)
            assert same.all(), f"memory differs from the golden device's in row {row}"
        await self.write_register(Reg.CONTROL, 0)  # no refresh, so that the counters stand still
        await self.idle(300)
        for index, channel in enumerate(self.channels):
            last = channel.last_refresh()
            assert self.cycle - last <= self.config.timing.refresh_limit, f"no refresh since cycle {last}"
            for op in MicroOp:
                count = await self.read_register(command_counter(index, op))
                assert count == channel.counts[op], (
                    f"channel {index}, {op.name}: {count}, not {channel.counts[op]}"
                )
            await self._check_events(index, channel)

    async def _check_events(self, index: int, channel: AimResponder) -> None:
        """The sorts of cycles add up to the cycles, and the sorts of accesses are what the commands say."""
        at_least = await self.read_register(Reg.CYCLES_LOW)
        events = {event: await self.read_register(event_counter(index, event)) for event in Event}
        at_most = await self.read_register(Reg.CYCLES_LOW)
        sorts = (Event.PIM_CYCLES, Event.REFRESH_CYCLES, Event.BUSY_CYCLES, Event.IDLE_CYCLES)
        assert at_least <= sum(events[event] for event in sorts) <= at_most, f"channel {index}: {events}"
        recovery = self.config.timing.cycles("tRFCab")
        assert events[Event.REFRESH_CYCLES] == channel.counts[MicroOp.REFAB] * recovery
        if (
            not channel.counts[MicroOp.WRBK] + channel.counts[MicroOp.EWMUL]
        ):  # no program, whose accesses do not count
            found = {event: events[event] for event in (Event.ROW_HIT, Event.ROW_MISS, Event.ROW_CONFLICT)}
            assert found == row_outcomes(channel.log), f"channel {index}"


def row_outcomes(log: list[Issued]) -> dict[Event, int]:
    """What each normal access of a command trace was: looks back in its bank's commands, from the access on."""
    outcomes = dict.fromkeys((Event.ROW_HIT, Event.ROW_MISS, Event.ROW_CONFLICT), 0)
    history: dict[int, list[MicroOp]] = {}
    for _, _, micro in log:
        if micro.op is MicroOp.PREA:
            history.clear()
        elif micro.op in (MicroOp.ACT, MicroOp.PRE, MicroOp.REFPB, MicroOp.RD, MicroOp.WR):
            before = history.setdefault(micro.bank, [])
            if micro.op in (MicroOp.RD, MicroOp.WR):
                if before[-1] is not MicroOp.ACT:
                    outcomes[Event.ROW_HIT] += 1
                elif MicroOp.PRE in before[-2:-1]:
                    outcomes[Event.ROW_CONFLICT] += 1
                else:
                    outcomes[Event.ROW_MISS] += 1
            before.append(micro.op)
    return outcomes


WRAP, FIXED = AxiBurstType.WRAP, AxiBurstType.FIXED
