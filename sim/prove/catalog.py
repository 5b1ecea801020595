"""Every proof by its name."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from pim_model.spec.config import config

if TYPE_CHECKING:
    from sim.prove.harness import Harness

__all__ = ["PROOFS", "chosen"]

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


def _timing(name: str, timing_name: str) -> Callable[[], Harness]:
    def make() -> Harness:
        from sim.prove.timing import TimingHarness

        return TimingHarness(config(name, timing_name))

    return make


PROOFS: dict[str, Callable[[], Harness]] = {
    f"timing/{name}/{timing_name}": _timing(name, timing_name) for name, timing_name in _TIMING
}
"""What makes the harness of each proof."""


def chosen(name: str | None) -> list[str]:
    """The proofs whose name is ``name`` or begins with it; all without one."""
    return [each for each in PROOFS if name is None or each == name or each.startswith(f"{name}/")]
