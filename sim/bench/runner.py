"""Runs cocotb tests on a design under Verilator, each in a process of its own.

A run has a directory of its own in ``build/cosim/`` for its log and results, which stays when the run fails. Then its
stimulus is shrunk, and waves of the end of what is left, and the list of it, are in ``build/waves/``.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from pim_model.buildcache import build_root
from sim.bench.designs import Design
from sim.bench.harness import PERIOD_PS
from sim.bench.shrink import shrink
from sim.bench.stimulus import KEEP, TOLD, Item, spell, told
from sim.bench.verilate import PortsOnlyVerilator, build
from sim.bench.waves import keep_last
from sim.coverage.code import collect_file

__all__ = ["CosimError", "Result", "run"]

_SHOWN = 60  # last lines of a log that an error quotes
TRIES = 60
"""Runs that shrinking a failure's stimulus may take."""
SHRINKING = 200.0
"""And seconds."""
RECORDED = 2000
"""Cycles at the end of a run of which a failure leaves waves."""


class CosimError(Exception):
    """A cocotb run failed, ran no test, or ran others than it was asked for."""


@dataclass(frozen=True)
class Result:
    """One cocotb test that ran."""

    name: str
    passed: bool
    message: str
    seconds: float


def run(
    design: Design,
    module: str,
    test: str,
    *,
    seed: int,
    rounds: int = 1,
    keep: str = "",
    waves: bool = False,
    trace_failure: bool = True,
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
    keep : str
        The items of the random stimulus to keep, as :func:`sim.bench.stimulus.spell` writes them; all if empty.
    waves : bool
        Record ``build/waves/<case>.vcd``, all of it.
    trace_failure : bool
        What fails without waves: look for the fewest items of its stimulus that fail alike, and repeat it with these,
        for waves of its last cycles and a list of the items.
    settings : mapping
        More of the environment for the test.
    """
    case = _Case(design, module, test, seed, rounds, keep, settings or {})
    results, directory = case.simulate(waves)
    log = directory / "run.log"
    if [result.name for result in results] != [test]:
        raise CosimError(f"{case}: ran {[result.name for result in results]}; log: {log}\n{_tail(log)}")
    result = results[0]
    if result.passed:
        shutil.rmtree(directory)
        return result
    lines = [f"log: {log}", f"reproduce: {case.command}"]
    if waves:
        lines.insert(0, f"waves: {case.waves}")
    elif trace_failure:
        lines = case.trace(result, directory) + lines
    raise CosimError("\n".join((f"{case}: {result.message}", *lines, _tail(log))))


@dataclass(frozen=True)
class _Case:
    """One test on one design."""

    design: Design
    module: str
    test: str
    seed: int
    rounds: int
    keep: str
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
            + (f" --keep '{self.keep}'" if self.keep else "")
        )

    @property
    def waves(self) -> Path:
        """Where the waves go."""
        return build_root() / "waves" / f"{self}.vcd"

    def trace(self, failure: Result, directory: Path) -> list[str]:
        """Shrink the failure's stimulus and record what is left; what there is to see, a line each."""
        items = told(directory / TOLD)
        least = replace(self, keep=spell(self._shrunk(failure, items)))
        results, again = least.simulate(True)
        lines = []
        if not results[0].passed and self.waves.is_file():
            keep_last(self.waves, RECORDED * PERIOD_PS)
            lines.append(f"waves: {self.waves} (the last {RECORDED} cycles)")
        if (again / TOLD).is_file():
            stimulus = self.waves.with_suffix(".stimulus.txt")
            shutil.move(again / TOLD, stimulus)
            count = len(told(stimulus))
            lines.append(f"stimulus: {stimulus} ({count} of {len(items)} items fail alike)")
            lines.append(f"reproduce the least: {least.command}")
        shutil.rmtree(again)
        return lines

    def _shrunk(self, failure: Result, items: list[Item]) -> list[Item]:
        end = time.monotonic() + SHRINKING

        def fails(some: Sequence[Item]) -> bool:
            if time.monotonic() > end:
                return False
            try:
                results, directory = replace(self, keep=spell(some)).simulate(False)
            except CosimError:  # it ended without results: another failure
                return False
            shutil.rmtree(directory)
            return not results[0].passed and _kind(results[0]) == _kind(failure)

        return shrink(items, fails, TRIES)

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
                    KEEP: self.keep,
                    **self.settings,
                },
            )
        if (directory / "coverage.dat").is_file():
            collect_file(directory / "coverage.dat", simulator / "unit.v", self.design.unit)
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


def _kind(result: Result) -> str:
    """How a message begins, its numbers aside: failures that begin alike are taken for the same."""
    return re.sub(r"0x[0-9a-f]+|\d+", "#", result.message)[:40]


def _tail(log: Path) -> str:
    if not log.is_file():
        return ""
    return "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-_SHOWN:])
