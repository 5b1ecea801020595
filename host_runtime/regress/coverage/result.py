"""How much of a kind of points was reached: covered, waived, missed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["Covered", "merge"]


@dataclass
class Covered:
    """One kind of points, or one cover group."""

    name: str
    what: str = ""
    hits: dict[str, int] = field(default_factory=dict)
    """Of every point that there is, how often it was hit."""
    waivers: dict[str, str] = field(default_factory=dict)
    """Points that cannot be reached, with the reason."""
    illegal: dict[str, int] = field(default_factory=dict)
    """Hits of what must never happen."""
    undeclared: dict[str, int] = field(default_factory=dict)
    """Hits of what nobody declared."""

    @property
    def covered(self) -> int:
        """Points that were hit."""
        return sum(count > 0 for count in self.hits.values())

    @property
    def missed(self) -> list[str]:
        """Points that were not hit, and that no waiver names."""
        return [name for name, count in self.hits.items() if not count and name not in self.waivers]

    @property
    def waived(self) -> dict[str, str]:
        """Waivers of points that were not hit."""
        return {name: why for name, why in self.waivers.items() if not self.hits.get(name)}

    @property
    def total(self) -> int:
        """Points that count: all but those that are waived and were not hit."""
        return len(self.hits) - len(self.waived)

    @property
    def percent(self) -> float:
        """Part of the points that was hit; all of none."""
        return 100 * self.covered / self.total if self.total else 100.0

    def report(self) -> dict[str, Any]:
        """For machines."""
        return {
            "name": self.name,
            "points": len(self.hits),
            "covered": self.covered,
            "waived": self.waived,
            "percent": round(self.percent, 2),
            "missed": self.missed,
            "illegal": self.illegal,
            "undeclared": self.undeclared,
        }


def merge(name: str, parts: list[Covered]) -> Covered:
    """Several as one; names of points get that of their part before them."""
    whole = Covered(name)
    for part in parts:
        for of in ("hits", "waivers", "illegal", "undeclared"):
            found: Mapping[str, Any] = getattr(part, of)
            getattr(whole, of).update({f"{part.name}: {point}": value for point, value in found.items()})
    return whole
