"""C++ sources to one shared library: objects in parallel, one log, progress by object."""

from __future__ import annotations

import os
import shlex
import subprocess
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from sim.toolchain import BuildError, compiler

__all__ = ["Log", "Progress", "Unit", "compile_units", "link"]

Progress = Callable[[str, float | None], None]
"""``progress(step, fraction)``: what is being done, and how much of it is (0 to 1, None if unknown)."""

_SHOWN = 20  # last lines of the log that an error quotes


@dataclass(frozen=True)
class Unit:
    """One source to compile, its flags, and where the object goes."""

    source: Path
    flags: tuple[str, ...]
    object: Path


class Log:
    """Runs commands one after the other or from several threads, and writes them and their output to one file."""

    def __init__(self, path: Path, final: Path | None = None):
        self.path = path
        self._final = final or path
        self._lock = threading.Lock()

    def write(self, text: str) -> None:
        """Append ``text``."""
        with self._lock, open(self.path, "a", encoding="utf-8") as file:
            file.write(text)

    def run(self, command: Sequence[str], cwd: Path, env: dict[str, str] | None = None) -> None:
        """Run ``command``; :class:`BuildError` with the end of its output if it fails."""
        done = subprocess.run(
            command,
            check=False,
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )
        self.write(f"$ {shlex.join(command)}\n{done.stdout}")
        if done.returncode:
            tail = "\n".join(done.stdout.splitlines()[-_SHOWN:])
            program = Path(command[0]).name
            raise BuildError(
                f"{program} failed with exit code {done.returncode}; log: {self._final}\n{tail}", self._final
            )


def compile_units(units: Sequence[Unit], log: Log, cwd: Path, progress: Progress) -> None:
    """Compile all units, as many at once as there are processors; the first failure stops the rest."""
    done = 0
    lock = threading.Lock()
    failed = threading.Event()

    def compile_one(unit: Unit) -> None:
        nonlocal done
        if failed.is_set():
            return
        try:
            log.run([compiler(), *unit.flags, "-c", str(unit.source), "-o", str(unit.object)], cwd)
        except BaseException:
            failed.set()
            raise
        with lock:
            done += 1
            progress(f"compile {done}/{len(units)}", done / len(units))

    progress(f"compile 0/{len(units)}", 0.0)
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        # Large sources first: the last object decides when all are done.
        ordered = sorted(units, key=lambda unit: -unit.source.stat().st_size)
        for future in [pool.submit(compile_one, unit) for unit in ordered]:
            future.result()


def link(objects: Sequence[Path], library: Path, log: Log, cwd: Path) -> None:
    """Link objects to a shared library that must not lack a symbol."""
    # -z defs: an undefined symbol is an error here, not when Python loads the library.
    flags = ("-shared", "-Wl,-z,defs", "-pthread")
    log.run([compiler(), *flags, *(str(path) for path in objects), "-o", str(library)], cwd)
