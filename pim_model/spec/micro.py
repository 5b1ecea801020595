"""Micro commands: what a PIM memory controller puts on the command bus of one channel.

# Ref: "GDDR6-AiM: what is publicly known", commands
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum, IntFlag


class MicroOp(IntEnum):
    """Micro commands of GDDR6-AiM, five bits."""

    NOP = 0
    ACT = 1
    """Open one row of one bank."""
    ACT4 = 2
    """Open a row in the four banks of one group."""
    ACTAB = 3
    """Open a row in all banks (ACT16); tFAW does not apply."""
    ACTAF = 4
    """Open the reserved row of an activation table in all banks; the row operand is the function number."""
    RD = 5
    """Read one column of an open row."""
    WR = 6
    """Write one column of an open row, by byte enables."""
    PRE = 7
    """Close one bank."""
    PREA = 8
    """Close all banks."""
    REFPB = 9
    """Refresh one closed bank."""
    REFAB = 10
    """Refresh all banks, all closed."""
    TMOD_IN = 11
    """Enter register mode."""
    TMOD_OUT = 12
    """Leave register mode."""
    WRGB = 13
    """Write one column of the global buffer."""
    WRBIAS = 14
    """Load one BF16 value into each accumulator."""
    RDMAC = 15
    """Read the accumulators, rounded to BF16."""
    RDAF = 16
    """Read the activation results, rounded to BF16."""
    MACSB = 17
    """Multiply-accumulate in one bank."""
    MAC4B = 18
    """Multiply-accumulate in the four banks of one group."""
    MACAB = 19
    """Multiply-accumulate in all banks: open row's column x global buffer's column."""
    AF = 20
    """Activation of each accumulator through the open table row."""
    EWMUL = 21
    """Element-wise product per bank group: bank 0 x bank 1 to bank 2."""
    RDCP = 22
    """Copy one column from a bank to the global buffer."""
    WRCP = 23
    """Copy one column from the global buffer to a bank."""
    WRBK = 24
    """Write the same 32 bytes to all banks."""
    PREP = 25
    """Close the PIM row buffers of all banks. Only in a device with dual row buffers."""


ALL_BANKS = frozenset(
    {
        MicroOp.ACTAB,
        MicroOp.ACTAF,
        MicroOp.PREA,
        MicroOp.PREP,
        MicroOp.REFAB,
        MicroOp.MACAB,
        MicroOp.AF,
        MicroOp.EWMUL,
        MicroOp.WRBK,
    }
)
"""Commands that address every bank of the channel."""

FOUR_BANKS = frozenset({MicroOp.ACT4, MicroOp.MAC4B})
"""Commands that address the four banks of one group."""

ONE_BANK = frozenset(
    {
        MicroOp.ACT,
        MicroOp.RD,
        MicroOp.WR,
        MicroOp.PRE,
        MicroOp.REFPB,
        MicroOp.MACSB,
        MicroOp.RDCP,
        MicroOp.WRCP,
    }
)
"""Commands that address one bank."""

REGISTER_OPS = frozenset({MicroOp.WRGB, MicroOp.WRBIAS, MicroOp.RDMAC, MicroOp.RDAF})
"""Commands that reach the channel's registers; in register mode where ``register_access`` is ``mode``."""

WRITE_DATA = frozenset({MicroOp.WR, MicroOp.WRGB, MicroOp.WRBIAS, MicroOp.WRBK})
"""Commands that carry 32 bytes to the device."""

READ_DATA = frozenset({MicroOp.RD, MicroOp.RDMAC, MicroOp.RDAF})
"""Commands that return 32 bytes."""


class Mode(IntFlag):
    """Operand bits of a micro command beside bank, row and column; a command ignores those it does not use."""

    SET1 = 1
    """MACs, AF, WRBIAS, RDMAC: the second accumulator set instead of the first. AF has one result register for both."""
    LOCAL = 2
    """MACSB, MACAB: the second operand is the same column of the neighbour bank (bank number with bit 0 inverted)
    instead of the global buffer's; MACAB then accumulates in the even banks alone. EWMUL: bank group 0 alone.

    D: the public sources say "the next bank" and "half of the banks", no more."""


SETS = 2
"""Accumulator sets of a PU."""


WITH_ROW = frozenset({MicroOp.ACT, MicroOp.ACT4, MicroOp.ACTAB, MicroOp.ACTAF})
"""Commands that use the row operand; of ACTAF it is the function."""

WITH_COLUMN = frozenset(
    {
        MicroOp.RD,
        MicroOp.WR,
        MicroOp.WRGB,
        MicroOp.MACSB,
        MicroOp.MAC4B,
        MicroOp.MACAB,
        MicroOp.EWMUL,
        MicroOp.RDCP,
        MicroOp.WRCP,
        MicroOp.WRBK,
    }
)
"""Commands that use the column operand."""

WITH_MODE = frozenset(
    {
        MicroOp.MACSB,
        MicroOp.MAC4B,
        MicroOp.MACAB,
        MicroOp.AF,
        MicroOp.EWMUL,
        MicroOp.WRBIAS,
        MicroOp.RDMAC,
    }
)
"""Commands that use some bit of the mode operand."""


@dataclass(frozen=True, slots=True)
class Micro:
    """One micro command with the operands that its kind uses; the others are zero."""

    op: MicroOp
    bank: int = 0
    row: int = 0
    column: int = 0
    mode: int = 0
    """A :class:`Mode`."""

    @classmethod
    def seen(cls, op: int, bank: int, row: int, column: int, mode: int) -> Micro:
        """A command as it stood on a bus, whose unused operands may be anything; they become zero."""
        kind = MicroOp(op)
        return cls(
            kind,
            bank=bank if kind in ONE_BANK | FOUR_BANKS else 0,
            row=row if kind in WITH_ROW else 0,
            column=column if kind in WITH_COLUMN else 0,
            mode=mode if kind in WITH_MODE else 0,
        )

    def __str__(self) -> str:
        mode = f", mode {self.mode}" if self.mode else ""
        return f"{self.op.name}(bank {self.bank}, row {self.row}, column {self.column}{mode})"
