# Ref: "GDDR6-AiM: what is publicly known", ISR macro instructions (the trace language of arkhadem/aim_simulator)
"""Reader of the peer's trace language: text to statements. What they mean is in ``isr_program.py``.

One statement a line; tokens are separated by blanks; ``#`` alone as first token starts a comment; numbers are decimal
or 0x. ``AiM OP fields``, ``R|W GPR id``, ``R|W CFR id data``, ``R|W MEM channel bank row``. The last statement is
``AiM EOC``, or ``AiM ISR_EOC`` as the peer's own traces have it; blank lines and comments may follow.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

__all__ = ["AIM_FIELDS", "Field", "Statement", "TraceError", "read_trace"]

AIM_FIELDS: dict[str, tuple[str, ...]] = {
    "WR_SBK": ("gpr0", "mask", "bank", "row"),
    "WR_ABK": ("gpr0", "mask", "row"),
    "WR_GB": ("opsize", "gpr0", "mask"),
    "WR_BIAS": ("gpr0", "mask"),
    "RD_MAC": ("gpr0", "mask"),
    "RD_AF": ("gpr0", "mask"),
    "RD_SBK": ("gpr0", "mask", "bank", "row"),
    "COPY_BKGB": ("opsize", "mask", "bank", "row"),
    "COPY_GBBK": ("opsize", "mask", "bank", "row"),
    "MAC_SBK": ("opsize", "mask", "bank", "row"),
    "MAC_ABK": ("opsize", "mask", "row"),
    "AF": ("mask",),
    "EWMUL": ("opsize", "mask", "row"),
    "EWADD": ("opsize", "gpr0", "gpr1"),
    "SYNC": (),
    "EOC": (),
}
"""Fields by op. The ops are those of :class:`~pim_model.spec.macro.MacroOp`, and the end."""

_ENDS = ("EOC", "ISR_EOC")
_ACCESS_FIELDS: dict[str, tuple[str, ...]] = {
    "GPR": ("GPR id",),
    "CFR": ("CFR id", "data"),
    "MEM": ("channel", "bank", "row"),
}
_NUMBER = re.compile(r"[0-9]{1,19}|0[xX][0-9a-fA-F]{1,16}")
_TOKEN = re.compile(r"\S+")


class TraceError(ValueError):
    """A trace that cannot be run as it stands: where, and what was expected there. Lines and columns count from 1."""

    def __init__(self, line: int, column: int, message: str):
        super().__init__(f"line {line}, column {column}: {message}")
        self.line = line
        self.column = column


@dataclass(frozen=True)
class Field:
    """A number of the text."""

    name: str
    value: int
    line: int
    column: int

    def error(self, rule: str) -> TraceError:
        """An error at this number, which must be what ``rule`` says."""
        return TraceError(self.line, self.column, f"{self.name} must be {rule}, not {self.value:#x}")


@dataclass(frozen=True)
class Statement:
    """One statement: ``kind`` is AiM, R or W; ``what`` the op, or GPR, CFR, MEM."""

    kind: str
    what: str
    fields: tuple[Field, ...]
    line: int
    column: int

    def __getitem__(self, name: str) -> Field:
        return next(field for field in self.fields if field.name == name)


@dataclass(frozen=True)
class _Token:
    text: str
    line: int
    column: int

    def expected(self, what: str) -> TraceError:
        return TraceError(self.line, self.column, f"expected {what}, found {self.text!r}")

    def expected_after(self, what: str) -> TraceError:
        message = f"expected {what}, found the end of the line"
        return TraceError(self.line, self.column + len(self.text), message)


def read_trace(text: str) -> list[Statement]:
    """All statements of a trace, the final EOC included; :class:`TraceError` for the first mistake."""
    statements: list[Statement] = []
    lines = text.split("\n")
    for number, line in enumerate(lines, start=1):
        tokens = [_Token(found.group(), number, found.start() + 1) for found in _TOKEN.finditer(line)]
        if not tokens or tokens[0].text == "#":
            continue
        if statements and statements[-1].what == "EOC":
            raise tokens[0].expected(f"nothing after AiM EOC on line {statements[-1].line}")
        statements.append(_statement(tokens))
    if not statements or statements[-1].what != "EOC":
        raise TraceError(len(lines), 1, "expected AiM EOC as the last statement, found the end of the trace")
    return statements


def _statement(tokens: list[_Token]) -> Statement:
    head, *rest = tokens
    if head.text not in ("AiM", "R", "W"):
        hint = " alone" if head.text.startswith("#") else ""
        raise head.expected(f"AiM, R, W or #{hint}")
    table = AIM_FIELDS if head.text == "AiM" else _ACCESS_FIELDS
    choice = f"one of {', '.join(table)}"
    if not rest:
        raise head.expected_after(choice)
    what, *numbers = rest
    op = "EOC" if head.text == "AiM" and what.text in _ENDS else what.text
    if op not in table:
        raise what.expected(choice)
    names = table[op]
    fields = [_field(name, token) for name, token in zip(names, numbers, strict=False)]
    if len(numbers) < len(names):
        raise tokens[-1].expected_after(names[len(numbers)])
    if len(numbers) > len(names):
        raise numbers[len(names)].expected("the end of the line")
    return Statement(head.text, op, tuple(fields), head.line, head.column)


def _field(name: str, token: _Token) -> Field:
    if _NUMBER.fullmatch(token.text) is None:
        raise token.expected(f"{name}, a decimal or 0x number")
    base = 16 if token.text[:2].lower() == "0x" else 10
    return Field(name, int(token.text, base), token.line, token.column)
