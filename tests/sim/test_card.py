"""A simulated card's device files, in process and on a socket, whatever a host sends; here over the golden device."""

from __future__ import annotations

import errno
import os
import socket
import stat
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from host_runtime.driver import Driver
from host_runtime.errors import LinkDown, TransportError
from host_runtime.ops import Pim
from host_runtime.transport import card_socket
from host_runtime.transport.card_socket import CardSocket
from host_runtime.transport.model import ModelTransport
from host_runtime.transport.xdma import XdmaTransport
from pim_model.spec.card_link import ANSWER, MOST_BYTES, REQUEST, VERSION, CardCall
from pim_model.spec.config import config
from pim_model.spec.registers import IDENTITY, Irq, Reg
from sim.card import Card
from sim.card_server import CardServer
from tests.agree.fake_xdma import GoldenDesign

TINY = config("tiny")


def make_card() -> Card:
    return Card(GoldenDesign(ModelTransport(TINY)), look=0)


def number(call: Callable[[], object]) -> int:
    with pytest.raises(OSError, match=r"\w") as caught:
        call()
    assert caught.value.errno is not None
    return caught.value.errno


class TestCard:
    def test_registers_are_words(self) -> None:
        card = make_card()
        for size in (0, 1, 4, 100):
            assert card.pread("user", size, Reg.ID) == IDENTITY.to_bytes(4, "little")
        assert number(lambda: card.pread("user", 4, 2)) == errno.EPROTO
        assert number(lambda: card.pwrite("user", bytes(4), 2)) == errno.EPROTO
        assert card.pread("user", 4, 0x38) == b"\xff" * 4, "the bus's refusal is not told"
        assert card.pwrite("user", bytes(4), 0x38) == 4
        assert number(lambda: card.pread("user", 4, 1 << 16)) == errno.EFAULT

    def test_transfers(self) -> None:
        card = make_card()
        assert card.pwrite("h2c_0", b"bytes", 77) == 5
        assert card.pread("c2h_0", 5, 77) == b"bytes"
        assert number(lambda: card.pread("c2h_0", 64, 2 * TINY.buffer_base)) == errno.EIO
        assert number(lambda: card.pwrite("h2c_0", bytes(64), 2 * TINY.buffer_base)) == errno.EIO
        for wrong in (lambda: card.pread("h2c_0", 4, 0), lambda: card.pwrite("c2h_0", b"data", 0)):
            assert number(wrong) == errno.EINVAL
        assert number(lambda: card.require_node("h2c_1")) == errno.ENOENT

    def test_an_interrupt_is_told_once_at_its_rise(self) -> None:
        card = make_card()
        assert not card.poll("events_0", 1)
        card.pwrite("user", struct.pack("<I", Irq.COMPLETION), Reg.IRQ_ENABLE)
        for _ in range(2):
            card.pwrite("user", bytes(4), Reg.MACRO_PUSH)
        assert card.poll("events_0", 1)
        assert number(lambda: card.pread("events_0", 8, 0)) == errno.EPROTO
        assert card.pread("events_0", 4, 0) == b"\1\0\0\0"
        assert number(lambda: card.pread("events_0", 4, 0)) == errno.EDEADLK
        assert not card.poll("events_0", 1), "still high: no second interrupt"
        card.pwrite("user", bytes(4), Reg.COMPLETION_POP)
        assert card.poll("events_0", 1), "low in between, high again"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[CardServer]:
    with CardServer(make_card(), tmp_path / "card") as server:
        yield server


@dataclass
class Hosts:
    """Hosts that speak to the server as they like; hung up after the test."""

    server: CardServer
    stack: ExitStack

    def connected(self) -> socket.socket:
        host = self.stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
        host.settimeout(30)
        host.connect(str(self.server.path))
        return host

    def opened(self, node: str) -> socket.socket:
        host = self.connected()
        assert ask(host, CardCall.OPEN, VERSION, len(node), node.encode()) == (0, b"")
        return host


@pytest.fixture
def hosts(server: CardServer) -> Iterator[Hosts]:
    with ExitStack() as stack:
        yield Hosts(server, stack)


def ask(host: socket.socket, kind: int, offset: int, size: int, payload: bytes = b"") -> tuple[int, bytes]:
    host.sendall(REQUEST.pack(kind, offset, size) + payload)
    return answer(host)


def answer(host: socket.socket) -> tuple[int, bytes]:
    result, size = ANSWER.unpack(host.recv(ANSWER.size, socket.MSG_WAITALL))
    return result, host.recv(size, socket.MSG_WAITALL) if size else b""


def check(server: CardServer) -> None:
    """A product from a new host."""
    weights, x = np.eye(5, 20, dtype=np.float32), np.arange(20, dtype=np.float32).reshape(1, 20)
    with XdmaTransport(str(server.path), CardSocket(str(server.path))) as transport:
        pim = Pim(Driver(transport, TINY), TINY)
        found = pim.linear(pim.upload(weights), (x.view(np.uint32) >> 16).astype(np.uint16))
    np.testing.assert_array_equal((found.astype(np.uint32) << 16).view(np.float32), x[:, :5])


def test_a_product(server: CardServer) -> None:
    before = len(os.listdir("/proc/self/fd"))
    check(server)
    assert len(os.listdir("/proc/self/fd")) <= before + 4  # which the server has not yet given back


def test_only_this_user_may_connect(server: CardServer) -> None:
    assert stat.S_IMODE(server.path.stat().st_mode) == 0o600


def test_one_host_at_a_time(server: CardServer) -> None:
    path = str(server.path)
    with XdmaTransport(path, CardSocket(path)):
        with pytest.raises(TransportError, match=r": another process has the card$"):
            XdmaTransport(path, CardSocket(path))
    check(server)


def test_a_host_that_dies_has_given_up_its_lock(hosts: Hosts) -> None:
    host = hosts.opened("user")
    assert ask(host, CardCall.FLOCK, 0, 0) == (0, b"")
    host.close()
    check(hosts.server)


@pytest.mark.parametrize("came", [1, 100, 2999])
def test_of_a_write_that_breaks_off_what_came_is_written(hosts: Hosts, came: int) -> None:
    host, data = hosts.opened("h2c_0"), np.random.default_rng(came).bytes(3000)
    host.sendall(REQUEST.pack(CardCall.PWRITE, 64, 3000) + data[:came])
    host.close()
    found = ask(hosts.opened("c2h_0"), CardCall.PREAD, 64, 3000)
    assert found == (3000, data[:came] + bytes(3000 - came))


@pytest.mark.parametrize(
    ("kind", "offset", "size", "payload"),
    [
        (CardCall.OPEN, VERSION + 1, 4, b"user"),
        (CardCall.OPEN, VERSION, 5, b"bogus"),
        (CardCall.OPEN, VERSION, 4, b"\xff\xfe\0\1"),
        (CardCall.PREAD, 0, 4, b""),
        (99, VERSION, 4, b""),
        (CardCall.OPEN, VERSION, MOST_BYTES + 1, b""),
    ],
)
def test_who_does_not_begin_with_open_is_hung_up_on(
    hosts: Hosts, kind: int, offset: int, size: int, payload: bytes
) -> None:
    host = hosts.connected()
    result, data = ask(host, kind, offset, size, payload)
    assert (-result, data) in ((errno.EPROTO, b""), (errno.ENOENT, b""))
    assert host.recv(1) == b""
    check(hosts.server)


@pytest.mark.parametrize("kind", [-1 % 256, 5, 77])
def test_unknown_calls_are_refused(hosts: Hosts, kind: int) -> None:
    host = hosts.opened("user")
    assert ask(host, kind, 0, 0) == (-errno.EPROTO, b"")
    assert ask(host, CardCall.PREAD, 0, MOST_BYTES + 1) == (-errno.EPROTO, b"")
    assert ask(host, CardCall.PREAD, Reg.ID, 4) == (4, IDENTITY.to_bytes(4, "little"))


def test_noise(hosts: Hosts, rng: np.random.Generator) -> None:
    """Random bytes, before and behind a good beginning, in pieces, with and without an end: the next host is served."""
    for turn in range(300):
        host = (
            hosts.opened(str(rng.choice(["user", "h2c_0", "c2h_0", "events_0"])))
            if turn % 3
            else hosts.connected()
        )
        size = int(rng.integers(0, 60))
        noise = bytearray(rng.bytes(size))
        if turn % 2 and size > 13:  # such that something is done
            noise[:13] = REQUEST.pack(
                int(rng.integers(0, 6)), int(rng.integers(0, 1 << 18)), int(rng.integers(0, 99))
            )
        host.sendall(noise)
        host.close()
    check(hosts.server)


@pytest.mark.parametrize(
    "reply", [ANSWER.pack(100, 0), ANSWER.pack(4, 8) + bytes(8), ANSWER.pack(9, 9) + bytes(9), b"\0"]
)
def test_a_server_that_lies_is_not_believed(reply: bytes, tmp_path: Path) -> None:
    path = str(tmp_path / "card")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()

        def lie() -> None:
            with listener.accept()[0] as host:
                host.recv(REQUEST.size + len("c2h_0"), socket.MSG_WAITALL)
                host.sendall(ANSWER.pack(0, 0))
                host.recv(REQUEST.size, socket.MSG_WAITALL)
                host.sendall(reply)

        liar = threading.Thread(target=lie)
        liar.start()
        system, buffer = CardSocket(path), memoryview(bytearray(8))
        descriptor = system.open(f"{path}_c2h_0", os.O_RDONLY)
        assert number(lambda: system.pread(descriptor, buffer, 0)) in (errno.EPROTO, errno.ENODEV)
        assert bytes(buffer) == bytes(8)
        system.close(descriptor)
        liar.join()


def test_a_server_that_does_not_answer_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(card_socket, "_PATIENCE", 0.1)
    path = str(tmp_path / "card")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(TransportError, match=r"card_user: the transfer timed out"):
            XdmaTransport(path, CardSocket(path))


def test_a_simulation_that_ends_is_a_card_that_is_gone(tmp_path: Path) -> None:
    with CardServer(make_card(), tmp_path / "card") as server:
        transport = XdmaTransport(str(server.path), CardSocket(str(server.path)))
    for access in (lambda: transport.read_register(Reg.ID), lambda: transport.read_memory(0, 4)):
        with pytest.raises(LinkDown):
            access()
    transport.close()
    assert not server.path.exists()


def test_a_simulation_that_fails_leaves_nobody_waiting(tmp_path: Path) -> None:
    class Broken(GoldenDesign):
        def read(self, address: int, size: int) -> bytes:
            raise RuntimeError("the design broke the protocol")

    server = CardServer(Card(Broken(ModelTransport(TINY)), look=0), tmp_path / "card")
    with pytest.raises(RuntimeError, match="broke the protocol"):  # noqa: PT012
        with server:
            with XdmaTransport(str(server.path), CardSocket(str(server.path))) as transport:
                with pytest.raises(LinkDown):
                    transport.read_memory(0, 4)


def test_places_for_a_socket(tmp_path: Path) -> None:
    path = tmp_path / "card"
    with CardServer(make_card(), path) as server:
        with pytest.raises(OSError, match="Address already in use"):
            CardServer(make_card(), path)
        check(server)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as dead:
        dead.bind(str(path))
    assert path.exists()
    with CardServer(make_card(), path) as server:  # in the place of one that was killed
        check(server)
    path.write_text("no socket")
    with pytest.raises(OSError, match="Address already in use"):
        CardServer(make_card(), path)
    assert path.read_text() == "no socket"
    with pytest.raises(TransportError, match=r"none_user: No such file or directory"):
        XdmaTransport(str(tmp_path / "none"), CardSocket(str(tmp_path / "none")))
