"""How long the driver waits before it calls a macro lost, and what a macro's completion says."""

from __future__ import annotations

import math
from dataclasses import dataclass

from host_runtime.identity import DeviceInfo
from pim_model.spec.geometry import LANES
from pim_model.spec.macro import MatVec

__all__ = ["RESET_POLLS", "Completion", "macro_bound"]

RESET_POLLS = 100_000
"""Reads of the soft-reset bit before the reset counts as failed."""

# Bounds in controller cycles, several times what the slowest timing preset takes (a row of 64 columns: 226 CK).
_BASE = 20_000  # queueing behind normal traffic, decoding, staging
_COLUMN = 8
_ROW = 800  # activate, precharge, register mode, a refresh
_GROUP = 1200  # bias, activation, results


@dataclass(frozen=True)
class Completion:
    """How a macro ended: its tag, its status code (0 is OK) and its cycles from push to completion."""

    tag: int
    status: int
    cycles: int


def macro_bound(macro: MatVec | None, info: DeviceInfo, patience: float) -> int:
    """Cycles after which a macro counts as lost; None for words that are not known to be a valid macro."""
    if macro is None:
        return math.ceil(_BASE * patience)
    tiles = -(-macro.columns // (info.row_bytes // 2))
    groups = -(-macro.rows // (info.channels * info.banks))
    group = _GROUP + tiles * _ROW + -(-macro.columns // LANES) * _COLUMN
    return math.ceil((_BASE + macro.tokens * groups * group) * patience)
