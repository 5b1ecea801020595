"""The `ianus` command on the golden model: results, JSON, exit codes, and sentences instead of tracebacks."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host_runtime import cli
from host_runtime.errors import DeviceTimeout
from host_runtime.llm.config import GPT2Config
from host_runtime.llm.embedded import MODEL, evaluation_text
from host_runtime.llm.synthetic import write_random_checkpoint
from host_runtime.reference import golden_linear
from pim_model.spec.registers import REGISTERS
from pim_model.spec.timing import TIMINGS
from pim_model.spec.timing_rules import RULES

MATVEC_KEYS = {
    "rows", "cols", "batch", "backend", "config", "timing", "numerics", "mismatches", "max_ulp_vs_fp32", "violations",
    "cycles", "ns", "bytes_per_second", "commands", "events", "seconds",
}  # fmt: skip
PPL_KEYS = {
    "backend", "predictions", "perplexity", "seconds", "predictions_per_second", "macros", "cycles", "violations",
}  # fmt: skip


@pytest.fixture(autouse=True)
def own_build_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """States of interrupted evaluations must not be shared between tests."""
    monkeypatch.setattr("host_runtime.cli.ppl.build_root", lambda: tmp_path / "build")


@pytest.fixture
def text(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(evaluation_text(sentences=60), encoding="utf-8")
    return path


def run(*arguments: object) -> int:
    return cli.run([str(argument) for argument in arguments])


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    assert run(*arguments, "--json", "-") == 0
    captured = capsys.readouterr()
    assert captured.err, "people read standard error then"
    return json.loads(captured.out)  # all of standard output: JSON and nothing else


# ---------------------------------------------------------------------------------------------------------------- help


@pytest.mark.parametrize("command", ["demo", "info", "matvec", "ppl", "exec", "bench", "serve"])
def test_help_teaches_with_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run(command, "--help") == 0
    out = capsys.readouterr().out
    assert f"ianus {command}" in out.partition("Options:")[0].partition("\n")[2]
    assert "--json" in out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["frobnicate"], "No such command 'frobnicate'"),
        (["matvec", "--rows", "3"], "Missing option '--cols'"),
        (["matvec", "--rows", "0", "--cols", "1"], "0 is not in the range"),
        (["matvec", "--rows", "x", "--cols", "1"], "'x' is not a valid integer"),
        (
            ["matvec", "--rows", "1", "--cols", "1", "--config", "huge"],
            "'huge' is not one of 'ianus', 'tiny'",
        ),
        (["matvec", "--rows", "1", "--cols", "1", "--timing", "ddr"], "'ddr' is not one of 'ianus_ck'"),
        (["matvec", "--rows", "1", "--cols", "1", "--numerics", "fp8"], "'fp8' is not one of 'aligned'"),
        (
            ["matvec", "--rows", "1", "--cols", "1", "--backend", "fpga"],
            "'fpga' is not one of 'model', 'verilator'",
        ),
        (["matvec", "--rows", "1", "--cols", "1", "--activation", "swish"], "'swish' is not one of 'gelu'"),
        (
            ["matvec", "--rows", "1", "--cols", "1", "--config", "tiny", "--activation", "gelu"],
            "needs rows of 2048",
        ),
        (
            ["matvec", "--rows", "1", "--cols", "9999", "--config", "tiny"],
            "the PIM memory has no free piece of 79 DRAM",
        ),
        (["matvec", "--rows", "1", "--cols", "1", "--json", "/no/such/dir/x"], "No such file or directory"),
        (["info", "--timing", "x"], "'x' is not one of"),
        (["bench", "--part", "x"], "'x' is not one of"),
    ],
)
def test_users_mistake_is_one_sentence(
    capsys: pytest.CaptureFixture[str], arguments: list[str], sentence: str
) -> None:
    assert run(*arguments) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "Traceback" not in err


# -------------------------------------------------------------------------------------------------------------- matvec


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (129, 1025, 1), (200, 70, 5)])
def test_matvec(capsys: pytest.CaptureFixture[str], numerics: str, shape: tuple[int, int, int]) -> None:
    rows, cols, batch = shape
    result = run_json(
        capsys, "matvec", "--rows", rows, "--cols", cols, "--batch", batch, "--numerics", numerics
    )
    assert result.keys() >= MATVEC_KEYS
    assert (result["rows"], result["cols"], result["batch"]) == shape
    assert (result["mismatches"], result["violations"]) == (0, 0)
    assert result["max_ulp_vs_fp32"] <= 64
    assert result["bytes_per_second"] == pytest.approx(2 * rows * cols * batch / result["ns"] * 1e9)
    assert result["commands"]["MACAB"] == 8 * batch * -(-rows // 128) * -(-cols // 16)


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
def test_matvec_of_query_key_and_value(capsys: pytest.CaptureFixture[str], numerics: str) -> None:
    arguments = ("matvec", "--rows", 100, "--cols", 90, "--timing", "aim_simulator", "--numerics", numerics)
    result = run_json(capsys, *arguments, "--qkv", "--bias", "--batch", 2)
    assert (result["qkv"], result["mismatches"], result["violations"], result["macros"]) == (True, 0, 0, 1)
    assert result["commands"]["MACAB"] == 8 * 2 * 3 * 6
    assert result["commands"]["WRGB"] == 8 * 2 * 6, "one load a token for three matrices"
    assert result["cycles"] < result["separate_cycles"]
    one = run_json(capsys, *arguments)
    assert (one["qkv"], one["separate_cycles"]) == (False, None)
    assert run(*arguments, "--qkv", "--activation", "gelu") == 2
    assert "--activation must be left out with --qkv" in capsys.readouterr().err
    assert run("matvec", "--rows", 300, "--cols", 128, "--config", "tiny", "--qkv") == 2
    assert "the PIM memory has no free piece of 38 DRAM rows; the largest is 18" in capsys.readouterr().err


def test_matvec_with_everything(capsys: pytest.CaptureFixture[str]) -> None:
    common = ("matvec", "--rows", 140, "--cols", 300)
    result = run_json(
        capsys, *common, "--bias", "--activation", "gelu", "--seed", 7, "--timing", "aim_simulator"
    )
    assert (result["mismatches"], result["timing"], result["seed"], result["bias"]) == (
        0,
        "aim_simulator",
        7,
        True,
    )
    assert result["commands"]["AF"] == 16
    plain = run_json(capsys, *common, "--seed", 7)
    assert "AF" not in plain["commands"]
    assert plain["cycles"] < result["cycles"]


def test_matvec_without_refresh(capsys: pytest.CaptureFixture[str]) -> None:
    common = ("matvec", "--rows", 4096, "--cols", 1024)
    on, off = run_json(capsys, *common), run_json(capsys, *common, "--no-refresh")
    assert on["commands"]["REFAB"] > 0
    assert "REFAB" not in off["commands"]
    assert off["cycles"] < on["cycles"]


def test_same_seed_same_operands_other_seed_others(capsys: pytest.CaptureFixture[str]) -> None:
    from host_runtime.bench.product import Operands

    one, same, other = (Operands.random(3, 4, 1, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(one.weights, same.weights)
    assert np.any(one.weights != other.weights)


def test_mismatch_and_violation_are_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from host_runtime.bench import product

    golden = golden_linear
    monkeypatch.setattr(product, "golden_linear", lambda *a: golden(*a) ^ np.eye(1, 5, 3, dtype=np.uint16))
    assert run("matvec", "--rows", 5, "--cols", 5, "--json", "-") == 1
    assert json.loads(capsys.readouterr().out)["mismatches"] == 1
    monkeypatch.undo()
    monkeypatch.setattr("host_runtime.monitor.Monitor.violations", lambda self: 2)
    assert run("matvec", "--rows", 5, "--cols", 5, "--json", "-") == 1
    assert json.loads(capsys.readouterr().out)["violations"] == 2


def test_device_that_fails_is_exit_code_1(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise DeviceTimeout("macro 0x0000 did not complete in 5 cycles")

    monkeypatch.setattr("host_runtime.driver.Driver.wait", fail)
    assert run("matvec", "--rows", 5, "--cols", 5) == 1
    assert "Error: macro 0x0000 did not complete in 5 cycles" in capsys.readouterr().err


def test_interrupt_is_exit_code_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("host_runtime.driver.Driver.wait", interrupt)
    assert run("matvec", "--rows", 5, "--cols", 5) == 130


def test_json_goes_to_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "result.json"
    assert run("matvec", "--rows", 5, "--cols", 5, "--json", path) == 0
    assert json.loads(path.read_text(encoding="utf-8"))["rows"] == 5
    assert "mismatches" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------------------- info


@pytest.mark.parametrize(
    ("config", "timing"),
    [*product(["ianus", "tiny", "tiny_refpb"], TIMINGS), ("tiny_dual", "ianus_ck")],
)
def test_info(capsys: pytest.CaptureFixture[str], config: str, timing: str) -> None:
    result = run_json(capsys, "info", "--config", config, "--timing", timing)
    assert result["geometry"]["memory_bytes"] == (8 << 30 if config == "ianus" else 128 << 10)
    assert result["refresh"] == ("PER_BANK" if config == "tiny_refpb" else "ALL_BANK")
    assert result["dual_row_buffer"] is (config == "tiny_dual")
    assert [rule["name"] for rule in result["timing"]["rules"]] == [rule.name for rule in RULES]
    assert all(param["source"] for param in result["timing"]["params"].values())
    assert [register["name"] for register in result["registers"]] == [r.reg.name for r in REGISTERS]
    assert result["versions"]["numpy"] == np.__version__


# ----------------------------------------------------------------------------------------------------------------- ppl


def test_ppl(capsys: pytest.CaptureFixture[str], text: Path) -> None:
    common = ("ppl", "--model", MODEL, "--text", text, "--tokens", 200)
    result = run_json(capsys, *common)
    assert result.keys() >= PPL_KEYS
    assert (result["predictions"], result["violations"]) == (200, 0)
    assert 3 < result["perplexity"] < 10
    assert result["commands"]["MACAB"] > 0
    reference = run_json(capsys, *common, "--backend", "numpy", "--precision", "fp32")
    assert reference["perplexity"] == pytest.approx(result["perplexity"], rel=0.02)
    assert reference["perplexity"] != result["perplexity"]
    assert reference["macros"] == 0
    again = run_json(capsys, *common, "--numerics", "fp32_tree")
    assert again["perplexity"] == pytest.approx(result["perplexity"], rel=0.01)


def test_ppl_compares_logits(
    capsys: pytest.CaptureFixture[str], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("ppl", "--model", MODEL, "--text", text, "--tokens", 150, "--compare", "model")
    # numpy in BF16 stands in for a backend that computes otherwise
    assert run(*common, "--backend", "numpy", "--compare-first", 140, "--json", "-") == 1
    result = json.loads(capsys.readouterr().out)
    assert (result["compared_predictions"], result["compared_logits"]) == (140, 140 * 309)
    assert 0 < result["mismatches"] < result["compared_logits"] / 2
    assert run(*common) == 2
    assert "--compare model needs another --backend" in capsys.readouterr().err


def test_ppl_goes_on_after_an_interrupt(
    capsys: pytest.CaptureFixture[str], text: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    common = ("ppl", "--model", MODEL, "--text", text, "--tokens", 400)
    whole = run_json(capsys, *common)
    from host_runtime.llm.gpt2 import GPT2

    forward, calls = GPT2.forward, 0

    def interrupted(self: GPT2, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(GPT2, "forward", interrupted)
    assert run(*common, "--state", state) == 130
    assert "interrupted after 256 of 400 predictions" in capsys.readouterr().err
    assert state.exists()
    result = run_json(capsys, *common, "--state", state)
    assert (result["resumed_from"], result["perplexity"]) == (256, whole["perplexity"])
    assert (result["macros"], result["commands"]["MACAB"]) == (whole["macros"], whole["commands"]["MACAB"])
    assert not state.exists()


def test_ppl_refuses_the_state_of_another_run(
    capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    state.write_text('{"identity": {}, "window": 1, "predictions": 128, "nll": 9.0}', encoding="utf-8")
    common = ("ppl", "--model", MODEL, "--text", text, "--tokens", 140, "--state", state)
    assert run(*common) == 2
    assert "belongs to another evaluation" in capsys.readouterr().err
    assert run_json(capsys, *common, "--no-resume")["resumed_from"] == 0
    state.write_text("my notes", encoding="utf-8")
    assert run(*common, "--no-resume") == 2
    assert "state.json: must be a saved evaluation state" in capsys.readouterr().err
    assert state.read_text(encoding="utf-8") == "my notes"


def test_ppl_counts_over_an_interrupt(
    capsys: pytest.CaptureFixture[str], text: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that is compared, and every mismatch, lies before the interrupt; it still decides the exit code."""
    evaluation = ("ppl", "--model", MODEL, "--text", text, "--tokens", 400, "--json", "-")
    common = (*evaluation, "--backend", "numpy", "--compare", "model", "--compare-first", 100)
    assert run(*common) == 1
    whole = json.loads(capsys.readouterr().out)
    assert whole["mismatches"] > 0
    from host_runtime.llm.perplexity import Perplexity

    losses = Perplexity._losses

    def interrupted(self: Perplexity, window: int, count: int) -> Any:
        if self.state is not None and window == 2:
            raise KeyboardInterrupt
        return losses(self, window, count)

    with monkeypatch.context() as patch:
        patch.setattr(Perplexity, "_losses", interrupted)
        assert run(*common) == 130
    capsys.readouterr()
    assert run(*common) == 1
    resumed = json.loads(capsys.readouterr().out)
    assert resumed["resumed_from"] == 256
    for name in ("compared_predictions", "compared_logits", "mismatches", "perplexity"):
        assert resumed[name] == whole[name], name


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ('"architectures": 5', "architectures must be"),
        ('"architectures": [["a"]]', "architectures must be"),
        ('"layer_norm_epsilon": 1' + "0" * 400, "layer_norm_epsilon must be a positive number"),
        ('"layer_norm_epsilon": 1' + "0" * 5000, "must be a JSON file"),
        ('"n_inner": ' + "[" * 100_000, "must be a JSON file"),
        ('"n_layer": 1000000000', "n_layer must be at most 1000, not 1000000000"),
    ],
    ids=lambda value: value[:32],
)
def test_ppl_refuses_an_odd_config(
    change: str, sentence: str, capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd"
    odd.mkdir()
    for name in ("tokenizer.json", "model.safetensors"):
        (odd / name).write_bytes((MODEL / name).read_bytes())
    fields = (MODEL / "config.json").read_text(encoding="utf-8").rstrip().removesuffix("}").rstrip()
    (odd / "config.json").write_text(
        f"{fields}, {change}}}", encoding="utf-8"
    )  # of a name twice, the last counts
    assert run("ppl", "--model", odd, "--text", text) == 2
    err = capsys.readouterr().err
    assert sentence in err
    assert "config.json" in err


def test_ppl_bad_inputs(capsys: pytest.CaptureFixture[str], text: Path, tmp_path: Path) -> None:
    empty, binary, unknown = (tmp_path / name for name in ("empty", "binary", "unknown"))
    empty.write_bytes(b"")
    binary.write_bytes(b"\x00\x01\xff" * 50)
    unknown.write_text("xyzzy plugh", encoding="utf-8")
    small = tmp_path / "small"
    write_random_checkpoint(small, GPT2Config(32, 16, 16, 1, 2, 32), seed=1)
    (small / "tokenizer.json").write_bytes((MODEL / "tokenizer.json").read_bytes())
    truncated = tmp_path / "truncated"
    truncated.mkdir()
    for name in ("config.json", "tokenizer.json", "model.safetensors"):
        data = (MODEL / name).read_bytes()
        (truncated / name).write_bytes(data[: len(data) // 2] if name.endswith("safetensors") else data)
    cases = [
        (MODEL, empty, "must hold text, but is empty"),
        (MODEL, binary, "the file is binary"),
        (MODEL, unknown, "must be made of the vocabulary"),
        (MODEL, tmp_path / "nothing", "file is missing"),
        (truncated, text, "must be a whole safetensors file"),
        (tmp_path, text, "config.json: file is missing"),
        (tmp_path / "nowhere", text, "does not exist"),
        (small, text, "tokenizer and weights are not of one model"),
    ]
    for model, file, sentence in cases:
        assert run("ppl", "--model", model, "--text", file) == 2
        err = capsys.readouterr().err
        assert sentence in err
        assert "Traceback" not in err
    assert run("ppl", "--model", MODEL, "--text", text, "--precision", "fp32") == 2
    assert "--precision fp32 needs --backend numpy" in capsys.readouterr().err
    fp32 = ("--backend", "numpy", "--precision", "fp32", "--compare", "model")
    assert run("ppl", "--model", MODEL, "--text", text, *fp32) == 2
    assert "--compare model needs --precision bf16" in capsys.readouterr().err


# --------------------------------------------------------------------------------------------------------------- bench


def test_bench_of_the_kernels(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_runtime.bench.speed.SHAPE", (64, 64, 4))
    result = run_json(capsys, "bench", "--part", "kernels")
    assert set(result) == {"kernels"}
    rates = {name: value for name, value in result["kernels"].items() if name.endswith("_mac_per_second")}
    assert set(rates) == {"aligned_mac_per_second", "fp32_tree_mac_per_second", "numpy_fp32_mac_per_second"}
    assert all(rate > 0 for rate in rates.values())


@pytest.mark.verilator
def test_bench_of_the_layers(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("host_runtime.bench.layers.EMBEDDINGS", {"small": 128, "wide": 384})
    result = run_json(capsys, "bench", "--part", "layers")["layers"]
    assert set(result) == {"small", "wide"}
    for name, embedding in (("small", 128), ("wide", 384)):
        found = result[name]
        assert found["mismatches"] == found["violations"] == found["excess_cycles"] == 0
        assert 0 < found["macro_cycles"] < found["cycles"]
        assert found["cycles_per_byte"] == found["macro_cycles"] / (24 * embedding**2)
        # 16 columns of a tile take no fewer cycles than a MACAB each; 4096 GB/s is what the banks give.
        assert found["bytes_per_second"] < 4096e9
    assert result["wide"]["cycles_per_byte"] < result["small"]["cycles_per_byte"]


@pytest.mark.verilator
def test_bench_of_sharing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With one row buffer no transfer ends before the macro; with two some do, and cost it little."""
    monkeypatch.setattr("host_runtime.bench.sharing.CONFIGS", ("tiny", "tiny_dual"))
    monkeypatch.setattr("host_runtime.bench.sharing.PRODUCT", (160, 256))
    monkeypatch.setattr("host_runtime.bench.sharing.CHUNK", 2048)
    result = run_json(capsys, "bench", "--part", "sharing")["sharing"]
    assert set(result) == {"tiny", "tiny_dual"}
    for found in result.values():
        assert found["mismatches"] == found["violations"] == 0
    assert result["tiny"]["reads_bytes_per_second"] == result["tiny"]["writes_bytes_per_second"] == 0
    shared = result["tiny_dual"]
    # Of 32 bytes a cycle of 1 ns that the window takes; a refresh of 120 cycles may fall into one run and not another.
    assert min(shared["reads_bytes_per_second"], shared["writes_bytes_per_second"]) > 0.2 * 32e9
    assert max(shared["reads_cycles"], shared["writes_cycles"]) < shared["alone_cycles"] + 2 * 200


def test_bench_says_what_is_not_installed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sim.bench.speed", None)
    result = run_json(capsys, "bench", "--part", "cocotb")
    assert "not installed" in result["cocotb"]["unavailable"]
