"""The serial link: bytes on a line, and what the board does with whole, damaged, repeated and senseless requests."""

import zlib

import pytest
from amaranth import Cat
from amaranth.sim import Simulator

from hdl.host.serial import SerialReceiver, SerialTransmitter
from hdl.host.serial_link import SerialLink
from pim_model.spec.link import MOST_BYTES, START, Kind, LinkStatus

from .simulate import run

DIVISOR, GAP = 4, 500
HOLE, FULL = 0x0F0, 0x7F00
"""A register and an address that the stub refuses (SLVERR, 2)."""


def frame(
    sequence: int, kind: int, address: int = 0, payload: bytes = b"", length: int | None = None
) -> bytes:
    size = len(payload) if length is None else length
    body = bytes((sequence, kind, size)) + address.to_bytes(4, "little") + payload
    return bytes((START,)) + body + zlib.crc32(body).to_bytes(4, "little")


async def until(ctx, condition, *values):
    """``values`` in the first cycle in which ``condition`` holds, at whose end this returns; idle cycles are free."""
    while True:
        if not ctx.get(condition):
            await ctx.posedge(condition)
        *_, holds, found = await ctx.tick().sample(condition, Cat(*values))
        if holds:
            return [
                found >> sum(map(len, values[:i])) & (1 << len(each)) - 1 for i, each in enumerate(values)
            ]


class Line:
    """The link with registers and memory behind it; ``ask`` sends bytes and returns the answer's status and payload."""

    def __init__(self):
        self.dut = SerialLink(15, DIVISOR, GAP)
        self.registers, self.memory, self.writes = {}, bytearray(1 << 15), []
        self.simulator = Simulator(self.dut)
        self.simulator.add_clock(1e-9)
        self.came = bytearray()
        for process in (
            self._registers,
            self._register_reads,
            self._memory_writes,
            self._memory_reads,
            self._listen,
        ):
            self.simulator.add_testbench(process, background=True)

    def run(self, testbench):
        self.simulator.add_testbench(testbench)
        self.simulator.run()

    async def _registers(self, ctx):
        regs = self.dut.regs
        while True:
            ctx.set(regs.awready, 1)
            [address] = await until(ctx, regs.awvalid, regs.awaddr)
            ctx.set(regs.awready, 0)
            ctx.set(regs.wready, 1)  # the address first, then the data
            [value] = await until(ctx, regs.wvalid, regs.wdata)
            ctx.set(regs.wready, 0)
            if address != HOLE:
                self.registers[address] = value
            self.writes.append(address)
            ctx.set(regs.bresp, 2 * (address == HOLE))
            ctx.set(regs.bvalid, 1)
            await until(ctx, regs.bready)
            ctx.set(regs.bvalid, 0)

    async def _register_reads(self, ctx):
        regs = self.dut.regs
        while True:
            ctx.set(regs.arready, 1)
            [address] = await until(ctx, regs.arvalid, regs.araddr)
            ctx.set(regs.arready, 0)
            ctx.set(regs.rdata, self.registers.get(address, 0))
            ctx.set(regs.rresp, 2 * (address == HOLE))
            ctx.set(regs.rvalid, 1)
            await until(ctx, regs.rready)
            ctx.set(regs.rvalid, 0)

    async def _memory_writes(self, ctx):
        mem = self.dut.mem
        while True:
            ctx.set(mem.awready, 1)
            [address, beats, size] = await until(ctx, mem.awvalid, mem.awaddr, mem.awlen, mem.awsize)
            ctx.set(mem.awready, 0)
            assert (address % 32, size) == (0, 5)
            for beat in range(beats + 1):
                await ctx.tick().repeat(2)  # not ready at once
                ctx.set(mem.wready, 1)
                [data, enables, last] = await until(ctx, mem.wvalid, mem.wdata, mem.wstrb, mem.wlast)
                ctx.set(mem.wready, 0)
                assert last == (beat == beats)
                for i, byte in enumerate(data.to_bytes(32, "little")):
                    if enables >> i & 1:
                        self.memory[address + 32 * beat + i] = byte
            self.writes.append(address)
            ctx.set(mem.bresp, 2 * (address >= FULL))
            ctx.set(mem.bvalid, 1)
            await until(ctx, mem.bready)
            ctx.set(mem.bvalid, 0)

    async def _memory_reads(self, ctx):
        mem = self.dut.mem
        while True:
            ctx.set(mem.arready, 1)
            [address, beats] = await until(ctx, mem.arvalid, mem.araddr, mem.arlen)
            ctx.set(mem.arready, 0)
            for beat in range(beats + 1):
                place = address + 32 * beat
                ctx.set(mem.rdata, int.from_bytes(self.memory[place : place + 32], "little"))
                ctx.set(mem.rresp, 2 * (place >= FULL))
                ctx.set(mem.rlast, beat == beats)
                ctx.set(mem.rvalid, 1)
                await until(ctx, mem.rready)
                ctx.set(mem.rvalid, 0)
                await ctx.tick().repeat(3)

    async def _listen(self, ctx):
        tx = self.dut.tx
        while True:
            await ctx.negedge(tx)
            await ctx.tick()
            await ctx.tick().repeat(DIVISOR // 2 - 1)
            bits = []
            for i in range(10):
                if i:
                    await ctx.tick().repeat(DIVISOR)
                bits.append(ctx.get(tx))
            assert (bits[0], bits[9]) == (0, 1), f"no byte: {bits}"
            self.came.append(sum(bit << i for i, bit in enumerate(bits[1:9])))

    async def send(self, ctx, data: bytes):
        for byte in data:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                ctx.set(self.dut.rx, bit)
                await ctx.tick().repeat(DIVISOR)

    async def ask(self, ctx, data: bytes, wait: int = 3000, before: bytes = b"") -> tuple[int, bytes] | None:
        """None if nothing comes within ``wait`` cycles."""
        self.came.clear()
        await self.send(ctx, before + data)
        for _ in range(wait):
            await ctx.tick()
            if len(self.came) >= 4 and len(self.came) == 8 + self.came[3]:
                body = bytes(self.came[1:-4])
                assert self.came[0] == START
                assert zlib.crc32(body) == int.from_bytes(self.came[-4:], "little")
                assert body[0] == data[1], "an answer to another request"
                return body[1], body[3:]
        assert not self.came
        return None


@pytest.fixture
def line():
    return Line()


def test_registers(line):
    async def bench(ctx):
        ctx.set(line.dut.rx, 1)
        assert await line.ask(ctx, frame(1, Kind.HELLO)) == (LinkStatus.OK, b"")
        assert await line.ask(ctx, frame(2, Kind.WRITE_REGISTER, 0x40, b"\x78\x56\x34\x12")) == (
            LinkStatus.OK,
            b"",
        )
        assert line.registers == {0x40: 0x12345678}
        assert await line.ask(ctx, frame(3, Kind.READ_REGISTER, 0x40, length=4)) == (
            LinkStatus.OK,
            b"\x78\x56\x34\x12",
        )
        assert await line.ask(ctx, frame(4, Kind.READ_REGISTER, HOLE, length=4)) == (LinkStatus.REFUSED, b"")
        assert await line.ask(ctx, frame(5, Kind.WRITE_REGISTER, HOLE, bytes(4))) == (LinkStatus.REFUSED, b"")
        # A repetition of a refused write is refused again, without being done.
        done = len(line.writes)
        assert await line.ask(ctx, frame(5, Kind.WRITE_REGISTER, HOLE, bytes(4))) == (LinkStatus.REFUSED, b"")
        assert len(line.writes) == done

    line.run(bench)


@pytest.mark.parametrize(("offset", "size"), [(0, 32), (5, 3), (31, 2), (0, MOST_BYTES), (9, MOST_BYTES - 9)])
def test_memory(line, offset, size):
    data = bytes(range(1, size + 1))

    async def bench(ctx):
        ctx.set(line.dut.rx, 1)
        line.memory[:256] = bytes([0xEE]) * 256
        address = 64 + offset
        assert await line.ask(ctx, frame(1, Kind.WRITE_MEMORY, address, data)) == (LinkStatus.OK, b"")
        assert line.memory[:256] == bytes([0xEE]) * address + data + bytes([0xEE]) * (256 - address - size)
        answer = await line.ask(ctx, frame(2, Kind.READ_MEMORY, address, length=size), 9000)
        assert answer == (LinkStatus.OK, data)

    line.run(bench)


def test_a_repeated_write_happens_once(line):
    async def bench(ctx):
        ctx.set(line.dut.rx, 1)
        write = frame(7, Kind.WRITE_REGISTER, 0x40, bytes(4))
        for _ in range(3):
            assert await line.ask(ctx, write) == (LinkStatus.OK, b"")
        assert line.writes == [0x40]
        assert await line.ask(ctx, frame(8, Kind.WRITE_REGISTER, 0x40, bytes(4))) == (LinkStatus.OK, b"")
        assert len(line.writes) == 2
        await line.ask(ctx, frame(9, Kind.HELLO))  # another process, whose first write has the same number
        assert await line.ask(ctx, frame(8, Kind.WRITE_REGISTER, 0x40, bytes(4))) == (LinkStatus.OK, b"")
        assert len(line.writes) == 3

    line.run(bench)


def test_damaged_requests_are_not_done(line):
    good = frame(3, Kind.WRITE_REGISTER, 0x40, b"abcd")

    async def bench(ctx):
        ctx.set(line.dut.rx, 1)
        for place in (1, 2, 3, 5, 8, 11, 13):
            bad = bytearray(good)
            bad[place] ^= 1 << place % 8
            if place == 3:
                bad[place] = 4 ^ 2  # a length that ends early, so that the rest is noise
            assert await line.ask(ctx, bytes(bad), GAP + 100) is None, f"byte {place}"
            assert not line.writes
        assert await line.ask(ctx, good[:8], GAP + 100) is None  # cut short: forgotten after the gap
        assert await line.ask(ctx, good, before=b"\x00\xff\x13") == (LinkStatus.OK, b"")
        assert line.writes == [0x40]

    line.run(bench)


@pytest.mark.parametrize(
    "request_",
    [
        frame(1, 6),
        frame(1, Kind.HELLO, length=1),
        frame(1, Kind.READ_REGISTER, 0x40, length=3),
        frame(1, Kind.READ_REGISTER, 0x42, length=4),
        frame(1, Kind.READ_REGISTER, 0x10040, length=4),
        frame(1, Kind.READ_MEMORY, 0, length=0),
        frame(1, Kind.READ_MEMORY, 1, length=MOST_BYTES),
        frame(1, Kind.READ_MEMORY, 1 << 15, length=1),
        frame(1, Kind.WRITE_MEMORY, 31, bytes(MOST_BYTES)),
    ],
)
def test_senseless_requests(line, request_):
    async def bench(ctx):
        ctx.set(line.dut.rx, 1)
        assert await line.ask(ctx, request_) == (LinkStatus.MALFORMED, b"")
        assert not line.writes
        assert await line.ask(ctx, frame(2, Kind.READ_MEMORY, FULL, length=1)) == (LinkStatus.REFUSED, b"")

    line.run(bench)


def test_waiting_for_the_interrupt(line):
    async def bench(ctx):
        ctx.set(line.dut.rx, 1)
        assert await line.ask(ctx, frame(1, Kind.WAIT, 100)) == (LinkStatus.OK, b"\0")
        ctx.set(line.dut.irq, 1)
        assert await line.ask(ctx, frame(2, Kind.WAIT, 60000)) == (LinkStatus.OK, b"\1")

    line.run(bench)


@pytest.mark.parametrize("stretch", [-0.03, 0.0, 0.03])
def test_the_receiver_bears_a_clock_that_is_off(stretch):
    dut = SerialReceiver(20)
    wanted, found = bytes(range(0, 256, 21)), []

    async def bench(ctx):
        ctx.set(dut.line, 1)
        await ctx.tick().repeat(30)
        cycle, due = 0, 0.0
        for byte in wanted:
            for bit in (0, *(byte >> i & 1 for i in range(8)), 1):
                ctx.set(dut.line, bit)
                due += 20 * (1 + stretch)
                while cycle < due:
                    await ctx.tick()
                    cycle += 1
                    if ctx.get(dut.valid):
                        found.append(ctx.get(dut.data))
        await ctx.tick().repeat(30)

    run(dut, bench)
    assert bytes(found) == wanted


def test_a_byte_without_a_stop_bit_is_dropped():
    dut = SerialReceiver(8)
    found = []

    async def bench(ctx):
        ctx.set(dut.line, 1)
        await ctx.tick().repeat(20)
        for stop in (0, 1):
            for bit in (0, *([1] * 8), stop, 1, 1):
                ctx.set(dut.line, bit)
                for _ in range(8):
                    await ctx.tick()
                    if ctx.get(dut.valid):
                        found.append(ctx.get(dut.data))

    run(dut, bench)
    assert found == [0xFF]
    with pytest.raises(ValueError, match=r"^divisor must be at least 4, not 3$"):
        SerialReceiver(3)


def test_the_transmitter_keeps_the_line_high_between_bytes():
    dut = SerialTransmitter(4)

    async def bench(ctx):
        assert ctx.get(dut.line) == 1
        ctx.set(dut.data.payload, 0xA5)
        ctx.set(dut.data.valid, 1)
        await ctx.tick().until(dut.data.ready)
        ctx.set(dut.data.valid, 0)
        levels = []
        for _ in range(48):
            levels.append(ctx.get(dut.line))
            await ctx.tick()
        assert levels == [bit for bit in (0, 1, 0, 1, 0, 0, 1, 0, 1, 1) for _ in range(4)] + [1] * 8

    run(dut, bench)
