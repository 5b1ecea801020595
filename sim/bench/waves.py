# Ref: IEEE 1364-2005, 18.2: value change dump
"""The last cycles of a recording: what a person opens after a failure."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

__all__ = ["keep_last"]

_CHANGE = re.compile(r"[bBrR]\S+\s+(\S+)|[01xXzZ](\S+)")


def keep_last(path: Path, ticks: int) -> None:
    """Cut a VCD file down to its last ``ticks`` units of time; every signal keeps the value that it has there.

    ``ValueError`` if the file is no VCD.
    """
    last = None
    for line in _lines(path):
        if line.startswith("#"):
            last = int(line[1:])
    if last is None:
        raise ValueError(f"{path} is no VCD with a time in it")
    begin = max(0, last - ticks)
    short = path.with_name(path.name + ".short")
    values: dict[str, str] = {}  # identifier -> the line that set it last
    header, written = True, False
    with short.open("w", encoding="utf-8") as out:
        for line in _lines(path):
            if header:
                header = not line.startswith("#")
            if header:
                out.write(line)
                continue
            if line.startswith("#"):
                time = int(line[1:])
                if time >= begin and not written:
                    written = True
                    out.write(f"#{begin}\n$dumpvars\n{''.join(values.values())}$end\n")
            elif not written:
                if change := _CHANGE.match(line):
                    values[change[1] or change[2]] = line
                continue
            if written:
                out.write(line)
    short.replace(path)


def _lines(path: Path) -> Iterator[str]:
    with path.open(encoding="utf-8") as file:
        yield from file
