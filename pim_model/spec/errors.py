"""Status codes of a macro's completion, the sources of errors, and the checker's codes."""

from __future__ import annotations

from enum import IntEnum


class Status(IntEnum):
    """How a macro ended. Anything but ``OK`` and ``PARITY`` means that it issued no DRAM command; of a PROGRAM, that
    the instruction at fault and all after it issued none."""

    OK = 0
    """Executed; its results are in the activation buffer."""
    BAD_OPCODE = 1
    """The opcode names no macro."""
    RESERVED_BITS = 2
    """A reserved bit of the macro is not zero."""
    BAD_SHAPE = 3
    """Rows, columns or tokens are zero or beyond the limits of the format."""
    BAD_FUNCTION = 4
    """The activation function has no table row."""
    WEIGHT_RANGE = 5
    """The weight matrix does not fit between its first row and the table rows."""
    ALIGNMENT = 6
    """An activation-buffer offset is not a multiple of 32 bytes."""
    BUFFER_RANGE = 7
    """Inputs, results or bias reach beyond the activation buffer."""
    OVERLAP = 8
    """Results would overwrite inputs or bias while the macro still reads them."""
    CHANNEL_MASK = 9
    """The channel mask names a channel that the device lacks, or none."""
    ADDRESS_RANGE = 10
    """Bank, row or columns beyond the device."""
    PARITY = 11
    """A bit flipped on the way of the macro or of data, or ``ERRORS`` still told of one when it completed: it may have
    issued commands, and what it wrote is not to be trusted."""


MALFORMED = frozenset(Status) - {Status.OK, Status.PARITY}
"""What the words of a macro may be refused for."""

STATUS_TEXT: dict[Status, str] = {
    Status.OK: "executed",
    Status.BAD_OPCODE: "the opcode names no macro",
    Status.RESERVED_BITS: "a reserved bit of the macro is not zero",
    Status.BAD_SHAPE: "rows, columns and tokens must not be zero",
    Status.BAD_FUNCTION: "the activation function has no table row",
    Status.WEIGHT_RANGE: "the weight matrix reaches into the table rows or beyond the memory",
    Status.ALIGNMENT: "activation-buffer offsets must be multiples of 32 bytes",
    Status.BUFFER_RANGE: "inputs, results or bias reach beyond the activation buffer",
    Status.OVERLAP: "results overlap inputs or bias in the activation buffer",
    Status.CHANNEL_MASK: "the channel mask must name channels of the device, and at least one",
    Status.ADDRESS_RANGE: "bank, row or columns lie beyond the device",
    Status.PARITY: "a bit flipped on chip: the macro and its results are not to be trusted",
}
"""A sentence for each status."""


class ErrorSource(IntEnum):
    """Bits of ``ERRORS``, by number, each with its word of ``ERROR_INFO``."""

    VIOLATION = 0
    """The checker saw a violation: code in bits 7-0, channel in bits 15-8, command in bits 23-16."""
    OVERFLOW = 1
    """A macro was pushed into a full queue, and dropped: its word 0."""
    REFUSED = 2
    """A macro was malformed: tag in bits 15-0, status in bits 23-16."""
    WATCHDOG = 3
    """A macro or a normal request made no progress for :data:`WATCHDOG_CYCLES`: the channels with work, by bit."""
    REGISTER = 4
    """A register access was refused: offset in bits 15-0; bit 16 is set for a write."""
    PARITY = 5
    """A bit flipped on chip: a :class:`Path` in bits 7-0, channel in bits 15-8."""
    WINDOW = 6
    """The data window refused a beat: bits 36-5 of its address."""


class Path(IntEnum):
    """Where macros and data lie on their way through the chip, under parity. Values of ``INJECT``, bits 7-0."""

    NONE = 0
    MACRO = 1
    """The macro queue."""
    BUFFER = 2
    """The activation buffer."""
    COMMAND = 3
    """A channel's queues of macro work: commands and the data that they carry."""
    RESULT = 4
    """A channel's results."""
    WRITE = 5
    """Data of normal writes that wait in a channel."""
    READ = 6
    """Data of normal reads that wait in a channel."""


WATCHDOG_CYCLES = 4096
"""Controller cycles without a command, read data or a word for the activation buffer, after which a macro or a normal
request at work counts as stuck. The longest rightful silence is an EWADD's: 16 lanes for a word."""


class Violation(IntEnum):
    """Checker codes beside the rule numbers (0 to 63): state errors and windows."""

    ROW_OPEN = 64
    """An activation addresses a bank that has a row open."""
    ROW_CLOSED = 65
    """A column command addresses a bank with no row open."""
    REFRESH_OPEN = 66
    """A refresh addresses a bank that has a row open."""
    MODE_OPEN = 67
    """Register mode is entered or left with a row open."""
    REGISTER_MODE = 68
    """A register command outside register mode, where the device needs it."""
    IN_REGISTER_MODE = 69
    """Another command inside register mode."""
    PIM_ROW = 70
    """Normal access to a row opened for PIM, or all-bank PIM access to a row opened by ACT."""
    TABLE_ROW = 71
    """AF without the table row open, or MAC on a table row."""
    FAW = 72
    """A fifth activation inside the tFAW window."""
    REFRESH_LATE = 73
    """No refresh for longer than tREFI and all postponements allow."""
    COMMAND_BUS = 74
    """A register command in slot 0 together with one in slot 1, or two data writes in one cycle."""
    OPERAND = 75
    """An opcode or operand that the device does not have."""
    SHARED_ROW = 76
    """Dual row buffers: a row is opened in one buffer of a bank while the other holds it. What is written in one would
    not be seen in the other."""
