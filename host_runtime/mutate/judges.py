"""Who judges a mutant, in which order (``tests/mutation.toml``); and mutants that nobody can tell from the original."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

from host_runtime.mutate.mutants import Mutant

__all__ = ["Judges", "Stage", "Waiver", "load"]


@dataclass(frozen=True)
class Stage:
    """Tests that one pytest runs, up to the first that fails."""

    name: str
    files: tuple[str, ...]
    """Patterns of the files whose mutants it judges."""
    tests: tuple[str, ...]
    """Files or node ids."""
    keyword: str
    """As pytest's -k; empty for all."""
    circuit: str
    """As in ``sim.circuit``: all that the tests see is this circuit. Empty where they see the Python."""


@dataclass(frozen=True)
class Waiver:
    """A mutant that does what the original does, by what a person found."""

    file: str
    function: str
    before: str
    after: str
    reason: str

    def holds(self, mutant: Mutant) -> bool:
        """Whether it is about this mutant: by file, function and changed lines, wherever in the file they stand."""
        if (str(mutant.path), mutant.function) != (self.file, self.function):
            return False
        return mutant.changed == (self.before, self.after)


@dataclass(frozen=True)
class Judges:
    """All of the table."""

    targets: tuple[str, ...]
    circuits: tuple[str, ...]
    """Circuits that must be the original's before a mutant of the RTL is called equivalent."""
    stages: tuple[Stage, ...]
    waivers: tuple[Waiver, ...]

    def files(self, root: Path) -> list[PurePosixPath]:
        """The files that are mutated."""
        found = {
            PurePosixPath(path.relative_to(root).as_posix())
            for pattern in self.targets
            for path in root.glob(pattern)
            if path.name != "__init__.py"
        }
        return sorted(found)

    def of(self, path: PurePosixPath) -> list[Stage]:
        """The stages that judge mutants of a file, in their order."""
        return [stage for stage in self.stages if any(fnmatchcase(str(path), each) for each in stage.files)]

    def waiver(self, mutant: Mutant) -> Waiver | None:
        """The waiver of a mutant, if there is one."""
        return next((waiver for waiver in self.waivers if waiver.holds(mutant)), None)


def load(judges: Path, waivers: Path) -> Judges:
    """Read both tables; ``ValueError`` names file and entry that are not as they should be."""
    table, waived = _read(judges), _read(waivers)
    stages = [
        Stage(**_fields(judges, "stage", entry, ("name", "files", "tests"), ("keyword", "circuit")))
        for entry in table.get("stage", [])
    ]
    for key in ("targets", "circuits"):
        if not table.get(key):
            raise ValueError(f"{judges}: it must have {key}")
    if not stages:
        raise ValueError(f"{judges}: it must have a [[stage]]")
    names = ("file", "function", "before", "after", "reason")
    return Judges(
        tuple(table["targets"]),
        tuple(table["circuits"]),
        tuple(stages),
        tuple(
            Waiver(**_fields(waivers, "equivalent", entry, names, ()))
            for entry in waived.get("equivalent", [])
        ),
    )


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error


def _fields(
    path: Path, what: str, entry: dict[str, Any], needed: Sequence[str], optional: Sequence[str]
) -> dict[str, Any]:
    if not set(needed) <= set(entry) <= {*needed, *optional}:
        raise ValueError(f"{path}: [[{what}]] must have {', '.join(needed)}, not {sorted(entry)}")
    found = {name: entry.get(name, "") for name in (*needed, *optional)}
    return {name: tuple(value) if isinstance(value, list) else value for name, value in found.items()}
