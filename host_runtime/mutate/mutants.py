"""All mutants of a set of files, and a sample of them."""

from __future__ import annotations

import difflib
import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from host_runtime.mutate.operators import KINDS, Edits
from host_runtime.mutate.source import Source, apply

__all__ = ["Mutant", "mutants_of", "sample"]


@dataclass(frozen=True)
class Mutant:
    """One fault in one file."""

    id: str
    """``module:line:kind:number``; the number tells those of a kind in one line apart."""
    path: PurePosixPath
    kind: str
    function: str
    original: bytes
    edits: Edits

    @property
    def mutated(self) -> bytes:
        """The file with the fault."""
        return apply(self.original, self.edits)

    @property
    def changed(self) -> tuple[str, str]:
        """The lines without and with the fault, without what is around them; for a waiver."""
        marked = list(difflib.unified_diff(*self._lines(), lineterm="", n=0))[2:]
        old, new = ([line[1:].strip() for line in marked if line[0] == sign] for sign in "-+")
        return "\n".join(old), "\n".join(new)

    @property
    def diff(self) -> str:
        """As a patch reads."""
        name = str(self.path)
        return "\n".join(difflib.unified_diff(*self._lines(), name, name, lineterm="", n=2))

    def _lines(self) -> tuple[list[str], list[str]]:
        return self.original.decode().splitlines(), self.mutated.decode().splitlines()


def mutants_of(root: Path, paths: Iterable[PurePosixPath]) -> list[Mutant]:
    """Every mutant of the files, in order; none that reads as another does."""
    return [mutant for path in paths for mutant in _of_file(Source.read(root, path))]


def _of_file(source: Source) -> Iterator[Mutant]:
    numbers: dict[tuple[int, str], int] = defaultdict(int)
    seen = {source.raw}
    for kind, operator in KINDS.items():
        for place in source.places:
            for edits in operator(source, place):
                changed = apply(source.raw, edits)
                if changed in seen:
                    continue
                seen.add(changed)
                line = source.line_of(max(edit.start for edit in edits))
                numbers[line, kind] += 1
                name = f"{source.module}:{line}:{kind}:{numbers[line, kind]}"
                yield Mutant(name, source.path, kind, place.function, source.raw, edits)


def sample(mutants: Sequence[Mutant], count: int, seed: int) -> list[Mutant]:
    """``count`` of the mutants, the same for the same seed: kinds in turn, and within a kind files in turn.

    A larger sample begins with the smaller one.
    """
    generator = random.Random(seed)
    strata: dict[str, dict[PurePosixPath, list[Mutant]]] = defaultdict(lambda: defaultdict(list))
    for mutant in mutants:
        strata[mutant.kind][mutant.path].append(mutant)
    turns = []
    for kind in sorted(strata):
        for path in sorted(strata[kind]):
            generator.shuffle(strata[kind][path])
        order = sorted(strata[kind])
        generator.shuffle(order)
        turns.append(_in_turn([strata[kind][path] for path in order]))
    generator.shuffle(turns)
    return _in_turn(turns)[:count]


def _in_turn(lists: Sequence[Sequence[Mutant]]) -> list[Mutant]:
    """The first of each, then the second of each, and so on."""
    longest = max((len(each) for each in lists), default=0)
    return [each[place] for place in range(longest) for each in lists if place < len(each)]
