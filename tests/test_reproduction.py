"""A failure names the command that repeats it, and that command meets the same random numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import ROOT

FAILING = """
import pytest
from hypothesis import given, strategies

@pytest.mark.parametrize("value", [1, 2])
def test_draws(rng, value):
    assert value == 1, f"drew {rng.integers(1 << 60)}"

@given(strategies.integers())
def test_guesses(value):
    assert value != value, f"guessed {value}"

@pytest.fixture
def broken():
    raise RuntimeError("no such board")

def test_fixture(broken):
    pass
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of one failing file under this project's conftest."""
    (tmp_path / "tests").mkdir()
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path / "tests")
    (tmp_path / "tests" / "test_failing.py").write_text(FAILING)
    return tmp_path


def run(project: Path, *arguments: str) -> str:
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(project),
        *arguments,
    ]
    done = subprocess.run(command, check=False, cwd=project, capture_output=True, text=True)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED, done.stdout + done.stderr
    return done.stdout


def test_header_names_seed(project: Path) -> None:
    assert "seed: 1 " in run(project)
    assert "seed: 7 " in run(project, "--seed", "7")


def test_failure_names_command(project: Path) -> None:
    commands = re.findall(r"^pytest .*$", run(project, "--seed", "7"), flags=re.MULTILINE)
    assert commands == [
        "pytest tests/test_failing.py::test_fixture --seed 7",  # pytest reports errors before failures
        "pytest 'tests/test_failing.py::test_draws[2]' --seed 7",
        "pytest tests/test_failing.py::test_guesses --seed 7",
    ]


def test_same_seed_draws_same_numbers_alone(project: Path) -> None:
    def drawn(*arguments: str) -> list[str]:
        return re.findall(r"^E +AssertionError: (drew \d+)", run(project, *arguments), re.MULTILINE)

    among_others = drawn("--seed", "7")
    assert len(among_others) == 1
    assert drawn("tests/test_failing.py::test_draws[2]", "--seed", "7") == among_others
    assert drawn("tests/test_failing.py::test_draws[2]", "--seed", "8") != among_others
