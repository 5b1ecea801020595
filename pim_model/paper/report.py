"""All claims, recomputed under one set of constants; and how far each constant moves the verdicts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from pim_model.paper import cycles, exact, ratios, reported
from pim_model.paper.bench import Bench
from pim_model.paper.claim import Claim, Outcome, outcome
from pim_model.paper.study import Study
from pim_model.spec.npu import CONSTANTS, Constant, Constants, describe

__all__ = ["ALL", "Sensitivity", "Summary", "by_calibration", "recompute", "sensitivity", "summary"]

ALL: tuple[Claim, ...] = tuple(
    sorted((*exact.CLAIMS, *cycles.CLAIMS, *ratios.CLAIMS, *reported.CLAIMS), key=lambda claim: claim.tier)
)
STEP = 0.2
"""How far a constant is moved, each way."""


@dataclass(frozen=True)
class Sensitivity:
    """What moving one constant does."""

    constant: Constant
    flips: tuple[str, ...]
    """Claims whose verdict changes."""
    largest: float
    """Largest relative change of any value."""
    moved: str
    """The claim that it belongs to."""


@dataclass(frozen=True)
class Summary:
    """The claims of tiers 2 and 3 that are numbers, counted."""

    numbers: int
    within_tenth: int
    within_quarter: int
    failed: tuple[str, ...]


def recompute(
    bench: Bench | None = None, progress: Callable[[float], None] = lambda _: None
) -> list[Outcome]:
    """Every claim, tier by tier."""
    bench = bench or Bench()
    found = []
    for index, claim in enumerate(ALL):
        found.append(outcome(claim, bench))
        progress((index + 1) / len(ALL))
    return found


def summary(outcomes: Sequence[Outcome]) -> Summary:
    """How near the claims of tiers 2 and 3 come, and what failed in any tier."""
    near = [abs(o.deviation) for o in outcomes if o.tier in (2, 3) and o.deviation is not None]
    return Summary(
        len(near),
        sum(deviation <= 0.1 for deviation in near),
        sum(deviation <= 0.25 for deviation in near),
        tuple(o.id for o in outcomes if o.verdict == "fail"),
    )


def sensitivity(
    outcomes: Sequence[Outcome],
    constants: Constants = CONSTANTS,
    progress: Callable[[float], None] = lambda _: None,
    names: Sequence[str] | None = None,
) -> list[Sensitivity]:
    """Move each calibrated constant, or those of ``names``, by a fifth, both ways, and recompute tiers 2 and 3."""
    base = {o.id: o for o in outcomes}
    judged = [claim for claim in ALL if claim.tier in (2, 3)]
    table = [e for e in describe(constants) if (e.calibrated if names is None else e.name in names)]
    found = []
    shared = Study(constants)
    for index, entry in enumerate(table):
        flips: list[str] = []
        largest, moved = 0.0, ""
        for factor in (1 - STEP, 1 + STEP):
            changed = replace(constants, **{entry.name: factor * entry.value})
            energy_only = entry.name.endswith("_energy")
            bench = Bench(changed, shared.with_energy_of(changed) if energy_only else None)
            for claim in judged:
                now, before = outcome(claim, bench), base[claim.id]
                if now.verdict != before.verdict and claim.id not in flips:
                    flips.append(claim.id)
                if isinstance(now.ours, float) and isinstance(before.ours, float):
                    change = abs(now.ours / before.ours - 1)
                    if change > largest:
                        largest, moved = change, claim.id
        found.append(Sensitivity(entry, tuple(flips), largest, moved))
        progress((index + 1) / len(table))
    return found


def by_calibration(outcomes: Sequence[Outcome], moved: Sequence[Sensitivity]) -> set[str]:
    """Claims that pass only by fitted constants: absolute times, energies, and what a fifth of one overturns."""
    flipped = {name for entry in moved for name in entry.flips}
    return {
        o.id
        for o in outcomes
        if o.verdict == "pass" and o.tier >= 2 and (o.tier == 3 or o.figure == "11" or o.id in flipped)
    }
