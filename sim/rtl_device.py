"""The synthesisable device of one channel on its own, Verilated, for agreement tests."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from sim.coverage.code import collect
from sim.native_device import COMMAND

__all__ = ["RtlDevice"]


class RtlDevice:
    """One channel as RTL: cells and registers zero, all rows closed.

    Parameters
    ----------
    path : Path
        A library of :func:`sim.build.rtl_device_library`.
    """

    def __init__(self, path: Path) -> None:
        library = ctypes.CDLL(str(path))
        pointer, count = ctypes.c_void_p, ctypes.c_uint64
        library.ianus_rtl_device_open.restype = pointer
        library.ianus_rtl_device_close.argtypes = [pointer]
        library.ianus_rtl_device_run.argtypes = [pointer, pointer, pointer, count]
        library.ianus_rtl_device_run.restype = count
        library.ianus_rtl_device_counts.argtypes = [pointer, ctypes.c_char_p]
        self._library, self._path = library, path
        self._handle: int | None = library.ianus_rtl_device_open()
        if not self._handle:
            raise MemoryError("no memory for the device")

    def run(
        self, commands: npt.NDArray[np.void], slots: npt.NDArray[np.uint8], cycles: npt.NDArray[np.uint64]
    ) -> None:
        """Put each :data:`COMMAND` on the bus in its slot and cycle (from 0, never falling); read data are filled in.

        ``RuntimeError`` if a read returned nothing, or a word came that no command asked for.
        """
        if commands.dtype != COMMAND or not commands.flags.c_contiguous or not commands.flags.writeable:
            raise TypeError(
                f"commands must be a writable contiguous array of COMMAND, not {commands.dtype!r}"
            )
        if self._handle is None:
            raise ValueError("device is closed")
        commands["unused"] = slots
        times = np.ascontiguousarray(cycles, np.uint64)
        if len(times) != len(commands) or np.any(times[1:] < times[:-1]):
            raise ValueError("cycles must be as many as commands, none before the one ahead of it")
        wrong = self._library.ianus_rtl_device_run(
            self._handle, commands.ctypes.data, times.ctypes.data, commands.size
        )
        if wrong:
            raise RuntimeError(f"{wrong} words too many or too few have come back")

    def close(self) -> None:
        """Free the simulation; it may be called twice."""
        if self._handle is not None:
            handle = self._handle
            collect(
                self._path, "rtl_device", lambda place: self._library.ianus_rtl_device_counts(handle, place)
            )
            self._library.ianus_rtl_device_close(self._handle)
            self._handle = None

    def __enter__(self) -> RtlDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
