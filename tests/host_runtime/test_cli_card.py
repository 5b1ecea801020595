"""`ianus` with a card: which device it is, whether it is the expected one, and the RTL served as one."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_runtime.cli import run
from host_runtime.llm.embedded import MODEL, evaluation_text
from host_runtime.transport.model import ModelTransport
from pim_model.spec.config import config
from pim_model.spec.registers import Reg
from sim.card import Card
from sim.card_server import CardServer
from tests.agree.conftest import require
from tests.agree.fake_xdma import GoldenDesign

BUILD = 0x0123456789ABCDEF
DIGEST = "0123456789abcdef"


class Built(ModelTransport):
    """A golden device that holds a bitstream, as far as it says."""

    def read_register(self, offset: int) -> int:
        known = {Reg.BUILD_LOW: BUILD & 0xFFFFFFFF, Reg.BUILD_HIGH: BUILD >> 32}
        return known.get(Reg(offset), 0) if offset in known else super().read_register(offset)


@pytest.fixture
def card(tmp_path: Path) -> Iterator[str]:
    with CardServer(Card(GoldenDesign(Built(config("tiny"))), look=0), tmp_path / "card") as server:
        yield str(server.path)


def matvec(card: str, *more: str) -> int:
    return run(["matvec", "--rows", "9", "--cols", "70", "--config", "tiny", "--card", card, *more])


def test_a_product_and_its_device(card: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert matvec(card, "--json", "-") == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["backend"], result["mismatches"]) == ("xdma", 0)
    assert run(["info", "--card", card, "--json", "-"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert (found["backend"], found["device"]["build"]) == ("xdma", DIGEST)
    assert found["device"]["presets"] == ["tiny"]
    assert (found["device"]["channels"], found["device"]["timing"]) == (2, "ianus_ck")
    assert DIGEST in captured.err


def test_perplexity_on_a_card(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = tmp_path / "text"
    text.write_text(evaluation_text(0, 20))
    asked = [
        "ppl",
        "--model",
        str(MODEL),
        "--text",
        str(text),
        "--tokens",
        "20",
        "--config",
        "small",
        "--json",
        "-",
    ]
    assert run([*asked, "--no-resume"]) == 0
    golden = json.loads(capsys.readouterr().out)
    with CardServer(Card(GoldenDesign(Built(config("small"))), look=0), tmp_path / "card") as server:
        on_card = [
            *asked,
            "--card",
            str(server.path),
            "--state",
            str(tmp_path / "state"),
            "--compare",
            "model",
        ]
        assert run([*on_card, "--expect-build", DIGEST[::-1]]) == 1
        assert f"has build {DIGEST}" in capsys.readouterr().err
        assert run([*on_card, "--expect-build", DIGEST]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["backend"], found["mismatches"]) == ("xdma", 0)
    for name in ("perplexity", "macros", "commands"):
        assert found[name] == golden[name]


@pytest.mark.parametrize("command", [matvec, lambda card, *more: run(["info", "--card", card, *more])])
def test_another_build_is_refused(command, card: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(card, "--expect-build", DIGEST.upper()) == 0
    capsys.readouterr()
    assert command(card, "--expect-build", "0" * 15 + "1") == 1
    assert capsys.readouterr() == (
        "",
        "Error: the device must be of build 0000000000000001, and has build 0123456789abcdef: program that bitstream\n",
    )


def test_builds_that_are_recorded(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "report.json"
    for digest, code in ((DIGEST, 0), (DIGEST[::-1], 1)):
        report.write_text(json.dumps({"digest": digest}))
        bitstream = tmp_path / f"fpga-ulx3s-{digest}" / "top.bit"
        bitstream.parent.mkdir()
        bitstream.touch()
        assert matvec(card, "--expect-build", str(report)) == code
        assert matvec(card, "--expect-build", str(bitstream)) == code
    capsys.readouterr()
    for text in ("{}", "[]", '{"digest": 5}', "no JSON"):
        report.write_text(text)
        assert matvec(card, "--expect-build", str(report)) == 2
        assert "is no digest of 16 hexadecimal digits" in capsys.readouterr().err


def test_a_run_recorded_and_replayed(card: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "run.jsonl"
    product = ["matvec", "--rows", "9", "--cols", "70", "--config", "tiny", "--json", "-"]
    assert matvec(card, "--record", str(path), "--json", "-") == 0
    first = json.loads(capsys.readouterr().out)
    assert run([*product, "--replay", str(path)]) == 0
    again = json.loads(capsys.readouterr().out)
    assert (again.pop("backend"), first.pop("backend")) == ("replayed", "xdma")
    assert again.pop("seconds") > 0 < first.pop("seconds")
    assert again == first
    assert run([*product, "--replay", str(path), "--seed", "2"]) == 1
    assert "the transcript has preload" in capsys.readouterr().err
    assert run([*product, "--replay", str(path), "--expect-build", "1" * 16]) == 1
    assert f"and has build {DIGEST}" in capsys.readouterr().err
    assert matvec(card, "--record", str(tmp_path / "none" / "run")) == 2
    assert "No such file or directory" in capsys.readouterr().err
    assert matvec(card, "--excess") == matvec(card, "--replay", str(path), "--excess") == 2
    path.write_text("text")
    assert run([*product, "--replay", str(path)]) == 2
    assert "must be a transcript" in capsys.readouterr().err


@pytest.mark.parametrize("backend", ["model", pytest.param("verilator", marks=pytest.mark.verilator)])
def test_info_of_a_device_in_this_process(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    require(backend)
    assert run(["info", "--backend", backend, "--config", "tiny", "--json", "-"]) == 0
    device = json.loads(capsys.readouterr().out)["device"]
    assert (device["build"], device["presets"], device["rows"]) == ("0" * 16, ["tiny"], 64)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "--card", "none"], "none_user: No such file or directory (is the xdma driver loaded"),
        (["info", "--port", "none"], "none: No such file or directory"),
    ],
)
def test_a_device_that_is_not_there(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 1
    assert capsys.readouterr().err.startswith(f"Error: {message}")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["info", "--card", "a", "--port", "b"], "--port and --card name two devices"),
        (["info", "--expect-build", DIGEST], "--expect-build needs a device"),
        (["info", "--card", "a", "--expect-build", "12"], "is no digest of 16 hexadecimal digits"),
        (["serve"], "Missing option '--socket'"),
    ],
)
def test_wrong_requests(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    assert message in capsys.readouterr().err


@pytest.mark.verilator
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_serve(number: signal.Signals, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    require("verilator")
    path = tmp_path / "card"
    arguments = ["serve", "--config", "tiny", "--socket", str(path), "--json", "-"]
    command = [sys.executable, "-m", "host_runtime.cli", *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as server:
        assert server.stderr is not None
        said = ""
        while "serving tiny" not in said:  # before it, a build
            line = server.stderr.readline()
            assert line, said
            said += line
        assert matvec(str(path), "--json", "-") == 0
        assert json.loads(capsys.readouterr().out)["mismatches"] == 0
        assert run(arguments) == 2, "two servers of one socket"
        assert "Address already in use" in capsys.readouterr().err
        server.send_signal(number)
        out, _ = server.communicate(timeout=60)
        assert server.returncode == 0
        assert json.loads(out)["cycles"] > 1000
    assert not path.exists()
