# Ref: GDDR6-AiM notes, "Commands" (legal sequences)
"""The protocol beside timing: open rows and what opened them, and register mode."""

from __future__ import annotations

from pim_model.checker_rules import Touch
from pim_model.spec.config import Config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import ONE_BANK, REGISTER_OPS, Micro
from pim_model.spec.micro import MicroOp as Op

__all__ = ["ProtocolState"]

_ACTIVATIONS = frozenset({Op.ACT, Op.ACT4, Op.ACTAB, Op.ACTAF})
_NORMAL = frozenset({Op.RD, Op.WR})
_MACS = frozenset({Op.MACSB, Op.MAC4B, Op.MACAB})
_COPIES = frozenset({Op.EWMUL, Op.RDCP, Op.WRCP})
_COLUMN = _NORMAL | _MACS | _COPIES | {Op.AF, Op.WRBK}


class ProtocolState:
    """Banks and register mode of one channel, as far as legality asks."""

    def __init__(self, config: Config) -> None:
        self._direct = config.timing.direct
        self._opened_by: list[Op | None] = [None] * config.geometry.banks
        self._open = 0
        self._uniform = True  # one command opened or closed all banks
        self._register_mode = False

    def probe(self, micro: Micro, where: Touch) -> list[int]:
        """State violations of a command, ascending."""
        op = micro.op
        found: list[int] = []
        if op in _ACTIVATIONS:
            if self._any_open(where):
                found.append(Violation.ROW_OPEN)
        elif op in _COLUMN:
            found += self._column(op, where)
        elif op in (Op.REFPB, Op.REFAB):
            if self._any_open(where):
                found.append(Violation.REFRESH_OPEN)
        elif op in (Op.TMOD_IN, Op.TMOD_OUT):
            if self._open:
                found.append(Violation.MODE_OPEN)
            if op is Op.TMOD_OUT and not self._register_mode:
                found.append(Violation.REGISTER_MODE)
        elif op in REGISTER_OPS and not (self._direct or self._register_mode):
            found.append(Violation.REGISTER_MODE)
        if self._register_mode and op not in REGISTER_OPS and op is not Op.TMOD_OUT:
            found.append(Violation.IN_REGISTER_MODE)
            found.sort()
        return found

    def take(self, micro: Micro, where: Touch) -> None:
        """Change state as the command does, legal or not."""
        op = micro.op
        if op in _ACTIVATIONS:
            self._set(where, op)
        elif op in (Op.PRE, Op.PREA):
            self._set(where, None)
        elif op in (Op.TMOD_IN, Op.TMOD_OUT):
            self._register_mode = op is Op.TMOD_IN

    def _column(self, op: Op, where: Touch) -> list[int]:
        if where.every and self._open == len(self._opened_by):
            openers = {self._opened_by[0]} if self._uniform else set(self._opened_by)
        else:
            openers = {self._opened_by[bank] for bank in where.banks}
        found: list[int] = []
        if None in openers:
            found.append(Violation.ROW_CLOSED)
        by_act = Op.ACT in openers and op not in ONE_BANK
        for_pim = bool(openers - {Op.ACT, None})
        if for_pim if op in _NORMAL else by_act:
            found.append(Violation.PIM_ROW)
        if op is Op.AF:
            if openers != {Op.ACTAF}:
                found.append(Violation.TABLE_ROW)
        elif op in _MACS | _COPIES and Op.ACTAF in openers:
            found.append(Violation.TABLE_ROW)
        return found

    def _any_open(self, where: Touch) -> bool:
        if where.every:
            return self._open > 0
        return any(self._opened_by[bank] is not None for bank in where.banks)

    def _set(self, where: Touch, opener: Op | None) -> None:
        for bank in where.banks:
            self._opened_by[bank] = opener
        self._open = sum(by is not None for by in self._opened_by)
        self._uniform = where.every
