"""Every proof by its name."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING

from pim_model.spec.config import config

if TYPE_CHECKING:
    from sim.prove.harness import Harness

__all__ = ["PROOFS", "QUICK", "chosen"]

_TIMING = (
    ("tiny", "ianus_ck"),
    ("tiny", "fpga_controller"),
    ("tiny_refpb", "ianus_ck"),
    ("tiny_dual", "ianus_ck"),
    ("ianus", "ianus_ck"),
    ("ianus_dual", "ianus_ck"),
    ("ianus_refpb", "fpga_controller"),
    ("ianus", "aim_simulator"),
)
_SCHEDULER = (
    ("tiny", "ianus_ck"),
    ("tiny", "fpga_controller"),
    ("tiny", "aim_simulator"),
    ("tiny_refpb", "ianus_ck"),
    ("tiny_dual", "ianus_ck"),
    ("ianus", "ianus_ck"),
    ("ianus_dual", "ianus_ck"),
)


def _timing(name: str, timing_name: str) -> Harness:
    from sim.prove.timing import TimingHarness

    return TimingHarness(config(name, timing_name))


def _scheduler(name: str, timing_name: str) -> Harness:
    from sim.prove.scheduler import SchedulerHarness

    return SchedulerHarness(config(name, timing_name))


def _refresh(name: str) -> Harness:
    from sim.prove.refresh import RefreshHarness

    return RefreshHarness(config(name))


def _decoder(name: str) -> Harness:
    from sim.prove.decoder import DecoderHarness

    return DecoderHarness(config(name))


def _registers(name: str) -> Harness:
    from sim.prove.registers import RegisterHarness

    return RegisterHarness(config(name))


def _completions(name: str) -> Harness:
    from sim.prove.completions import CompletionHarness

    return CompletionHarness(config(name))


def _fifo(depth: int, *, protected: bool) -> Harness:
    from sim.prove.streams import FifoHarness

    return FifoHarness(depth, protected=protected)


def _slice() -> Harness:
    from sim.prove.streams import SliceHarness

    return SliceHarness()


PROOFS: dict[str, Callable[[], Harness]] = {
    "streams/fifo_2": partial(_fifo, 2, protected=False),
    "streams/fifo_21": partial(_fifo, 21, protected=False),
    "streams/protected_4": partial(_fifo, 4, protected=True),
    "streams/protected_16": partial(_fifo, 16, protected=True),
    "streams/slice": _slice,
    **{f"registers/{name}": partial(_registers, name) for name in ("tiny", "ianus", "ianus_dual")},
    **{f"decoder/{name}": partial(_decoder, name) for name in ("tiny", "ianus")},
    **{f"completions/{name}": partial(_completions, name) for name in ("tiny", "ianus", "tiny_dual")},
    **{f"refresh/{name}": partial(_refresh, name) for name in ("tiny", "tiny_refpb", "ianus_refpb")},
    **{
        f"scheduler/{name}/{timing_name}": partial(_scheduler, name, timing_name)
        for name, timing_name in _SCHEDULER
    },
    **{f"timing/{name}/{timing_name}": partial(_timing, name, timing_name) for name, timing_name in _TIMING},
}
"""What makes the harness of each proof."""

QUICK = (
    *("streams/fifo_2", "streams/fifo_21", "streams/protected_4", "streams/protected_16", "streams/slice"),
    *("registers/tiny", "decoder/tiny", "completions/tiny", "refresh/tiny", "refresh/tiny_refpb"),
    *("scheduler/tiny/ianus_ck", "scheduler/tiny/fpga_controller", "scheduler/tiny_dual/ianus_ck"),
    *("timing/tiny/ianus_ck", "timing/tiny_dual/ianus_ck"),
)
"""One of each kind and more: what a change is tried with, in under five minutes on two slow cores."""


def chosen(name: str | None, *, quick: bool = False) -> list[str]:
    """The proofs whose name is ``name`` or begins with it, all without one; ``quick``: those of :data:`QUICK`."""
    pool = QUICK if quick else PROOFS
    return [each for each in pool if name is None or each == name or each.startswith(f"{name}/")]
