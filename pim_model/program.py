# Ref: "GDDR6-AiM: what is publicly known", ISR macro instructions and "Legal sequences"
"""ISR instructions as the micro commands that a channel's controller issues for them.

An instruction is *items* on each channel of its mask: what carries data has one item a column, everything else one
item. Before an item's first command its *context* is prepared: the rows it needs are open and the register mode is
right. This is lazy, nothing is closed when an item ends, so the next item often finds what it needs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.isr import Instruction
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import REGISTER_OPS, Micro, Mode
from pim_model.spec.micro import MicroOp as Op

__all__ = ["CLOSING", "Context", "Item", "items", "operand", "slot_of"]

_COMMAND: dict[MacroOp, Op] = {
    MacroOp.WR_SBK: Op.WR,
    MacroOp.WR_ABK: Op.WRBK,
    MacroOp.WR_GB: Op.WRGB,
    MacroOp.WR_BIAS: Op.WRBIAS,
    MacroOp.RD_MAC: Op.RDMAC,
    MacroOp.RD_AF: Op.RDAF,
    MacroOp.RD_SBK: Op.RD,
    MacroOp.COPY_BKGB: Op.RDCP,
    MacroOp.COPY_GBBK: Op.WRCP,
    MacroOp.MAC_SBK: Op.MACSB,
    MacroOp.MAC_ABK: Op.MACAB,
    MacroOp.AF: Op.AF,
    MacroOp.EWMUL: Op.EWMUL,
}
"""What each instruction's columns are; EWADD and SYNC issue nothing."""

_WITH_DATA = frozenset({MacroOp.WR_GB, MacroOp.WR_ABK, MacroOp.WR_SBK})
_ALL_BANKS_OPEN = frozenset({Op.MACAB, Op.EWMUL, Op.WRBK})
_NORMAL = frozenset({Op.RD, Op.WR})


CLOSING = frozenset({Op.PRE, Op.PREA, Op.PREP, Op.TMOD_OUT})
"""Commands on the way to a channel that something else may use."""


@dataclass(frozen=True, slots=True)
class Item:
    """Commands that the controller issues without a break in their context."""

    op: Op
    bank: int
    row: int
    """DRAM row; of AF the function's number."""
    mode: int
    column: int
    count: int
    first: int
    """How many columns of the instruction come before."""

    def commands(self) -> list[Micro]:
        """The item's own commands, in order."""
        return [
            Micro(self.op, bank=self.bank, column=column, mode=self.mode)
            for column in range(self.column, self.column + self.count)
        ]

    @property
    def needed_banks(self) -> tuple[int, ...]:
        """Banks that an item on single banks wants open, in the order of opening."""
        if self.op is Op.MACSB and self.mode & Mode.LOCAL:
            return self.bank, self.bank ^ 1
        return (self.bank,)


def items(instruction: Instruction) -> Iterator[Item]:
    """The items of an instruction, the same on each channel of its mask."""
    op = _COMMAND.get(instruction.op)
    if op is None:
        return
    row = instruction.function if op is Op.AF else instruction.row
    size = instruction.size or 1
    step = 1 if instruction.op in _WITH_DATA else size
    for first in range(0, size, step):
        yield Item(op, instruction.bank, row, instruction.mode, instruction.column + first, step, first)


def operand(instruction: Instruction, column: int, channel: int) -> int:
    """Byte offset of the GPR that ``channel`` takes from or gives to at the instruction's ``column``-th column."""
    if instruction.op in _WITH_DATA:
        return instruction.gpr0 + COLUMN_BYTES * column
    lowest = instruction.channels[0]
    return instruction.gpr0 + COLUMN_BYTES * (column * instruction.span + channel - lowest)


def slot_of(op: Op) -> int:
    """Slot of the command bus that the controller uses."""
    return int(op in REGISTER_OPS)


class Context:
    """What is open on a channel, and what must be issued before an item may begin."""

    __slots__ = ("_direct", "_opened", "_rows", "register_mode")

    def __init__(self, config: Config) -> None:
        self._direct = config.timing.direct
        self._rows: list[int | None] = [None] * config.geometry.banks
        self._opened: Micro | None = None  # the ACTAB or ACTAF that opened all banks
        self.register_mode = False

    def copy(self) -> Context:
        """Another channel in the same state."""
        other = object.__new__(Context)
        other._direct, other._rows = self._direct, self._rows.copy()
        other._opened, other.register_mode = self._opened, self.register_mode
        return other

    def preparing(self, item: Item) -> Micro | None:
        """The next command that prepares ``item``; None when its own first command is next."""
        if item.op in REGISTER_OPS:
            if self._direct or self.register_mode:
                return None
            return self._close_rows() or Micro(Op.TMOD_IN)
        if self.register_mode:
            return Micro(Op.TMOD_OUT)
        if item.op in _ALL_BANKS_OPEN or item.op is Op.AF:
            wanted = Micro(Op.ACTAF if item.op is Op.AF else Op.ACTAB, row=item.row)
            return None if self._opened == wanted else self._close_rows() or wanted
        if self._opened is not None:
            fits = item.op not in _NORMAL and self._opened == Micro(Op.ACTAB, row=item.row)
            return None if fits else Micro(Op.PREA)
        for bank in item.needed_banks:
            if self._rows[bank] != item.row:
                closed = self._rows[bank] is None
                return Micro(Op.ACT, bank=bank, row=item.row) if closed else Micro(Op.PRE, bank=bank)
        return None

    def closing(self) -> Micro | None:
        """The next command on the way to a channel that something else may use; None when it is there."""
        return Micro(Op.TMOD_OUT) if self.register_mode else self._close_rows()

    def take(self, micro: Micro) -> None:
        """The command was issued."""
        match micro.op:
            case Op.TMOD_IN | Op.TMOD_OUT:
                self.register_mode = micro.op is Op.TMOD_IN
            case Op.ACTAB | Op.ACTAF:
                self._opened = micro
            case Op.ACT:
                self._rows[micro.bank] = micro.row
            case Op.PRE:
                self._rows[micro.bank] = None
            case Op.PREA:
                self._opened = None
                self._rows = [None] * len(self._rows)

    def _close_rows(self) -> Micro | None:
        opened = self._opened is not None or any(row is not None for row in self._rows)
        return Micro(Op.PREA) if opened else None
