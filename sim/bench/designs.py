"""What a bench can simulate: a unit of the RTL in one configuration, and its Verilog."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from amaranth.back import verilog

from hdl.checker import Checker
from hdl.controller.controller import Controller
from hdl.controller.refresh import RefreshTimer
from hdl.pcu.decoder import Decoder
from hdl.pcu.pcu import Pcu
from hdl.top import Prototype
from pim_model.buildcache import build_root, digest, once
from pim_model.spec.config import Config, RefreshPolicy
from sim import coverage
from sim.bench.gates import Gates
from sim.coverage.verilog import convert

__all__ = ["UNITS", "Design"]


def _refresh_timer(config: Config) -> RefreshTimer:
    """As the scheduler has it."""
    units = config.geometry.banks if config.refresh is RefreshPolicy.PER_BANK else 1
    return RefreshTimer(config.timing, units)


UNITS: dict[str, Callable[[Config], Any]] = {
    "checker": Checker,
    "controller": Controller,
    "decoder": Decoder,
    "gates": Gates,
    "pcu": Pcu,
    "refresh": _refresh_timer,
    "top": Prototype,
}
"""Units by name; the name is also the Verilog top module's."""

_ROOT = Path(__file__).resolve().parents[2]
_SOURCES = (_ROOT / "hdl", _ROOT / "pim_model" / "spec")


@dataclass(frozen=True)
class Design:
    """One unit in one configuration."""

    unit: str
    config: Config

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise ValueError(f"unit must be one of {', '.join(UNITS)}, not {self.unit!r}")

    def __str__(self) -> str:
        return f"{self.unit}-{self.config.name}-{self.config.timing_name}"

    def verilog(self) -> str:
        """Verilog of the unit, from a cache while the RTL's sources stay the same."""
        parts: list[str | Path] = [importlib.metadata.version("amaranth"), self.unit, repr(self.config)]
        if coverage.directory():
            parts += ["with places", _ROOT / "sim" / "coverage" / "verilog.py"]
        for path in sorted(path for root in _SOURCES for path in root.rglob("*.py")):
            parts += [path.relative_to(_ROOT).as_posix(), path]
        directory = build_root() / f"bench-verilog-{digest(*parts)}"
        with once(directory) as work:
            if work is not None:
                (work / "unit.v").write_text(self._elaborate(), encoding="utf-8")
        return (directory / "unit.v").read_text(encoding="utf-8")

    def inputs(self) -> list[str]:
        """Input ports of the unit, but for clock and reset."""
        return [
            name for direction, name in self._ports() if direction == "input" and name not in ("clk", "rst")
        ]

    def ports(self) -> list[str]:
        """All ports of the unit."""
        return [name for _, name in self._ports()]

    def _ports(self) -> list[tuple[str, str]]:
        body = self.verilog().partition(f"module {self.unit}(")[2].partition("endmodule")[0]
        if not body:  # Yosys escapes names that are words of the language
            body = self.verilog().partition(f"module \\{self.unit} (")[2].partition("endmodule")[0]
        return re.findall(r"^ *(input|output) (?:\[\d+:0\] )?(\w+);", body, re.MULTILINE)

    def _elaborate(self) -> str:
        component = UNITS[self.unit](self.config)
        if coverage.directory():
            return convert(component, self.unit)
        # Without source positions: a change of the Python that leaves the circuit alone leaves the text alone.
        text: str = verilog.convert(component, name=self.unit, emit_src=False, strip_internal_attrs=True)
        return text
