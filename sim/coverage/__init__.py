"""What a run of tests has reached: bins heard by monitors, and lines, branches and ports of the RTL.

Only ``ianus regress --coverage`` turns it on, by the environment variable :data:`DIRECTORY`: then every process of the
tests leaves what it saw as files of its own in that directory, which ``host_runtime.regress`` merges.
"""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["DIRECTORY", "directory", "has_places"]

DIRECTORY = "IANUS_COVERAGE"
"""The environment variable that names the directory."""


def directory() -> Path | None:
    """Where what is covered goes; None when nobody asks."""
    name = os.environ.get(DIRECTORY)
    return Path(name) if name else None


def has_places(verilog: str) -> bool:
    """Whether Verilog says of its branches which lines of Amaranth they are (``sim.coverage.verilog``)."""
    return '(* src = "' in verilog
