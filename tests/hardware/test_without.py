"""The hardware's tests themselves: on a simulated card, from its transcripts, and without either."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pim_model.spec.config import config
from tests.agree.conftest import require
from tests.agree.served import served
from tests.source_tree import ROOT

TESTS = 10


def hardware_tests(**environment: str) -> str:
    """What `pytest -m hw` says."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("IANUS_CARD", "IANUS_PORT", "IANUS_TR", "PYTEST"))
    }
    command = [sys.executable, "-m", "pytest", "-q", "-m", "hw", "tests/hardware"]
    done = subprocess.run(
        command, check=False, cwd=ROOT, env=kept | environment, capture_output=True, text=True
    )
    return done.stdout + done.stderr


def test_without_hardware_they_say_why() -> None:
    out = hardware_tests()
    assert f"{TESTS} skipped" in out
    assert "no hardware (IANUS_CARD or IANUS_PORT), and no transcript of it" in out


@pytest.mark.verilator
def test_on_a_simulated_card_and_from_its_transcripts(tmp_path: Path) -> None:
    require("verilator")
    with served(config("tiny")) as path:
        assert f"{TESTS} passed" in (
            out := hardware_tests(IANUS_CARD=str(path), IANUS_TRANSCRIPTS=str(tmp_path))
        ), out
        assert f"{TESTS} passed" in (out := hardware_tests(IANUS_CARD=str(path))), out
    assert len(list(tmp_path.glob("*.jsonl"))) == TESTS
    assert f"{TESTS} passed" in (out := hardware_tests(IANUS_TRANSCRIPTS=str(tmp_path))), out
    product = tmp_path / "test-a-product-70-130-3-.jsonl"
    lines = product.read_text().splitlines()
    product.write_text("\n".join(line for line in lines if "wait_interrupt" not in line))
    assert f"1 failed, {TESTS - 1} passed" in (out := hardware_tests(IANUS_TRANSCRIPTS=str(tmp_path))), out
    assert "the transcript has" in out
