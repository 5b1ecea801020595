"""What a program asked of a device and what came back, as JSON lines; and a device that gives it back.

The first line names the format and the transport. Each further line is one call: its name, its arguments, and what it
returned or raised. Bytes are compressed (zlib) and in Base64.
"""

from __future__ import annotations

import base64
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import host_runtime.errors
from host_runtime.errors import AccessError, TransportError
from host_runtime.transport.base import Transport

__all__ = ["Recorded", "ReplayMismatch", "Replayed"]

FORMAT = "ianus transcript 1"


class ReplayMismatch(TransportError):
    """The program asked for something else than when the transcript was written, or for more."""


class Recorded(Transport):
    """``transport``, with every call written to ``path`` before its result is returned. Closes what it wraps."""

    name = "recorded"

    def __init__(self, transport: Transport, path: Path):
        self._transport = transport
        try:
            self._file = path.open("w", encoding="utf-8")
        except OSError:
            transport.close()
            raise
        self._line({"format": FORMAT, "transport": transport.name})

    def read_register(self, offset: int) -> int:
        return int(self._call("read_register", self._transport.read_register, int(offset)))

    def write_register(self, offset: int, value: int) -> None:
        self._call("write_register", self._transport.write_register, int(offset), int(value))

    def read_memory(self, address: int, size: int) -> bytes:
        return bytes(self._call("read_memory", self._transport.read_memory, address, size))

    def write_memory(self, address: int, data: bytes) -> None:
        self._call("write_memory", self._transport.write_memory, address, bytes(data))

    def wait_interrupt(self, timeout: int) -> bool:
        return bool(self._call("wait_interrupt", self._transport.wait_interrupt, timeout))

    def preload(self, address: int, data: bytes) -> None:
        self._call("preload", self._transport.preload, address, bytes(data))

    def peek(self, address: int, size: int) -> bytes:
        return bytes(self._call("peek", self._transport.peek, address, size))

    def recover(self) -> None:
        self._call("recover", self._transport.recover)

    def close(self) -> None:
        self._file.close()
        self._transport.close()

    def _call(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        entry: dict[str, Any] = {"call": name, "arguments": [_plain(each) for each in arguments]}
        try:
            result = function(*arguments)
        except TransportError as error:
            entry["error"] = [type(error).__name__, *_reason(error)]
            self._line(entry)
            raise
        self._line(entry | {"result": _plain(result)})
        return result

    def _line(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry) + "\n")
        self._file.flush()  # what was asked of a device before the process died must be there


class Replayed(Transport):
    """The device of a transcript: every call must be the next one there, and gives what it gave then.

    :class:`ReplayMismatch` at the first difference. ``ValueError`` for a file that is no transcript.
    """

    name = "replayed"

    def __init__(self, path: Path):
        self._path, self._next = path, 1
        try:
            lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        except ValueError as error:
            raise ValueError(f"{path} must be a transcript, and is not JSON lines: {error}") from error
        if not lines or not isinstance(lines[0], dict) or lines[0].get("format") != FORMAT:
            raise ValueError(f"{path} must be a transcript: its first line must name {FORMAT!r}")
        self._lines = lines
        self.of = str(lines[0].get("transport"))
        """The transport whose calls these are."""

    @property
    def left(self) -> int:
        """Calls not asked for yet."""
        return len(self._lines) - self._next

    def read_register(self, offset: int) -> int:
        return int(self._call("read_register", int(offset)))

    def write_register(self, offset: int, value: int) -> None:
        self._call("write_register", int(offset), int(value))

    def read_memory(self, address: int, size: int) -> bytes:
        return _unpacked(self._call("read_memory", address, size))

    def write_memory(self, address: int, data: bytes) -> None:
        self._call("write_memory", address, bytes(data))

    def wait_interrupt(self, timeout: int) -> bool:
        return bool(self._call("wait_interrupt", timeout))

    def preload(self, address: int, data: bytes) -> None:
        self._call("preload", address, bytes(data))

    def peek(self, address: int, size: int) -> bytes:
        return _unpacked(self._call("peek", address, size))

    def recover(self) -> None:
        self._call("recover")

    def _call(self, name: str, *arguments: Any) -> Any:
        asked = [_plain(each) for each in arguments]
        if not self.left:
            raise ReplayMismatch(f"{self._path}: {_shown(name, asked)} comes after its end")
        entry = self._lines[self._next]
        self._next += 1
        if (entry["call"], entry["arguments"]) != (name, asked):
            raise ReplayMismatch(
                f"{self._path}, line {self._next}: the transcript has {_shown(entry['call'], entry['arguments'])}, and "
                f"the program asks for {_shown(name, asked)}"
            )
        if "error" in entry:
            raise _error(*entry["error"])
        return entry["result"]


def _plain(value: Any) -> Any:
    return base64.b64encode(zlib.compress(value)).decode() if isinstance(value, bytes) else value


def _unpacked(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text))


def _shown(name: str, arguments: list[Any]) -> str:
    texts = [hex(each) if isinstance(each, int) else f"{len(_unpacked(each))} bytes" for each in arguments]
    return f"{name}({', '.join(texts)})"


def _reason(error: TransportError) -> tuple[Any, ...]:
    return (error.action, error.address) if isinstance(error, AccessError) else (str(error),)


def _error(name: str, *reason: Any) -> TransportError:
    """The error that was raised; as its nearest class here if it was one of a transport's own."""
    kind = getattr(host_runtime.errors, name, TransportError)
    error: TransportError = kind(*reason)
    return error
