"""The six system calls that a card needs, and nothing else of the operating system: a test or a socket can stand in."""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
from typing import Protocol

__all__ = ["Kernel", "System"]


class System(Protocol):
    """What :class:`~host_runtime.transport.xdma.XdmaTransport` asks for. Each call may raise ``OSError``."""

    def open(self, path: str, flags: int) -> int:
        """A descriptor of ``path``, which child processes do not inherit."""

    def close(self, descriptor: int) -> None:
        """Give a descriptor back; it is gone even if this raises."""

    def flock(self, descriptor: int) -> None:
        """Lock the file for this descriptor alone, without waiting, until it is closed."""

    def pread(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        """Read up to ``len(buffer)`` bytes at ``offset`` straight into ``buffer``; how many came."""

    def pwrite(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        """Write up to ``len(buffer)`` bytes at ``offset`` straight from ``buffer``; how many went."""

    def poll(self, descriptor: int | None, milliseconds: int) -> bool:
        """Wait until the descriptor can be read; False if it cannot in time. Without a descriptor: just wait."""


class Kernel:
    """The real ones.

    ``pread`` goes through the C library: Python's own reads into memory of its own choice, which has not the alignment
    that a DMA engine wants, and ``preadv``, which takes a buffer, crashes the XDMA driver.
    """

    def __init__(self) -> None:
        self._pread = ctypes.CDLL(None, use_errno=True).pread
        self._pread.restype = ctypes.c_ssize_t
        self._pread.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int64)

    def open(self, path: str, flags: int) -> int:
        return os.open(path, flags)

    def close(self, descriptor: int) -> None:
        os.close(descriptor)

    def flock(self, descriptor: int) -> None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def pread(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        place = (ctypes.c_char * len(buffer)).from_buffer(buffer)
        count: int = self._pread(descriptor, ctypes.addressof(place), len(buffer), offset)
        if count < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return count

    def pwrite(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        return os.pwrite(descriptor, buffer, offset)

    def poll(self, descriptor: int | None, milliseconds: int) -> bool:
        waiting = select.poll()
        if descriptor is not None:
            waiting.register(descriptor, select.POLLIN)
        return any(events & select.POLLIN for _, events in waiting.poll(milliseconds))
