"""From a plan to a bitstream, where Vivado is installed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from fpga.errors import BuildFailed
from fpga.progress import Progress
from fpga.tools import run
from fpga.vcu118.plan import Plan
from fpga.vcu118.top import TOP
from pim_model.buildcache import build_root, once

__all__ = ["Bitstream", "installed", "run_vivado"]

_REFUSED = "no bitstream: "
"""How ``checks.tcl`` begins what it says."""


@dataclass(frozen=True, kw_only=True)
class Bitstream:
    """A build that met its timing: the file, and the directory of its reports."""

    path: Path
    directory: Path


def installed() -> bool:
    """Whether Vivado is on PATH."""
    return shutil.which("vivado") is not None


def run_vivado(plan: Plan, progress: Progress) -> Bitstream:
    """Build in batch mode, unless there is a bitstream of this digest.

    :class:`~fpga.errors.BuildFailed` with the reason that the scripts give, if they give one;
    :class:`~fpga.errors.FpgaUnavailable` without Vivado.
    """
    directory = build_root() / plan.directory.name.replace("plan-", "fpga-", 1)
    output = f"{TOP}.bit"
    arguments = ["-mode", "batch", "-nojournal", "-log", "vivado.log", "-source", "build.tcl"]
    try:
        with once(directory) as work:
            if work is not None:
                shutil.copytree(plan.directory, work, dirs_exist_ok=True)
                run("vivado", arguments, work, [output], lambda line: progress("Vivado", line))
    except BuildFailed as error:
        log = directory.with_name(directory.name + ".failed") / error.log.name
        raise type(error)(_reason(log) or str(error).partition("; see")[0], log) from error
    return Bitstream(path=directory / output, directory=directory)


def _reason(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line[line.index(_REFUSED) :] for line in reversed(lines) if _REFUSED in line), "")
