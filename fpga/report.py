"""What nextpnr-ecp5 reports of a placed and routed design."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from fpga.boards import Board

__all__ = ["Report", "read_report"]

_CELLS = {
    "luts": "TRELLIS_COMB",
    "flip_flops": "TRELLIS_FF",
    "block_rams": "DP16KD",
    "multipliers": "MULT18X18D",
}


@dataclass(frozen=True, kw_only=True)
class Report:
    """Cells used, and how fast the slowest path is. ``luts`` counts logic, carry and distributed memory alike."""

    luts: int
    flip_flops: int
    block_rams: int
    multipliers: int
    clock_mhz: float
    fmax_mhz: float

    @property
    def slack_ns(self) -> float:
        """Of the slowest path between two flip-flops; negative if it is too slow."""
        return 1e3 / self.clock_mhz - 1e3 / self.fmax_mhz

    @property
    def good(self) -> bool:
        """Whether the design meets its clock."""
        return self.slack_ns >= 0

    def as_json(self) -> dict[str, Any]:
        return asdict(self) | {"slack_ns": self.slack_ns}

    def rows(self, board: Board) -> dict[str, str]:
        """By resource, with what the device has."""
        used = {
            "LUT": (self.luts, board.luts),
            "flip-flops": (self.flip_flops, board.flip_flops),
            "EBR (18 kbit)": (self.block_rams, board.block_rams),
            "DSP (18x18)": (self.multipliers, board.multipliers),
        }
        return {
            **{name: f"{count} of {has} ({count / has:.1%})" for name, (count, has) in used.items()},
            "clock": f"{self.clock_mhz:.2f} MHz",
            "Fmax": f"{self.fmax_mhz:.2f} MHz",
            "slack": f"{self.slack_ns:+.2f} ns",
        }


def read_report(path: Path) -> Report:
    """The report that nextpnr wrote, of several clocks the one with least to spare.

    ``ValueError`` if it lacks a resource or speaks of no clock.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    clocks, cells = content["fmax"], content["utilization"]
    if not clocks:
        raise ValueError(f"{path} must report a clock")
    missing = [cell for cell in _CELLS.values() if cell not in cells]
    if missing:
        raise ValueError(f"{path} must report {', '.join(missing)}")
    clock = min(clocks.values(), key=lambda clock: 1 / clock["constraint"] - 1 / clock["achieved"])
    return Report(
        **{name: int(cells[cell]["used"]) for name, cell in _CELLS.items()},
        clock_mhz=float(clock["constraint"]),
        fmax_mhz=float(clock["achieved"]),
    )
