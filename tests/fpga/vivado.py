"""Runs a plan's Tcl on a stand-in for Vivado: ``vivado_stub.tcl``, with the commands that ``vivado.toml`` knows."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["CHECKS", "Fate", "Session", "interpreter", "run_plan"]

_HERE = Path(__file__).resolve().parent
CHECKS = (
    "no_clock", "constant_clock", "pulse_width_clock", "unconstrained_internal_endpoints", "no_input_delay",
    "no_output_delay", "multiple_clock", "generated_clocks", "loops", "partial_input_delay", "partial_output_delay",
    "latch_loops",
)  # fmt: skip
"""Of check_timing, in its report's order. # Ref: AMD UG906, Design Analysis and Closure Techniques"""


@dataclass(frozen=True)
class Fate:
    """What Vivado finds."""

    release: str = "2024.2"
    catalogue: tuple[str, ...] = ("xdma", "clk_wiz")
    locked: tuple[str, ...] = ()
    xdma_synth_1: str = "100%"
    synth_1: str = "100%"
    impl_1: str = "100%"
    empty: tuple[str, ...] = ()
    """Cells with nothing in them."""
    setup: str = "0.113"
    hold: str = "0.010"
    pulses: str = "0.000"
    failed_nets: str = "0"
    checks: dict[str, int] = field(default_factory=lambda: dict.fromkeys(CHECKS, 0))


@dataclass(frozen=True)
class Session:
    """``error`` is empty if the script came to its end; ``placed`` has the properties of each port."""

    error: str
    events: list[str]
    placed: dict[str, dict[str, str]]


def interpreter() -> list[str] | None:
    """A command that runs a Tcl file, if there is one here: tclsh, or Python's Tk without a window."""
    if shutil.which("tclsh"):
        return ["tclsh"]
    if importlib.util.find_spec("_tkinter"):
        return [sys.executable, "-c", "import sys, tkinter; tkinter.Tcl().evalfile(sys.argv[1])"]
    return None


def run_plan(plan: Path, work: Path, fate: Fate) -> Session:
    """Source ``build.tcl`` in ``work``."""
    command = interpreter()
    assert command is not None
    table = tomllib.loads((_HERE / "vivado.toml").read_text(encoding="utf-8"))
    commands = {
        name: {"flags": [], "values": [], "arguments": []} | entry for name, entry in table["command"].items()
    }
    top = (plan / "vcu118.v").read_text(encoding="utf-8")
    given = {
        "commands": commands,
        "properties": table["property"],
        "ips": table["ip"],
        "ports": list(_ports(top)),
        "pins": list(_pins(top)),
        "fate": {**vars(fate), "checks": [word for item in fate.checks.items() for word in item]},
    }
    driver = work / "driver.tcl"
    driver.write_text(
        "".join(f"set {name} {_tcl(value)}\n" for name, value in given.items())
        + f"""\
source {_tcl(str(_HERE / "vivado_stub.tcl"))}
set failed [catch {{source {_tcl(str(plan / "build.tcl"))}}} message]
puts "failed [expr {{$failed ? $message : {{}}}}]"
foreach event $events {{ puts "event $event" }}
foreach {{key value}} [array get values port:*] {{ puts "value $key $value" }}
""",
        encoding="utf-8",
    )
    done = subprocess.run(
        [*command, driver.name], cwd=work, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    placed: dict[str, dict[str, str]] = {}
    for line in lines:
        if found := re.fullmatch(r"value port:(\S+),(\w+) (.*)", line):
            placed.setdefault(found[1], {})[found[2]] = found[3]
    (error,) = (line.removeprefix("failed ").strip() for line in lines if line.startswith("failed"))
    return Session(
        error, [line.removeprefix("event ") for line in lines if line.startswith("event ")], placed
    )


def _ports(top: str) -> list[str]:
    """Bits of the top's ports."""
    head = re.search(r"^module vcu118 \((.*?)^\);", top, re.S | re.M)
    assert head
    names = []
    for width, group in re.findall(r"(?:input|output|inout)\s+wire (?:\[(.+?):0\] )?([\w, ]+)", head[1]):
        for name in group.replace(" ", "").strip(",").split(","):
            names += [f"{name}[{bit}]" for bit in range(int(width) + 1)] if width.isdigit() else [name]
    return names


def _pins(top: str) -> list[str]:
    """Pins of what the top instantiates."""
    return [
        f"{instance}/{pin}"
        for instance, body in re.findall(r"^\w+(?: #\(.*\))? (\w+) \(\n(.*?)^\);", top, re.S | re.M)
        for pin in re.findall(r"^ +\.(\w+)\(", body, re.M)
    ]


def _tcl(value: object) -> str:
    """A value as a Tcl word; what has braces of its own does not occur."""
    if isinstance(value, dict):
        value = [part for item in value.items() for part in item]
    if isinstance(value, list | tuple):
        return "{" + " ".join(_tcl(each) for each in value) + "}"
    return str(value) if re.fullmatch(r"[\w.%/-]+", str(value)) else "{" + str(value) + "}"
