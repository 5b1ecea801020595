# Ref: register map (pim_model/spec/registers.py); IANUS (ASPLOS 2024), section 7.3
"""The whole prototype as the host sees it: registers, data window, interrupt line. The golden device."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pim_model import matvec
from pim_model.numerics.profiles import profile
from pim_model.pcu import ControlUnit
from pim_model.spec import registers
from pim_model.spec.config import Config
from pim_model.spec.errors import ErrorSource, Status
from pim_model.spec.macro import MACRO_WORDS, tag_of
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Control, Event, Irq, Reg, StatusBit
from pim_model.spec.timing import TIMINGS
from pim_model.storage import Storage
from pim_model.trace import Entry

__all__ = ["BusError", "Device"]

_WORD = 0xFFFFFFFF
_BY_OFFSET = {int(reg): reg for reg in Reg}


class BusError(Exception):
    """An access that the bus answers with an error: outside the register map or the data window."""


@dataclass(frozen=True)
class _Queued:
    words: tuple[int, ...]
    pushed: int
    """Cycle of the push."""


@dataclass(frozen=True)
class _Completion:
    tag: int
    status: Status
    cycles: int


class Device:
    """Golden device behind the register map of :mod:`pim_model.spec.registers`.

    Time stands still until :meth:`step`: each call runs the oldest macro to its completion, and the cycle
    counter moves by what the golden schedule says. The running place and ``config.macro_queue`` queued ones
    take macros; a macro starts only while the completion queue has room. Normal traffic takes no cycles and
    is not counted; a refresh that falls due between macros is taken at the start of the next one.

    Parameters
    ----------
    config : Config
        The build.
    numerics : str
        Name of the arithmetic profile.
    cache_bytes : int
        Bytes of prepared weight matrices to keep.
    """

    def __init__(
        self, config: Config, numerics: str = "aligned", *, cache_bytes: int = matvec.CACHE_BYTES
    ) -> None:
        self.config = config
        self.numerics = profile(numerics).name
        self.storage = Storage(config.geometry)
        self.buffer: npt.NDArray[np.uint8] = np.zeros(config.buffer_bytes, dtype=np.uint8)
        self._pcu = ControlUnit(config, self.storage, self.buffer, self.numerics, cache_bytes)
        self._words = [0] * MACRO_WORDS
        self._irq_enable = 0
        self._error_info = [0] * len(ErrorSource)
        self._inject = 0  # kept and of no effect: there is no path here on which a bit could flip
        self._reset()

    def _reset(self) -> None:
        """Drop macros, completions and sticky bits. Memory, buffer, counters and host settings stay."""
        self._running: _Queued | None = None
        self._queue: deque[_Queued] = deque()
        self._completions: deque[_Completion] = deque()
        self._errors = 0

    # --- what the host sees

    @property
    def interrupt(self) -> bool:
        """The interrupt line: high while an enabled cause is set."""
        return bool(self._irq_status & self._irq_enable)

    def read_register(self, offset: int) -> int:
        """Read a 32-bit register, without side effects; :class:`BusError` outside the map."""
        reg, index = self._register(offset, write=False)
        if reg is Reg.COMMANDS:
            channel, op = divmod(index, registers.COUNTER_STRIDE // 4)
            return int(self.commands[channel, op]) & _WORD
        if reg is Reg.EVENTS:
            channel, word = divmod(index, registers.COUNTER_STRIDE // 4)
            return self._event(channel, Event(word // 2)) >> 32 * (word % 2) & _WORD
        if reg is Reg.MACRO_WORD0:
            return self._words[index]
        if reg is Reg.ERROR_INFO:
            return self._error_info[index]
        return self._read(reg) & _WORD

    def write_register(self, offset: int, value: int) -> None:
        """Write a 32-bit register; read-only ones ignore it. :class:`BusError` outside the map."""
        if not 0 <= value <= _WORD:
            raise ValueError(f"value must fit in 32 bits, not {value!r}")
        reg, index = self._register(offset, write=True)
        if reg is Reg.MACRO_WORD0:
            self._words[index] = value
        elif reg is Reg.MACRO_PUSH:
            self._push()
        elif reg is Reg.COMPLETION_POP:
            if self._completions:
                self._completions.popleft()
            self._start()
        elif reg is Reg.IRQ_ENABLE:
            self._irq_enable = value & (Irq.COMPLETION | Irq.ERROR)
        elif reg is Reg.INJECT:
            self._inject = value & 0xFF07
        elif reg is Reg.ERRORS:
            self._errors &= ~value
        elif reg is Reg.CONTROL:
            self._pcu.refresh = bool(value & Control.REFRESH)
            if value & Control.SOFT_RESET:
                self._reset()

    def read_memory(self, address: int, size: int) -> bytes:
        """Read bytes of the data window (memory, then activation buffer); :class:`BusError` outside."""
        in_memory, in_buffer = self._split(address, size)
        data = self.storage.read(address, in_memory) if in_memory else b""
        if in_buffer:
            first = address + in_memory - self.config.buffer_base
            data += self.buffer[first : first + in_buffer].tobytes()
        return data

    def write_memory(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes of the data window; :class:`BusError` outside, with nothing written."""
        source = np.frombuffer(data, dtype=np.uint8)
        in_memory, in_buffer = self._split(address, source.size)
        if in_memory:
            self.storage.write(address, source[:in_memory].data)
        if in_buffer:
            first = address + in_memory - self.config.buffer_base
            self.buffer[first : first + in_buffer] = source[in_memory:]

    # --- time

    @property
    def cycles(self) -> int:
        """The cycle counter."""
        return self._pcu.cycles

    @property
    def commands(self) -> npt.NDArray[np.int64]:
        """Commands issued since power-on, by channel and op."""
        return self._pcu.commands

    @property
    def on_progress(self) -> Callable[[float], None] | None:
        """Told of each macro of a PROGRAM which part is done."""
        return self._pcu.on_progress

    @on_progress.setter
    def on_progress(self, report: Callable[[float], None] | None) -> None:
        self._pcu.on_progress = report

    def record(self) -> None:
        """Record all commands of macros from now on; drops an earlier recording."""
        self._pcu.recording = []

    def recorded(self) -> list[Entry]:
        """The commands recorded, by cycle, channel and slot."""
        return sorted(self._pcu.recording or (), key=lambda entry: entry[:3])

    @property
    def pending(self) -> int:
        """Macros running or queued."""
        return (self._running is not None) + len(self._queue)

    def step(self) -> bool:
        """Run the oldest macro to its completion; False if there is none, or no room for its completion."""
        self._start()
        item = self._running
        if item is None:
            return False
        status, tag = self._pcu.run(item.words), tag_of(item.words)
        self._completions.append(_Completion(tag, status, self.cycles - item.pushed))
        if status is not Status.OK:
            self._raise(ErrorSource.REFUSED, tag | status << 16)
        self._running = None
        self._start()
        return True

    def run_until_interrupt(self) -> bool:
        """Run macros until the interrupt line is high or nothing more can run; returns the line."""
        while not self.interrupt and self.step():
            pass
        return self.interrupt

    # --- inside

    @property
    def _irq_status(self) -> int:
        return (Irq.COMPLETION if self._completions else 0) | (Irq.ERROR if self._errors else 0)

    def _event(self, channel: int, event: Event) -> int:
        """Time moves in macros alone, and normal traffic is not counted: all cycles are theirs or refresh's."""
        refresh = int(self.commands[channel, MicroOp.REFAB]) * self.config.timing.cycles("tRFCab")
        if event is Event.REFRESH_CYCLES:
            return refresh
        return max(0, self.cycles - refresh) if event is Event.PIM_CYCLES else 0

    def _push(self) -> None:
        item = _Queued(tuple(self._words), self.cycles)
        if len(self._queue) < self.config.macro_queue:
            self._queue.append(item)
            self._start()
        else:
            self._raise(ErrorSource.OVERFLOW, self._words[0])

    def _raise(self, source: ErrorSource, info: int) -> None:
        """Set a sticky bit; of the first error since it was cleared, keep ``info``."""
        if not self._errors >> source & 1:
            self._error_info[source] = info
        self._errors |= 1 << source

    def _start(self) -> None:
        room = len(self._completions) < self.config.completion_queue
        if self._running is None and self._queue and room:
            self._running = self._queue.popleft()

    def _register(self, offset: int, *, write: bool) -> tuple[Reg, int]:
        """Register and index within it; :class:`BusError` for a hole or an address off a word."""
        if offset % 4 == 0:
            if Reg.MACRO_WORD0 <= offset < Reg.MACRO_WORD0 + 4 * MACRO_WORDS:
                return Reg.MACRO_WORD0, (offset - Reg.MACRO_WORD0) // 4
            if Reg.ERROR_INFO <= offset < Reg.ERROR_INFO + 4 * len(ErrorSource):
                return Reg.ERROR_INFO, (offset - Reg.ERROR_INFO) // 4
            for block, last in ((Reg.COMMANDS, 4 * max(MicroOp)), (Reg.EVENTS, 8 * max(Event) + 4)):
                channel, place = divmod(offset - block, registers.COUNTER_STRIDE)
                if 0 <= channel < self.config.geometry.channels and place <= last:
                    return block, (offset - block) // 4
            if offset in _BY_OFFSET:
                return _BY_OFFSET[offset], 0
        self._raise(ErrorSource.REGISTER, (offset & 0xFFFF) | write << 16)
        raise BusError(f"no register at offset {offset:#x}")

    def _read(self, reg: Reg) -> int:
        config, geometry = self.config, self.config.geometry
        match reg:
            case Reg.ID:
                return registers.IDENTITY
            case Reg.ABI:
                return registers.ABI
            case Reg.CHANNELS:
                return geometry.channels
            case Reg.BANKS:
                return geometry.banks
            case Reg.ROWS:
                return geometry.rows
            case Reg.ROW_BYTES:
                return geometry.row_bytes
            case Reg.BUFFER_BYTES:
                return config.buffer_bytes
            case Reg.TIMING:
                return TIMINGS.index(config.timing_name) | config.refresh << 8
            case Reg.FEATURES:
                return config.dual_row_buffer * registers.Feature.DUAL_ROW_BUFFER
            case Reg.QUEUE_DEPTH:
                return config.macro_queue | config.completion_queue << 16
            case Reg.CONTROL:
                return Control.REFRESH if self._pcu.refresh else 0
            case Reg.STATUS:
                return (
                    (StatusBit.BUSY if self.pending else 0)
                    | (StatusBit.COMPLETION if self._completions else 0)
                    | (StatusBit.OVERFLOW if self._errors >> ErrorSource.OVERFLOW & 1 else 0)
                )
            case Reg.IRQ_ENABLE:
                return self._irq_enable
            case Reg.IRQ_STATUS:
                return self._irq_status
            case Reg.ERRORS:
                return self._errors
            case Reg.INJECT:
                return self._inject
            case Reg.CYCLES_LOW:
                return self.cycles
            case Reg.CYCLES_HIGH:
                return self.cycles >> 32
            case Reg.MACRO_SPACE:
                return config.macro_queue - len(self._queue)
            case Reg.COMPLETION if self._completions:
                oldest = self._completions[0]
                return oldest.tag | oldest.status << 16 | registers.COMPLETION_VALID
            case Reg.COMPLETION_CYCLES if self._completions:
                return self._completions[0].cycles
        return 0  # write-only registers, empty completion queue; the golden device violates no rule

    def _split(self, address: int, size: int) -> tuple[int, int]:
        """Bytes of a range in the memory and in the buffer; :class:`BusError` if any lie elsewhere."""
        memory, base = self.config.geometry.memory_bytes, self.config.buffer_base
        if size < 0:
            raise ValueError(f"size must be 0 or more bytes, not {size!r}")
        in_memory = max(0, min(size, memory - address)) if address >= 0 else 0
        in_buffer = size - in_memory
        start = address + in_memory
        end = base + self.config.buffer_bytes
        if address < 0 or (in_buffer and not base <= start <= end - in_buffer):
            first = end if base <= start < end else start
            self._raise(ErrorSource.WINDOW, first >> 5 & _WORD)
            raise BusError(f"{size} bytes from {address:#x} do not lie in the data window")
        return in_memory, in_buffer
