# Ref: pim_model.spec.card_link
"""Serves a simulated card's device files on a local socket: what a host opens in place of `/dev/xdma0`."""

from __future__ import annotations

import errno
import os
import selectors
import socket
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from pim_model.spec.card_link import ANSWER, MOST_BYTES, REQUEST, VERSION, CardCall
from sim.card import Card

__all__ = ["CardServer"]

_ROOM = 1 << 20
_PATIENCE = 60.0
"""Seconds that a host may leave an answer lying before it counts as gone."""

_CARRYING = (CardCall.OPEN, CardCall.PWRITE)
"""Requests with a payload."""


@dataclass(eq=False)
class _Connection:
    """One open device file."""

    socket: socket.socket
    node: str | None = None
    locked: bool = False
    inbox: bytearray = field(default_factory=bytearray)


class CardServer:
    """A card on a socket, from :meth:`serve` until :meth:`stop`; as a context, from a thread of its own.

    The simulation advances in requests only. Hosts that die, break off or send nonsense lose their connection and
    nothing else. Only this user can connect.

    Parameters
    ----------
    card : Card
        Used by :meth:`serve` alone.
    path : Path
        The socket, which must not be in use; ``OSError`` if it cannot be made.
    received : callable, optional
        Told of each number of bytes as they come, before anything is done with them.
    """

    def __init__(self, card: Card, path: Path, received: Callable[[int], None] | None = None):
        self._card, self.path, self._received = card, path, received
        self._connections: set[_Connection] = set()
        self._selector = selectors.DefaultSelector()
        self._stop, self._stopped = os.pipe()
        self._selector.register(self._stop, selectors.EVENT_READ)
        self._error: BaseException | None = None
        self._thread: threading.Thread | None = None
        try:
            self._listener = _listen(path)
        except BaseException:
            self._close_rest()
            raise
        self._selector.register(self._listener, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer hosts until :meth:`stop`."""
        while True:
            ready = [key for key, _ in self._selector.select()]
            if any(key.fd == self._stop for key in ready):
                return
            # A host that died has given its lock up before the next one asks: its end was there first.
            for key in ready:
                if key.data is not None:
                    self._receive(key.data)
            for key in ready:
                if key.fd == self._listener.fileno():
                    self._accept()

    def stop(self) -> None:
        """Make :meth:`serve` return; from any thread or a signal's handler."""
        os.write(self._stopped, b"x")

    def close(self) -> None:
        """Hang up and remove the socket; raises what ended the thread early, if something did."""
        if self._thread is not None:
            self.stop()
            self._thread.join()
        for connection in list(self._connections):
            self._drop(connection)
        self._selector.unregister(self._listener)
        self._listener.close()
        self.path.unlink(missing_ok=True)
        self._close_rest()
        if self._error is not None:
            raise self._error

    def _close_rest(self) -> None:
        self._selector.close()
        os.close(self._stop)
        os.close(self._stopped)

    def __enter__(self) -> CardServer:
        self._thread = threading.Thread(target=self._guarded, name="card", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _guarded(self) -> None:
        try:
            self.serve()
        except BaseException as error:
            self._error = error
            for connection in list(self._connections):  # nobody may wait for an answer
                self._drop(connection)
            self._listener.shutdown(socket.SHUT_RDWR)

    # ----------------------------------------------------------------------------------------------------- hosts

    def _accept(self) -> None:
        host, _ = self._listener.accept()
        host.settimeout(_PATIENCE)
        connection = _Connection(host)
        self._connections.add(connection)
        self._selector.register(host, selectors.EVENT_READ, connection)

    def _receive(self, connection: _Connection) -> None:
        try:
            data = connection.socket.recv(_ROOM)
        except OSError:
            data = b""
        if self._received is not None:
            self._received(len(data))
        connection.inbox += data
        try:
            while data and self._answer(connection):
                pass
        except (OSError, ConnectionError):  # it does not take its answer
            data = b""
        if not data:
            self._drop(connection)

    def _drop(self, connection: _Connection) -> None:
        self._connections.remove(connection)
        self._selector.unregister(connection.socket)
        connection.socket.close()
        if connection.node is not None and len(connection.inbox) > REQUEST.size:
            kind, offset, size = REQUEST.unpack_from(connection.inbox)
            part = bytes(connection.inbox[REQUEST.size :])
            if kind == CardCall.PWRITE and connection.node == "h2c_0" and len(part) < size <= MOST_BYTES:
                with suppress(OSError):
                    self._card.pwrite("h2c_0", part, offset)
        connection.inbox.clear()

    def _answer(self, connection: _Connection) -> bool:
        """Carry out the first request that came; False if none is whole."""
        inbox = connection.inbox
        if len(inbox) < REQUEST.size:
            return False
        kind, offset, size = REQUEST.unpack_from(inbox)
        carried = size if kind in _CARRYING else 0
        if size > MOST_BYTES:
            carried, kind = 0, -1
        if len(inbox) < REQUEST.size + carried:
            return False
        payload = bytes(inbox[REQUEST.size : REQUEST.size + carried])
        del inbox[: REQUEST.size + carried]
        try:
            result, data = self._carry_out(connection, kind, offset, size, payload)
        except OSError as error:
            result, data = -(error.errno or errno.EIO), b""
        connection.socket.sendall(ANSWER.pack(result, len(data)) + data)
        if connection.node is None:
            inbox.clear()
            raise ConnectionError("no device file was opened")
        return True

    def _carry_out(
        self, connection: _Connection, kind: int, offset: int, size: int, payload: bytes
    ) -> tuple[int, bytes]:
        node = connection.node
        if node is None:
            if kind != CardCall.OPEN or offset != VERSION:
                raise _error(errno.EPROTO)
            name = payload.decode("ascii", "replace")
            self._card.require_node(name)
            connection.node = name
            return 0, b""
        match kind:
            case CardCall.FLOCK:
                others = (c for c in self._connections if c is not connection and c.node == node)
                if any(other.locked for other in others):
                    raise _error(errno.EWOULDBLOCK)
                connection.locked = True
                return 0, b""
            case CardCall.PREAD:
                data = self._card.pread(node, size, offset)
                return len(data), data
            case CardCall.PWRITE:
                return self._card.pwrite(node, payload, offset), b""
            case CardCall.POLL:
                return int(self._card.poll(node, min(offset, 1000))), b""
            case _:
                raise _error(errno.EPROTO)


def _listen(path: Path) -> socket.socket:
    """A socket at ``path`` that only this user may connect to; one that a dead server left is replaced."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                if other.connect_ex(str(path)) == errno.ECONNREFUSED:
                    path.unlink()
        mask = os.umask(0o177)
        try:
            listener.bind(str(path))
        finally:
            os.umask(mask)
        listener.listen()
    except OSError as error:
        listener.close()
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    return listener


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
