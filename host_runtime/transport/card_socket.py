# Ref: pim_model.spec.card_link
"""The device files of a simulated card, on a local socket."""

from __future__ import annotations

import errno
import os
import socket
import time
from contextlib import suppress

from pim_model.spec.card_link import ANSWER, MOST_BYTES, REQUEST, VERSION, CardCall

__all__ = ["CardSocket"]

_PATIENCE = 120.0
"""Seconds for an answer: a simulation takes some tens of them for the longest transfer."""


class CardSocket:
    """A :class:`~host_runtime.transport.system.System` whose files are ``<path>_user`` and so on, served at ``path``.

    A descriptor is that of a connection. ENODEV once the server is gone, ETIMEDOUT if it does not answer.
    """

    def __init__(self, path: str):
        self._path = path
        self._open: dict[int, socket.socket] = {}

    def open(self, path: str, flags: int) -> int:  # noqa: ARG002 - the server lets every file be used as it can be
        node = path.removeprefix(f"{self._path}_").encode()
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        connection.settimeout(_PATIENCE)
        try:
            connection.connect(self._path)
            _ask(connection, CardCall.OPEN, VERSION, len(node), memoryview(node))
        except BaseException:
            connection.close()
            raise
        self._open[connection.fileno()] = connection
        return connection.fileno()

    def close(self, descriptor: int) -> None:
        self._open.pop(descriptor).close()

    def flock(self, descriptor: int) -> None:
        _ask(self._open[descriptor], CardCall.FLOCK, 0, 0)

    def pread(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        return _ask(self._open[descriptor], CardCall.PREAD, offset, len(buffer), into=buffer)

    def pwrite(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        return _ask(self._open[descriptor], CardCall.PWRITE, offset, len(buffer), buffer)

    def poll(self, descriptor: int | None, milliseconds: int) -> bool:
        if descriptor is None:
            time.sleep(milliseconds / 1000)
            return False
        return bool(_ask(self._open[descriptor], CardCall.POLL, milliseconds, 0))


def _ask(
    connection: socket.socket,
    call: CardCall,
    offset: int,
    size: int,
    payload: memoryview | None = None,
    into: memoryview | None = None,
) -> int:
    """What the call returns; what comes with it is put into ``into``."""
    if size > MOST_BYTES:
        raise _error(errno.EINVAL)
    try:
        connection.sendall(REQUEST.pack(call, offset, size))
        if payload is not None:
            connection.sendall(payload)
        header = memoryview(bytearray(ANSWER.size))
        _receive(connection, header)
        result, count = ANSWER.unpack(header)
        expected = max(result, 0) if call == CardCall.PREAD else 0
        if count != expected or count > (0 if into is None else len(into)):
            raise _error(errno.EPROTO)
        if into is not None:
            _receive(connection, into[:count])
    except BaseException as error:
        # What comes later would be taken for another call's answer.
        with suppress(OSError):
            connection.shutdown(socket.SHUT_RDWR)
        if isinstance(error, TimeoutError):
            raise _error(errno.ETIMEDOUT) from error
        if isinstance(error, ConnectionError):
            raise _error(errno.ENODEV) from error
        raise
    if result < 0:
        raise _error(-result)
    return int(result)


def _receive(connection: socket.socket, into: memoryview) -> None:
    while into:
        count = connection.recv_into(into)
        if not count:
            raise ConnectionResetError("the server is gone")
        into = into[count:]


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
