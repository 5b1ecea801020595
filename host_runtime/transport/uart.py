# Ref: pim_model.spec.link
"""A board behind a serial port: framed requests, checked, repeated when lost."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import termios
import time
import tty
import zlib

from host_runtime.errors import AccessError, LinkDown, TransportError
from host_runtime.transport import PATIENCE
from host_runtime.transport.base import Transport
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.link import ANSWER_BYTES, CRC_BYTES, MOST_BYTES, MOST_WAIT, START, Kind, LinkStatus

__all__ = ["BAUD", "UartTransport"]

BAUD = 1_000_000
ATTEMPTS = 6
"""Times that a request is sent before the board counts as gone."""


class UartTransport(Transport):
    """The board at a serial port, held by this process alone.

    Every request is answered or repeated, and a write that is repeated happens once. :class:`LinkDown` if the board
    does not answer; :class:`TransportError` if the port cannot be opened, or another process has it.

    Parameters
    ----------
    path : str
        The serial port, such as ``/dev/ttyUSB0``.
    baud : int
        Bits a second, one of the rates that termios names.
    timeout : float
        Seconds until a request without an answer is sent again.
    """

    name = "uart"

    def __init__(self, path: str, *, baud: int = BAUD, timeout: float = PATIENCE):
        speed = getattr(termios, f"B{baud}", None)
        if speed is None:
            raise ValueError(f"baud must be a rate that termios names, not {baud!r}")
        if not timeout > 0:
            raise ValueError(f"timeout must be a positive number of seconds, not {timeout!r}")
        self._path, self._timeout = path, timeout
        self._sequence = 0
        self._file: int | None = _open(path, speed)
        self.repeated = 0
        """Requests sent again since the port was opened."""
        try:
            self._request(Kind.HELLO, 0)
        except BaseException:
            self.close()
            raise

    # --------------------------------------------------------------------------------------------------- transport

    def read_register(self, offset: int) -> int:
        _require_word("read a register", offset)
        data = self._access("read a register", Kind.READ_REGISTER, offset, size=4)
        return int.from_bytes(data, "little")

    def write_register(self, offset: int, value: int) -> None:
        _require_word("write a register", offset)
        self._access("write a register", Kind.WRITE_REGISTER, offset, value.to_bytes(4, "little"))

    def read_memory(self, address: int, size: int) -> bytes:
        if size < 0:
            raise ValueError(f"size must be 0 or more bytes, not {size!r}")
        parts = []
        for at, count in _pieces(address, size):
            parts.append(self._access(f"read {size} bytes", Kind.READ_MEMORY, at, size=count))
        return b"".join(parts)

    def write_memory(self, address: int, data: bytes) -> None:
        view = memoryview(data).cast("B")
        for at, count in _pieces(address, len(view)):
            piece = bytes(view[at - address : at - address + count])
            self._access(f"write {len(view)} bytes", Kind.WRITE_MEMORY, at, piece)

    def wait_interrupt(self, timeout: int) -> bool:
        left = max(1, timeout)
        while left > 0:
            cycles = min(left, MOST_WAIT)
            if self._access("wait", Kind.WAIT, cycles, size=0)[0]:
                return True
            left -= cycles
        return False

    def close(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    # ---------------------------------------------------------------------------------------------------- requests

    def _access(self, action: str, kind: Kind, address: int, payload: bytes = b"", size: int = 0) -> bytes:
        if not 0 <= address < 1 << 32:
            raise AccessError(action, address)
        status, data = self._request(kind, address, payload, size or len(payload))
        if status != LinkStatus.OK:
            raise AccessError(action, address)
        wanted = {Kind.WAIT: 1, Kind.READ_REGISTER: 4, Kind.READ_MEMORY: size}.get(kind, 0)
        if len(data) != wanted:
            raise TransportError(f"{self._path}: {len(data)} bytes came to {kind.name}, not {wanted}")
        return data

    def _request(self, kind: Kind, address: int, payload: bytes = b"", length: int = 0) -> tuple[int, bytes]:
        """Status and payload of the answer."""
        self._sequence = (self._sequence + 1) % 256
        body = bytes((self._sequence, kind, length)) + address.to_bytes(4, "little") + payload
        frame = bytes((START,)) + body + zlib.crc32(body).to_bytes(CRC_BYTES, "little")
        for attempt in range(ATTEMPTS):
            self.repeated += attempt > 0
            self._send(frame)
            answer = self._answer()
            if answer is not None:
                return answer
        raise LinkDown(f"{self._path}: no answer to {kind.name} after {ATTEMPTS} attempts")

    def _answer(self) -> tuple[int, bytes] | None:
        """The answer to the request under way; None if none that is whole comes in time."""
        deadline = time.monotonic() + self._timeout
        came = b""
        while (left := deadline - time.monotonic()) > 0:
            came += self._receive(left)
            while (start := came.find(START)) >= 0:
                came = came[start:]
                end = 1 + ANSWER_BYTES + (came[3] if len(came) > 3 else 0) + CRC_BYTES
                if len(came) < end:
                    break
                body, crc = came[1 : end - CRC_BYTES], came[end - CRC_BYTES : end]
                if zlib.crc32(body) != int.from_bytes(crc, "little"):
                    came = came[1:]  # that was no beginning, or it is damaged
                elif body[0] != self._sequence:
                    came = came[end:]  # of a request that was given up
                else:
                    return body[1], body[ANSWER_BYTES:]
        return None

    def _send(self, data: bytes) -> None:
        deadline = time.monotonic() + self._timeout + len(data) / 1000
        while data:
            _, writable, _ = select.select([], [self._descriptor], [], max(0, deadline - time.monotonic()))
            if not writable:
                return  # nobody takes it: no answer will come either
            with _port_errors(self._path):
                data = data[os.write(self._descriptor, data) :]

    def _receive(self, seconds: float) -> bytes:
        readable, _, _ = select.select([self._descriptor], [], [], seconds)
        if not readable:
            return b""
        with _port_errors(self._path):
            data = os.read(self._descriptor, 4096)
        if not data:
            raise LinkDown(f"{self._path}: the port is gone")
        return data

    @property
    def _descriptor(self) -> int:
        if self._file is None:
            raise TransportError(f"{self._path}: the transport is closed")
        return self._file


class _port_errors:
    """Turn what the port's driver says into the runtime's errors."""

    def __init__(self, path: str):
        self._path = path

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> bool:
        if isinstance(error, BlockingIOError):
            return True
        if isinstance(error, OSError):
            raise LinkDown(f"{self._path}: {error.strerror}") from error
        return False


def _open(path: str, speed: int) -> int:
    try:
        port = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    except OSError as error:
        raise TransportError(f"{path}: {error.strerror}") from error
    try:
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
        tty.setraw(port)
        attributes = termios.tcgetattr(port)
        attributes[4] = attributes[5] = speed
        termios.tcsetattr(port, termios.TCSANOW, attributes)
        termios.tcflush(port, termios.TCIOFLUSH)
    except (OSError, termios.error) as error:
        os.close(port)
        taken = isinstance(error, OSError) and error.errno == errno.EWOULDBLOCK
        reason = "another process has the port" if taken else f"no serial port ({error})"
        raise TransportError(f"{path}: {reason}") from error
    return port


def _pieces(address: int, size: int) -> list[tuple[int, int]]:
    """(address, bytes) of requests for a range: none reaches beyond the beats that one may fill."""
    pieces = []
    while size > 0:
        count = min(size, MOST_BYTES - address % COLUMN_BYTES)
        pieces.append((address, count))
        address += count
        size -= count
    return pieces


def _require_word(action: str, offset: int) -> None:
    if not 0 <= offset < 1 << 16 or offset % 4:
        raise AccessError(action, offset)
