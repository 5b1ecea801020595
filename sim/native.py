"""The Verilated prototype in this process: registers, data window, interrupt; no Python in a cycle.

A call runs the simulation until its transaction has ended. The simulated clock stands between calls. ctypes releases
the GIL during a call, so other threads go on; but one simulation is for one thread at a time.
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from types import MappingProxyType, TracebackType

import numpy as np
import numpy.typing as npt

from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp
from sim.coverage.native import watch

__all__ = [
    "FAULTS",
    "TRACE",
    "AddressError",
    "BusError",
    "BusTimeout",
    "DeviceFault",
    "NativeSimulation",
    "SimulationError",
    "profile_number",
]

_PROFILES = MappingProxyType({"aligned": 0, "fp32_tree": 1})

TRACE = np.dtype(
    [
        ("cycle", "<u8"),
        ("row", "<u2"),
        ("channel", "u1"),
        ("slot", "u1"),
        ("op", "u1"),
        ("bank", "u1"),
        ("column", "u1"),
        ("mode", "u1"),
    ]
)
"""One recorded command; operands as they stood on the bus."""

FAULTS = MappingProxyType(
    {
        1: "no such command",
        2: "bank, row or column that the device does not have",
        3: "column access or MAC on a bank without an open row",
        4: "activation or refresh of a bank with an open row",
        5: "AF on a row that ACTAF did not open",
        6: "two writes with data in one cycle, or two reads that return at once",
        7: "data that differ from the C++ model's, or come at another time",
    }
)
"""Texts of the device model's faults."""

_OPS = 32
_RESPONSES = MappingProxyType({2: "SLVERR", 3: "DECERR"})
_TIMEOUT, _RANGE, _PROTOCOL, _HUNG = 4, 5, 6, 7

Buffer = bytes | bytearray | memoryview | npt.NDArray[np.generic]


class SimulationError(Exception):
    """The simulation could not do what was asked."""


class BusError(SimulationError):
    """A transaction ended with an error response."""

    def __init__(self, what: str, address: int, response: str):
        super().__init__(f"{what} at {address:#x}: {response}")
        self.address = address
        self.response = response


class BusTimeout(SimulationError):
    """The design made no progress on a transaction; only :meth:`NativeSimulation.reset` helps."""


class AddressError(SimulationError, ValueError):
    """An address range reaches beyond the memory or the window."""


class DeviceFault(SimulationError):
    """The controller sent a command to which the device model can give no meaning."""


class _Faults(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint64),
        ("fault", ctypes.c_int32),
        ("unused", ctypes.c_uint32),
        ("first", ctypes.c_uint8 * TRACE.itemsize),
    )


def profile_number(numerics: str) -> int:
    """The C ABI's number of a numerics profile; ``ValueError`` lists the names there are."""
    if numerics not in _PROFILES:
        raise ValueError(f"numerics must be one of {', '.join(_PROFILES)}, not {numerics!r}")
    return _PROFILES[numerics]


def _load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    handle, u32, u64 = ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint64
    pointer, places = ctypes.c_void_p, ctypes.POINTER(u64)
    signatures: dict[str, tuple[object, list[object]]] = {
        "open": (handle, [ctypes.c_int]),
        "close": (None, [handle]),
        "reset": (None, [handle]),
        "reg_read": (ctypes.c_int, [handle, u32, ctypes.POINTER(u32)]),
        "reg_write": (ctypes.c_int, [handle, u32, u32]),
        "mem_read": (ctypes.c_int, [handle, u64, pointer, u64, places]),
        "mem_write": (ctypes.c_int, [handle, u64, pointer, u64, places]),
        "preload": (ctypes.c_int, [handle, u64, pointer, u64]),
        "peek": (ctypes.c_int, [handle, u64, pointer, u64]),
        "wait_irq": (ctypes.c_int, [handle, u64]),
        "idle": (None, [handle, u64]),
        "cycles": (u64, [handle]),
        "set_timeout": (None, [handle, u64]),
        "trace_start": (ctypes.c_int, [handle, u64]),
        "trace": (pointer, [handle, places, places]),
        "counts": (pointer, [handle]),
        "faults_get": (None, [handle, ctypes.POINTER(_Faults)]),
        "watch": (ctypes.c_int, [handle]),
        "monitor": (pointer, [handle]),
        "code_counts": (ctypes.c_int, [handle, ctypes.c_char_p]),
    }
    for name, (result, arguments) in signatures.items():
        function = getattr(library, f"ianus_{name}")
        function.restype, function.argtypes = result, arguments
    return library


def _readable(data: Buffer) -> npt.NDArray[np.uint8]:
    """The bytes of ``data`` without a copy."""
    if isinstance(data, np.ndarray):
        return np.ascontiguousarray(data).reshape(-1).view(np.uint8)
    return np.frombuffer(data, np.uint8)


class NativeSimulation:
    """One simulated prototype, reset and with zero memory.

    Parameters
    ----------
    path : Path
        A library of :func:`sim.build.library` for the same ``config``.
    config : Config
        What the library was built for.
    numerics : str
        ``aligned`` or ``fp32_tree``: the arithmetic of the device model.

    Every method raises ``SimulationError`` on a closed simulation.
    """

    def __init__(self, path: Path, config: Config, numerics: str = "aligned") -> None:
        self.config = config
        self.numerics = numerics
        self._open: int | None = None
        self._library = _load(path)
        self._open = self._library.ianus_open(profile_number(numerics))
        if not self._open:
            raise MemoryError("no memory for the simulation")
        self._monitor = watch(self._library, self._open, path, config)

    # --- life

    @property
    def _handle(self) -> int:
        if self._open is None:
            raise SimulationError("simulation is closed")
        return self._open

    def close(self) -> None:
        """Free the simulation; it may be called twice."""
        if self._open is not None:
            if self._monitor:
                self._monitor.close()
            self._library.ianus_close(self._open)
            self._open = None

    def __enter__(self) -> NativeSimulation:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def reset(self) -> None:
        """Reset the design and close all banks; memory keeps its contents and the cycle count goes on."""
        self._library.ianus_reset(self._handle)
        if self._monitor:
            self._monitor.host.reset()

    # --- registers and interrupt

    def read_register(self, offset: int) -> int:
        """Read the 32-bit register at byte ``offset`` through the AXI4-Lite port."""
        value = ctypes.c_uint32()
        code = self._library.ianus_reg_read(self._handle, _offset(offset), ctypes.byref(value))
        if self._monitor:
            self._monitor.host.register_read(offset, None if code else value.value)
        self._check(code, "register read", offset)
        return value.value

    def write_register(self, offset: int, value: int) -> None:
        """Write the 32-bit register at byte ``offset`` through the AXI4-Lite port."""
        if not 0 <= value < 1 << 32:
            raise ValueError(f"value must fit in 32 bits, not {value!r}")
        code = self._library.ianus_reg_write(self._handle, _offset(offset), value)
        if self._monitor:
            self._monitor.host.register_write(offset, value, refused=bool(code))
        self._check(code, "register write", offset)

    def wait_interrupt(self, max_cycles: int) -> bool:
        """Run until the interrupt line is high; False if it is not within ``max_cycles``."""
        return bool(self._library.ianus_wait_irq(self._handle, _count("max_cycles", max_cycles)))

    # --- data window

    def read(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes of the data window through the AXI4 port."""
        data = np.empty(_count("size", size), np.uint8)
        self.read_into(address, data)
        return data.tobytes()

    def read_into(self, address: int, data: npt.NDArray[np.generic]) -> None:
        """Fill the contiguous array ``data`` from the data window through the AXI4 port."""
        if not data.flags.c_contiguous or not data.flags.writeable:
            raise ValueError("data must be a writable contiguous array")
        failed = ctypes.c_uint64(address)
        self._in_window(address, data.nbytes)
        code = self._library.ianus_mem_read(
            self._handle, address, data.ctypes.data, data.nbytes, ctypes.byref(failed)
        )
        if self._monitor:
            self._monitor.host.transfer(address, None, data.nbytes, refused=bool(code))
        self._check(code, "read", failed.value)

    def write(self, address: int, data: Buffer) -> None:
        """Write bytes to the data window through the AXI4 port."""
        source = _readable(data)
        failed = ctypes.c_uint64(address)
        self._in_window(address, source.size)
        code = self._library.ianus_mem_write(
            self._handle, address, source.ctypes.data, source.size, ctypes.byref(failed)
        )
        if self._monitor:
            self._monitor.host.transfer(address, source.tobytes(), source.size, refused=bool(code))
        self._check(code, "write", failed.value)

    def preload(self, address: int, data: Buffer) -> None:
        """Put bytes into DRAM by the back door: no cycle passes. Never over rows that a macro is working on."""
        source = _readable(data)
        self._in_window(address, 0)
        code = self._library.ianus_preload(self._handle, address, source.ctypes.data, source.size)
        self._check(code, "preload", address)

    def peek(self, address: int, size: int) -> bytes:
        """Bytes of DRAM by the back door: no cycle passes."""
        data = np.empty(_count("size", size), np.uint8)
        self._in_window(address, 0)
        self._check(self._library.ianus_peek(self._handle, address, data.ctypes.data, size), "peek", address)
        return data.tobytes()

    def _in_window(self, address: int, size: int) -> None:
        limit = 1 << self.config.window_bits
        if not 0 <= address <= limit - size:
            raise AddressError(
                f"address range must lie in the window of {limit:#x} bytes, not {address:#x} + {size:#x}"
            )

    # --- time and observation

    @property
    def cycles(self) -> int:
        """Cycles simulated so far, resets included."""
        return int(self._library.ianus_cycles(self._handle))

    def idle(self, cycles: int) -> None:
        """Run ``cycles`` cycles without a transaction."""
        self._library.ianus_idle(self._handle, _count("cycles", cycles))

    def set_timeout(self, cycles: int) -> None:
        """Cycles without progress after which a transaction gives up with :class:`BusTimeout` (at first 100000)."""
        self._library.ianus_set_timeout(self._handle, _count("cycles", cycles))

    def record(self, capacity: int) -> None:
        """Record commands from now on, up to ``capacity``; drops an earlier recording. 0 ends recording."""
        if self._library.ianus_trace_start(self._handle, _count("capacity", capacity)):
            raise MemoryError(f"no memory for a trace of {capacity} commands")

    def trace(self) -> npt.NDArray[np.void]:
        """A copy of the recorded commands, in order of cycle, channel and slot: dtype :data:`TRACE`.

        ``SimulationError`` if more came than :meth:`record` left place for.
        """
        count, lost = ctypes.c_uint64(), ctypes.c_uint64()
        records = self._library.ianus_trace(self._handle, ctypes.byref(count), ctypes.byref(lost))
        if lost.value:
            raise SimulationError(
                f"trace of {count.value} commands is full; {lost.value} more were not recorded"
            )
        if not count.value:
            return np.empty(0, TRACE)
        return np.frombuffer(ctypes.string_at(records, count.value * TRACE.itemsize), TRACE).copy()

    def counts(self) -> npt.NDArray[np.uint64]:
        """Commands seen since the simulation was opened: ``uint64[channels, 32]``, second index the micro command."""
        channels = self.config.geometry.channels
        table = ctypes.string_at(self._library.ianus_counts(self._handle), channels * _OPS * 8)
        return np.frombuffer(table, np.uint64).reshape(channels, _OPS).copy()

    def check_device(self) -> None:
        """:class:`DeviceFault` if some device model ever got a command without a meaning; names the first."""
        faults = _Faults()
        self._library.ianus_faults_get(self._handle, ctypes.byref(faults))
        if not faults.count:
            return
        first = np.frombuffer(bytes(faults.first), TRACE)[0]
        op = int(first["op"])
        name = MicroOp(op).name if op in MicroOp._value2member_map_ else f"opcode {op}"
        place = ", ".join(f"{field} {first[field]}" for field in ("bank", "row", "column", "mode"))
        raise DeviceFault(
            f"{name} in slot {first['slot']} of channel {first['channel']}, cycle {first['cycle']} ({place}): "
            f"{FAULTS[faults.fault]}; {faults.count} such commands"
        )

    def _check(self, code: int, what: str, address: int) -> None:
        if code == 0:
            return
        if code == _RANGE:
            raise AddressError(f"{what} at {address:#x} reaches beyond the memory")
        if code == _TIMEOUT:
            raise BusTimeout(f"{what} at {address:#x}: the design made no progress")
        if code == _HUNG:
            raise BusTimeout(
                f"{what} at {address:#x}: an earlier transaction never ended; reset the simulation"
            )
        if code == _PROTOCOL:
            raise SimulationError(f"{what} at {address:#x}: the design broke the AXI protocol")
        raise BusError(what, address, _RESPONSES.get(code, f"response {code}"))


def _count(name: str, value: int) -> int:
    if not 0 <= value < 1 << 63:
        raise ValueError(f"{name} must be a non-negative integer, not {value!r}")
    return value


def _offset(offset: int) -> int:
    if not 0 <= offset < 1 << 16 or offset % 4:
        raise ValueError(f"register offset must be a multiple of 4 below 65536, not {offset!r}")
    return offset
