"""`ianus regress` on small suites of its own: verdicts, repetition, seeds, plan."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest

from host_runtime import cli
from host_runtime.regress import plan, runs
from host_runtime.regress.record import Outcome, Record
from host_runtime.regress.summary import alike

ROOT = Path(__file__).resolve().parent.parent.parent
SUITE = """
import os
from pathlib import Path
from typing import Any
import pytest

def test_good(rng):
    assert rng.integers(10) >= 0

def test_bad():
    assert 1 == 2, "one is not two"

def test_flaky(tmp_path):
    marker = Path(__file__).with_suffix(".seen")
    seen = marker.exists()
    marker.touch()
    assert seen

@pytest.mark.skip(reason="no hardware")
def test_skipped():
    pass

@pytest.fixture
def broken():
    raise RuntimeError("no fixture")

def test_error(broken):
    pass

@pytest.mark.parametrize("what", ["bold"])
def test_named(what):
    assert what == "faint"
"""
PLAN = """
[[feature]]
name = "good things"
what = "what holds"
tests = ["tests/test_suite.py::test_good", "tests/test_suite.py::test_sk*"]
[[feature]]
name = "bad things"
what = "what does not"
tests = ["tests/test_suite.py::test_bad"]
[[feature]]
name = "never"
what = "nobody tests it"
tests = ["tests/other.py"]
"""


@pytest.fixture
def suite(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout with this project's conftest and a few tests of known fate."""
    root = tmp_path / "checkout"  # what tests leave goes elsewhere
    tests = root / "tests"
    tests.mkdir(parents=True)
    for name in ("conftest.py", "recorder.py"):
        (tests / name).write_text((ROOT / "tests" / name).read_text())
    (tests / "test_suite.py").write_text(SUITE)
    (tests / "testplan.toml").write_text(PLAN)
    settings = (ROOT / "pyproject.toml").read_text()
    (root / "pyproject.toml").write_text(settings[settings.index("[tool.pytest.ini_options]") :])
    monkeypatch.setattr(runs, "checkout", lambda: root)
    monkeypatch.setattr("host_runtime.cli.regress.checkout", lambda: root)
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    return root


def regress(suite: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    place = suite / "result.json"
    code = cli.run(["regress", "--output", str(suite.parent / "out"), "--json", str(place), *arguments])
    return code, json.loads(place.read_text())


def test_verdicts(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = regress(suite, "--jobs", "2", "--seed", "7")
    assert code == 1
    assert (result["tests"], result["passed"], result["failed"], result["skipped"]) == (6, 1, 4, 1)
    assert result["flaky"] == 1
    failures = {each["id"].partition("::")[2]: each for each in result["failures"]}
    assert {name: each["repeated"] for name, each in failures.items()} == {
        "test_bad": "failed",
        "test_flaky": "passed",
        "test_error": "failed",
        "test_named[bold]": "failed",
    }
    assert failures["test_bad"]["reproduce"] == "pytest tests/test_suite.py::test_bad --seed 7"
    assert "one is not two" in failures["test_bad"]["text"]
    assert failures["test_bad"]["message"].startswith("AssertionError: one is not two")
    assert failures["test_error"]["message"] == "RuntimeError: no fixture"
    printed = capsys.readouterr().out
    assert (
        "failed: pytest tests/test_suite.py::test_bad --seed 7\n  AssertionError: one is not two" in printed
    )
    assert "not chosen" not in printed
    assert "test_named[bold]' --seed 7" in printed
    features = {each["name"]: each["result"] for each in result["features"]}
    assert features == {
        "good things": "passed",
        "bad things": "failed",
        "never": "not run",
        "not in the plan": "failed",
    }
    junit = ElementTree.parse(suite.parent / "out" / "junit-7.xml").getroot()
    assert len(junit.findall(".//testcase")) == 6
    page = (suite.parent / "out" / "report.html").read_text()
    for text in (
        "test_bad --seed 7",
        "one is not two",
        "no hardware",
        "good things",
        "run again alone: passed",
    ):
        assert text in page


def test_all_is_well(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, result = regress(suite, "-k", "good", "--seeds", "2", "--jobs", "1")
    assert code == 0
    assert result["seeds"] == [1, 2]
    assert (result["tests"], result["same_stimulus"]) == (2, [])
    assert "2 features more, whose tests were not chosen" in capsys.readouterr().out


HITS = """
from sim.coverage.files import hit

def test_allowed():
    hit("things", "small", "red")

def test_forbidden():
    hit("things", "small", "black")
"""
GROUP = """
what = "colours of sizes"
points = ["size", "colour"]
illegal = ["* black"]
[[cross]]
size = ["small", "large"]
colour = ["red"]
"""


def test_coverage(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the tests' processes left is merged and judged; --append keeps what was there."""
    groups = suite / "tests" / "coverage" / "groups"
    groups.mkdir(parents=True)
    (groups / "things.toml").write_text(GROUP)
    (groups.parent / "waivers.toml").write_text(
        '[[bins]]\nmatch = "things: small *"\nreason = "never small"\n'
    )
    (suite / "tests" / "test_suite.py").write_text(HITS)
    assert regress(suite, "-k", "allowed", "--coverage", "--jobs", "2")[0] == 0
    code, result = regress(suite, "-k", "forbidden", "--coverage", "--append", "--jobs", "1")
    assert code == 1
    functional, rtl, toggles, python = result["coverage"]["kinds"]
    (things,) = functional["parts"]
    assert (things["covered"], things["points"], things["missed"]) == (1, 2, ["large red"])
    assert result["coverage"]["illegal"] == {"things: small black": 1}
    assert result["coverage"]["idle_waivers"] == ["bins: things: small *"]
    assert not any(kind["total"] for kind in (rtl, toggles, python))
    printed = capsys.readouterr().out
    assert printed.count("not covered: things: large red") == 2
    assert printed.count("an illegal bin was hit: things: small black (1)") == 1
    assert "large red" in (suite.parent / "out" / "report.html").read_text()


def test_smoke_chooses_by_folder_and_marker(suite: Path) -> None:
    for folder in ("agree", "sim", "typed_twice"):
        (suite / "tests" / folder).mkdir()
    (suite / "tests" / "sim" / "test_some.py").write_text(
        "import pytest\n\ndef test_quick(): pass\n\n@pytest.mark.slow\ndef test_slow(): pass\n"
    )
    code, result = regress(suite, "--smoke", "--jobs", "1")
    assert code == 0
    assert (result["tests"], result["passed"]) == (1, 1)


def test_append_is_for_coverage(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["regress", "--append"]) == 2
    assert "--append adds to coverage" in capsys.readouterr().err


def test_a_run_that_selects_nothing_is_an_error(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["regress", "--output", str(suite.parent / "out"), "-k", "nothing_of_that_name"]) == 2
    assert "no test is selected by -k nothing_of_that_name" in capsys.readouterr().err


def test_a_broken_suite_is_an_error(suite: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (suite / "tests" / "conftest.py").write_text("import no_such_module")
    assert cli.run(["regress", "--output", str(suite.parent / "out"), "--jobs", "1"]) == 2
    assert "pytest could not run (exit code 4)" in capsys.readouterr().err


def test_seeds_that_draw_the_same_are_seen() -> None:
    outcomes = [
        Outcome("a", 1, stimulus="x"),
        Outcome("a", 2, stimulus="x"),
        Outcome("b", 1, stimulus="x"),
        Outcome("b", 2, stimulus="y"),
        Outcome("c", 1),
        Outcome("c", 2),
    ]
    assert alike(outcomes) == ["a"]


def test_record_waits_for_a_whole_line(tmp_path: Path) -> None:
    path, record = tmp_path / "lines", Record(1)
    line = (
        '{"id": "a", "when": "teardown", "outcome": "passed", "seconds": 0.5, "text": "", "reason": "", '
        '"reproduce": "", "stimulus": ""}\n'
    )
    path.write_text('{"collected": 4}\n' + line[:20])
    record.update(path)
    assert (record.collected, record.ended) == (4, 0)
    path.write_text('{"collected": 4}\n' + line)
    record.update(path)
    assert (record.ended, record.outcomes["a"].seconds) == (1, 0.5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"must have a \[\[feature\]\]"),
        ("[[feature]]\nname = 'a'", "a feature must have name, what and tests"),
        ("[[feature]]\nname = 'a'\nwhat = 'b'\ntests = []", "a feature must have name, what and tests"),
        ("[[feature", "plan.toml"),
    ],
)
def test_plan_is_checked(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "plan.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        plan.load(path)


def test_the_plan_names_tests_that_are_there() -> None:
    """A pattern that no file answers to is a feature that nobody tests; and every test file is in the plan."""
    features = plan.load(ROOT / "tests" / "testplan.toml")
    files = [path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")]
    patterns = [pattern for feature in features for pattern in feature.tests]
    for pattern in patterns:
        name = pattern.partition("::")[0]
        assert any(plan.Feature("", "", (name,)).holds(file) for file in files), pattern
    for file in files:
        assert any(
            feature.holds(file) or any(p.startswith(f"{file}::") for p in feature.tests)
            for feature in features
        ), file
