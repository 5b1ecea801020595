"""Proves a harness: simulation first, then induction, then a search for what is left.

Induction is over one step, with all claims and invariants of the harness together as the hypothesis: they hold after
power-on, and in each cycle if they held in the one before. Claims that do not hold up are taken out until the rest is
inductive by itself; that rest is proved without bound, and of the others the solver looks for a run that breaks them.
Nothing that is not proved passes: neither an answer ``unknown``, nor a claim that is not inductive and not broken.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from pim_model.buildcache import build_root
from sim.prove.harness import Claim, Harness
from sim.prove.model import Model
from sim.prove.replay import Machine
from sim.prove.waves import write_waves

__all__ = ["ClaimResult", "ProofResult", "prove"]

RANDOM_CYCLES = 400
"""Cycles of each of the random runs; they reach most covers sooner than a solver."""
RANDOM_RUNS = 4
PATIENCE = 300.0
"""Seconds for one question to the solver."""
SEARCH = 60.0
"""Seconds to look for runs that break the claims that are not inductive."""


@dataclass(frozen=True)
class ClaimResult:
    """Verdict on one claim: ``proved``, ``failed``, or ``unknown``."""

    name: str
    text: str
    verdict: str
    message: str = ""
    waves: str = ""


@dataclass
class ProofResult:
    """Verdicts of a whole harness."""

    name: str
    claims: list[ClaimResult]
    invariants: int
    covers: int
    uncovered: list[str]
    seconds: float
    messages: list[str] = field(default_factory=list)

    def count(self, verdict: str) -> int:
        """Claims with this verdict."""
        return sum(claim.verdict == verdict for claim in self.claims)

    @property
    def passed(self) -> bool:
        """Everything is proved, and every cover reached."""
        return self.count("proved") == len(self.claims) and not self.uncovered and not self.messages


@dataclass
class _Run:
    """A run with numbers: registers and inputs of each cycle."""

    registers: list[int]
    inputs: list[int]


def prove(
    name: str, harness: Harness, seed: int = 1, tell: Callable[[str], None] | None = None
) -> ProofResult:
    """Decide every claim of ``harness`` and reach every cover. ``tell`` hears of each step."""
    began = time.perf_counter()
    tell = tell or (lambda _step: None)
    tell("model")
    return _Prover(name, harness, seed, tell).result(began)


class _Prover:
    def __init__(self, name: str, harness: Harness, seed: int, tell: Callable[[str], None]):
        self._name, self._harness, self._seed, self._tell = name, harness, seed, tell
        self._model = Model(harness)
        self._claims = harness.claims
        if not any(not claim.helper for claim in self._claims):
            raise ValueError(f"{name} must claim something")
        self._covers = {cover.name: cover.signal.name for cover in harness.covers}
        if len(self._covers) != len(harness.covers) or len({c.name for c in self._claims}) != len(
            self._claims
        ):
            raise ValueError(f"{name} must give each claim and each cover a name of its own")
        names = [claim.signal.name for claim in self._claims] + list(self._covers.values())
        names += [signal.name for signal in harness.assumptions]
        self._machine = Machine(self._model, names)
        self._broken: dict[str, _Run] = {}
        self._missing = set(self._covers)

    def result(self, began: float) -> ProofResult:
        self._tell("simulation")
        self._simulate()
        if self._missing:
            self._tell("covers")
            self._search_covers()
        self._tell("induction")
        proved, note = self._induction()
        lost = [
            claim for claim in self._claims if claim.name not in proved and claim.name not in self._broken
        ]
        if lost:
            self._tell("counterexamples")
            self._search_counterexamples(lost)
        claims, messages = [], []
        for claim in self._claims:
            verdict = (
                "proved" if claim.name in proved else "failed" if claim.name in self._broken else "unknown"
            )
            message, waves = "", ""
            if verdict == "failed":
                message, waves = self._report(claim, self._broken[claim.name])
            elif verdict == "unknown":
                message = note.get(claim.name, "neither inductive nor broken")
            if not claim.helper:
                claims.append(ClaimResult(claim.name, claim.text, verdict, message, waves))
            elif verdict != "proved":
                messages.append(f"invariant {claim.name} {verdict}: {message}")
        return ProofResult(
            self._name,
            claims,
            len(self._claims) - len(claims),
            len(self._covers),
            sorted(self._missing),
            time.perf_counter() - began,
            messages,
        )

    # ------------------------------------------------------------------ simulation

    def _simulate(self) -> None:
        machine, rng = self._machine, random.Random(f"{self._seed}/{self._name}")
        for script in self._harness.scripts:
            self._play([machine.pack(inputs) for inputs in script])
        inputs = [part for places in self._model.inputs.values() for part in places]
        for _ in range(RANDOM_RUNS):
            registers, run = machine.initial, _Run([], [])
            for _ in range(RANDOM_CYCLES):
                for _attempt in range(40):
                    drawn = sum(_draw(rng, width) << low for low, width in inputs)
                    values, following = machine.cycle(registers, drawn)
                    if self._allowed(values):
                        break
                else:
                    break
                self._look(run, registers, drawn, values)
                registers = following

    def _play(self, stimulus: list[int]) -> None:
        registers, run = self._machine.initial, _Run([], [])
        for cycle, inputs in enumerate(stimulus):
            values, following = self._machine.cycle(registers, inputs)
            if not self._allowed(values):
                raise ValueError(f"{self._name}: a directed stimulus breaks an assumption in cycle {cycle}")
            self._look(run, registers, inputs, values)
            registers = following

    def _allowed(self, values: list[int]) -> bool:
        return all(values[len(self._claims) + len(self._covers) :])

    def _look(self, run: _Run, registers: int, inputs: int, values: list[int]) -> None:
        """Take a cycle into a run; note covers reached and claims broken for the first time."""
        run.registers.append(registers)
        run.inputs.append(inputs)
        for claim, holds in zip(self._claims, values, strict=False):
            if not holds and claim.name not in self._broken:
                self._broken[claim.name] = _Run(list(run.registers), list(run.inputs))
        if self._missing:
            for name, happens in zip(self._covers, values[len(self._claims) :], strict=False):
                if happens:
                    self._missing.discard(name)

    # ------------------------------------------------------------------ solver

    def _solver(self) -> Any:
        import z3

        solver = z3.SolverFor("QF_BV")
        solver.set("timeout", int(PATIENCE * 1000))
        return solver

    def _at(self, names: list[str], state: Any) -> list[Any]:
        """Named signals of one bit, in a state, as truth values."""
        import z3

        pair = (self._model.state, state)
        return [z3.simplify(z3.substitute(self._model.term(name), pair) == 1) for name in names]

    def _successor(self, state: Any, cycle: int) -> Any:
        import z3

        parts = []
        for segment in reversed(self._model.segments):
            if segment.next is None:
                parts.append(z3.BitVec(f"in{cycle}_{segment.low}", segment.width))
            else:
                parts.append(z3.substitute(segment.next, (self._model.state, state)))
        return z3.simplify(z3.Concat(*parts) if len(parts) > 1 else parts[0])

    def _initial(self) -> Any:
        import z3

        parts = [
            z3.BitVec(f"in0_{s.low}", s.width) if s.init is None else z3.BitVecVal(s.init, s.width)
            for s in reversed(self._model.segments)
        ]
        return z3.Concat(*parts) if len(parts) > 1 else parts[0]

    @property
    def _assumed(self) -> list[str]:
        return [signal.name for signal in self._harness.assumptions]

    def _induction(self) -> tuple[set[str], dict[str, str]]:
        """The names of what is proved, and what to say of the rest."""
        note: dict[str, str] = {}
        alive = [claim for claim in self._claims if claim.name not in self._broken]
        start = self._initial()
        alive = self._keep(
            alive, [], self._at(self._assumed, start), start, note, "does not hold after power-on"
        )
        before = self._model.state
        after = self._successor(before, 1)
        assumptions = self._at(self._assumed, before) + self._at(self._assumed, after)
        while True:
            held = [claim.signal.name for claim in alive]
            kept = self._keep(alive, self._at(held, before), assumptions, after, note, "is not inductive")
            if len(kept) == len(alive):
                return {claim.name for claim in kept}, note
            alive = kept

    def _keep(
        self,
        alive: list[Claim],
        held: list[Any],
        assumptions: list[Any],
        state: Any,
        note: dict[str, str],
        why: str,
    ) -> list[Claim]:
        """Those of ``alive`` that hold in ``state``, given what was held in the cycle before."""
        import z3

        solver = self._solver()
        solver.add(*held, *assumptions)
        goals = dict(
            zip((c.name for c in alive), self._at([c.signal.name for c in alive], state), strict=True)
        )
        left = list(alive)
        while left:
            solver.push()
            solver.add(z3.Not(z3.And([goals[claim.name] for claim in left])))
            verdict = solver.check()
            if verdict == z3.unsat:
                return left
            if verdict == z3.unknown:
                for claim in left:
                    note[claim.name] = f"the solver gave up: {solver.reason_unknown()}"
                return []
            model = solver.model()
            solver.pop()
            fallen = {
                c.name for c in left if not z3.is_true(model.eval(goals[c.name], model_completion=True))
            }
            note.update((name, why) for name in fallen)
            left = [claim for claim in left if claim.name not in fallen]
        return left

    def _search_covers(self) -> None:
        import z3

        solver, state = self._solver(), self._initial()
        for cycle in range(self._harness.depth):
            solver.add(*self._at(self._assumed, state))
            for name in sorted(self._missing):
                (goal,) = self._at([self._covers[name]], state)
                if z3.is_false(goal):
                    continue
                solver.push()
                solver.add(goal)
                if solver.check() == z3.sat:
                    self._play(self._stimulus(solver.model(), cycle + 1))
                    if name in self._missing:
                        raise RuntimeError(f"{self._name}: the solver's run to {name} does not lead there")
                solver.pop()
            if not self._missing:
                return
            state = self._successor(state, cycle + 1)

    def _search_counterexamples(self, lost: list[Claim]) -> None:
        import z3

        solver, state = self._solver(), self._initial()
        until = time.perf_counter() + SEARCH
        for cycle in range(self._harness.depth):
            solver.add(*self._at(self._assumed, state))
            left = [claim for claim in lost if claim.name not in self._broken]
            goals = self._at([claim.signal.name for claim in left], state)
            while left and time.perf_counter() < until:
                solver.push()
                solver.add(z3.Not(z3.And(goals)))
                if solver.check() != z3.sat:
                    solver.pop()
                    break
                self._play(self._stimulus(solver.model(), cycle + 1))
                solver.pop()
                left = [claim for claim in lost if claim.name not in self._broken]
                goals = self._at([claim.signal.name for claim in left], state)
            if not left or time.perf_counter() > until:
                return
            state = self._successor(state, cycle + 1)

    def _stimulus(self, model: Any, cycles: int) -> list[int]:
        """The inputs of a run that the solver found."""
        import z3

        stimulus = []
        for cycle in range(cycles):
            bits = 0
            for segment in self._model.segments:
                if segment.next is None:
                    variable = z3.BitVec(f"in{cycle}_{segment.low}", segment.width)
                    bits |= model.eval(variable, model_completion=True).as_long() << segment.low
            stimulus.append(bits)
        return stimulus

    # ------------------------------------------------------------------ messages

    def _report(self, claim: Claim, run: _Run) -> tuple[str, str]:
        """A sentence on a counterexample, and the file with its waves."""
        names = [name for name in self._model.widths if not name.startswith(("claim_", "cover_", "assume_"))]
        self._model.load(names)
        machine = Machine(self._model, names)
        table = [
            machine.cycle(registers, inputs)[0]
            for registers, inputs in zip(run.registers, run.inputs, strict=True)
        ]
        place = {name: i for i, name in enumerate(names)}
        cycles: list[Callable[[str], int]] = [partial(_value, place, row) for row in table]
        folder = build_root() / "prove" / self._name.replace("/", "-")
        path = folder / f"{_file_name(claim.name)}.vcd"
        write_waves(path, {name: self._model.widths[name] for name in names}, table)
        return self._harness.explain(claim, cycles), str(path)


def _draw(rng: random.Random, width: int) -> int:
    """A random input; narrow ones are often zero, so that streams also stand still."""
    return 0 if rng.random() < 0.3 else rng.getrandbits(width)


def _value(place: dict[str, int], row: list[int], name: str) -> int:
    return row[place[name]]


def _file_name(name: str) -> str:
    return "".join(letter if letter.isalnum() or letter in "-_" else "-" for letter in name)
