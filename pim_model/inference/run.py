# Ref: IANUS (ASPLOS 2024), section 7.1
"""One inference: a summarization and the tokens after it, every command of every block simulated and checked."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from pim_model.inference.account import ORDER, busy, parts
from pim_model.inference.collector import collector_paused
from pim_model.inference.energy import Activity, Energy, activity, energy
from pim_model.mapping.compiler import Compiler
from pim_model.mapping.schedule import Mapping, Schedule
from pim_model.npu.command import Part, Program, Unit
from pim_model.npu.invariants import check
from pim_model.npu.kernel import Execute, simulate
from pim_model.npu.machine import Machine
from pim_model.npu.memory import Memory
from pim_model.npu.pim_time import PimTime
from pim_model.npu.record import Record
from pim_model.spec.models import Transformer
from pim_model.spec.npu import TICKS_PER_NS

__all__ = ["Inference", "Result", "Stage"]


@dataclass(frozen=True)
class Stage:
    """The summarization, or one token."""

    length: int
    """Tokens attended to at its end."""
    ns: float
    parts: dict[Part, float]
    """Nanoseconds booked to each part."""
    busy: dict[Unit, float]
    """Nanoseconds in which each unit of a core worked."""
    activity: Activity = field(repr=False)
    commands: int
    facts: int
    """Invariants checked."""


@dataclass(frozen=True)
class Result:
    """A whole inference."""

    machine: Machine
    summarization: Stage
    tokens: tuple[Stage, ...]
    """One for each generated token but the first, which the summarization gives."""
    traced: Record | None = field(default=None, repr=False)

    @cached_property
    def ns(self) -> float:
        """Latency of all."""
        return self.summarization.ns + sum(token.ns for token in self.tokens)

    @property
    def stages(self) -> tuple[Stage, ...]:
        """In order."""
        return (self.summarization, *self.tokens)

    @cached_property
    def token_ns(self) -> float:
        """Mean latency of a generated token; of the summarization if there is no other."""
        return (
            sum(token.ns for token in self.tokens) / len(self.tokens)
            if self.tokens
            else self.summarization.ns
        )

    def booked(self, stages: tuple[Stage, ...]) -> dict[Part, float]:
        """Nanoseconds of each part in ``stages``."""
        return {part: sum(stage.parts[part] for stage in stages) for part in ORDER}

    def utilization(self, stages: tuple[Stage, ...]) -> dict[Unit, float]:
        """Part of the time of ``stages`` in which each unit worked."""
        whole = sum(stage.ns for stage in stages)
        return {unit: sum(stage.busy[unit] for stage in stages) / whole for unit in Unit}

    @cached_property
    def activity(self) -> Activity:
        """Of all stages."""
        total = Activity()
        for stage in self.stages:
            total += stage.activity
        return total

    @cached_property
    def energy(self) -> Energy:
        """Of all stages."""
        return energy(self.activity, self.machine)


class Inference:
    """A model on a machine, with ``tokens_in`` tokens read and ``tokens_out`` generated.

    Parameters
    ----------
    model, machine, time
        What, on what, and where the cycles of macros come from.
    tokens_in, tokens_out : int
        At least one each; all but the last fit in the model's context. Encoders generate none: their ``tokens_out``
        is 0.
    chosen, mapping, capacity, gelu_in_pim, all_logits
        As of :class:`~pim_model.mapping.compiler.Compiler`.

    Raises ``ValueError`` for what the model or the machine does not allow.
    """

    def __init__(
        self,
        model: Transformer,
        machine: Machine,
        time: PimTime,
        tokens_in: int,
        tokens_out: int,
        *,
        chosen: Schedule | None = None,
        mapping: Mapping = Mapping.ALGORITHM,
        capacity: bool = True,
        gelu_in_pim: bool = True,
        all_logits: bool = False,
    ):
        if tokens_in < 1:
            raise ValueError(f"input must be at least one token, not {tokens_in}")
        if model.decoder and tokens_out < 1:
            raise ValueError(f"output must be at least one token, not {tokens_out}")
        if not model.decoder and tokens_out:
            raise ValueError(f"output must be 0 for {model.name}, an encoder, not {tokens_out}")
        needed = tokens_in + max(0, tokens_out - 1)  # the last token is never fed back
        if needed > model.context:
            raise ValueError(
                f"input and output must fit in the context of {model.context} tokens of {model.name}, not need {needed}"
            )
        self.model, self.machine = model, machine
        self._in, self._out = tokens_in, tokens_out
        self._memory = Memory(machine.memory, time, machine.refresh)
        self.compiler = Compiler(
            model,
            machine,
            time,
            tokens_in + tokens_out,
            chosen=chosen,
            mapping=mapping,
            capacity=capacity,
            gelu_in_pim=gelu_in_pim,
            all_logits=all_logits,
        )
        self._now = 0

    @property
    def stages(self) -> int:
        """Stages of the whole run, the summarization first."""
        return max(1, self._out)

    def run(self, progress: Callable[[float], None] = lambda _: None, traced: int | None = None) -> Result:
        """Simulate everything. Of stage ``traced`` all cores are simulated, and the record is kept."""
        stages, kept = [], None
        with collector_paused():
            for number, (length, program) in enumerate(self._programs()):
                record = self.simulate(program, self.machine.cores if number == traced else 1)
                if number == traced:
                    kept = record
                stages.append(self.stage(length, program, record))
                progress((number + 1) / self.stages)
        return Result(self.machine, stages[0], tuple(stages[1:]), kept)

    def simulate(self, program: Program, cores: int = 1, execute: Execute | None = None) -> Record:
        """Run one program on the machine, after all that ran before it; ``cores`` of it, or one that stands for all.

        ``execute``: as of :func:`~pim_model.npu.kernel.simulate`.
        """
        machine = self.machine
        record = simulate(
            [program] * cores,
            self._memory,
            exclusive=machine.exclusive,
            issue_slots=machine.issue_slots,
            pending_slots=machine.pending_slots,
            start=self._now,
            execute=execute,
        )
        self._now = record.end
        return record

    def _programs(self) -> Iterator[tuple[int, Program]]:
        yield self._in, self.compiler.summarization(self._in)
        for length in range(self._in + 1, self._in + self._out):
            yield length, self.compiler.generation(length)

    def stage(self, length: int, program: Program, record: Record) -> Stage:
        """Check a record, and account for it. :class:`~pim_model.npu.invariants.Violation` if a rule was broken."""
        machine = self.machine
        facts = check(
            record,
            exclusive=machine.exclusive,
            issue_slots=machine.issue_slots,
            pending_slots=machine.pending_slots,
        )
        worked: Counter[Unit] = Counter(busy(record.cores[0]))
        return Stage(
            length,
            record.ticks / TICKS_PER_NS,
            {part: ticks / TICKS_PER_NS for part, ticks in parts(record).items()},
            {unit: worked[unit] / TICKS_PER_NS for unit in Unit},
            activity(program, machine),
            len(program),
            facts,
        )
