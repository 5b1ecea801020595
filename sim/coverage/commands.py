# Ref: sim/native/commands.h (Counts)
"""What a channel's commands looked like, as bins: pairs of commands on their minimum distance and above, refreshes in
traffic, row hits, visits to register mode, traffic beside MATVECs."""

from __future__ import annotations

import ctypes
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, ONE_BANK, MicroOp
from pim_model.spec.timing_rules import Scope
from sim.coverage.files import hit

__all__ = ["SCOPES", "CommandMonitor", "minimum", "policy", "preset", "record", "take_counts"]

U32 = npt.NDArray[np.uint32]

_OPS, _DISTANCES, _GAPS, _TRAFFICS = 32, 256, 64, 4

SCOPES: dict[str, tuple[Scope, ...]] = {
    "same-bank": (Scope.BANK, Scope.GROUP, Scope.CHANNEL),
    "same-group": (Scope.GROUP, Scope.CHANNEL),
    "other-group": (Scope.CHANNEL,),
    "channel": (Scope.BANK, Scope.GROUP, Scope.CHANNEL),
    "same-column": (Scope.COLUMN,),
}
"""How two commands lie to each other, and the rules that then bind them. ``channel``: one of them, or both, concerns
more than a bank."""

_TOUCHES = ALL_BANKS | ONE_BANK | FOUR_BANKS | {MicroOp.TMOD_IN, MicroOp.TMOD_OUT}
_TRAFFIC = ("rest", "reads", "writes", "PIM")
_ROW = ("hit", "miss", "conflict")
_NORMAL = ("ACT", "PRE", "RD", "WR")
_PIM_ROW = ("turn-round", "opened", "between-MACs")
_VISIT = ("WRGB", "WRBIAS", "RDMAC", "RDAF")


def preset(config: Config) -> str:
    """The timing rules that a configuration obeys."""
    return f"{config.timing_name}-dual" if config.dual_row_buffer else config.timing_name


def policy(config: Config) -> str:
    """How normal traffic is served and refreshed."""
    if config.dual_row_buffer:
        return "dual"
    return "per-bank" if config.refresh is RefreshPolicy.PER_BANK else "all-bank"


def minimum(config: Config, before: MicroOp, after: MicroOp, scope: str) -> int:
    """Cycles that the rules ask for between two commands that lie so; 0 if no rule speaks of them."""
    kinds = SCOPES[scope]
    if scope == "channel" and not (before in _TOUCHES and after in _TOUCHES):
        kinds = (Scope.CHANNEL,)
    return max(config.timing.between(before, after, kind) for kind in kinds)


@cache
def _bound(config: Config) -> dict[tuple[int, int, int], int]:
    """Minimum distance of each pair in each scope where there is one."""
    return {
        (before, after, place): cycles
        for before in MicroOp
        for after in MicroOp
        for place, scope in enumerate(SCOPES)
        if (cycles := minimum(config, before, after, scope))
    }


def record(counts: U32, config: Config) -> None:
    """Hit the bins that one monitor's counts stand for."""
    geometry = config.geometry
    shapes = {
        "pairs": (_OPS, _OPS, len(SCOPES), _DISTANCES),
        "refreshes": (geometry.banks + 1, _TRAFFICS, _GAPS),
        "accesses": (2, 3),
        "beside": (4, 3),
        "visits": (16,),
        "tables": (8,),
    }
    parts: dict[str, U32] = {}
    place = 0
    for name, shape in shapes.items():
        size = int(np.prod(shape))
        parts[name] = counts[place : place + size].reshape(shape)
        place += size
    if place != counts.size:
        raise ValueError(f"counts must be {place} numbers, not {counts.size}")
    _pairs(parts["pairs"], config)
    _refreshes(parts["refreshes"], config)
    for kind, row in zip(*np.nonzero(parts["accesses"]), strict=True):
        hit(
            "accesses", policy(config), ("RD", "WR")[kind], _ROW[row], count=int(parts["accesses"][kind, row])
        )
    for kind, state in zip(*np.nonzero(parts["beside"]), strict=True):
        hit("beside", _NORMAL[kind], _PIM_ROW[state], count=int(parts["beside"][kind, state]))
    for visit in np.flatnonzero(parts["visits"]):
        done = "+".join(name for bit, name in enumerate(_VISIT) if visit >> bit & 1) or "nothing"
        hit("register-mode", done, count=int(parts["visits"][visit]))
    for table in np.flatnonzero(parts["tables"]):
        hit("tables", int(table), count=int(parts["tables"][table]))


def _pairs(counts: U32, config: Config) -> None:
    seen = counts.any(axis=3)
    names = tuple(SCOPES)
    for before, after, scope in zip(*(axis.tolist() for axis in np.nonzero(seen)), strict=True):
        least = _bound(config).get((before, after, scope))
        if least is None:
            continue
        row = counts[before, after, scope]
        least = min(least, _DISTANCES - 1)
        found = {
            "early": int(row[:least].sum()),
            "minimum": int(row[least]),
            "above": int(row[least + 1 :].sum()),
        }
        for distance, count in found.items():
            if count:
                pair = (preset(config), MicroOp(before).name, MicroOp(after).name, names[scope])
                hit("commands", *pair, distance, count=count)


def _refreshes(counts: U32, config: Config) -> None:
    """A gap of less than an interval: pulled in, or one that was postponed made up for."""
    banks = config.geometry.banks
    share = 4 if policy(config) == "per-bank" else 1
    for bank, traffic, gap in zip(*(axis.tolist() for axis in np.nonzero(counts)), strict=True):
        name = "REFAB" if bank == banks else "REFPB"
        sort = "sooner" if gap < 3 else "on-time" if gap < 5 else "postponed" if gap < 28 else "forced"
        count = int(counts[bank, traffic, gap])
        hit("refresh", policy(config), name, _TRAFFIC[traffic], sort, count=count)
        if bank < banks and share > 1 and banks == 4:
            hit("refreshed-banks", bank, sort, count=count)


def take_counts(library: ctypes.CDLL, monitor: int) -> U32:
    """The counts of a monitor, by the C ABI of ``commands.cpp``."""
    size = ctypes.c_uint64()
    library.ianus_monitor_counts.restype = ctypes.c_void_p
    library.ianus_monitor_counts.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_uint64)]
    data = library.ianus_monitor_counts(monitor, ctypes.byref(size))
    return np.frombuffer(ctypes.string_at(data, 4 * size.value), np.uint32)


class CommandMonitor:
    """A monitor alone, for commands that a cocotb bench saw.

    Parameters
    ----------
    path : Path
        A library of :func:`sim.build.monitor_library`.
    """

    def __init__(self, path: Path, config: Config) -> None:
        self._config = config
        self._library = ctypes.CDLL(str(path))
        self._library.ianus_monitor_open.restype = ctypes.c_void_p
        self._library.ianus_monitor_close.argtypes = [ctypes.c_void_p]
        self._library.ianus_monitor_take.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_uint64]
        self._monitor = self._library.ianus_monitor_open()
        if not self._monitor:
            raise MemoryError("no memory for a monitor")

    def take(self, trace: npt.NDArray[np.void]) -> None:
        """Hear commands: an array of :data:`sim.native.TRACE`, in the order of cycle and slot for each channel."""
        trace = np.ascontiguousarray(trace)
        self._library.ianus_monitor_take(self._monitor, trace.ctypes.data, trace.size)

    def close(self) -> None:
        """Hit the bins of what was heard."""
        record(take_counts(self._library, self._monitor), self._config)
        self._library.ianus_monitor_close(self._monitor)
