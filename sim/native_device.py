"""The C++ device model of one channel on its own, for agreement tests and measurements."""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import TracebackType

import numpy as np
import numpy.typing as npt

from pim_model.spec.micro import MicroOp
from sim.native import FAULTS, profile_number

__all__ = ["COMMAND", "NativeDevice"]

COMMAND = np.dtype(
    [
        ("op", "u1"),
        ("bank", "u1"),
        ("column", "u1"),
        ("fault", "u1"),
        ("row", "<u2"),
        ("mode", "u1"),
        ("unused", "u1"),
        ("enables", "<u4"),
        ("data", "u1", 32),
    ]
)
"""A micro command with its data: ``data`` is read for writes and filled in for reads, ``fault`` is filled in."""


class NativeDevice:
    """One channel of AiM as C++ executes it, functionally: no clock, no timing.

    Parameters
    ----------
    path : Path
        A library of :func:`sim.build.device_library`.
    numerics : str
        ``aligned`` or ``fp32_tree``.
    """

    def __init__(self, path: Path, numerics: str = "aligned") -> None:
        library = ctypes.CDLL(str(path))
        library.ianus_device_open.restype = ctypes.c_void_p
        library.ianus_device_open.argtypes = [ctypes.c_int]
        library.ianus_device_close.argtypes = [ctypes.c_void_p]
        library.ianus_device_run.argtypes = [
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.c_uint64,
            ctypes.c_uint64,
        ]
        self._library = library
        self._handle: int | None = library.ianus_device_open(profile_number(numerics))
        if not self._handle:
            raise MemoryError("no memory for the device model")

    def run(self, commands: npt.NDArray[np.void], times: int = 1) -> None:
        """Execute the array of :data:`COMMAND` in order, ``times`` times; reads and faults are written into it."""
        if commands.dtype != COMMAND or not commands.flags.c_contiguous or not commands.flags.writeable:
            raise TypeError(
                f"commands must be a writable contiguous array of COMMAND, not {commands.dtype!r}"
            )
        if self._handle is None:
            raise ValueError("device is closed")
        self._library.ianus_device_run(self._handle, commands.ctypes.data, commands.size, times)

    def execute(
        self,
        op: MicroOp,
        bank: int = 0,
        row: int = 0,
        column: int = 0,
        data: bytes = b"",
        enables: int = 0xFFFFFFFF,
        mode: int = 0,
    ) -> bytes:
        """Execute one command and return 32 bytes (of a read; else ``data``); ``ValueError`` names a fault."""
        command = np.zeros(1, COMMAND)
        bits = np.frombuffer(data.ljust(32, b"\0"), np.uint8)
        command[0] = (op, bank, column, 0, row, mode, 0, enables, bits)
        self.run(command)
        if fault := int(command["fault"][0]):
            raise ValueError(f"{MicroOp(op).name}: {FAULTS[fault]}")
        return command["data"][0].tobytes()

    def close(self) -> None:
        """Free the model; it may be called twice."""
        if self._handle is not None:
            self._library.ianus_device_close(self._handle)
            self._handle = None

    def __enter__(self) -> NativeDevice:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
