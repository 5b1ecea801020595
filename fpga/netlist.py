"""The synthesised netlist of a build as Verilog that any simulator takes: what was placed, as logic.

Each cell is replaced by its model: Yosys has those of logic, carry, flip-flops and distributed memory, ``cells.v`` has
those of the hard blocks.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path

from fpga.errors import BuildFailed
from fpga.tools import run, versions
from pim_model.buildcache import build_root, digest, once

__all__ = ["netlist"]

_SCRIPT = """\
read_rtlil netlist.il
read_verilog -overwrite +/ecp5/cells_sim.v
read_verilog -overwrite cells.v
hierarchy -check -top top
proc
flatten
opt
memory_collect
opt_clean -purge
check
write_verilog -noattr netlist.v
"""

_INITIAL = re.compile(r"parameter \\INITVAL_\w+ \d+'([01x]*)")


def netlist(directory: Path, tick: Callable[[str], None]) -> str:
    """Verilog of module ``top``, from a build's directory; :class:`BuildFailed` if it has what the models lack."""
    source, cells = directory / "netlist.il", files("fpga") / "cells.v"
    text = source.read_text(encoding="utf-8")
    target = build_root() / f"netlist-{digest(text, cells.read_text(encoding='utf-8'), _SCRIPT, versions())}"
    with once(target) as work:
        if work is not None:
            if any("1" in bits for bits in _INITIAL.findall(text)):
                raise BuildFailed("the model of block RAM starts with zeros, the netlist does not", source)
            shutil.copyfile(source, work / "netlist.il")
            (work / "cells.v").write_text(cells.read_text(encoding="utf-8"), encoding="utf-8")
            (work / "netlist.ys").write_text(_SCRIPT, encoding="utf-8")
            run("yosys", ["-q", "-l", "yosys.log", "netlist.ys"], work, ["netlist.v"], tick)
    return (target / "netlist.v").read_text(encoding="utf-8")
