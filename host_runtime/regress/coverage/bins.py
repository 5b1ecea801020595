"""Functional coverage: the declared bins of each cover group, and what monitors heard."""

from __future__ import annotations

import json
import tomllib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import product
from pathlib import Path

from host_runtime.regress.coverage.result import Covered
from host_runtime.regress.coverage.waivers import Waiver, waived

__all__ = ["Group", "judge", "load", "read"]


@dataclass(frozen=True)
class Group:
    """A cover group, one file of ``tests/coverage/groups``."""

    name: str
    what: str
    points: tuple[str, ...]
    """Cover points, of which a bin has one value each."""
    bins: tuple[str, ...]
    """Names of the bins: the values, with a blank between."""
    illegal: tuple[str, ...]
    """Patterns of bins that must never be hit."""


def load(directory: Path) -> list[Group]:
    """All groups of a directory, by name; ``ValueError`` names the file and what is wrong in it."""
    groups = [_load(path) for path in sorted(directory.glob("*.toml"))]
    if not groups:
        raise ValueError(f"{directory}: no cover group (*.toml) is declared")
    return groups


def _load(path: Path) -> Group:
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not {"what", "points", "cross"} <= set(table) <= {"what", "points", "cross", "illegal"}:
        raise ValueError(f"{path}: a cover group must have what, points and cross, not {sorted(table)}")
    points = tuple(table["points"])
    bins: dict[str, None] = {}
    for cross in table["cross"]:
        if tuple(cross) != points:
            raise ValueError(
                f"{path}: a cross must have the points {points}, in that order, not {tuple(cross)}"
            )
        for values in product(*cross.values()):
            name = " ".join(map(str, values))
            if name in bins:
                raise ValueError(f"{path}: the bin {name!r} is declared twice")
            bins[name] = None
    return Group(path.stem, table["what"], points, tuple(bins), tuple(table.get("illegal", ())))


def read(directory: Path) -> dict[str, Counter[str]]:
    """The hits of all processes, by group and bin."""
    found: dict[str, Counter[str]] = {}
    for path in directory.glob("bins-*.json"):
        for group, bins in json.loads(path.read_text(encoding="utf-8")).items():
            found.setdefault(group, Counter()).update(bins)
    return found


def judge(groups: Sequence[Group], hits: dict[str, Counter[str]], waivers: Sequence[Waiver]) -> list[Covered]:
    """Each group with its bins; waivers match ``group: bin``. Hits without a declared group make one of their own."""
    result = []
    for group in groups:
        heard = hits.get(group.name, Counter())
        covered = Covered(group.name, group.what, {name: heard[name] for name in group.bins})
        for name, count in heard.items():
            if any(fnmatchcase(name, pattern) for pattern in group.illegal):
                covered.illegal[name] = count
            elif name not in covered.hits:
                covered.undeclared[name] = count
        full = {f"{group.name}: {name}": name for name in group.bins}
        covered.waivers = {full[name]: waiver.reason for name, waiver in waived(full, waivers, {}).items()}
        result.append(covered)
    known = {group.name for group in groups}
    strangers = sorted(hits.keys() - known)
    return [*result, *(Covered(name, "not declared", undeclared=dict(hits[name])) for name in strangers)]
