"""The udev rule gives the files that the transport opens, and no others."""

from __future__ import annotations

import fnmatch
import re

from sim.card import NODES
from tests.source_tree import ROOT

RULES = ROOT / "host_runtime" / "transport" / "60-ianus-xdma.rules"
OTHERS = ("control", "bypass", "bypass_h2c_0", "xvc", "h2c_1", "c2h_1", "events_1")


def rules() -> list[dict[str, str]]:
    lines = [line for line in RULES.read_text(encoding="utf-8").splitlines() if line and line[0] != "#"]
    found = []
    for line in lines:
        parts = [re.fullmatch(r'([A-Z]+)(==|=)"([^"]+)"', part) for part in line.split(", ")]
        found.append({part[1] + part[2]: part[3] for part in parts if part})
        assert len(found[-1]) == len(parts), line
    return found


def test_the_rule_is_for_what_is_opened() -> None:
    for rule in rules():
        assert (rule["SUBSYSTEM=="], rule["GROUP="], rule["MODE="]) == ("xdma", "ianus", "0660")

    def given(name: str) -> bool:
        patterns = [pattern for rule in rules() for pattern in rule["KERNEL=="].split("|")]
        return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

    assert [node for node in NODES if not given(f"xdma0_{node}") or not given(f"xdma12_{node}")] == []
    assert [node for node in OTHERS if given(f"xdma0_{node}")] == []
    assert not given("other0_user")
