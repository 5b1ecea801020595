"""The XDMA transport against what the driver documents and what it does: one trap, one test."""

from __future__ import annotations

import errno
import inspect
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import AccessError, DeviceTimeout, LinkDown, TransportError
from host_runtime.ops import Pim
from host_runtime.register_map import is_register
from host_runtime.transport import xdma
from host_runtime.transport.model import ModelTransport
from host_runtime.transport.system import Kernel
from host_runtime.transport.xdma import CHUNK, LONGEST_WAIT, XdmaTransport
from pim_model.spec.config import config
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import Irq, Reg
from sim.card import CYCLES_PER_MS
from tests.agree.fake_xdma import PATH, Call, FakeXdma, Outcome, Plan

TINY = config("tiny")
BASE = TINY.buffer_base
MACRO = MatVec(tag=1, rows=3, columns=17, weight_row=0, input_offset=0, output_offset=512)


def fake(plan: Plan | None = None, align: int = 64) -> FakeXdma:
    return FakeXdma(ModelTransport(TINY), plan, align)


def once(name: str, node: str, outcome: Outcome, at: int = 0) -> Plan:
    """The ``at``-th such call has that outcome."""
    seen = iter(range(1 << 30))

    def plan(_number: int, call: Call) -> Outcome | None:
        return outcome if (call.name, call.node) == (name, node) and next(seen) == at else None

    return plan


def multiply(transport: XdmaTransport) -> None:
    """A product with exact sums, compared."""
    weights = (np.arange(120).reshape(6, 20) % 9 - 4).astype(np.float32)
    x = (np.arange(20).reshape(1, 20) % 7 - 3).astype(np.float32)
    pim = Pim(Driver(transport, TINY), TINY)
    found = pim.linear(pim.upload(weights), (x.view(np.uint32) >> 16).astype(np.uint16))
    np.testing.assert_array_equal((found.astype(np.uint32) << 16).view(np.float32), x @ weights.T)


def test_a_product() -> None:
    card = fake()
    with XdmaTransport(PATH, card) as transport:
        multiply(transport)
        assert transport.missed == 0
    assert card.opened == {}


@pytest.mark.parametrize("align", [1, 64, 4096])
def test_host_and_card_address_are_equal_in_their_low_bits(align: int, rng: np.random.Generator) -> None:
    with XdmaTransport(PATH, fake(align=align)) as transport:
        for _ in range(50):
            address, size = int(rng.integers(0, 9000)), int(rng.integers(1, 3000))
            data = rng.bytes(size)
            transport.write_memory(address, data)
            assert transport.read_memory(address, size) == data


def test_long_transfers_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    assert CHUNK < 0x7FFFF000
    monkeypatch.setattr(xdma, "CHUNK", 1000)
    card, data = fake(), np.random.default_rng(1).bytes(4567)
    with XdmaTransport(PATH, card) as transport:
        transport.write_memory(13, data)
        assert transport.read_memory(13, 4567) == data
    sizes = [call.size for call in card.calls if call.node in ("h2c_0", "c2h_0") and call.name[0] == "p"]
    assert sizes == 2 * [1000, 1000, 1000, 1000, 567]


def test_a_read_only_buffer_is_copied() -> None:
    data = np.arange(100, dtype=np.uint8)
    data.flags.writeable = False
    with XdmaTransport(PATH, fake()) as transport:
        transport.write_memory(5, data.data)  # type: ignore[arg-type]  # as from a mapped file
        assert transport.read_memory(5, 100) == data.tobytes()
        transport.write_memory(5, b"bytes")
        assert transport.read_memory(5, 6) == b"bytes\x05"


def test_a_short_count_is_gone_on_with() -> None:
    for node, name in (("h2c_0", "pwrite"), ("c2h_0", "pread")):
        for moves in (0, 1, 31, 96):
            card = fake(once(name, node, Outcome(moves=moves)))
            with XdmaTransport(PATH, card) as transport:
                transport.write_memory(BASE + 7, bytes(range(97)))
                assert transport.read_memory(BASE + 7, 97) == bytes(range(97))
            calls = [(c.offset - BASE, c.size) for c in card.calls if (c.name, c.node) == (name, node)]
            assert calls == [(7, 97), (7 + moves, 97 - moves)]


def test_a_short_count_hides_an_error_once() -> None:
    def plan(_number: int, call: Call) -> Outcome | None:
        return Outcome(moves=10) if call.name == "pread" and call.node == "c2h_0" else None

    with XdmaTransport(PATH, fake(plan)) as transport:
        with pytest.raises(TransportError, match=r"c2h_0: the transfer stopped twice, after 20 of 97 bytes"):
            transport.read_memory(BASE, 97)


def test_after_a_time_out_nothing_is_tried_until_the_soft_reset() -> None:
    card = fake(once("pwrite", "h2c_0", Outcome(errno.ETIMEDOUT, moves=32, wedges=1)))
    with XdmaTransport(PATH, card) as transport:
        driver = Driver(transport, TINY)
        with pytest.raises(
            TransportError, match=r"h2c_0: the transfer timed out; a soft reset takes the card"
        ):
            transport.write_memory(BASE, bytes(64))
        calls = len(card.calls)
        for access in (
            lambda: transport.read_register(Reg.STATUS),
            lambda: transport.write_register(Reg.MACRO_PUSH, 1),
            lambda: transport.read_memory(0, 4),
            lambda: transport.wait_interrupt(5),
            lambda: driver.submit(MACRO),
        ):
            with pytest.raises(TransportError, match="the transfer timed out"):
                access()
        assert len(card.calls) == calls, "the card was touched"
        driver.soft_reset()
        multiply(transport)


def test_a_wedged_engine_says_what_helps() -> None:
    card = fake(once("pwrite", "h2c_0", Outcome(errno.ETIMEDOUT, wedges=2)))
    with XdmaTransport(PATH, card) as transport:
        driver = Driver(transport, TINY)
        for _ in range(2):
            with pytest.raises(TransportError, match=r"or else the xdma driver has to be loaded anew$"):
                transport.write_memory(BASE, bytes(64))
            driver.soft_reset()


def test_register_accesses_are_one_call_of_four_bytes() -> None:
    card = fake()
    with XdmaTransport(PATH, card) as transport:
        transport.read_register(Reg.STATUS)
        card.calls.clear()
        transport.write_register(Reg.MACRO_WORD0, 0x12345678)
        transport.read_register(Reg.MACRO_WORD0)
    assert card.calls[:2] == [Call("pwrite", "user", 0x80, 4), Call("pread", "user", 0x80, 4)]


def test_what_the_bus_cannot_refuse_is_refused_here() -> None:
    card = fake()
    with XdmaTransport(PATH, card) as transport:
        transport.read_register(Reg.STATUS)
        calls = len(card.calls)
        for offset in (2, 0x38, 0xFFFC, 1 << 16, -4, 0x1000 + 0x80 * 2):
            with pytest.raises(AccessError):
                transport.read_register(offset)
            with pytest.raises(AccessError):
                transport.write_register(offset, 0)
        for address, size in ((2 * BASE, 1), (-1, 2), (BASE + TINY.buffer_bytes - 1, 2)):
            with pytest.raises(AccessError):
                transport.read_memory(address, size)
            with pytest.raises(AccessError):
                transport.write_memory(address, bytes(size))
        with pytest.raises(ValueError, match=r"^size must be 0 or more bytes, not -1$"):
            transport.read_memory(0, -1)
        assert len(card.calls) == calls, "the card was touched"


@pytest.mark.parametrize("at", range(0, 40, 3))
def test_a_card_that_falls_off_the_bus(at: int) -> None:
    """Told at the next register access, and touched no more (the fake asserts it)."""
    card = fake(once("pread", "user", Outcome(dies=True), at))

    def work() -> None:
        with XdmaTransport(PATH, card) as transport:
            for _ in range(3):
                multiply(transport)

    with pytest.raises(LinkDown):
        work()
    assert card.opened == {}


def test_all_ones_once_are_read_again() -> None:
    ones = b"\xff" * 4

    class Flaky(FakeXdma):
        def pread(self, descriptor: int, buffer: memoryview, offset: int) -> int:
            count = super().pread(descriptor, buffer, offset)
            if offset == Reg.MACRO_SPACE and sum(c.offset == offset for c in self.calls) == 1:
                buffer[:4] = ones
            return count

    with XdmaTransport(PATH, Flaky(ModelTransport(TINY))) as transport:
        assert transport.read_register(Reg.MACRO_SPACE) == TINY.macro_queue
        transport.write_register(Reg.MACRO_WORD0, 0xFFFFFFFF)
        assert transport.read_register(Reg.MACRO_WORD0) == 0xFFFFFFFF


def test_a_lost_interrupt_is_not_a_hang() -> None:
    card = fake(lambda _number, call: Outcome(loses=True) if call.name == "poll" else None)
    with XdmaTransport(PATH, card) as transport:
        multiply(transport)
        assert transport.missed >= 1


def test_without_user_interrupts_the_cause_is_polled() -> None:
    for error in (errno.ENOENT, errno.EACCES):
        card = fake(once("open", "events_0", Outcome(error)))
        with XdmaTransport(PATH, card) as transport:
            multiply(transport)
            assert transport.missed == 0
        assert [call.node for call in card.calls if call.name == "poll"] == [""]


def test_interrupts_of_another_process_are_dropped() -> None:
    device = ModelTransport(TINY)
    card = FakeXdma(device)
    device.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    for _ in range(2):
        device.write_register(Reg.MACRO_PUSH, 1)
    assert card.card.poll("events_0", 1)
    with XdmaTransport(PATH, card) as transport:
        assert not card.card.poll("events_0", 0)
        multiply(transport)


def test_a_clock_that_stands_is_no_hang() -> None:
    with XdmaTransport(PATH, fake()) as transport:
        assert not transport.wait_interrupt(1_000_000)


class Stuck(ModelTransport):
    """Time passes, and nothing happens."""

    def wait_interrupt(self, timeout: int) -> bool:
        self.device._pcu.cycles += timeout
        return False


@pytest.mark.parametrize("timeout", [0, 1, 700, 20_000, 1_000_000])
def test_a_wait_ends_by_the_devices_clock(timeout: int) -> None:
    device = Stuck(TINY)
    with XdmaTransport(PATH, FakeXdma(device)) as transport:
        assert not transport.wait_interrupt(timeout)
    assert timeout <= device.device.cycles <= timeout + LONGEST_WAIT * CYCLES_PER_MS


def test_a_clock_that_wraps() -> None:
    device = Stuck(TINY)
    device.device._pcu.cycles = (1 << 32) - 900
    with XdmaTransport(PATH, FakeXdma(device)) as transport:
        assert not transport.wait_interrupt(20_000)
    assert 20_000 <= device.device.cycles - ((1 << 32) - 900) < 26_000


def test_a_card_that_is_gone_is_not_taken_up_again() -> None:
    card = fake(once("pwrite", "h2c_0", Outcome(dies=True)))
    with XdmaTransport(PATH, card) as transport:
        with pytest.raises(LinkDown):
            transport.write_memory(0, b"data")
        opened = sum(call.name == "open" for call in card.calls)
        with pytest.raises(LinkDown):
            transport.recover()
        assert sum(call.name == "open" for call in card.calls) == opened


def test_a_macro_that_does_not_end_is_a_time_out_of_the_driver() -> None:
    with XdmaTransport(PATH, FakeXdma(Stuck(TINY))) as transport:
        driver = Driver(transport, TINY)
        with pytest.raises(DeviceTimeout):
            driver.wait(driver.submit(MACRO))


def test_a_card_is_for_one_process() -> None:
    card = fake()
    other = card.beside()
    with XdmaTransport(PATH, card):
        with pytest.raises(TransportError, match=r"^/dev/xdma0: another process has the card$"):
            XdmaTransport(PATH, other)
        assert other.opened == {}
        with pytest.raises(TransportError, match=r": another process has the card$"):
            XdmaTransport(PATH, card)
    XdmaTransport(PATH, other).close()
    assert (card.opened, other.opened) == ({}, {})


def test_a_closed_transport_refuses() -> None:
    transport = XdmaTransport(PATH, fake())
    transport.close()
    transport.close()
    for access in (
        lambda: transport.read_register(Reg.ID),
        lambda: transport.read_memory(0, 4),
        transport.recover,
    ):
        with pytest.raises(TransportError, match=r"^/dev/xdma0: the transport is closed$"):
            access()


def test_signals_wait_for_the_transfer() -> None:
    """They are held while the card moves bytes, and come between two pieces."""
    held = []

    class Watched(FakeXdma):
        def pwrite(self, descriptor: int, buffer: memoryview, offset: int) -> int:
            held.append(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
            signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
            assert not came
            return super().pwrite(descriptor, buffer, offset)

    came: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, _frame: came.append(number))
    try:
        with XdmaTransport(PATH, Watched(ModelTransport(TINY))) as transport:
            transport.write_memory(0, b"data")
            assert came == [signal.SIGUSR1]
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert {signal.SIGINT, signal.SIGTERM, signal.SIGALRM} <= held[0]
    assert signal.SIGSEGV not in held[0]
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()).isdisjoint(held[0] - {signal.SIGCHLD})


def test_only_the_calls_that_the_driver_bears() -> None:
    """preadv and its like crash the kernel; buffered files and numpy's own use them."""
    for module in (xdma, inspect.getmodule(Kernel)):
        assert module is not None
        source = inspect.getsource(module)
        for word in ("os.preadv", "readv(", "writev(", "fromfile", "tofile", " open(", "asyncio"):
            assert word not in source.replace("def open(", "")


class TestKernel:
    """The real calls, on files."""

    def test_bytes_at_their_place(self, tmp_path: Path) -> None:
        kernel, path = Kernel(), tmp_path / "file"
        path.write_bytes(bytes(100))
        file = kernel.open(str(path), os.O_RDWR)
        assert not os.get_inheritable(file)
        assert kernel.pwrite(file, memoryview(bytearray(b"abc")), 50) == 3
        into = memoryview(bytearray(5))
        assert kernel.pread(file, into[1:4], 50) == 3
        assert bytes(into) == b"\0abc\0"
        assert kernel.pread(file, into, 98) == 2
        kernel.close(file)
        with pytest.raises(OSError, match="Bad file descriptor") as caught:
            kernel.pread(file, into, 0)
        assert caught.value.errno == errno.EBADF

    def test_lock_and_poll(self, tmp_path: Path) -> None:
        kernel, path = Kernel(), tmp_path / "file"
        path.touch()
        first, second = (kernel.open(str(path), os.O_RDWR) for _ in range(2))
        kernel.flock(first)
        with pytest.raises(BlockingIOError):
            kernel.flock(second)
        kernel.close(first)
        kernel.flock(second)
        kernel.close(second)
        reader, writer = os.pipe()
        assert not kernel.poll(reader, 1)
        threading.Timer(0.05, os.write, (writer, b"x")).start()
        assert kernel.poll(reader, 60_000)
        began = time.monotonic()
        assert not kernel.poll(None, 20)
        assert time.monotonic() - began >= 0.019
        for each in (reader, writer):
            os.close(each)


def test_without_a_card(tmp_path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(
        TransportError, match=r"none_user: No such file or directory \(is the xdma driver loaded"
    ):
        XdmaTransport(str(tmp_path / "none"))
    for node in ("user", "h2c_0", "c2h_0", "events_0"):
        (tmp_path / f"card_{node}").write_bytes(b"\xff" * 4)
    with pytest.raises(LinkDown, match="reads as all ones"):
        XdmaTransport(str(tmp_path / "card"))
    (tmp_path / "card_user").write_bytes(b"")
    with pytest.raises(TransportError, match="0 bytes came of a register's 4"):
        XdmaTransport(str(tmp_path / "card"))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("name", ["tiny", "ianus"])
def test_the_map_is_the_devices(name: str) -> None:
    """Offset by offset: what the transport refuses is what the golden device refuses."""
    device, channels = ModelTransport(config(name)), config(name).geometry.channels
    there = 0
    for offset in range(0, 1 << 16, 2):
        try:
            device.read_register(offset)
            found = True
        except AccessError:
            found = False
        assert is_register(offset, channels) == found, hex(offset)
        there += found
    assert there > 100
