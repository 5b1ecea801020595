"""Random stimulus in numbered items, of which a repeat may leave some out: so a failure is shrunk to those it needs."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

__all__ = ["KEEP", "TOLD", "Item", "parse", "spell", "told"]

KEEP = "IANUS_BENCH_KEEP"
"""Environment variable with the items to keep, as :func:`spell` writes them; all without it."""

TOLD = "stimulus.txt"
"""In the directory of a run: the items drawn, a line each."""

Item = tuple[str, int]
"""A stream's name and a number in it."""

_LINE = re.compile(r"(\S+) (\d+): ")


def spell(items: Iterable[Item]) -> str:
    """``macros:0,3 requests:17``."""
    streams: dict[str, list[int]] = defaultdict(list)
    for name, number in items:
        streams[name].append(number)
    return " ".join(f"{name}:{','.join(map(str, numbers))}" for name, numbers in streams.items())


def parse(text: str) -> dict[str, frozenset[int]]:
    """What :func:`spell` wrote; ``ValueError`` for anything else."""
    kept = {}
    for stream in text.split():
        name, colon, numbers = stream.partition(":")
        if not (name and colon and all(each.isdecimal() for each in numbers.split(","))):
            raise ValueError(f"must be like macros:0,3 requests:17, not {text!r}")
        kept[name] = frozenset(int(each) for each in numbers.split(","))
    return kept


def told(path: Path) -> list[Item]:
    """The items that a run drew, in their order; none if the file is not there."""
    if not path.is_file():
        return []
    found = (_LINE.match(line) for line in path.read_text(encoding="utf-8").splitlines())
    return [(match[1], int(match[2])) for match in found if match]
