"""The search behind the calibrated constants of time: ``python -m pim_model.paper.calibrate``, when the model changes.

A random walk. What it lessens is the sum of squared deviations of the claims of tiers 2 and 3, those beyond a tenth
weighing many times as much, and of the numbers of tier 4, which weigh little. Energy's constants are left alone: no
time depends on them.
"""

from __future__ import annotations

import argparse
import math
import random
from collections.abc import Callable, Iterator
from dataclasses import replace

from pim_model.paper.bench import Bench
from pim_model.paper.claim import Claim, outcome
from pim_model.paper.report import ALL
from pim_model.spec.npu import CONSTANTS, Constants, describe

__all__ = ["loss", "search"]

FAR, FAR_WEIGHT = 0.1, 60.0
"""From which deviation on a claim weighs more, and how much more."""
REPORTED_WEIGHT = 0.15

_TIMES = [entry.name for entry in describe() if entry.calibrated and not entry.name.endswith("_energy")]


def _counted(claim: Claim) -> bool:
    return claim.ours is not None and claim.tier >= 2 and claim.figure != "11"


def loss(constants: Constants) -> float:
    """How far the claims are from the paper under ``constants``."""
    bench, total = Bench(constants), 0.0
    for claim in filter(_counted, ALL):
        deviation = outcome(claim, bench).deviation
        if deviation is None:
            continue
        weight = REPORTED_WEIGHT if claim.tier == 4 else 1.0
        total += weight * (deviation**2 + FAR_WEIGHT * max(0.0, abs(deviation) - FAR) ** 2)
    return total


def search(
    rounds: int, seed: int, start: Constants = CONSTANTS, of: Callable[[Constants], float] = loss
) -> Iterator[tuple[float, Constants]]:
    """Walk ``rounds`` steps from ``start``; (loss, constants) at first and whenever they improve."""
    rng = random.Random(seed)
    best, least = start, of(start)
    yield least, best
    for step in range(rounds):
        width = max(0.05, 0.3 * 0.995**step)
        names = rng.sample(_TIMES, rng.choice((1, 1, 2, 3)))
        moved = {name: getattr(best, name) * math.exp(rng.gauss(0, width)) for name in names}
        candidate = replace(best, **moved)
        found = of(candidate)
        if found < least:
            best, least = candidate, found
            yield least, best


def main() -> None:
    """Search, and print each improvement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200, help="steps of two to five seconds each")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for least, constants in search(options.rounds, options.seed):
        values = ", ".join(f"{name} {getattr(constants, name):.4g}" for name in _TIMES)
        print(f"{least:.4f}  {values}", flush=True)


if __name__ == "__main__":
    main()
