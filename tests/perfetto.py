"""Whether a file is a trace that Perfetto opens.

# Ref: "Trace Event Format", JSON object format: the fields of each kind of event, and their types
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

_NUMBER = (int, float)
_FIELDS: dict[str, dict[str, Any]] = {
    "M": {"name": str, "pid": int, "tid": int, "args": dict},
    "X": {"name": str, "pid": int, "tid": int, "ts": _NUMBER, "dur": _NUMBER},
    "C": {"name": str, "pid": int, "ts": _NUMBER, "args": dict},
}
_METADATA = {"process_name", "thread_name"}


def events_of(path: Path) -> list[dict[str, Any]]:
    """The events of a trace file, each of which was found complete; an assertion names the first that is not."""
    text = json.loads(path.read_text())
    assert text["displayTimeUnit"] in ("ms", "ns")
    events: list[dict[str, Any]] = text["traceEvents"]
    assert events
    for event in events:
        for field, kind in _FIELDS[event["ph"]].items():
            assert isinstance(event[field], kind), event
        assert event.get("ts", 0) >= 0, event
        assert event.get("dur", 1) > 0, event
        if event["ph"] == "M":
            assert event["name"] in _METADATA, event
            assert isinstance(event["args"]["name"], str), event
        if event["ph"] == "C":
            assert event["args"], event
            assert all(isinstance(value, _NUMBER) for value in event["args"].values()), event
    named = {(event["pid"], event["tid"]) for event in events if event["name"] == "thread_name"}
    assert {(event["pid"], event["tid"]) for event in events if event["ph"] == "X"} <= named
    return events
