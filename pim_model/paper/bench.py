# Ref: IANUS (ASPLOS 2024), section 7.2
"""The quantities that the claims ask for, each computed once under one set of constants."""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property

from pim_model.inference.energy import Energy
from pim_model.npu.command import Part
from pim_model.npu.machine import Machine, System
from pim_model.paper.mapping_study import Case, cases
from pim_model.paper.study import Cost, Study
from pim_model.spec.npu import CONSTANTS, Constants

__all__ = ["GPT2", "IANUS", "NPU_MEM", "PARTITIONED", "Bench"]

IANUS = Machine()
NPU_MEM = Machine(system=System.NPU_MEM)
PARTITIONED = Machine(system=System.PARTITIONED)
GPT2 = ("gpt2-m", "gpt2-l", "gpt2-xl", "gpt2-2.5b")
DECODER = (Part.ATTENTION_FC, Part.FFN, Part.SELF_ATTENTION, Part.NORM)


class Bench:
    """Runs behind the claims."""

    def __init__(self, constants: Constants = CONSTANTS, study: Study | None = None):
        self.constants = constants
        self.study = study or Study(constants)

    # ---------------------------------------------------------------------------------------- Figs. 8 to 10

    def token_ms(self, model: str, machine: Machine, tokens_in: int, tokens_out: int) -> float:
        """Mean latency of a generated token."""
        return self.study.token_ns(model, machine, tokens_in, tokens_out) / 1e6

    def generation(self, model: str, machine: Machine) -> Cost:
        """The generation of (64, 256), the case of Figs. 9 and 10."""
        return self.study.generation(model, machine, 64, 256)

    def speedup(self, model: str, *parts: Part) -> float:
        """IANUS over NPU-MEM in parts of a decoder, all of it by default."""
        chosen = parts or DECODER
        times = [
            sum(self.generation(model, machine).parts[part] for part in chosen)
            for machine in (NPU_MEM, IANUS)
        ]
        return times[0] / times[1]

    def prompt_ms(self, machine: Machine) -> float:
        """GPT-2 XL, (128, 1)."""
        return self.study.inference("gpt2-xl", machine, 128, 1).ns / 1e6

    # --------------------------------------------------------------------------------------------- Fig. 11

    def energy(self, model: str, machine: Machine) -> Energy:
        """(256, 512)."""
        return self.study.energy(self.study.inference(model, machine, 256, 512), machine)

    def energy_ratio(self, model: str, kind: str = "total") -> float:
        """NPU-MEM over IANUS."""
        plain, pim = (getattr(self.energy(model, machine), kind) for machine in (NPU_MEM, IANUS))
        return float(plain / pim)

    # --------------------------------------------------------------------------------------------- Fig. 12

    @cached_property
    def cases(self) -> tuple[Case, ...]:
        """Every fully connected layer with 4 to 16 tokens."""
        return tuple(cases(self.constants))

    @property
    def accuracy(self) -> float:
        """Part of the cases that Algorithm 1, corrected, decides as simulation does."""
        return sum(case.corrected == case.faster for case in self.cases) / len(self.cases)

    @property
    def printed_accuracy(self) -> float:
        """The same as printed."""
        return sum(case.printed == case.faster for case in self.cases) / len(self.cases)

    def layers(self, side: str, model: str, tokens: int) -> float:
        """ns of a block's fully connected layers: ``matrix``, ``pim`` or as Algorithm 1 has it, ``chosen``."""
        total = 0.0
        for case in self.cases:
            if (case.model, case.tokens) == (model, tokens):
                pim = case.corrected if side == "chosen" else side == "pim"
                total += case.times * (case.pim if pim else case.matrix)
        return total

    def gain(self, side: str) -> float:
        """Algorithm 1 over always ``side``, mean over models and 4 to 16 tokens."""
        found = [
            self.layers(side, model, tokens) / self.layers("chosen", model, tokens)
            for model in GPT2
            for tokens in range(4, 17)
        ]
        return sum(found) / len(found)

    # --------------------------------------------------------------------------------------------- Fig. 13

    def total(self, model: str, machine: Machine, chosen: str = "pas") -> float:
        """ns of (256, 512); a partitioned system with as much PIM memory as needed."""
        return self.study.inference(model, machine, 256, 512, chosen=chosen, capacity=False).ns

    def unified(self, *models: str) -> float:
        """Unified over partitioned, both scheduled, mean."""
        return _mean([self.total(model, PARTITIONED) / self.total(model, IANUS) for model in models])

    def partitioned_scheduling(self) -> float:
        """Partitioned: scheduled over naive, mean of all models."""
        return _mean([self.total(m, PARTITIONED, "naive") / self.total(m, PARTITIONED) for m in GPT2])

    def schedules(self, slower: str, faster: str, *models: str) -> float:
        """IANUS: one schedule over another, mean."""
        return _mean([self.total(m, IANUS, slower) / self.total(m, IANUS, faster) for m in models or GPT2])

    # ----------------------------------------------------------------------------------------- Figs. 15, 18

    def slower(self, tokens_out: int, **fewer: int) -> float:
        """GPT-2 L, (256, ``tokens_out``): how much longer with fewer cores or chips."""
        times = [
            self.study.inference("gpt2-l", machine, 256, tokens_out, capacity=False).ns
            for machine in (replace(IANUS, **fewer), IANUS)  # type: ignore[arg-type]
        ]
        return times[0] / times[1]

    def strong_scaling(self) -> float:
        """6.7B, (256, 64): two devices over eight."""
        times = [
            self.study.inference("gpt-6.7b", replace(IANUS, devices=devices), 256, 64).ns
            for devices in (2, 8)
        ]
        return times[0] / times[1]


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
