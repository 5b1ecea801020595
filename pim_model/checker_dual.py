# Ref: NeuPIMs (ASPLOS 2024), dual row buffers; pim_model/spec/row_buffers.py
"""The protocol beside timing where each bank has two row buffers: what is open in which."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from pim_model.checker_rules import Touch
from pim_model.spec.config import Config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import Micro
from pim_model.spec.micro import MicroOp as Op

__all__ = ["DualState"]

_NORMAL = frozenset({Op.RD, Op.WR})
_EITHER = frozenset({Op.MACSB, Op.RDCP, Op.WRCP})
_PIM = frozenset({Op.MACAB, Op.MAC4B, Op.EWMUL, Op.WRBK, Op.AF})


class _Open(NamedTuple):
    by: Op
    row: int
    """DRAM row."""


class DualState:
    """As :class:`~pim_model.checker_state.ProtocolState`, for a device with dual row buffers.

    RD and WR ask for the buffer of normal traffic, PIM commands for the PIM buffer, MACSB, RDCP and WRCP for the PIM
    buffer where it holds a row. No row may be in both: what is written in one would not be seen in the other.
    """

    def __init__(self, config: Config) -> None:
        self._geometry = config.geometry
        self._mem: list[_Open | None] = [None] * config.geometry.banks
        self._pim: list[_Open | None] = [None] * config.geometry.banks
        self._register_mode = False

    @property
    def register_mode(self) -> bool:
        """Whether register mode is on."""
        return self._register_mode

    @property
    def openers(self) -> set[Op]:
        """The commands that opened what is open."""
        return {each.by for each in (*self._mem, *self._pim) if each}

    def probe(self, micro: Micro, where: Touch) -> list[int]:
        """State violations of a command, ascending."""
        op = micro.op
        found: list[int] = []
        match op:
            case Op.ACT:
                found = self._opens(self._mem, self._pim, micro.row, where)
            case Op.ACT4 | Op.ACTAB | Op.ACTAF:
                found = self._opens(self._pim, self._mem, self._row(micro), where)
            case Op.REFPB | Op.REFAB:
                if self._any_open(where.banks):
                    found.append(Violation.REFRESH_OPEN)
            case Op.TMOD_IN | Op.TMOD_OUT:
                if self._any_open(range(len(self._mem))):
                    found.append(Violation.MODE_OPEN)
                if op is Op.TMOD_OUT and not self._register_mode:
                    found.append(Violation.REGISTER_MODE)
            case _:
                found = self._column(op, where)
        if self._register_mode and op not in (Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF, Op.TMOD_OUT):
            found.append(Violation.IN_REGISTER_MODE)
        return sorted(found)

    def take(self, micro: Micro, where: Touch) -> None:
        """Change state as the command does, legal or not."""
        match micro.op:
            case Op.ACT:
                self._set(self._mem, where, _Open(Op.ACT, micro.row))
            case Op.ACT4 | Op.ACTAB | Op.ACTAF:
                self._set(self._pim, where, _Open(micro.op, self._row(micro)))
            case Op.PRE:
                self._set(self._mem, where, None)
            case Op.PREP:
                self._set(self._pim, where, None)
            case Op.PREA:
                self._set(self._mem, where, None)
                self._set(self._pim, where, None)
            case Op.TMOD_IN | Op.TMOD_OUT:
                self._register_mode = micro.op is Op.TMOD_IN

    def _row(self, micro: Micro) -> int:
        return self._geometry.table_row(micro.row) if micro.op is Op.ACTAF else micro.row

    def _opens(self, own: list[_Open | None], other: list[_Open | None], row: int, where: Touch) -> list[int]:
        found: list[int] = []
        if any(own[bank] for bank in where.banks):
            found.append(Violation.ROW_OPEN)
        if any(held.row == row for bank in where.banks if (held := other[bank])):
            found.append(Violation.SHARED_ROW)
        return found

    def _column(self, op: Op, where: Touch) -> list[int]:
        if op in _NORMAL:
            asked = [self._mem[bank] for bank in where.banks]
        elif op in _PIM:
            asked = [self._pim[bank] for bank in where.banks]
        elif op in _EITHER:
            asked = [self._pim[bank] or self._mem[bank] for bank in where.banks]
        else:
            return []
        found: list[int] = []
        if None in asked:
            found.append(Violation.ROW_CLOSED)
        tables = [each is not None and each.by is Op.ACTAF for each in asked]
        if not all(tables) if op is Op.AF else any(tables) and op is not Op.WRBK:
            found.append(Violation.TABLE_ROW)
        return found

    def _any_open(self, banks: Iterable[int]) -> bool:
        return any(self._mem[bank] or self._pim[bank] for bank in banks)

    @staticmethod
    def _set(buffers: list[_Open | None], where: Touch, opened: _Open | None) -> None:
        for bank in where.banks:
            buffers[bank] = opened
