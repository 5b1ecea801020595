"""What cannot be covered, each with its reason (``tests/coverage/waivers.toml``)."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path

__all__ = ["KINDS", "Waiver", "load", "waived"]

KINDS = ("bins", "branches", "lines", "toggles", "python")


@dataclass
class Waiver:
    """One entry: which points, and why nobody can reach them."""

    match: str
    """A pattern of names, as of the shell."""
    reason: str
    code: str = ""
    """For branches and lines: what the source line must hold, so that the waiver does not hang on its number."""
    points: set[str] = field(default_factory=set)
    """What it waived; a waiver without any is of no use."""

    def holds(self, name: str, source: str) -> bool:
        """Whether it speaks of a point, whose source line is ``source``."""
        return fnmatchcase(name, self.match) and self.code in source


def load(path: Path) -> dict[str, list[Waiver]]:
    """The waivers of each of :data:`KINDS`; ``ValueError`` names what is wrong."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if unknown := set(table) - set(KINDS):
        raise ValueError(f"{path}: waivers must be of {', '.join(KINDS)}, not {', '.join(sorted(unknown))}")
    found: dict[str, list[Waiver]] = {kind: [] for kind in KINDS}
    for kind, entries in table.items():
        for entry in entries:
            if not {"match", "reason"} <= set(entry) <= {"match", "reason", "code"} or not entry["reason"]:
                raise ValueError(f"{path}: a waiver must have match and reason, not {sorted(entry)}")
            found[kind].append(Waiver(entry["match"], entry["reason"], entry.get("code", "")))
    return found


def waived(names: Iterable[str], waivers: Sequence[Waiver], source: dict[str, str]) -> dict[str, Waiver]:
    """Which of ``names`` are waived, by whom; each waiver remembers them. ``source``: source line of a name."""
    found = {}
    for name in names:
        for waiver in waivers:
            if waiver.holds(name, source.get(name, "")):
                waiver.points.add(name)
                found[name] = waiver
                break
    return found
