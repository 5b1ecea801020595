"""A GPT-2 on a backend, with what the device counted; logits compared bit by bit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np

from host_runtime.bits import U16, to_bits
from host_runtime.driver import Driver
from host_runtime.llm.checkpoint import Checkpoint
from host_runtime.llm.gpt2 import GPT2, reference_linear
from host_runtime.llm.layers import Array
from host_runtime.llm.perplexity import Perplexity
from host_runtime.monitor import commands_since
from host_runtime.ops import Pim, pim_linear
from host_runtime.transport import Transport, open_transport
from pim_model.spec.config import Config

__all__ = ["NUMPY", "LogitComparison", "Machine", "golden_logits"]

NUMPY = "numpy"
"""Backend without PIM: the reference in numpy."""


@dataclass(frozen=True)
class Machine:
    """A model and, unless it runs on numpy alone, the device that holds its linear layers."""

    model: GPT2
    pim: Pim | None = None
    start_cycles: int = 0
    start_commands: dict[str, int] | None = None

    @classmethod
    def on(
        cls,
        transport: Transport | None,
        config: Config,
        checkpoint: Checkpoint,
        precision: str = "bf16",
        build: int | None = None,
    ) -> Machine:
        """Load the checkpoint onto a device, or onto none, which means numpy.

        ``build``: digest that the device must have (:class:`~host_runtime.errors.BuildMismatch`).
        """
        chosen = cast(Literal["fp32", "bf16"], precision)
        if transport is None:
            return cls(GPT2(checkpoint, reference_linear(chosen), chosen))
        pim = Pim(Driver(transport, config, build=build), config)
        model = GPT2(checkpoint, pim_linear(pim), chosen)
        return cls(model, pim, pim.driver.cycles(), pim.driver.command_counts())

    @classmethod
    @contextmanager
    def open(
        cls, backend: str, config: Config, numerics: str, checkpoint: Checkpoint, precision: str = "bf16"
    ) -> Iterator[Machine]:
        """Load the checkpoint onto a fresh device in this process, or onto none (:data:`NUMPY`)."""
        with ExitStack() as stack:
            opened = None if backend == NUMPY else open_transport(backend, config, numerics)
            transport = None if opened is None else stack.enter_context(opened)
            yield cls.on(transport, config, checkpoint, precision)

    def counters(self) -> dict[str, Any]:
        """Macros, cycles, violations and commands since the weights were in place; zeros on numpy."""
        if self.pim is None or self.start_commands is None:
            return {"macros": 0, "cycles": 0, "macro_cycles": 0, "violations": 0, "commands": {}}
        driver = self.pim.driver
        return {
            "macros": self.pim.macros,
            "cycles": driver.cycles() - self.start_cycles,
            "macro_cycles": self.pim.macro_cycles,
            "violations": driver.violations(),
            "commands": commands_since(self.start_commands, driver.command_counts()),
        }


def golden_logits(model: GPT2, run: Perplexity, predictions: int) -> U16:
    """BF16 bits [predictions, vocabulary] of the logits of an evaluation's first predictions, by another model.

    The windows are those of ``run``: numpy's products inside attention may round otherwise in other shapes.
    """
    parts: list[U16] = []
    own = replace(
        run, model=model, state=None, on_logits=lambda _first, rows: parts.append(to_bits("logits", rows))
    )
    for progress in own:
        if progress.predictions >= predictions:
            break
    return np.concatenate(parts)[:predictions]


class LogitComparison:
    """Hears logits window by window and compares them with the expected bits [predictions, vocabulary]."""

    def __init__(self, expected: U16):
        self._expected = expected
        self.predictions = 0
        self.logits = 0
        self.mismatches = 0

    def __call__(self, first: int, rows: Array) -> None:
        """``rows`` [n, vocabulary]: logits of predictions ``first`` and on; those beyond the expected are skipped."""
        expected = self._expected[first : first + len(rows)]
        if len(expected):
            found = to_bits("logits", np.ascontiguousarray(rows[: len(expected)]))
            self.predictions += len(expected)
            self.logits += expected.size
            self.mismatches += int(np.count_nonzero(found != expected))
