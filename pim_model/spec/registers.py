"""The register map that the host sees over AXI4-Lite: 32-bit registers at byte offsets.

Reads have no side effects; a queue is popped by a write, so that a repeated or speculative read loses nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum, IntFlag

from .errors import ErrorSource
from .micro import MicroOp

IDENTITY = int.from_bytes(b"UNAI", "big")
"""Value of ``ID``: the bytes ``IANU`` in memory order."""

ABI_MAJOR = 2
ABI_MINOR = 2
ABI = ABI_MAJOR << 16 | ABI_MINOR
"""Value of ``ABI``: a driver refuses another major number."""

REGISTER_BITS = 16
"""Address bits of the register window."""


class Access(Enum):
    """What the host may do with a register."""

    RO = "read only; writes are ignored"
    RW = "read and write"
    WO = "write only; reads give zero"
    W1C = "read; writing a one clears the bit"


class Reg(IntEnum):
    """Byte offsets of the registers."""

    ID = 0x000
    ABI = 0x004
    CHANNELS = 0x010
    BANKS = 0x014
    ROWS = 0x018
    ROW_BYTES = 0x01C
    BUFFER_BYTES = 0x020
    TIMING = 0x024
    QUEUE_DEPTH = 0x028
    FEATURES = 0x02C
    BUILD_LOW = 0x030
    BUILD_HIGH = 0x034
    CONTROL = 0x040
    STATUS = 0x044
    IRQ_ENABLE = 0x048
    IRQ_STATUS = 0x04C
    VIOLATIONS = 0x050
    ERRORS = 0x054
    INJECT = 0x058
    CYCLES_LOW = 0x060
    CYCLES_HIGH = 0x064
    MACRO_WORD0 = 0x080
    MACRO_PUSH = 0x0A0
    MACRO_SPACE = 0x0A4
    COMPLETION = 0x0C0
    COMPLETION_CYCLES = 0x0C4
    COMPLETION_POP = 0x0C8
    ERROR_INFO = 0x100
    COMMANDS = 0x1000
    EVENTS = 0x3000


class Feature(IntFlag):
    """Bits of ``FEATURES``: what a device may have or lack."""

    DUAL_ROW_BUFFER = 1
    """Normal traffic is served while MATVECs run, see ``Config.dual_row_buffer``."""


class Control(IntFlag):
    """Bits of ``CONTROL``."""

    REFRESH = 1
    """Refresh every tREFI. On after reset."""
    SOFT_RESET = 2
    """Drop all macros and completions, clear ERRORS, close what a macro opened; reads as one until done."""


class StatusBit(IntFlag):
    """Bits of ``STATUS``."""

    BUSY = 1
    """A macro is queued or running."""
    COMPLETION = 2
    """A completion waits to be taken."""
    VIOLATION = 4
    """The checker has seen a violation since reset."""
    OVERFLOW = 8
    """A macro was pushed into a full queue, and dropped: the bit of that name in ``ERRORS``."""


class Irq(IntFlag):
    """Bits of ``IRQ_ENABLE`` and ``IRQ_STATUS``. The interrupt line is high while an enabled bit is set."""

    COMPLETION = 1
    """A completion waits; clears when the last one is popped."""
    ERROR = 2
    """A bit of ``ERRORS`` is set; clears when the last one is cleared."""


COMPLETION_VALID = 1 << 31
"""Bit of ``COMPLETION``: it holds a completion; tag in bits 15-0, status in bits 23-16."""

COUNTER_STRIDE = 0x80
"""Bytes from one channel's counters of a kind to the next. The counter of op n is the channel's register n; event n has
its low word at 8 n, its high word at 8 n + 4."""


class Event(IntEnum):
    """What each channel counts beside its commands, in 64 bits, since power-on.

    Every cycle is one of PIM, REFRESH, BUSY and IDLE, so these four add up to the cycles; every normal access to the
    device is one of ROW_HIT, ROW_MISS and ROW_CONFLICT. A read that a queued write answered is none.
    """

    ROW_HIT = 0
    """Its row was open, and not for its sake."""
    ROW_MISS = 1
    """Its row was opened for it in a closed bank."""
    ROW_CONFLICT = 2
    """Another row was closed for it before; with dual row buffers, or for a MATVEC that wanted that row."""
    PIM_CYCLES = 3
    """A macro has the channel, or it is being cleared for one; with dual row buffers normal traffic may share it."""
    REFRESH_CYCLES = 4
    """An all-bank refresh runs (tRFCab), whoever has the channel."""
    BUSY_CYCLES = 5
    """Normal requests are queued, or their data is to come."""
    IDLE_CYCLES = 6
    """None of these."""
    BLOCKED_CYCLES = 7
    """A normal request waits at the channel that a macro has or wants."""
    OCCUPANCY = 8
    """Queued normal requests, added up cycle by cycle: divided by cycles, the mean queue length."""


@dataclass(frozen=True)
class Register:
    """One row of the map."""

    reg: Reg
    access: Access
    text: str


REGISTERS: tuple[Register, ...] = (
    Register(Reg.ID, Access.RO, "identity: the bytes IANU"),
    Register(Reg.ABI, Access.RO, "version of this map: major in bits 31-16, minor in bits 15-0"),
    Register(Reg.CHANNELS, Access.RO, "channels"),
    Register(Reg.BANKS, Access.RO, "banks a channel"),
    Register(Reg.ROWS, Access.RO, "DRAM rows a bank, table rows included"),
    Register(Reg.ROW_BYTES, Access.RO, "bytes a row of one bank"),
    Register(Reg.BUFFER_BYTES, Access.RO, "bytes of the activation buffer"),
    Register(
        Reg.TIMING, Access.RO, "number of the timing preset in bits 7-0, of the refresh policy in bits 15-8"
    ),
    Register(Reg.QUEUE_DEPTH, Access.RO, "macro queue in bits 15-0, completion queue in bits 31-16"),
    Register(Reg.FEATURES, Access.RO, "dual row buffers in bit 0"),
    Register(Reg.BUILD_LOW, Access.RO, "digest of the bitstream's sources, bits 31-0; 0 in a simulation"),
    Register(Reg.BUILD_HIGH, Access.RO, "digest of the bitstream's sources, bits 63-32"),
    Register(Reg.CONTROL, Access.RW, "refresh enable, soft reset"),
    Register(Reg.STATUS, Access.RO, "busy, completion waiting, violation seen, overflow"),
    Register(Reg.IRQ_ENABLE, Access.RW, "interrupt enables"),
    Register(Reg.IRQ_STATUS, Access.RO, "interrupt causes"),
    Register(Reg.VIOLATIONS, Access.RO, "violations that the checker counted since reset (saturating)"),
    Register(Reg.ERRORS, Access.W1C, "sticky error bits, one for each source"),
    Register(
        Reg.INJECT,
        Access.RW,
        "for tests: each word written to the path in bits 7-0 of the channel in bits 15-8 has a bit flipped",
    ),
    Register(Reg.CYCLES_LOW, Access.RO, "controller cycles since power-on, bits 31-0"),
    Register(Reg.CYCLES_HIGH, Access.RO, "controller cycles since power-on, bits 63-32"),
    Register(Reg.MACRO_WORD0, Access.RW, "first of the eight words of the macro to push"),
    Register(Reg.MACRO_PUSH, Access.WO, "any write puts the eight words into the macro queue"),
    Register(Reg.MACRO_SPACE, Access.RO, "free places in the macro queue"),
    Register(Reg.COMPLETION, Access.RO, "oldest completion: tag, status, valid in bit 31"),
    Register(Reg.COMPLETION_CYCLES, Access.RO, "cycles of the oldest completion's macro, push to completion"),
    Register(Reg.COMPLETION_POP, Access.WO, "any write drops the oldest completion"),
    Register(
        Reg.ERROR_INFO,
        Access.RO,
        "by source (stride 4): the first error since its bit was cleared; stays after",
    ),
    Register(
        Reg.COMMANDS, Access.RO, "commands issued, by channel (stride 0x80) and micro command (stride 4)"
    ),
    Register(
        Reg.EVENTS,
        Access.RO,
        "events by channel (stride 0x80) and kind (stride 8), low word first; see Event",
    ),
)


def macro_word(index: int) -> int:
    """Offset of macro word ``index``."""
    return Reg.MACRO_WORD0 + 4 * index


def error_info(source: ErrorSource) -> int:
    """Offset of what is known of a source's first error."""
    return Reg.ERROR_INFO + 4 * source


def command_counter(channel: int, op: MicroOp) -> int:
    """Offset of a channel's counter of one micro command."""
    return Reg.COMMANDS + COUNTER_STRIDE * channel + 4 * op


def event_counter(channel: int, event: Event) -> int:
    """Offset of the low word of a channel's counter of one event; the high word follows."""
    return Reg.EVENTS + COUNTER_STRIDE * channel + 8 * event
