"""Preset ``aim_simulator`` against the peer's own rule table, line by line, where that table is at hand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pim_model.spec.timing import TimedRule, timing

# Where this project departs from a line that it cites, and why.
DEPARTURES = {
    ("tPPD", 902): "the peer's tRP binds closed banks too",
    ("tPPD", 903): "the peer's tRP binds closed banks too",
    ("tPPD", 986): "the peer's tRP binds closed banks too",
    ("tRFCab", 889): "zero in the peer, which never refreshes",
    ("tRFCpb", 898): "3333 in the peer, which never refreshes",
    ("tRFCpb", 953): "3333 in the peer, which never refreshes",
    ("tRFCpb", 998): "3333 in the peer, which never refreshes",
    ("tWTRbk", 824): "one row for RD and results: the larger of 824 and 832",
    ("tWTRres", 823): "the larger of 823 and 831",
    ("tBIASTR", 826): "one row for RD and results: the larger of 826 and 833",
}
RULES = timing("aim_simulator").rules


def cited_lines(rule: TimedRule) -> list[int]:
    """Line numbers after ``S`` in a rule's source."""
    lines: list[int] = []
    for part in re.findall(r"\bS ([\d, -]+)", rule.rule.source):
        for first, last in re.findall(r"(\d{3})(?:-(\d{3}))?", part):
            lines += range(int(first), int(last or first) + 1)
    return lines


def peer_clocks(shared: Path) -> dict[int, int]:
    """Effective latency by line of the peer's table."""
    path = shared / "reference" / "aim_simulator_timing_rules.md"
    if not path.is_file():
        pytest.skip("the peer's rule table is not beside the repository")
    # | line | scope | from | to | expression | CK | ns |
    pattern = r"^\| (\d+)[^|]*\|[^|]*\|[^|]*\|[^|]*\|[^|]*\| (\d+) \|"
    found = re.findall(pattern, path.read_text(encoding="utf-8"), re.MULTILINE)
    return {int(line): int(clocks) for line, clocks in found}


def test_cited_lines_have_the_rules_value(shared: Path) -> None:
    peer = peer_clocks(shared)
    assert len(peer) > 90
    wrong, compared = [], 0
    for rule in RULES:
        for line in cited_lines(rule):
            if (rule.rule.name, line) in DEPARTURES:
                continue
            compared += 1
            if peer.get(line) != rule.clocks:
                wrong.append(f"{rule.rule.name}: {rule.clocks} CK, line {line} has {peer.get(line)}")
    assert not wrong, "\n".join(["", *wrong])
    assert compared > 80


def test_departures_are_cited_and_real(shared: Path) -> None:
    peer = peer_clocks(shared)
    cited = {(rule.rule.name, line): rule.clocks for rule in RULES for line in cited_lines(rule)}
    for key in DEPARTURES:
        assert key in cited, f"{key} is not cited any more"
        assert cited[key] != peer.get(key[1]), f"{key} agrees now"


# Lines of the peer that no rule cites, and why none is needed.
UNCITED = {
    **dict.fromkeys((877, 885, 945, 988, 995), "RDA: this device has no auto-precharge"),
    **dict.fromkeys((878, 886, 946, 989, 996), "WRA: this device has no auto-precharge"),
    **dict.fromkeys((879, 887), "WRA16 closes the row; WRBK leaves it open, and tWR and tRP bind"),
    **dict.fromkeys((855, 856), "ACTAB shares a bank with any activation, so the longer tRC binds"),
    **dict.fromkeys((964, 965), "PRE4: not a command here"),
}


def test_no_line_of_the_peer_is_forgotten(shared: Path) -> None:
    cited = {line for rule in RULES for line in cited_lines(rule)}
    # 859, the tFAW window, is commented out there; here it is a window of the checker, not a rule row.
    assert set(peer_clocks(shared)) - cited - {859} == set(UNCITED)
