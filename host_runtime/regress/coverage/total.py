"""The coverage of a regression as a whole: what it came to, against its goals."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_runtime.regress.coverage import bins, code, waivers
from host_runtime.regress.coverage.result import Covered, merge

__all__ = ["GOALS", "Coverage", "Kind", "prepare", "take"]

GOALS = {"functional": 98.0, "RTL lines and branches": 95.0, "RTL port toggles": 95.0, "Python": 90.0}
"""Percent of the points of each kind that a whole regression should reach."""

DIRECTORY = "IANUS_COVERAGE"  # as in sim.coverage, which cannot be imported without the extra `sim`


@dataclass(frozen=True)
class Kind:
    """One goal, and what it is made of."""

    name: str
    whole: Covered
    parts: tuple[Covered, ...]

    @property
    def goal(self) -> float:
        """In percent."""
        return GOALS[self.name]

    @property
    def reached(self) -> bool:
        """The goal is reached, and there was something to reach."""
        return bool(self.whole.total) and self.whole.percent >= self.goal


@dataclass(frozen=True)
class Coverage:
    """All kinds."""

    kinds: tuple[Kind, ...]
    idle: tuple[str, ...]
    """Waivers that waived nothing, or only what was reached."""
    sums: dict[str, dict[str, tuple[int, int]]]
    """Of RTL and Python: by file, points covered and points that count."""

    @property
    def illegal(self) -> dict[str, int]:
        """Hits of bins that must never be hit."""
        return {name: count for kind in self.kinds for name, count in kind.whole.illegal.items()}

    def report(self) -> dict[str, Any]:
        """For machines."""
        return {
            "kinds": [
                {
                    "name": kind.name,
                    "goal": kind.goal,
                    "percent": round(kind.whole.percent, 2),
                    "covered": kind.whole.covered,
                    "total": kind.whole.total,
                    "waived": len(kind.whole.waived),
                    "reached": kind.reached,
                    "parts": [part.report() for part in kind.parts],
                }
                for kind in self.kinds
            ],
            "illegal": self.illegal,
            "idle_waivers": list(self.idle),
        }


def prepare(directory: Path, root: Path, *, append: bool) -> dict[str, str]:
    """Make the directory ready; the environment in which tests leave there what they cover.

    ``append``: what earlier runs left there stays. ``ValueError`` without coverage.py.
    """
    if importlib.util.find_spec("coverage") is None:
        raise ValueError("coverage.py is not installed: install the test extra (pip install 'ianus[test]')")
    directory.mkdir(parents=True, exist_ok=True)
    if not append:
        for path in directory.iterdir():
            if path.is_file():
                path.unlink()
    return {DIRECTORY: str(directory), **code.environment(directory, root)}


def take(directory: Path, root: Path) -> Coverage:
    """Merge what all processes left, and judge it by the declarations of ``root``."""
    declared = root / "tests" / "coverage"
    excused = waivers.load(declared / "waivers.toml")
    groups = bins.judge(bins.load(declared / "groups"), bins.read(directory), excused["bins"])
    branches, lines, toggles = code.rtl(directory, root, excused)
    files = code.python(directory, root, excused["python"])
    kinds = (
        Kind("functional", merge("functional", groups), tuple(groups)),
        Kind("RTL lines and branches", merge("RTL", [lines, branches]), (lines, branches)),
        Kind("RTL port toggles", merge("RTL", [toggles]), (toggles,)),
        Kind("Python", merge("Python", files), tuple(files)),
    )
    reached = {name for kind in kinds for part in kind.parts for name, count in part.hits.items() if count}
    reached |= {f"{part.name}: {name}" for part in groups for name, count in part.hits.items() if count}
    idle = [
        f"{kind}: {waiver.match} {waiver.code}".strip()
        for kind, found in excused.items()
        for waiver in found
        if not waiver.points - reached
    ]
    return Coverage(kinds, tuple(idle), {"RTL": _by_file([lines, branches]), "Python": _by_file(files)})


def _by_file(parts: Sequence[Covered]) -> dict[str, tuple[int, int]]:
    """Points covered and points that count of each file."""
    sums: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for part in parts:
        for name, count in part.hits.items():
            if count or name not in part.waivers:
                file = name.partition(":")[0]
                sums[file][0] += count > 0
                sums[file][1] += 1
    return {file: (covered, total) for file, (covered, total) in sorted(sums.items())}
