"""Code coverage: lines, branches and ports of the RTL from the simulations, Python from coverage.py."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from host_runtime.regress.coverage.result import Covered
from host_runtime.regress.coverage.waivers import Waiver, waived

__all__ = ["PACKAGES", "environment", "python", "rtl"]

PACKAGES = ("fpga", "hdl", "host_runtime", "pim_model", "sim")

_WHAT = {
    "branches": "arms of If, Elif, Else and Case in the RTL, taken and not taken",
    "lines": "statements of the RTL under a condition",
    "toggles": "bits of ports of the simulated designs, up and down",
}


def rtl(directory: Path, root: Path, waivers: dict[str, list[Waiver]]) -> list[Covered]:
    """Lines, branches and toggles; a waiver of a branch or line may name its source."""
    found = {kind: Counter[str]() for kind in _WHAT}
    for path in directory.glob("code-*.json"):
        for kind, counts in json.loads(path.read_text(encoding="utf-8")).items():
            found[kind].update(counts)
    result = []
    for kind, counts in found.items():
        covered = Covered(kind, _WHAT[kind], dict(sorted(counts.items())))
        source = {name: _source(root, name) for name in counts} if kind != "toggles" else {}
        covered.waivers = {
            name: waiver.reason for name, waiver in waived(counts, waivers[kind], source).items()
        }
        result.append(covered)
    return result


def _source(root: Path, name: str) -> str:
    """The source line of a point whose name begins with ``file:line``; empty for others."""
    file, _, number = name.partition(" ")[0].rpartition(":")
    path = root / file
    if not number.isdigit() or not path.is_file():
        return ""
    return _lines(path)[int(number) - 1]


_CACHE: dict[Path, list[str]] = {}


def _lines(path: Path) -> list[str]:
    if path not in _CACHE:
        _CACHE[path] = path.read_text(encoding="utf-8").splitlines()
    return _CACHE[path]


# --- Python


def environment(directory: Path, root: Path) -> dict[str, str]:
    """What makes each Python process below measure itself, those inside a simulator too."""
    settings = directory / "coveragerc"
    settings.write_text(
        "\n".join(
            (
                "[run]",
                "parallel = true",
                f"data_file = {directory / 'python'}",
                f"source = {','.join(str(root / package) for package in PACKAGES)}",
                "disable_warnings = no-data-collected,module-not-measured,module-not-imported,already-imported",
                "[report]",
                "exclude_also =",
                "    if TYPE_CHECKING:",
                "",
            )
        ),
        encoding="utf-8",
    )
    return {"COVERAGE_PROCESS_START": str(settings)}


def python(directory: Path, root: Path, waivers: Sequence[Waiver]) -> list[Covered]:
    """Statements of each package, by ``file:line``; a waiver matches such a name."""
    settings, report = directory / "coveragerc", directory / "python.json"
    tool = [sys.executable, "-m", "coverage"]
    plain = {name: value for name, value in os.environ.items() if name != "COVERAGE_PROCESS_START"}
    for arguments in (("combine", "-q", "--append"), ("json", "-q", "-o", str(report))):
        command = [*tool, arguments[0], f"--rcfile={settings}", *arguments[1:]]
        done = subprocess.run(command, check=False, cwd=root, env=plain, capture_output=True, text=True)
        if "No data to" in done.stdout + done.stderr:  # no module of ours was loaded
            return [Covered(package) for package in PACKAGES]
        if done.returncode:
            raise ValueError(f"coverage {arguments[0]}: {(done.stdout + done.stderr).strip()}")
    files: dict[str, Any] = json.loads(report.read_text(encoding="utf-8"))["files"]
    result = {package: Covered(package) for package in PACKAGES}
    for name, measured in files.items():
        place = Path(name)
        relative = (place.relative_to(root) if place.is_absolute() else place).as_posix()
        covered = result.get(relative.partition("/")[0])
        if covered is None:
            continue
        points = {f"{relative}:{line}": 1 for line in measured["executed_lines"]}
        points |= {f"{relative}:{line}": 0 for line in measured["missing_lines"]}
        covered.hits |= points
        covered.waivers |= {point: waiver.reason for point, waiver in waived(points, waivers, {}).items()}
    return list(result.values())
