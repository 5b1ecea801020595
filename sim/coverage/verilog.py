"""Verilog that says of each branch which line of Amaranth it is, and the way back from a line of Verilog to it.

Amaranth gives Yosys the place of a signal or an operator, not of a branch. Its own netlist knows: each assignment names
the statement that it comes from and the condition that it stands under. Both are written here beside the branch, as the
attribute ``src`` of a switch or of a case, in the form ``condition`` or ``condition;statement,statement``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import rtlil, verilog

__all__ = ["Branch", "branches", "convert", "ports", "toggles_off"]

ROOT = Path(__file__).resolve().parents[2]
_ARMS = "|"


def convert(component: Any, name: str) -> str:
    """Verilog of ``component`` with the places of its branches, and of nothing else."""
    with _located():
        text: str = verilog.convert(component, name=name, emit_src=False)
    return text


@contextmanager
def _located() -> Iterator[None]:
    """Within, ``amaranth.back`` writes the place of each branch into RTLIL, and so into Verilog."""
    before = rtlil.ModuleEmitter
    rtlil.ModuleEmitter = _Emitter
    try:
        yield
    finally:
        rtlil.ModuleEmitter = before


class _Emitter(rtlil.ModuleEmitter):
    """Amaranth's, which marks each switch of a process once it is there."""

    def emit_assignment_list(self, cell_idx: int, cell: Any) -> None:
        super().emit_assignment_list(cell_idx, cell)
        process = next(reversed(self.builder.contents.values()))
        marker = _Marker(self.netlist, iter(cell.assignments), _place(cell.src_loc))
        process.contents[1:] = [marker.mark(each)[0] for each in process.contents[1:]]


class _Marker:
    """Goes through one process; the netlist's assignments stand in the same order."""

    def __init__(self, netlist: Any, assignments: Iterator[Any], process: str) -> None:
        self._netlist, self._assignments, self._process = netlist, assignments, process

    def mark(self, item: Any) -> tuple[Any, Any, str]:
        """An item of the process with its places, the condition it stands under, and its statement if it is one."""
        if isinstance(item, rtlil.Assignment):
            known = next(self._assignments)
            return item, known.cond, _place(known.src_loc)
        chosen: Any = None
        statements = []
        for case in item.cases:
            marked = [self.mark(each) for each in case.contents]
            case.contents = [each for each, _, _ in marked]
            statements.append(sorted({place for _, _, place in marked if place}))
            for _, condition, _ in marked:
                chosen = self._netlist.cells[condition.cell]
        places = self._conditions(chosen)
        for index, case in enumerate(item.cases):
            where = places[index] if index < len(places) else ""
            item.cases[index] = _Located(case, ";".join((where, ",".join(statements[index]))))
        return _Located(item, _ARMS.join(case.places for case in item.cases)), chosen.en, ""

    def _conditions(self, chosen: Any) -> list[str]:
        """``file:line`` of each If, Elif or Case of a switch; of an Else that of its If, with a mark."""
        found = []
        for net in chosen.inputs:
            if net.is_const:
                found.append(f"{_place(chosen.src_loc)} else")
                continue
            matches = self._netlist.cells[net.cell]
            if matches.patterns:  # an arm without any is not written
                # A reset has no place of its own: that of the register serves.
                found.append(_place(matches.src_loc) or f"{self._process} reset")
        return found


class _Located:
    """A switch or a case with its places."""

    def __init__(self, item: Any, places: str) -> None:
        self._item, self.places = item, places

    def emit(self, line: Any) -> None:
        line(f'attribute \\src "{self.places}"')
        self._item.emit(line)


def _place(src_loc: Any) -> str:
    if src_loc is None:  # what Amaranth adds by itself
        return ""
    file, line = src_loc
    path = Path(file)
    return f"{path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name}:{line}"


# --- and back

_SWITCH = re.compile(r'^\s*\(\* src = "([^"]*)" \*\)$')
_CASE = re.compile(r'^\s*/\* src = "([^"]*)" \*/$')
_IF = re.compile(r"^\s*if \(")
_ELSE = re.compile(r"^\s*end else ")
_PATTERN = re.compile(r"^\s*(.*):$")
_WRITE = re.compile(r"^ {6}\\?([^ \[]+) ?\[[^;]*<=")
_DECLARED = re.compile(r"^  (?:input|output|wire|reg) (?:\[\d+:0\] )?(\S+?) *(?:\[\d+:0\])?(?: = .*)?;")


@dataclass(frozen=True)
class Branch:
    """One arm of a branch of Amaranth."""

    condition: str
    """``file:line`` of the If, Elif, Else or Case; empty for an arm that Yosys made."""
    arm: str
    """``taken``, or the pattern of a Case."""
    statements: tuple[str, ...]
    """``file:line`` of each statement right under it."""


def branches(text: str) -> dict[int, Branch]:
    """The branch that begins at each line (from 1) of Verilog written within :func:`convert`.

    A write of a memory is one too: its condition is the memory's name.
    """
    found: dict[int, Branch] = {}
    arms: list[list[str]] = []  # of each block that is open, what is still to come of its chain of Else
    pending: list[str] = []
    case = ""
    lines = text.splitlines()
    for number, line in enumerate(lines, start=1):
        if switch := _SWITCH.match(line):
            pending = switch[1].split(_ARMS)
            continue
        if place := _CASE.match(line):
            case = place[1]
            continue
        if _IF.match(line):
            if line.endswith(" begin"):
                arms.append(pending)
                found[number] = _branch(arms[-1], "taken")
            elif write := _WRITE.match(lines[number]):
                found[number] = Branch(f"memory {write[1]}", "written", ())
        elif _ELSE.match(line):
            found[number] = _branch(arms[-1], "taken")
        elif case and (pattern := _PATTERN.match(line)):
            found[number] = _branch([case], pattern[1])
            case = ""
        elif line.endswith("begin"):
            arms.append([])
        elif line.strip() == "end":
            arms.pop()
        pending = []
    return found


def _branch(arms: list[str], arm: str) -> Branch:
    condition, _, statements = (arms.pop(0) if arms else "").partition(";")
    return Branch(condition, arm, tuple(statements.split(",")) if statements else ())


def ports(text: str, top: str) -> frozenset[str]:
    """Names of the ports of module ``top``."""
    header = re.search(rf"^module \\?{re.escape(top)} ?\(([^;]*)\);", text, re.MULTILINE)
    return frozenset(name.strip() for name in header[1].split(",")) if header else frozenset()


def toggles_off(text: str, top: str, file: str) -> str:
    """A control file for Verilator: in ``file`` no toggles of anything but the ports of module ``top``."""
    wanted, inside = ports(text, top), False
    lines = ["`verilator_config"]
    for number, line in enumerate(text.splitlines(), start=1):
        if line.startswith("module "):
            inside = re.match(rf"module \\?{re.escape(top)} ?\(", line) is not None
        elif (declared := _DECLARED.match(line)) and not (inside and declared[1] in wanted):
            lines.append(f'coverage_off -file "{file}" -lines {number}')
    return "\n".join([*lines, ""])
