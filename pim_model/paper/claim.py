"""One claim of the paper and what becomes of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from pim_model.paper.bench import Bench

__all__ = ["Claim", "Outcome", "outcome"]

Value = float | int | str | bool


@dataclass(frozen=True)
class Claim:
    """What is claimed and how it is recomputed.

    Parameters
    ----------
    id : str
        Number in the list of the paper's claims, with a suffix where one claim has several values.
    statement : str
        In one line.
    tier : int
        0 exact arithmetic, 1 cycles of the memory, 2 ratios of two simulated systems, 3 absolute times, 4 reported
        without a verdict.
    paper : number or str
        The paper's value; of a range, its middle.
    ours : function or None
        Our value, given the bench; None for what cannot be computed here.
    tolerance : float or None
        Largest deviation that passes, as a fraction; 0 for equality; None for no verdict.
    accept : (float, float) or None
        The range that passes, where it is not even about the paper's value.
    note : str
        Assumption behind it, or why there is no verdict.
    figure : str
        Of the paper; for the order of plots.
    """

    id: str
    statement: str
    tier: int
    paper: Value
    ours: Callable[[Bench], Value] | None
    tolerance: float | None = None
    accept: tuple[float, float] | None = None
    note: str = ""
    figure: str = ""


class Outcome(NamedTuple):
    """A claim with our value."""

    id: str
    statement: str
    paper: Value
    ours: Value | None
    deviation: float | None
    """ours / paper - 1; None for what is no number."""
    tier: int
    tolerance: float | None
    verdict: str
    """pass, fail or report."""
    accept: tuple[float, float] | None
    note: str
    figure: str

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return self._asdict()


def outcome(claim: Claim, bench: Bench) -> Outcome:
    """Recompute a claim."""
    ours = None if claim.ours is None else claim.ours(bench)
    deviation = None
    if _number(ours) and _number(claim.paper) and claim.paper:
        deviation = ours / claim.paper - 1  # type: ignore[operator]
    return Outcome(
        claim.id,
        claim.statement,
        claim.paper,
        ours,
        deviation,
        claim.tier,
        claim.tolerance,
        _verdict(claim, ours, deviation),
        claim.accept,
        claim.note,
        claim.figure,
    )


def _number(value: Value | None) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _verdict(claim: Claim, ours: Value | None, deviation: float | None) -> str:
    if claim.tolerance is None or ours is None:
        return "report"
    if claim.accept is not None:
        low, high = claim.accept
        held = isinstance(ours, int | float) and low <= ours <= high
    elif deviation is None or claim.tolerance == 0:
        held = ours == claim.paper
    else:
        held = abs(deviation) <= claim.tolerance
    return "pass" if held else "fail"
