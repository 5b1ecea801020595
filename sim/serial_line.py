"""A simulated board behind a pseudo-terminal: what a host opens in place of the board's serial port."""

from __future__ import annotations

import ctypes
import os
import pty
import select
import threading
import tty
from pathlib import Path
from types import TracebackType

import numpy as np

from sim.coverage.code import collect

__all__ = ["SerialBoard", "SerialLine"]

_CHUNK = 2048
"""Cycles between two looks at the terminal."""

_LINGER = 200_000
"""Cycles that the board still gets after the last byte in either direction: longer than any answer takes."""

_ROOM = 4096


class SerialBoard:
    """A Verilated board, in this process.

    Parameters
    ----------
    path : Path
        A library of :func:`sim.build.serial_library`.
    divisor : int
        Cycles a bit, as the design was built for.
    """

    def __init__(self, path: Path, divisor: int) -> None:
        library = ctypes.CDLL(str(path))
        pointer, count = ctypes.c_void_p, ctypes.c_uint64
        library.ianus_serial_open.restype = pointer
        library.ianus_serial_open.argtypes = [ctypes.c_uint]
        library.ianus_serial_close.argtypes = [pointer]
        library.ianus_serial_cycles.argtypes = [pointer]
        library.ianus_serial_cycles.restype = count
        library.ianus_serial_run.argtypes = [
            pointer, ctypes.c_char_p, count, ctypes.POINTER(count), pointer, count, count
        ]  # fmt: skip
        library.ianus_serial_run.restype = count
        library.ianus_serial_counts.argtypes = [pointer, ctypes.c_char_p]
        self._library, self._path = library, path
        self._out = np.zeros(_ROOM, np.uint16)
        self._handle: int | None = library.ianus_serial_open(divisor)
        if not self._handle:
            raise MemoryError("no memory for the board")

    def run(self, data: bytes, cycles: int) -> tuple[int, bytes]:
        """Let ``cycles`` pass with ``data`` on the line: how many of them are on their way, and what came back.

        ``RuntimeError`` if the board sent a byte without a stop bit.
        """
        if self._handle is None:
            raise ValueError("board is closed")
        taken = ctypes.c_uint64()
        come = self._library.ianus_serial_run(
            self._handle, data, len(data), taken, self._out.ctypes.data, _ROOM, cycles
        )
        if np.any(self._out[:come] > 0xFF):
            raise RuntimeError("the board sent a byte without a stop bit")
        return taken.value, self._out[:come].astype(np.uint8).tobytes()

    @property
    def cycles(self) -> int:
        """Cycles since power-on."""
        return int(self._library.ianus_serial_cycles(self._handle))

    def close(self) -> None:
        """Free the simulation; it may be called twice."""
        if self._handle is not None:
            handle = self._handle
            collect(self._path, "serial", lambda place: self._library.ianus_serial_counts(handle, place))
            self._library.ianus_serial_close(self._handle)
            self._handle = None


class SerialLine:
    """Serves a board on a pseudo-terminal from a thread of its own, until closed.

    The board's time passes while bytes travel and for a while after the last one; then it stands until the next.
    """

    def __init__(self, board: SerialBoard) -> None:
        self._board = board
        self._server, self._client = pty.openpty()
        tty.setraw(self._client)
        self.path = os.ttyname(self._client)
        """What to open."""
        self._stop, self._stopped = os.pipe()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._guarded, name="serial line", daemon=True)
        self._thread.start()

    def _guarded(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self._error = error

    def _serve(self) -> None:
        waiting, quiet = b"", _LINGER
        while True:
            idle = not waiting and quiet >= _LINGER
            readable, _, _ = select.select([self._server, self._stop], [], [], None if idle else 0)
            if self._stop in readable:
                return
            if self._server in readable:
                waiting += os.read(self._server, _ROOM)
            taken, answer = self._board.run(waiting, _CHUNK)
            quiet = 0 if waiting or answer else quiet + _CHUNK
            waiting = waiting[taken:]
            while answer:
                answer = answer[os.write(self._server, answer) :]

    def check(self) -> None:
        """Raise what ended the board's thread early, if something did."""
        if self._error is not None:
            raise self._error

    def close(self) -> None:
        """Stop; raises as :meth:`check`."""
        os.write(self._stopped, b"x")
        self._thread.join()
        for descriptor in (self._server, self._client, self._stop, self._stopped):
            os.close(descriptor)
        self._board.close()
        self.check()

    def __enter__(self) -> SerialLine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
