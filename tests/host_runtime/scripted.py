"""A transport whose device is a few lines of Python, and can be told to misbehave."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from host_runtime.transport.base import Transport
from pim_model.spec.config import Config, config
from pim_model.spec.registers import ABI, COMPLETION_VALID, IDENTITY, Control, Reg
from pim_model.spec.timing import TIMINGS

TINY = config("tiny")
ALL_ONES = 0xFFFFFFFF


@dataclass
class Faults:
    """What goes wrong; nothing unless told."""

    dead: bool = False  # every register reads as all ones
    stuck_reset: bool = False  # the soft-reset bit never falls
    silent: bool = False  # completions come, interrupts do not
    chatter: bool = False  # interrupts come, completions do not
    full: bool = False  # the macro queue never has a place
    lose: set[int] = field(default_factory=set)  # numbers of pushes that never complete
    twice: set[int] = field(default_factory=set)  # numbers of pushes that complete twice
    retag: dict[int, int] = field(default_factory=dict)  # number of a push to the tag it completes with
    status: dict[int, int] = field(default_factory=dict)  # number of a push to its status


class ScriptedTransport(Transport):
    """Completes one macro in each wait for an interrupt. Logs all register accesses as (kind, offset, value)."""

    name = "scripted"

    def __init__(self, shape: Config = TINY, faults: Faults | None = None):
        geometry = shape.geometry
        self.faults = faults or Faults()
        self.depth = shape.macro_queue
        self.values: dict[int, int] = {
            Reg.ID: IDENTITY,
            Reg.ABI: ABI,
            Reg.CHANNELS: geometry.channels,
            Reg.BANKS: geometry.banks,
            Reg.ROWS: geometry.rows,
            Reg.ROW_BYTES: geometry.row_bytes,
            Reg.BUFFER_BYTES: shape.buffer_bytes,
            Reg.TIMING: TIMINGS.index(shape.timing_name) | shape.refresh << 8,
            Reg.QUEUE_DEPTH: shape.macro_queue | shape.completion_queue << 16,
            Reg.CONTROL: Control.REFRESH,
        }
        self.log: list[tuple[str, int, int]] = []
        self.macros: deque[tuple[int, int]] = deque()  # (number of the push, tag)
        self.completions: deque[int] = deque()
        self.pushes = 0
        self.resets = 0
        self.waits: list[int] = []

    def read_register(self, offset: int) -> int:
        value = ALL_ONES if self.faults.dead else self._read(offset)
        self.log.append(("read", offset, value))
        return value

    def _read(self, offset: int) -> int:
        match offset:
            case Reg.MACRO_SPACE:
                return 0 if self.faults.full else self.depth - len(self.macros)
            case Reg.COMPLETION:
                return self.completions[0] if self.completions else 0
            case Reg.COMPLETION_CYCLES:
                return 100 if self.completions else 0
        return self.values.get(offset, 0)

    def write_register(self, offset: int, value: int) -> None:
        self.log.append(("write", offset, value))
        match offset:
            case Reg.MACRO_PUSH:
                self.macros.append((self.pushes, self.values[Reg.MACRO_WORD0] >> 8 & 0xFFFF))
                self.pushes += 1
            case Reg.COMPLETION_POP:
                self.completions.popleft()
            case Reg.CONTROL:
                self.values[offset] = value
                if value & Control.SOFT_RESET:
                    self.resets += 1
                    self.macros.clear()
                    self.completions.clear()
                    self.values[Reg.STATUS] = 0
                    if not self.faults.stuck_reset:
                        self.values[offset] = value & ~Control.SOFT_RESET
            case _:
                self.values[offset] = value

    def wait_interrupt(self, timeout: int) -> bool:
        self.waits.append(timeout)
        if self.faults.chatter:
            return True
        if not self.completions and self.macros:
            number, tag = self.macros.popleft()
            if number not in self.faults.lose:
                word = self.faults.retag.get(number, tag) | self.faults.status.get(number, 0) << 16
                self.completions.extend([word | COMPLETION_VALID] * (1 + (number in self.faults.twice)))
        return bool(self.completions) and not self.faults.silent

    def read_memory(self, address: int, size: int) -> bytes:
        raise AssertionError("the driver itself reads no memory")

    def write_memory(self, address: int, data: bytes) -> None:
        raise AssertionError("the driver itself writes no memory")

    def writes(self) -> list[tuple[int, int]]:
        """Offsets and values written, in order."""
        return [(offset, value) for kind, offset, value in self.log if kind == "write"]
