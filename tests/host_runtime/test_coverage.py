"""The coverage of `ianus regress`: declarations, waivers, merging, judgement, the page."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from host_runtime.regress.coverage import bins, code, waivers
from host_runtime.regress.coverage.page import coverage_parts
from host_runtime.regress.coverage.result import Covered
from host_runtime.regress.coverage.total import Coverage, Kind
from host_runtime.regress.coverage.waivers import Waiver
from host_runtime.regress.summary import Summary

ROOT = Path(__file__).resolve().parent.parent.parent
GROUP = """
what = "colours of sizes"
points = ["size", "colour"]
illegal = ["* black"]
[[cross]]
size = ["small", "large"]
colour = ["red", "green"]
[[cross]]
size = [3]
colour = ["blue"]
"""


@pytest.fixture
def groups(tmp_path: Path) -> list[bins.Group]:
    (tmp_path / "things.toml").write_text(GROUP)
    return bins.load(tmp_path)


def test_bins_are_the_products_of_the_crosses(groups: list[bins.Group]) -> None:
    (group,) = groups
    assert group.name == "things"
    assert group.bins == ("small red", "small green", "large red", "large green", "3 blue")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("what = 'x'", "must have what, points and cross"),
        ("what = 'x'\npoints = ['a']\n[[cross]]\nb = [1]", r"a cross must have the points \('a',\)"),
        ("what = 'x'\npoints = ['a']\n[[cross]]\na = [1, 1]", "the bin '1' is declared twice"),
        ("what =", "broken.toml"),
    ],
)
def test_declarations_are_checked(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "broken.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        bins.load(tmp_path)


def test_a_directory_without_groups_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no cover group"):
        bins.load(tmp_path)


def test_hits_of_all_processes_add_up(tmp_path: Path) -> None:
    for number, count in enumerate((2, 3)):
        (tmp_path / f"bins-{number}.json").write_text(json.dumps({"things": {"small red": count}}))
    assert bins.read(tmp_path) == {"things": Counter({"small red": 5})}


def test_judgement(groups: list[bins.Group]) -> None:
    hits = {
        "things": Counter({"small red": 2, "large black": 1, "4 blue": 7}),
        "others": Counter({"any": 1}),
    }
    waiver = Waiver("things: large *", "nobody makes large ones")
    things, others = bins.judge(groups, hits, [waiver])
    assert (things.covered, things.total, things.missed) == (1, 3, ["small green", "3 blue"])
    assert things.waived == {
        "large red": "nobody makes large ones",
        "large green": "nobody makes large ones",
    }
    assert things.illegal == {"large black": 1}
    assert things.undeclared == {"4 blue": 7}
    assert (others.name, others.undeclared, others.total) == ("others", {"any": 1}, 0)
    assert things.percent == pytest.approx(100 / 3)


def test_a_waiver_of_what_was_reached_takes_nothing_away(groups: list[bins.Group]) -> None:
    hits = {"things": Counter({"large red": 1})}
    (things,) = bins.judge(groups, hits, [Waiver("things: large *", "never")])
    assert (things.covered, things.total) == (1, 4)
    assert list(things.waived) == ["large green"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[[bins]]\nmatch = 'x'", "must have match and reason"),
        ("[[bins]]\nmatch = 'x'\nreason = ''", "must have match and reason"),
        ("[[others]]\nmatch = 'x'\nreason = 'y'", "must be of bins"),
        ("[[", "waivers.toml"),
    ],
)
def test_waivers_are_checked(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "waivers.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        waivers.load(path)


def test_branches_are_waived_by_what_their_line_says(tmp_path: Path) -> None:
    """So that a waiver goes with its line when lines are added above it."""
    (tmp_path / "unit.py").write_text("a\nwith m.If(late):\n    b\n")
    counts = {"branches": {"unit.py:2 taken": 0, "unit.py:2 not taken": 4}, "lines": {"unit.py:3": 0}}
    (tmp_path / "code-1.json").write_text(json.dumps(counts))
    (tmp_path / "code-2.json").write_text(json.dumps({"toggles": {"top a:0->1": 1}}))
    excused = {kind: list[Waiver]() for kind in waivers.KINDS}
    excused["branches"] = [Waiver("unit.py:* taken", "never late", "m.If(late)")]
    excused["lines"] = [Waiver("unit.py:*", "is on another line", "m.If(late)")]
    branches, lines, toggles = code.rtl(tmp_path, tmp_path, excused)
    assert (branches.covered, branches.total, branches.missed) == (1, 1, [])
    assert lines.missed == ["unit.py:3"]
    assert toggles.percent == 100


def coverage(*, illegal: int = 0, hit: int = 1) -> Coverage:
    part = Covered("things", "what", {"small": hit, "large": 0}, {"large": "too <big>"})
    if illegal:
        part.illegal["black"] = illegal
    return Coverage((Kind("functional", part, (part,)),), ("bins: idle one",), {"RTL": {"hdl/x.py": (1, 2)}})


def test_what_fails_a_run() -> None:
    assert Summary((), (), 1.0, coverage()).good
    assert not Summary((), (), 1.0, coverage(illegal=2)).good
    assert Summary((), (), 1.0, coverage(hit=0)).good, "of a choice of tests no goal is asked"
    whole = Summary((), (), 1.0, coverage(hit=0), whole=True)
    assert whole.short == ["functional: 0.0 % is less than 98 %"]
    assert whole.report()["coverage"]["kinds"][0]["parts"][0]["missed"] == ["small"]


def test_page_names_what_was_missed_and_why_what_is_waived() -> None:
    html = "\n".join(coverage_parts(coverage(hit=0), []))
    for text in ("things", "<pre>small</pre>", "waived: too &lt;big&gt;", "idle one", "hdl/x.py", "50 %"):
        assert text in html


def test_the_declarations_of_this_project() -> None:
    """They can be read, are more than 500 bins, and no waiver is for bins or files that are not there."""
    groups = bins.load(ROOT / "tests" / "coverage" / "groups")
    names = [f"{group.name}: {name}" for group in groups for name in group.bins]
    assert len(names) >= 500
    found = waivers.load(ROOT / "tests" / "coverage" / "waivers.toml")
    for waiver in found["bins"]:
        assert any(waiver.holds(name, "") for name in names), waiver
    for waiver in (*found["branches"], *found["lines"], *found["python"]):
        files = list(ROOT.glob(waiver.match.partition(":")[0]))
        assert files, waiver
        assert any(waiver.code in file.read_text(encoding="utf-8") for file in files), waiver
