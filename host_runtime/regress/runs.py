"""Runs of the project's tests, each a pytest of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from host_runtime.regress.record import Outcome, Record

__all__ = ["Selection", "checkout", "repeat", "run_seed"]

POLL_SECONDS = 0.3
_NO_TESTS, _INTERRUPTED, _FAILED = 5, 2, 1


@dataclass(frozen=True)
class Selection:
    """What is run, as pytest's own options say it."""

    paths: tuple[str, ...] = ()
    keyword: str = ""
    marker: str = ""

    def arguments(self) -> list[str]:
        """For pytest's command line."""
        chosen = [
            *(("-k", self.keyword) if self.keyword else ()),
            *(("-m", self.marker) if self.marker else ()),
        ]
        return [*chosen, *self.paths]


def checkout() -> Path:
    """The directory of the sources with their tests; ``ValueError`` in an installed package, which has none."""
    root = Path(__file__).resolve().parent.parent.parent
    if not (root / "tests" / "conftest.py").is_file():
        raise ValueError(
            "a regression needs a checkout of the sources: this installation has no tests beside it"
        )
    return root


def run_seed(
    selection: Selection,
    seed: int,
    jobs: int,
    directory: Path,
    report: Callable[[Record, Sequence[Outcome]], None],
    environment: Mapping[str, str],
) -> Record:
    """Run the selected tests with ``seed``; ``report`` is told again and again what has ended, and what failed newly.

    ``environment``: more of it for the tests.

    Leaves ``junit-<seed>.xml`` and ``pytest-<seed>.log`` in ``directory``. ``ValueError`` when nothing is selected, or
    when pytest ends by itself; ``KeyboardInterrupt`` when it was interrupted.
    """
    log, lines = directory / f"pytest-{seed}.log", directory / f"record-{seed}.jsonl"
    lines.unlink(missing_ok=True)
    workers = ["-n", str(jobs), "--dist", "worksteal"] if jobs > 1 else ["-p", "no:xdist"]
    arguments = [*workers, "--seed", str(seed), "--junitxml", str(directory / f"junit-{seed}.xml")]
    record = Record(seed)
    told: set[str] = set()
    arguments += selection.arguments()
    with open(log, "wb") as output, _pytest(arguments, lines, output, environment) as process:
        while True:
            try:
                code = process.wait(POLL_SECONDS)
            except subprocess.TimeoutExpired:
                code = None
            if lines.exists():
                record.update(lines)
            failed = [
                each for each in record.outcomes.values() if each.result == "failed" and each.id not in told
            ]
            told.update(each.id for each in failed)
            report(record, failed)
            if code is not None:
                break
    if code == _NO_TESTS:
        raise ValueError(f"no test is selected by {' '.join(selection.arguments()) or 'this'}")
    if code == _INTERRUPTED and record.collected:
        raise KeyboardInterrupt
    if code not in (0, _FAILED) or not record.outcomes:
        end = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-1:]
        raise ValueError(f"pytest could not run (exit code {code}): {' '.join(end)}; see {log}")
    return record


def repeat(outcome: Outcome, directory: Path, environment: Mapping[str, str]) -> None:
    """Run a test that failed once more, alone, with its seed; ``outcome.repeated`` says what it did."""
    record = Record(outcome.seed)
    with tempfile.TemporaryDirectory() as place, open(directory / "repeated.log", "ab") as output:
        lines = Path(place) / "record.jsonl"
        arguments = ["-p", "no:xdist", "--seed", str(outcome.seed), outcome.id]
        with _pytest(arguments, lines, output, environment) as process:
            process.wait()
        if lines.exists():
            record.update(lines)
    again = record.outcomes.get(outcome.id)
    outcome.repeated = again.result if again is not None else "not run"


def _pytest(
    arguments: Sequence[str], record: Path, output: IO[bytes], environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    root = checkout()
    # Named, since pytest takes the paths of options that it does not know yet for tests, and looks around them.
    settings = ["--config-file", str(root / "pyproject.toml"), "--rootdir", str(root)]
    recorder = ["-p", "tests.recorder", "--record", str(record)]
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-q", *settings, *recorder, *arguments],
        cwd=root,
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
    )
