# Ref: IANUS (ASPLOS 2024), section 7
"""Latencies and energies of whole inferences, quickly: a few blocks and a few lengths stand for all.

All blocks of a stage are alike, so from the third on each adds the same time; a test holds this to the simulation of
every block. A token's time grows almost evenly with the tokens before it, so a few lengths, joined by straight lines,
give the sum over all; what that loses is held to a tenth of a percent by a test.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from pim_model.inference.account import ORDER, parts
from pim_model.inference.collector import collector_paused
from pim_model.inference.energy import Activity, Energy, activity, energy
from pim_model.mapping.compiler import Compiler
from pim_model.mapping.schedule import Mapping, schedule
from pim_model.npu.command import Command, Part
from pim_model.npu.invariants import Violation, check
from pim_model.npu.kernel import simulate
from pim_model.npu.machine import Machine
from pim_model.npu.memory import Memory
from pim_model.npu.pim_time import PimTime, source
from pim_model.spec.config import Config
from pim_model.spec.models import Transformer, transformer
from pim_model.spec.npu import CONSTANTS, TICKS_PER_NS, Constants

__all__ = ["Cost", "Study"]

BLOCKS = 3
"""Blocks that are simulated: the last of them is in the steady state."""
LENGTHS = 4
"""Lengths of a generation that are simulated."""


@dataclass(frozen=True)
class Cost:
    """Of a stage, or of several."""

    ns: float
    parts: dict[Part, float]
    activity: Activity

    def __add__(self, other: Cost) -> Cost:
        return Cost(
            self.ns + other.ns,
            {part: self.parts[part] + other.parts[part] for part in ORDER},
            self.activity + other.activity,
        )

    def times(self, factor: float) -> Cost:
        """The cost of ``factor`` such stages."""
        return Cost(
            factor * self.ns,
            {part: factor * ns for part, ns in self.parts.items()},
            Activity(*(round(factor * value) for value in vars(self.activity).values())),
        )


@lru_cache(maxsize=64)
def _closed(config: Config) -> PimTime:
    return source("closed", config)


class Study:
    """Stages and inferences under one set of constants, each computed once."""

    def __init__(self, constants: Constants = CONSTANTS):
        self.constants = constants
        self._stages: dict[tuple[object, ...], Cost] = {}
        self.facts = self.violations = 0
        """Rules of the command scheduler checked, and broken."""

    def stage(
        self,
        model: str | Transformer,
        machine: Machine,
        tokens: int,
        length: int,
        *,
        chosen: str = "pas",
        mapping: Mapping = Mapping.ALGORITHM,
        capacity: bool = True,
    ) -> Cost:
        """A summarization of ``tokens`` (``length`` equal to it), or a token of a generation."""
        shape = transformer(model) if isinstance(model, str) else model
        key = (shape, machine, tokens, length, chosen, mapping, capacity)
        if key not in self._stages:
            timed = replace(machine, constants=self.constants)
            with collector_paused():
                self._stages[key] = self._compute(shape, timed, tokens, length, chosen, mapping, capacity)
        return self._stages[key]

    def _compute(
        self,
        model: Transformer,
        machine: Machine,
        tokens: int,
        length: int,
        chosen: str,
        mapping: Mapping,
        capacity: bool,
    ) -> Cost:
        time = _closed(machine.memory)

        def blocks(layers: int) -> tuple[Compiler, Cost]:
            compiler = Compiler(
                model,
                machine,
                time,
                length,
                chosen=schedule(chosen),
                mapping=mapping,
                layers=layers,
                capacity=capacity,
            )
            stage = compiler.summarization(tokens) if tokens == length else compiler.generation(length)
            return compiler, self._run(machine, time, stage)

        compiler, more = blocks(BLOCKS)
        if compiler.placement.pim_blocks not in (0, model.blocks):
            return blocks(model.blocks)[1]  # blocks of two kinds
        _, fewer = blocks(BLOCKS - 1)
        block = more + fewer.times(-1)
        return more + block.times(model.blocks - BLOCKS)

    def _run(self, machine: Machine, time: PimTime, program: list[Command]) -> Cost:
        record = simulate(
            [program], Memory(machine.memory, time, machine.refresh), exclusive=machine.exclusive
        )
        try:
            self.facts += check(record, exclusive=machine.exclusive, issue_slots=4, pending_slots=256)
        except Violation:
            self.violations += 1
        booked: Counter[Part] = Counter()
        booked.update(parts(record))
        return Cost(
            record.ticks / TICKS_PER_NS,
            {part: booked[part] / TICKS_PER_NS for part in ORDER},
            activity(program, machine),
        )

    def generation(
        self, model: str | Transformer, machine: Machine, tokens_in: int, tokens_out: int, **settings: object
    ) -> Cost:
        """All tokens but the first, which the summarization gives."""
        lengths = np.unique(np.linspace(tokens_in + 1, tokens_in + tokens_out - 1, LENGTHS).astype(int))
        every = np.arange(tokens_in + 1, tokens_in + tokens_out)
        total: Cost | None = None
        for index, length in enumerate(lengths):
            hat = np.interp(every, lengths, np.eye(len(lengths))[index])
            cost = self.stage(model, machine, 1, int(length), **settings).times(float(hat.sum()))  # type: ignore[arg-type]
            total = cost if total is None else total + cost
        assert total is not None
        return total

    def token_ns(
        self, model: str | Transformer, machine: Machine, tokens_in: int, tokens_out: int, **settings: object
    ) -> float:
        """Mean latency of a generated token, the first left out."""
        return self.generation(model, machine, tokens_in, tokens_out, **settings).ns / (tokens_out - 1)

    def inference(
        self, model: str | Transformer, machine: Machine, tokens_in: int, tokens_out: int, **settings: object
    ) -> Cost:
        """The whole: prompt and tokens."""
        prompt = self.stage(model, machine, tokens_in, tokens_in, **settings)  # type: ignore[arg-type]
        if tokens_out < 2:
            return prompt
        return prompt + self.generation(model, machine, tokens_in, tokens_out, **settings)

    def energy(self, cost: Cost, machine: Machine) -> Energy:
        """Of a cost on a machine, with this study's constants."""
        return energy(cost.activity, replace(machine, constants=self.constants))

    def with_energy_of(self, constants: Constants) -> Study:
        """The same stages, with other constants of energy: those have no part in time."""
        other = Study(constants)
        other._stages = self._stages
        return other
