# Ref: IANUS (ASPLOS 2024), section 7.3: the simulator of the NPU hands commands to the device through the driver
"""A GPT-2 run by NPU programs on a device: one command stream that is timed, and computes the logits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from host_runtime.bits import F32
from host_runtime.llm.checkpoint import Checkpoint
from host_runtime.npu.execute import Stage as Operands
from host_runtime.npu.placed import PlacedModel, shape_of
from host_runtime.ops import Pim
from host_runtime.transport.base import RecordingTransport
from pim_model.inference.run import Inference, Result, Stage
from pim_model.mapping.schedule import Mapping, Schedule
from pim_model.npu.command import OFF_CHIP, Command, Unit
from pim_model.npu.machine import Machine, System
from pim_model.npu.pim_time import source
from pim_model.npu.record import Record
from pim_model.spec.npu import TICKS_PER_NS
from pim_model.trace import Entry

__all__ = ["Dispatched", "Session", "Step"]

CAPACITY = 1 << 22
"""Commands on the buses that a stage may have while it is recorded."""


@dataclass(frozen=True)
class Dispatched:
    """A macro or transfer that went to the device."""

    stage: int
    command: int
    unit: Unit
    start: int
    """Tick at which the command scheduler began it."""
    cycles: tuple[int, int]
    """The device's cycle counter before and after it."""


@dataclass(frozen=True)
class Step:
    """One stage, executed."""

    record: Record
    account: Stage
    logits: F32
    """[tokens whose head ran, vocabulary]"""
    token: int
    """The likeliest next one."""


class Session:
    """A model on an open device.

    Parameters
    ----------
    checkpoint : Checkpoint
        The model.
    machine : Machine
        The NPU; one device of the system ianus, with as many channels and the timing of ``pim``'s.
    pim : Pim
        The device.
    prompt, outputs : int
        Tokens that will be read and generated.
    measured : bool
        Macros and transfers take the cycles that passed on the device while they were out, as on RTL: a macro's with
        its inputs staged and its results read through the host port. Otherwise macros take the cycles of their
        commands, as the golden device counts them, and transfers the model's.
    recorded : int, optional
        Stage whose commands on the device's buses are kept in ``entries``; its transport must record.
    chosen, mapping, gelu_in_pim, all_logits
        As of :class:`~pim_model.mapping.compiler.Compiler`.

    Raises ``ValueError`` for what the model, the machine or the context does not allow.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        machine: Machine,
        pim: Pim,
        prompt: int,
        outputs: int,
        *,
        measured: bool,
        chosen: Schedule | None = None,
        mapping: Mapping = Mapping.PIM,
        gelu_in_pim: bool = False,
        all_logits: bool = False,
        recorded: int | None = None,
    ):
        if machine.system is not System.IANUS or machine.devices != 1:
            raise ValueError("a model must be executed on one device of the system ianus")
        self.inference = Inference(
            shape_of(checkpoint),
            machine,
            source("closed", machine.memory),
            prompt,
            outputs,
            chosen=chosen,
            mapping=mapping,
            gelu_in_pim=gelu_in_pim,
            all_logits=all_logits,
        )
        self._outputs = outputs
        pim.driver.set_refresh(machine.refresh)
        self._pim = pim
        in_pim = self.inference.compiler.schedule.attention_in_pim
        self._placed = PlacedModel(checkpoint, pim, machine.cores, attention_in_pim=in_pim)
        self._measured = measured
        self._cycle = round(machine.memory.timing.cycle_ns * TICKS_PER_NS)
        self._recorded = recorded
        self.dispatched: list[Dispatched] = []
        self.entries: list[Entry] = []

    def run(self, prompt: list[int]) -> Iterator[Step]:
        """The prompt, then a token after the other, each the likeliest after those before it."""
        compiler = self.inference.compiler
        step = self._step(0, compiler.summarization(len(prompt)), prompt, 0)
        yield step
        for number in range(1, self._outputs):
            length = len(prompt) + number
            step = self._step(number, compiler.generation(length), [step.token], length - 1)
            yield step

    def of_stage(self, number: int) -> list[Dispatched]:
        """What of a stage went to the device, in order."""
        return [each for each in self.dispatched if each.stage == number]

    def result(self, steps: list[Step]) -> Result:
        """The account of a whole run."""
        accounts = [step.account for step in steps]
        return Result(self.inference.machine, accounts[0], tuple(accounts[1:]), steps[-1].record)

    def _step(self, number: int, program: list[Command], tokens: list[int], first: int) -> Step:
        operands = Operands(self._placed, tokens, first, program)
        places = {id(command): place for place, command in enumerate(program)}
        driver = self._pim.driver

        def execute(command: Command, tick: int) -> int | None:
            place = places[id(command)]
            if command.unit is not Unit.PIM and command.unit not in OFF_CHIP:
                operands.perform(place, command)
                return None
            before, macro_cycles = driver.cycles(), self._pim.macro_cycles
            operands.perform(place, command)
            after = driver.cycles()
            self.dispatched.append(Dispatched(number, place, command.unit, tick, (before, after)))
            if self._measured:
                return max(1, after - before) * self._cycle
            return (self._pim.macro_cycles - macro_cycles) * self._cycle if command.unit is Unit.PIM else None

        transport = driver.transport
        bus = transport if isinstance(transport, RecordingTransport) and number == self._recorded else None
        if bus is not None:
            bus.record(CAPACITY)
        record = self.inference.simulate(program, execute=execute)
        if bus is not None:
            self.entries = bus.recorded()
            bus.record(0)
        account = self.inference.stage(first + len(tokens), program, record)
        return Step(record, account, np.array(operands.logits), operands.best)
