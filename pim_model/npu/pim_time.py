"""Where the cycles of a PIM macro come from. The runtime adds a third source, the Verilated RTL."""

from __future__ import annotations

from typing import Protocol

from pim_model.npu.closed_form import ClosedForm
from pim_model.schedule import macro_cycles
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp

__all__ = ["GoldenTime", "PimTime", "source"]


class PimTime(Protocol):
    """Cycles of a macro of one token."""

    def cost(self, rows: int, columns: int, activation: bool, refresh_due: int | None, /) -> tuple[int, int]:
        """(controller cycles, refreshes in them); ``refresh_due`` counts from the macro's first cycle."""


class GoldenTime:
    """Each command placed by the golden schedule."""

    def __init__(self, config: Config):
        self._config = config

    def cost(self, rows: int, columns: int, activation: bool, refresh_due: int | None, /) -> tuple[int, int]:
        macro = MatVec(
            tag=0,
            rows=rows,
            columns=columns,
            weight_row=0,
            input_offset=0,
            output_offset=0,
            function=0 if activation else None,
        )
        cost = macro_cycles(self._config, macro, refresh_due)
        return cost.cycles, cost.commands.get(MicroOp.REFAB, 0)


def source(name: str, config: Config) -> PimTime:
    """``closed`` or ``golden``."""
    if name == "closed":
        return ClosedForm(config)
    if name == "golden":
        return GoldenTime(config)
    raise ValueError(f"PIM time must be closed or golden, not {name!r}")
