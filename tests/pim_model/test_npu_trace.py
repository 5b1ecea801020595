"""Traces of a run: every event is one that Perfetto reads, and what must not overlap does not."""

from __future__ import annotations

import re
from collections import defaultdict
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from pim_model.inference.run import Inference
from pim_model.npu.machine import Machine
from pim_model.npu.pim_time import source
from pim_model.npu.record import Record
from pim_model.npu.trace import write_perfetto, write_vcd
from pim_model.spec.models import transformer
from tests.perfetto import events_of


def traced(stage: int, tokens: int) -> Record:
    machine = Machine(refresh=True)
    time = source("closed", machine.memory)
    result = Inference(transformer("gpt2-base"), machine, time, tokens, 2).run(traced=stage)
    assert result.traced is not None
    return result.traced


def written(record: Record, path: Path) -> list[dict[str, Any]]:
    write_perfetto(path, record, 8)
    return events_of(path)


@pytest.fixture(scope="module")
def record() -> Record:
    """A token."""
    return traced(1, 12)


@pytest.fixture(scope="module")
def events(record: Record, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return written(record, tmp_path_factory.mktemp("trace") / "token.json")


@pytest.fixture(scope="module")
def prompt_events(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """A prompt, whose weights are loaded ahead as far as queues allow."""
    return written(traced(0, 64), tmp_path_factory.mktemp("trace") / "prompt.json")


def test_a_track_has_one_thing_at_a_time(events: list[dict[str, Any]]) -> None:
    tracks: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["ph"] == "X":
            tracks[event["pid"], event["tid"]].append((event["ts"], event["ts"] + event["dur"]))
    assert len(tracks) == 4 * 7 + 8 + 1, "units of four cores, channels, PCU"
    for spans in tracks.values():
        for before, after in pairwise(sorted(spans)):
            assert after[0] >= before[1] - 1e-6, "in microseconds, rounded to a tenth of a picosecond"


def test_counters_stay_within_the_queues(prompt_events: list[dict[str, Any]]) -> None:
    highest: dict[str, int] = defaultdict(int)
    for event in prompt_events:
        if event["ph"] == "C":
            highest[event["name"]] = max(highest[event["name"]], event["args"]["commands"])
            assert event["args"]["commands"] >= 0
    assert highest["pending queue"] == 256, "the program is longer than the queue"
    assert all(count <= 4 for name, count in highest.items() if name != "pending queue")
    assert any(count == 4 for count in highest.values())


def test_commands_say_why_they_waited(
    events: list[dict[str, Any]], prompt_events: list[dict[str, Any]]
) -> None:
    def texts(of: list[dict[str, Any]]) -> str:
        return " ".join(text for e in of if e["ph"] == "X" for text in e["args"].get("waited", ()))

    for reason in ("needs the result of command", "memory belongs to the macro"):
        assert reason in texts(events)
    for reason in ("issue queue full", "unit busy with command"):
        assert reason in texts(prompt_events)


def test_vcd_has_every_change(record: Record, tmp_path: Path) -> None:
    path = tmp_path / "token.vcd"
    write_vcd(path, record)
    text = path.read_text()
    names = re.findall(r"\$var \w+ \d+ (\S+) (\S+)", text)
    assert len(names) == 4 * (7 + 8) + 1
    channels = next(identity for identity, name in names if name == "channels")
    assert len(re.findall(rf"^smacro {re.escape(channels)}$", text, re.MULTILINE)) == len(record.macros)
