"""Builds the shared libraries of ``sim.native``, each once per content, in ``build/``.

The whole simulation: Amaranth -> Verilog -> Verilator -> C++ -> one library that also holds ``sim/native``. Directories
(see ``pim_model.buildcache``):

* ``verilog-<digest of the RTL's sources and the configuration>/top.v``;
* ``verilated-<digest of the run-time library's sources and flags>/*.o``;
* ``prototype-<digest of the Verilog, C++ sources, flags and tools>/prototype.so``, with ``build.log``;
* ``device-<...>/device.so``: the device model alone;
* ``monitor-<...>/monitor.so``: the monitor of commands alone;
* ``serial-<...>/serial.so``: a board behind a serial line;
* ``rtl-device-<...>/rtl-device.so``: the synthesisable device alone.

While coverage is measured (``sim.coverage``), the Verilog carries the places of its branches, and what is built from
such Verilog counts them; nothing else differs, and what is in the cache without it stays.
"""

from __future__ import annotations

import importlib.metadata
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pim_model.buildcache import build_root, digest, once
from pim_model.spec.config import Config
from sim import coverage
from sim.compile import Log, Progress, Unit, compile_units, link
from sim.headers import device_ports_header, ports_header, serial_ports_header, spec_header
from sim.toolchain import STANDARD, BuildError, compiler, target, verilator, verilator_root, versions

__all__ = [
    "QUICK_BUILD",
    "BuildError",
    "Device",
    "device_library",
    "library",
    "library_of",
    "monitor_library",
    "rtl_device_library",
    "serial_library",
    "serial_verilog",
    "verilog",
]

QUICK_BUILD = "IANUS_QUICK_BUILD"
"""Environment variable: compile a design as one file and without optimisation. For one that runs for seconds and never
again, as a mutant's: a fifth of the processor time of a build, and a fraction of the speed."""

_HERE = Path(__file__).resolve().parent
_NATIVE = _HERE / "native"
_WAIVERS = _HERE / "waivers.vlt"
_DEVICE = ("aim_device.cpp", "activation.cpp", "mac.cpp")
_HARNESS = ("bus.cpp", "clock.cpp", "commands.cpp", "harness.cpp")

# A port is visible without help, so no --public flag: each would cost the optimiser its best moves. Registers have
# initial values and the design one clock, so X means nothing here.
_VERILATE = ("--cc", "--prefix", "Vtop", "--top-module", "top", "-O3", "--x-assign", "fast", "--x-initial", "fast",
             "--no-timing", "-Wall", "--output-split", "20000")  # fmt: skip
# No contraction: a fused multiply-add rounds once where the device rounds twice. No GNU-unique symbols: they would be
# shared by the libraries of two configurations in one process.
_COMMON = (STANDARD, "-fPIC", "-pthread", "-march=native", "-ffp-contract=off", "-fno-gnu-unique")
_NATIVE_FLAGS = (*_COMMON, "-O3", "-Wall", "-Wextra", "-Werror=return-type")
# -O2 runs no faster (ianus: 102 against 101 thousand cycles a second) and takes much longer to compile. No precompiled
# header: it would save a second a file, but GCC 12 takes one made at another -O level, and then crashes.
_DESIGN = (*_COMMON, "-O1", "-w")
# What Verilator sets apart as slow runs once, when a simulation opens.
_ONCE = (*_COMMON, "-O0", "-w")
_COUNTING = ("--coverage-line", "--coverage-toggle")
_DEFINES = ("-DVERILATOR=1", "-DVM_SC=0", "-DVM_TIMING=0", "-DVM_TRACE=0", "-DVM_TRACE_FST=0",
            "-DVM_TRACE_VCD=0", "-DVM_TRACE_SAIF=0")  # fmt: skip


Device = Literal["cpp", "rtl"]
"""What stands behind the PHY: the C++ model, or the synthesisable device, which the C++ model then checks."""


def _quiet(_step: str, _fraction: float | None) -> None:
    pass


def library(config: Config, progress: Progress | None = None, device: Device = "cpp") -> Path:
    """The library of the whole prototype in ``config``, built if it is not there yet.

    ``progress(step, fraction)`` is told what is being done; a library that exists is returned without a call.
    Raises :class:`BuildError` with the end of the log when a tool is missing or fails, and for a ``config`` that the
    synthesisable device does not serve.
    """
    return library_of(verilog(config, progress, device), config, progress, device)


def verilog(config: Config, progress: Progress | None = None, device: Device = "cpp") -> str:
    """Verilog of the prototype in ``config``, from a cache while the RTL's sources stay the same."""

    def prototype() -> Any:
        from hdl.standalone import Standalone
        from hdl.top import Prototype

        if device == "cpp":
            return Prototype(config)
        try:
            return Standalone(config)
        except ValueError as error:  # it does not serve every configuration
            raise BuildError(str(error)) from error

    return _verilog(prototype, f"{device} {config!r}", progress)


def _verilog(component: Callable[[], Any], identity: str, progress: Progress | None) -> str:
    report = progress or _quiet
    roots = [_HERE.parent / "hdl", _HERE.parent / "pim_model" / "spec"]
    sources = sorted(path for root in roots for path in root.rglob("*.py"))
    parts: list[str | Path] = [_version("amaranth"), identity]
    if coverage.directory():
        parts += ["with places", _HERE / "coverage" / "verilog.py"]
    for path in sources:
        parts += [path.relative_to(_HERE.parent).as_posix(), path]
    directory = build_root() / f"verilog-{digest(*parts)}"
    with once(directory) as work:
        if work is not None:
            report("elaborate", None)
            (work / "top.v").write_text(_elaborate(component), encoding="utf-8")
    return (directory / "top.v").read_text(encoding="utf-8")


def _elaborate(component: Callable[[], Any]) -> str:
    try:
        from amaranth.back import verilog as back

        design = component()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("hdl", "pim_model"):
            raise
        raise BuildError(
            f"{error.name} is not installed: install the sim extra (pip install 'ianus[sim]')"
        ) from error
    # Without source positions: a change of the Python that leaves the circuit alone leaves the text alone.
    try:
        with _writable_cache():
            if coverage.directory():
                from sim.coverage.verilog import convert

                return convert(design, "top")
            text: str = back.convert(design, name="top", emit_src=False, strip_internal_attrs=True)
    except back.YosysError as error:
        lines = str(error).strip().splitlines() or ["no message"]
        raise BuildError(f"Yosys cannot write the Verilog: {lines[-1].strip()}") from error
    return text


def _version(package: str) -> str:
    """Version of a package of the ``sim`` extra; :class:`BuildError` if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError as error:
        raise BuildError(
            f"{package} is not installed: install the sim extra (pip install 'ianus[sim]')"
        ) from error


@contextmanager
def _writable_cache() -> Iterator[None]:
    """Yosys as WebAssembly keeps its compiled self in the user's cache: give it another where there is none."""
    before = os.environ.get("XDG_CACHE_HOME")
    place = Path(before) if before else Path(os.environ.get("HOME") or "/") / ".cache"
    while not place.exists():
        place = place.parent
    if os.access(place, os.W_OK | os.X_OK) and place.is_dir():
        yield
        return
    os.environ["XDG_CACHE_HOME"] = str(build_root() / "cache")
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_CACHE_HOME"]
        else:
            os.environ["XDG_CACHE_HOME"] = before


def _tools() -> tuple[str, str]:
    """Names of the tools and of the machine they compile for; :class:`BuildError` if one does not answer."""
    _version("verilator")
    try:
        return versions(), target()
    except (subprocess.CalledProcessError, OSError, IndexError) as error:
        raise BuildError(f"the C++ compiler {compiler()} does not work: {error}") from error


def library_of(text: str, config: Config, progress: Progress | None = None, device: Device = "cpp") -> Path:
    """As :func:`library`, for the Verilog ``text`` of any module ``top`` with the prototype's ports."""
    headers = {
        "spec.h": spec_header(config, device_in_design=device == "rtl"),
        "ports.h": ports_header(config),
    }
    return _verilated("prototype", text, headers, (*_DEVICE, *_HARNESS), progress)


def rtl_device_library(config: Config, progress: Progress | None = None) -> Path:
    """The library of the synthesisable device alone: one channel of ``config``, commands at cycles by a C ABI."""

    def device() -> Any:
        from hdl.phy.aim_device import AimDevice

        return AimDevice(config)

    headers = {"spec.h": spec_header(config), "ports.h": device_ports_header()}
    text = _verilog(device, f"device {config!r}", progress)
    return _verilated("rtl-device", text, headers, ("rtl_device.cpp",), progress)


def serial_verilog(config: Config, divisor: int, gap: int, progress: Progress | None = None) -> str:
    """Verilog of the prototype behind a serial line of ``divisor`` cycles a bit."""

    def board() -> Any:
        from hdl.serial_prototype import SerialPrototype

        return SerialPrototype(config, divisor, gap)

    return _verilog(board, f"serial {config!r} {divisor} {gap}", progress)


def serial_library(text: str, progress: Progress | None = None) -> Path:
    """The library of a board behind a serial line: the Verilog ``text`` of any module ``top`` with its ports."""
    return _verilated("serial", text, {"ports.h": serial_ports_header()}, ("serial.cpp",), progress)


def _verilated(
    kind: str, text: str, headers: dict[str, str], sources: tuple[str, ...], progress: Progress | None
) -> Path:
    """The library of the Verilog ``text`` with ``sources`` of ``native/``."""
    counting, quick = coverage.has_places(text), os.environ.get(QUICK_BUILD) == "1"
    flags = repr(
        (_VERILATE, _DESIGN, _ONCE, _NATIVE_FLAGS, _defines(counting), _COUNTING if counting else (), quick)
    )
    control = (_WAIVERS, *((_HERE / "coverage" / "verilog.py",) if counting else ()))
    name = digest(text, *headers.values(), *_native_sources(), *control, flags, *_tools())
    directory = build_root() / f"{kind}-{name}"
    with once(directory) as work:
        if work is not None:
            log = Log(work / "build.log", _failed(directory) / "build.log")
            build = _Build(work, text, headers, sources, quick)
            build.run(log, work / f"{kind}.so", progress or _quiet)
    return directory / f"{kind}.so"


def device_library(config: Config, progress: Progress | None = None) -> Path:
    """The library of the device model alone: one channel of ``config``, commands by a C ABI."""
    return _native_alone("device", (*_DEVICE, "device_abi.cpp"), config, progress)


def monitor_library(config: Config, progress: Progress | None = None) -> Path:
    """The library that counts what commands look like, for commands that were seen elsewhere."""
    return _native_alone("monitor", ("commands.cpp",), config, progress)


def _native_alone(kind: str, sources: tuple[str, ...], config: Config, progress: Progress | None) -> Path:
    header = spec_header(config)
    name = digest(header, *_native_sources(), repr((_NATIVE_FLAGS, sources)), *_tools())
    directory = build_root() / f"{kind}-{name}"
    with once(directory) as work:
        if work is not None:
            log = Log(work / "build.log", _failed(directory) / "build.log")
            (work / "spec.h").write_text(header, encoding="utf-8")
            units = _native_units(sources, work, ())
            compile_units(units, log, work, progress or _quiet)
            link([unit.object for unit in units], work / f"{kind}.so", log, work)
    return directory / f"{kind}.so"


def _failed(directory: Path) -> Path:
    """Where ``once`` keeps a build that failed."""
    return directory.with_name(directory.name + ".failed")


def _native_sources() -> list[str | Path]:
    """Names and contents of all C++ sources, for a digest."""
    parts: list[str | Path] = []
    for path in sorted(path for path in _NATIVE.iterdir() if path.suffix in (".cpp", ".h")):
        parts += [path.name, path]
    return parts


def _native_units(names: tuple[str, ...], work: Path, includes: tuple[str, ...]) -> list[Unit]:
    flags = (*_NATIVE_FLAGS, f"-I{_NATIVE}", f"-I{work}", *includes)
    return [Unit(_NATIVE / name, flags, work / name.replace(".cpp", ".o")) for name in names]


@dataclass(frozen=True)
class _Build:
    """One design to compile with ``sources`` of ``native/``."""

    work: Path
    text: str
    headers: dict[str, str]
    sources: tuple[str, ...]
    quick: bool

    @property
    def counting(self) -> bool:
        """Whether the design counts what it covers."""
        return coverage.has_places(self.text)

    def run(self, log: Log, target: Path, progress: Progress) -> None:
        work, source, objects = self.work, self.work / "top.v", self.work / "obj"
        source.write_text(self.text, encoding="utf-8")
        for name, content in self.headers.items():
            (work / name).write_text(content, encoding="utf-8")

        progress("verilate", None)
        root = verilator_root()
        control = [str(_WAIVERS)]
        if self.counting:
            from sim.coverage.verilog import toggles_off

            (work / "toggles.vlt").write_text(toggles_off(self.text, "top", source.name), encoding="utf-8")
            control += ["toggles.vlt", *_COUNTING]
        command = [str(verilator()), *_VERILATE, "--Mdir", "obj", *control, source.name]
        log.run(command, work, {"VERILATOR_ROOT": str(root), "PATH": "/usr/bin:/bin"})

        runtime = _runtime(log, progress, self.counting)
        units = self._one_unit() if self.quick else self._units()
        compile_units(units, log, objects, progress)

        progress("link", None)
        link([*(unit.object for unit in units), *runtime], target, log, work)
        # Verilog, headers, log and library tell all; objects and generated C++ are many times their size.
        shutil.rmtree(objects)
        for unit in units:
            unit.object.unlink(missing_ok=True)

    def _units(self) -> list[Unit]:
        objects = self.work / "obj"
        includes = (f"-I{objects}", *_include_flags(self.counting))
        units = [
            Unit(path, (*(_ONCE if "__Slow" in path.name else _DESIGN), *includes), path.with_suffix(".o"))
            for path in sorted(objects.glob("Vtop*.cpp"))
        ]
        system = tuple(flag.replace("-I", "-isystem", 1) for flag in includes)
        return [*units, *_native_units(self.sources, self.work, system)]

    def _one_unit(self) -> list[Unit]:
        objects = self.work / "obj"
        parts = [*sorted(objects.glob("Vtop*.cpp")), *(_NATIVE / name for name in self.sources)]
        whole = objects / "whole.cpp"
        whole.write_text("".join(f'#include "{part}"\n' for part in parts), encoding="utf-8")
        flags = (*_ONCE, f"-I{_NATIVE}", f"-I{self.work}", f"-I{objects}", *_include_flags(self.counting))
        return [Unit(whole, flags, whole.with_suffix(".o"))]


def _defines(counting: bool) -> tuple[str, ...]:
    return (*_DEFINES, f"-DVM_COVERAGE={int(counting)}")


def _include_flags(counting: bool) -> tuple[str, ...]:
    include = verilator_root() / "include"
    return (f"-I{include}", f"-I{include / 'vltstd'}", *_defines(counting))


def _runtime(log: Log, progress: Progress, counting: bool) -> list[Path]:
    """Objects of Verilator's run-time library, the same for every design."""
    include = verilator_root() / "include"
    names = ("verilated.cpp", "verilated_threads.cpp", *(("verilated_cov.cpp",) if counting else ()))
    directory = build_root() / f"verilated-{digest(repr((_DESIGN, _defines(counting))), *_tools())}"
    with once(directory) as work:
        if work is not None:
            flags = (*_DESIGN, *_include_flags(counting))
            units = [Unit(include / name, flags, work / name.replace(".cpp", ".o")) for name in names]
            compile_units(
                units, log, work, lambda _step, _fraction: progress("compile run-time library", None)
            )
    return [directory / name.replace(".cpp", ".o") for name in names]
