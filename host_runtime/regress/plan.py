"""The test plan: which features there are, and which tests hold each."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from host_runtime.regress.record import Outcome

__all__ = ["Feature", "Standing", "load", "standings"]

REST = "not in the plan"


@dataclass(frozen=True)
class Feature:
    """One line of the plan."""

    name: str
    what: str
    tests: tuple[str, ...]
    """Patterns of node ids, as of the shell; ``tests/x.py`` means all tests of that file."""

    def holds(self, node: str) -> bool:
        """Whether the test is one of this feature's."""
        return any(fnmatchcase(node, pattern) or fnmatchcase(node, f"{pattern}::*") for pattern in self.tests)


@dataclass(frozen=True)
class Standing:
    """What a run says of a feature."""

    feature: Feature
    outcomes: tuple[Outcome, ...]

    def count(self, result: str) -> int:
        """Its outcomes that are passed, failed or skipped."""
        return sum(outcome.result == result for outcome in self.outcomes)

    @property
    def result(self) -> str:
        """failed if a test did, passed if one did and none failed; else not run."""
        if self.count("failed"):
            return "failed"
        return "passed" if self.count("passed") else "not run"


def load(path: Path) -> list[Feature]:
    """Read a plan; ``ValueError`` names file and feature that are not as they should be."""
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"{path}: {error}") from error
    features = []
    for entry in table.get("feature", []):
        name = entry.get("name")
        if not isinstance(name, str) or set(entry) != {"name", "what", "tests"} or not entry["tests"]:
            raise ValueError(
                f"{path}: a feature must have name, what and tests, not {sorted(entry)} ({name})"
            )
        features.append(Feature(name, entry["what"], tuple(entry["tests"])))
    if not features:
        raise ValueError(f"{path}: the plan must have a [[feature]]")
    return features


def standings(features: Sequence[Feature], outcomes: Iterable[Outcome]) -> list[Standing]:
    """Every feature with its outcomes, those of no feature last. A test may hold several."""
    found = list(outcomes)
    result = [
        Standing(feature, tuple(outcome for outcome in found if feature.holds(outcome.id)))
        for feature in features
    ]
    rest = tuple(outcome for outcome in found if not any(feature.holds(outcome.id) for feature in features))
    if rest:
        result.append(Standing(Feature(REST, "tests that no feature names", ()), rest))
    return result
