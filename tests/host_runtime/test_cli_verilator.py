"""The `ianus` command on the Verilated RTL: the shapes of the specification, a language model, the demonstration."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from host_runtime import cli
from host_runtime.llm.embedded import MODEL, evaluation_text
from tests.agree.conftest import require

pytestmark = pytest.mark.verilator


@pytest.fixture(autouse=True)
def needs_simulation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    require("verilator")
    monkeypatch.setattr("host_runtime.cli.ppl.build_root", lambda: tmp_path / "build")


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    code = cli.run([*(str(argument) for argument in arguments), "--json", "-"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    return json.loads(captured.out)


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize(
    ("rows", "cols", "options", "macros"),
    [
        (128, 1024, (), 1),
        (1000, 1000, (), 2),  # eight output groups, four a macro
        (1, 1, (), 1),
        (129, 1025, (), 1),
        (50257, 768, (), 8),
        (3072, 768, ("--bias", "--activation", "gelu"), 6),
    ],
)
def test_matvec(
    capsys: pytest.CaptureFixture[str],
    rows: int,
    cols: int,
    options: tuple[str, ...],
    macros: int,
    numerics: str,
) -> None:
    request = ("matvec", "--rows", rows, "--cols", cols, *options, "--numerics", numerics)
    result = run_json(capsys, *request, "--backend", "verilator")
    assert (result["mismatches"], result["violations"]) == (0, 0)
    assert result["macros"] == macros
    assert result["macro_cycles"] < result["cycles"]
    golden = run_json(capsys, *request)
    for command in ("ACTAB", "MACAB", "WRBIAS", "RDMAC", "RDAF", "AF"):
        assert result["commands"].get(command) == golden["commands"].get(command)


def test_bandwidth_of_a_long_product(capsys: pytest.CaptureFixture[str]) -> None:
    request = ("matvec", "--rows", 4096, "--cols", 4096, "--backend", "verilator")
    with_refresh, without = run_json(capsys, *request), run_json(capsys, *request, "--no-refresh")
    assert (with_refresh["mismatches"], with_refresh["violations"], without["mismatches"]) == (0, 0, 0)
    assert with_refresh["bytes_per_second"] >= 2.0e12
    assert without["bytes_per_second"] >= 2.2e12


def test_ppl_logits_are_the_golden_bits(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text(evaluation_text(sentences=20), encoding="utf-8")
    common = ("ppl", "--model", MODEL, "--text", text, "--tokens", 40)
    result = run_json(capsys, *common, "--backend", "verilator", "--compare", "model", "--compare-first", 32)
    assert (result["compared_predictions"], result["mismatches"], result["violations"]) == (32, 0, 0)
    golden = run_json(capsys, *common)
    assert result["perplexity"] == golden["perplexity"]
    assert result["macros"] == golden["macros"] > 0


def test_demo(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_runtime.cli.demo.build_root", lambda: tmp_path)
    result = run_json(capsys, "demo", "--tokens", 16)
    assert (result["mismatches"], result["violations"], result["bits_compared"]) == (0, 0, 16 * 16 * 309)
    assert result["perplexity"]["model"] == result["perplexity"]["verilator"]
    assert result["perplexity"]["fp32"] == pytest.approx(result["perplexity"]["model"], rel=0.02)
    vcd, svg = (Path(name) for name in result["files"])
    assert "ACTAB" in vcd.read_text(encoding="ascii")
    assert svg.read_text(encoding="utf-8").startswith("<svg")


def test_demo_with_more_predictions_than_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["demo", "--tokens", "99999999"]) == 2
    assert "--tokens must be at most" in capsys.readouterr().err


@pytest.mark.parametrize("options", [(), ("--no-refresh",)])
def test_commands_stand_as_early_as_the_rules_allow(
    capsys: pytest.CaptureFixture[str], options: tuple[str, ...]
) -> None:
    request = ("matvec", "--rows", 2048, "--cols", 2048, "--excess", *options, "--backend", "verilator")
    result = run_json(capsys, *request)
    assert result["violations"] == 0
    assert 0 <= result["excess_cycles"] < 0.01 * result["cycles"]
