"""The board's end of the serial link, written a second time, over any transport and behind a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import select
import threading
import tty
import zlib
from collections.abc import Callable
from types import TracebackType

from host_runtime.errors import AccessError
from host_runtime.transport import Transport
from pim_model.spec.link import MOST_BYTES, START, Kind, LinkStatus

Fault = Callable[[int, bytes], bytes]
"""``fault(n, frame)``: what becomes of the n-th frame in that direction; empty if it is lost."""


def whole(_number: int, frame: bytes) -> bytes:
    return frame


class LinkBoard:
    """Serves ``device`` from a thread of its own. ``requests`` and ``answers`` say what the line does to frames."""

    def __init__(self, device: Transport, requests: Fault = whole, answers: Fault = whole):
        self._device, self._requests, self._answers = device, requests, answers
        self._server, self._client = pty.openpty()
        tty.setraw(self._client)
        self.path = os.ttyname(self._client)
        self._stop, self._stopped = os.pipe()
        self._last: tuple[int, int] | None = None
        self.writes = 0
        """Writes carried out."""
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        came, asked, answered = b"", 0, 0
        while True:
            # A pause between bytes ends a frame.
            readable, _, _ = select.select([self._server, self._stop], [], [], 0.05 if came else None)
            if self._stop in readable:
                return
            came = came + os.read(self._server, 4096) if self._server in readable else b""
            start = came.find(START)
            if start < 0 or len(came) < start + 12:
                continue
            size = came[start + 3] if came[start + 2] in (Kind.WRITE_REGISTER, Kind.WRITE_MEMORY) else 0
            if len(came) < start + 12 + size:
                continue
            frame, came = self._requests(asked, came[start : start + 12 + size]), b""
            asked += 1
            answer = self._answer(frame)
            if answer:
                os.write(self._server, self._answers(answered, answer))
                answered += 1

    def _answer(self, frame: bytes) -> bytes:
        body, crc = frame[1:-4], frame[-4:]
        if not frame or zlib.crc32(body) != int.from_bytes(crc, "little"):
            return b""
        sequence, kind, length = body[:3]
        status, data = self._carry_out(sequence, kind, length, int.from_bytes(body[3:7], "little"), body[7:])
        answer = bytes((sequence, status, len(data))) + data
        return bytes((START,)) + answer + zlib.crc32(answer).to_bytes(4, "little")

    def _carry_out(
        self, sequence: int, kind: int, length: int, address: int, payload: bytes
    ) -> tuple[int, bytes]:
        device = self._device
        writes = kind in (Kind.WRITE_REGISTER, Kind.WRITE_MEMORY)
        if writes and self._last is not None and self._last[0] == sequence:
            return self._last[1], b""
        status, data = LinkStatus.OK, b""
        try:
            match kind:
                case Kind.HELLO:
                    self._last = None
                case Kind.READ_REGISTER:
                    data = device.read_register(address).to_bytes(4, "little")
                case Kind.WRITE_REGISTER:
                    device.write_register(address, int.from_bytes(payload, "little"))
                case Kind.READ_MEMORY if 0 < length <= MOST_BYTES - address % 32:
                    data = device.read_memory(address, length)
                case Kind.WRITE_MEMORY if 0 < length <= MOST_BYTES - address % 32:
                    device.write_memory(address, payload)
                case Kind.WAIT:
                    data = bytes((device.wait_interrupt(address),))
                case _:
                    status = LinkStatus.MALFORMED
        except AccessError:
            status = LinkStatus.REFUSED
        if writes:
            self._last, self.writes = (sequence, status), self.writes + 1
        return status, data

    def close(self) -> None:
        os.write(self._stopped, b"x")
        self._thread.join()
        for descriptor in (self._server, self._client, self._stop, self._stopped):
            os.close(descriptor)
        self._device.close()

    def __enter__(self) -> LinkBoard:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
