"""Compile ``kernels.cpp`` once for this machine, and load it."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import shlex
import shutil
import subprocess
import warnings
from pathlib import Path

from pim_model.buildcache import build_root, digest, once

__all__ = ["KernelBuildError", "compiler", "load"]

SOURCE = Path(__file__).with_name("kernels.cpp")
# -ffp-contract=off: fuse only where the source says so. -fwrapv: lanes whose result is discarded may overflow
# integers.
FLAGS = (
    *("-std=c++17", "-O3", "-march=native", "-fopenmp", "-ffp-contract=off", "-fwrapv", "-fno-math-errno"),
    *("-fPIC", "-shared", "-Wall", "-Wno-psabi"),
)


class KernelBuildError(RuntimeError):
    """The C++ compiler is there but refused the kernels; the text holds its log."""


def compiler() -> str | None:
    """Path of the C++ compiler, ``$CXX`` or else ``g++``; None if it is not installed."""
    return shutil.which(os.environ.get("CXX") or "g++")


@functools.cache
def load() -> ctypes.CDLL | None:
    """Return the kernels, compiled at first use; None, with one warning, where there is no compiler.

    KernelBuildError if compilation fails.
    """
    cxx = compiler()
    if cxx is None:
        warnings.warn(
            "No C++ compiler (g++ or $CXX) found: PIM arithmetic runs in numpy, some hundred times slower",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    library = ctypes.CDLL(str(_build(cxx)))
    pointer, integer = ctypes.c_void_p, ctypes.c_int32
    library.ianus_matvec.restype = None
    library.ianus_matvec.argtypes = [
        integer,
        pointer,
        integer,
        integer,
        pointer,
        integer,
        pointer,
        pointer,
        pointer,
        pointer,
        integer,
    ]
    return library


def _build(cxx: str) -> Path:
    version = subprocess.run([cxx, "--version"], capture_output=True, text=True, check=False).stdout
    target = build_root() / f"kernels-{digest(SOURCE, ' '.join(FLAGS), version, _cpu())}"
    with once(target) as work:
        if work is not None:
            command = [cxx, *FLAGS, str(SOURCE), "-o", str(work / "kernels.so")]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            log = f"$ {shlex.join(command)}\n{done.stdout}{done.stderr}"
            (work / "compile.log").write_text(log)
            if done.returncode != 0:
                raise KernelBuildError(
                    f"Compiling the numerics kernels with {cxx} failed (status {done.returncode}); "
                    f"log: {target}.failed/compile.log\n{log}"
                )
    return target / "kernels.so"


def _cpu() -> str:
    """What ``-march=native`` depends on: a build directory may be shared by machines."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return f"{platform.machine()} {platform.processor()}"
    keys = ("flags", "Features", "cpu family", "model\t", "vendor_id", "CPU implementer", "CPU part")
    return platform.machine() + "\n" + "\n".join(sorted({line for line in lines if line.startswith(keys)}))
