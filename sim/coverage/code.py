"""Verilator's counts of one simulation, as lines and branches of Amaranth and as ports of the design."""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from sim import coverage
from sim.coverage import files

__all__ = ["collect", "collect_file"]

_FIELD = re.compile(rb"\x01([a-zA-Z]+)\x02([^\x01']*)")
_CHANNEL = re.compile(r"(?<=phy)__\d+|(?<=tiles|steps)__\d+|(?<=results)__\d+|(?<=idle)__\d+")
_OURS = re.compile(r"^(hdl|fpga|memory)\b")


def collect(library: Path, unit: str, write: Callable[[bytes], int]) -> None:
    """Take the counts of a simulation that is about to end, if they are asked for and there are any.

    ``write(path)`` puts them into a file, and returns 0 if the design was not built to count. ``library``: what was
    built, beside its Verilog ``top.v``. ``unit``: name of the design, for its ports.
    """
    if coverage.directory() is None:
        return
    with tempfile.TemporaryDirectory() as place:
        data = Path(place) / "counts"
        if write(str(data).encode()):
            collect_file(data, library.with_name("top.v"), unit)


def collect_file(data: Path, verilog: Path, unit: str) -> None:
    """Add the counts in Verilator's file ``data`` to those of this process."""
    lines = data.read_bytes().splitlines()[1:]
    points = _points(verilog, unit, tuple(line.rpartition(b" ")[0] for line in lines))
    found: dict[str, Counter[str]] = {"branches": Counter(), "lines": Counter(), "toggles": Counter()}
    for line, point in zip(lines, points, strict=True):
        if point is None:
            continue
        count = int(line.rpartition(b" ")[2])
        found[point.kind][point.name] += count
        for statement in point.statements:
            found["lines"][statement] += count
    for kind, counts in found.items():
        files.code(kind, counts)
    files.save_now_and_then()


@dataclass(frozen=True)
class _Point:
    kind: str
    name: str
    statements: tuple[str, ...] = ()


@cache
def _points(verilog: Path, unit: str, keys: tuple[bytes, ...]) -> list[_Point | None]:
    """What each line of a file of counts means; None for what is not our code."""
    from sim.coverage.verilog import branches

    text = verilog.read_text(encoding="utf-8")
    arms, source = branches(text), text.splitlines()

    def point(key: bytes) -> _Point | None:
        fields = {name.decode(): value.decode() for name, value in _FIELD.findall(key)}
        line, what = int(fields["l"]), fields["o"]
        if fields["page"].startswith("v_toggle/"):
            port = what.replace("___05F", "__")  # Verilator keeps double underscores for itself
            return _Point("toggles", f"{unit} {_CHANNEL.sub('', port)}")
        if what == "else" and "S" in fields:
            line = int(re.split(r"[-,]", fields["S"])[0]) - 1
            while not source[line - 1].lstrip().startswith("end else"):
                line -= 1
        branch = arms.get(line)
        if branch is None or not _OURS.match(branch.condition):
            return None
        if what == "else" and "S" not in fields:
            return _Point("branches", f"{branch.condition} not taken")
        statements = tuple(place for place in branch.statements if _OURS.match(place))
        return _Point("branches", f"{branch.condition} {branch.arm}", statements)

    return [point(key) for key in keys]
