"""A private copy of the checkout, in which one file at a time is broken."""

from __future__ import annotations

import importlib.util
import os
import py_compile
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from host_runtime.mutate.mutants import Mutant

__all__ = ["Ended", "Tree", "private_tree"]

_LEFT_OUT = shutil.ignore_patterns("build", ".git", ".venv", "__pycache__", "dist", "*.egg-info")
_BUILDS_OF_DESIGNS = ("verilog-", "prototype-", "rtl-device-", "serial-", "bench-verilog-", "bench-")
_SHOWN = 4000


@dataclass(frozen=True)
class Ended:
    """A process that has ended, or was ended after its time."""

    code: int | None
    """None after a time-out."""
    output: str
    """Standard output and errors, the last of it."""


@dataclass
class Tree:
    """A copy of the sources at ``root`` with a build directory of its own, which outlives it."""

    root: Path
    build: Path
    kept: set[str] = field(default_factory=set)
    """Builds of the sources as they are; others are removed after each mutant."""
    interrupted: bool = False
    _process: subprocess.Popen[bytes] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, arguments: Sequence[str], seconds: float) -> Ended:
        """Run Python on the copy, in a group of processes of its own, none of which outlives the call."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.root),
            "IANUS_BUILD": str(self.build),
            "IANUS_QUICK_BUILD": "1",
        }
        with tempfile.TemporaryFile() as output:
            process = subprocess.Popen(
                [sys.executable, *arguments],
                cwd=self.root,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self._lock:
                self._process = process
            try:
                code: int | None = process.wait(seconds)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                self.stop()
                process.wait()
            output.seek(0, os.SEEK_END)
            output.seek(max(0, output.tell() - _SHOWN))
            return Ended(code, output.read().decode(errors="replace"))

    def interrupt(self) -> None:
        """End whatever runs, for good: what it says then is no verdict."""
        self.interrupted = True
        self.stop()

    def stop(self) -> None:
        """End whatever runs."""
        with self._lock:
            if self._process is not None:
                with suppress(ProcessLookupError):  # it has ended by itself, with all of its children
                    os.killpg(self._process.pid, signal.SIGKILL)
                self._process = None

    @contextmanager
    def mutated(self, mutant: Mutant) -> Iterator[None]:
        """The tree with the fault in it."""
        self._write(mutant.path, mutant.mutated)
        try:
            yield
        finally:
            self._write(mutant.path, mutant.original)
            self._forget()

    def _write(self, path: PurePosixPath, raw: bytes) -> None:
        """Write a source and what it compiles to; by time and size alone a mutant could pass for the one before."""
        place = self.root / path
        place.write_bytes(raw)
        compiled = Path(importlib.util.cache_from_source(str(place)))
        compiled.unlink(missing_ok=True)
        with suppress(py_compile.PyCompileError):  # said when it is loaded
            py_compile.compile(
                str(place), doraise=True, invalidation_mode=py_compile.PycInvalidationMode.CHECKED_HASH
            )

    def builds(self) -> set[str]:
        """What is built."""
        return {path.name for path in self.build.iterdir()} if self.build.is_dir() else set()

    def _forget(self) -> None:
        for name in self.builds() - self.kept:
            if name.startswith(_BUILDS_OF_DESIGNS) and "runtime" not in name:
                path = self.build / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.rmtree(
            self.root / "build", ignore_errors=True
        )  # examples that Hypothesis would try on the next one


@contextmanager
def private_tree(checkout: Path, build: Path) -> Iterator[Tree]:
    """A copy of ``checkout`` in a temporary directory, for builds in ``build``."""
    with tempfile.TemporaryDirectory(prefix="ianus-mutate-") as place:
        root = Path(place) / "tree"
        shutil.copytree(checkout, root, ignore=_LEFT_OUT, symlinks=True)
        build.mkdir(parents=True, exist_ok=True)
        yield Tree(root, build)
