"""How long the driver waits before it calls a macro lost, and what a macro's completion says."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from host_runtime.identity import DeviceInfo
from pim_model.spec.geometry import LANES
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MatVec

__all__ = ["RESET_POLLS", "Completion", "macro_bound"]

RESET_POLLS = 100_000
"""Reads of the soft-reset bit before the reset counts as failed."""

# Bounds in controller cycles, several times what the slowest timing preset takes (a row of 64 columns: 226 CK).
_BASE = 20_000  # queueing behind normal traffic, decoding, staging
_COLUMN = 8
_ROW = 800  # activate, precharge, register mode, a refresh
_GROUP = 1200  # bias, activation, results
_INSTRUCTION = _ROW + 64 * _COLUMN  # an ISR instruction of the largest size


@dataclass(frozen=True)
class Completion:
    """How a macro ended: its tag, its status code (0 is OK) and its cycles from push to completion."""

    tag: int
    status: int
    cycles: int


def macro_bound(
    macro: MatVec | Instruction | Program | None,
    info: DeviceInfo,
    patience: float,
    holds: Sequence[MatVec] = (),
) -> int:
    """Cycles after which a macro counts as lost; None for words that are not known to be a valid macro.

    ``holds``: products among the macros of a PROGRAM, which its size does not tell.
    """
    work = sum(_matvec(each, info) for each in holds)
    if isinstance(macro, MatVec):
        work += _matvec(macro, info)
    elif isinstance(macro, Instruction):
        work += _INSTRUCTION
    elif isinstance(macro, Program):
        work += macro.count * _INSTRUCTION
    return math.ceil((_BASE + work) * patience)


def _matvec(macro: MatVec, info: DeviceInfo) -> int:
    tiles = -(-macro.columns // (info.row_bytes // 2))
    groups = len(macro.weight_rows) * -(-macro.rows // (info.channels * info.banks))
    group = _GROUP + tiles * _ROW + -(-macro.columns // LANES) * _COLUMN
    return macro.tokens * groups * group
