# Ref: GDDR6-AiM notes, "Numbers"
"""The named MAC arithmetics. Nothing public states the chip's own; the project defines these two."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from pim_model.numerics import aligned, fp32_tree
from pim_model.numerics.bf16 import F32, U16

__all__ = ["PROFILES", "Profile", "profile"]


@dataclass(frozen=True)
class Profile:
    """One arithmetic, defined by ``mac_group(acc: f32[S], a: u16[S, 16], b: u16[S, 16]) -> f32[S]``."""

    name: str
    mac_group: Callable[[F32, U16, U16], F32]


PROFILES: Mapping[str, Profile] = MappingProxyType(
    {
        "aligned": Profile("aligned", aligned.mac_group),
        "fp32_tree": Profile("fp32_tree", fp32_tree.mac_group),
    }
)


def profile(name: str) -> Profile:
    """Look up a profile by name; ValueError listing the names if there is none."""
    if name not in PROFILES:
        raise ValueError(f"Numerics profile must be one of {', '.join(sorted(PROFILES))}, not {name!r}")
    return PROFILES[name]
