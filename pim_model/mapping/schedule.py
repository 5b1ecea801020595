# Ref: IANUS (ASPLOS 2024), sections 5.3, 6.2 and 7.2 (Fig. 13)
"""What a compiler may choose: how fully connected layers are mapped, where attention runs, and what may overlap."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["SCHEDULES", "Mapping", "Schedule", "schedule"]


class Mapping(Enum):
    """Where the fully connected layers of a stage run."""

    ALGORITHM = "algorithm1"
    """By Algorithm 1, corrected."""
    PRINTED = "printed"
    """By Algorithm 1 as the paper prints it."""
    MATRIX = "matrix"
    """All on the matrix unit."""
    PIM = "pim"
    """All in PIM."""


@dataclass(frozen=True)
class Schedule:
    """One way to compile a model."""

    name: str
    meaning: str
    attention_in_pim: bool
    serial: bool


SCHEDULES: dict[str, Schedule] = {
    entry.name: entry
    for entry in (
        Schedule(
            "pas", "scores and context on the matrix unit, overlapped: Fig. 7 (a) and (c)", False, False
        ),
        Schedule("pas-pim", "generation with scores and context in PIM: Fig. 7 (b)", True, False),
        Schedule("naive", "as pas, one operation after the other", False, True),
        Schedule("naive-pim", "as pas-pim, one operation after the other", True, True),
    )
}


def schedule(name: str) -> Schedule:
    """Schedule ``name``; ``ValueError`` lists the names there are."""
    try:
        return SCHEDULES[name]
    except KeyError:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, not {name!r}") from None
