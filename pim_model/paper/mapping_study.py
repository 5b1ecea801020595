# Ref: IANUS (ASPLOS 2024), section 7.2, Fig. 12
"""Algorithm 1 against simulation: each fully connected layer of each model, with 4 to 16 tokens, on both sides."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from pim_model.mapping.compiler import Compiler
from pim_model.mapping.schedule import Mapping
from pim_model.npu.invariants import check
from pim_model.npu.kernel import simulate
from pim_model.npu.machine import Machine
from pim_model.npu.memory import Memory
from pim_model.npu.pim_time import source
from pim_model.spec.models import transformer
from pim_model.spec.npu import TICKS_PER_NS, Constants

__all__ = ["LAYERS", "MODELS", "TOKENS", "Case", "cases"]

MODELS = ("gpt2-m", "gpt2-l", "gpt2-xl", "gpt2-2.5b")
TOKENS = range(4, 17)
LAYERS = ("query", "projection", "expand", "contract")
"""The kinds of layers: key and value are as the query."""


@dataclass(frozen=True)
class Case:
    """One layer, one number of tokens."""

    model: str
    layer: str
    tokens: int
    times: int
    """How often a core's program has it in a block."""
    matrix: float
    """ns on the matrix unit, simulated."""
    pim: float
    """ns in PIM, simulated."""
    corrected: bool
    """Algorithm 1, corrected, chooses PIM."""
    printed: bool
    """Algorithm 1, as printed, chooses PIM."""

    @property
    def faster(self) -> bool:
        """PIM is the faster one."""
        return self.pim < self.matrix


def cases(constants: Constants, tokens: range = TOKENS) -> Iterator[Case]:
    """Every case, simulated and decided."""
    machine = replace(Machine(), constants=constants)
    time = source("closed", machine.memory)
    for name in MODELS:
        model = transformer(name)
        corrected, printed = (
            Compiler(model, machine, time, 64, mapping=mapping, layers=1)
            for mapping in (Mapping.ALGORITHM, Mapping.PRINTED)
        )
        heads = model.heads // machine.cores
        for layer in LAYERS:
            for count in tokens:

                def alone(
                    memory: bool, layer: str = layer, count: int = count, by: Compiler = corrected
                ) -> float:
                    record = simulate([by.alone(layer, count, memory)], Memory(machine.memory, time, False))
                    check(record, exclusive=True, issue_slots=4, pending_slots=256)
                    return record.ticks / TICKS_PER_NS

                yield Case(
                    name,
                    layer,
                    count,
                    3 * heads if layer == "query" else 1,
                    alone(False),
                    alone(True),
                    corrected.fc_in_pim(layer, count, False),
                    printed.fc_in_pim(layer, count, False),
                )
