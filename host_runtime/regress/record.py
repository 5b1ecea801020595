"""What one run of the tests said, read from the lines of ``tests/recorder.py``."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

__all__ = ["Outcome", "Record"]


@dataclass
class Outcome:
    """One test with one seed."""

    id: str
    seed: int
    result: str = "passed"
    """passed, failed or skipped; a failure of a fixture is one of the test."""
    seconds: float = 0.0
    """Of its phases together; what a fixture builds is the first test's."""
    text: str = ""
    """Why it failed, as pytest prints it."""
    message: str = ""
    """What was raised: of a bench's failure what went wrong, where its waves and its stimulus are, what repeats it."""
    reason: str = ""
    """Why it was skipped."""
    reproduce: str = ""
    """The command that repeats a failure."""
    stimulus: str = ""
    """Digest of the random numbers that it drew; empty without a generator of its own."""
    repeated: str = ""
    """What a failure did when it was run again: failed, or passed, and is then flaky."""

    def add(self, phase: dict[str, Any]) -> None:
        """Take in setup, call or teardown."""
        self.seconds += phase["seconds"]
        self.stimulus = phase["stimulus"] or self.stimulus
        if phase["outcome"] == "failed" and self.result != "failed":
            self.result, self.text, self.message = "failed", phase["text"], phase["message"]
            self.reproduce = phase["reproduce"]
        elif phase["outcome"] == "skipped" and self.result == "passed":
            self.result, self.reason = "skipped", phase["reason"].removeprefix("Skipped: ")


@dataclass
class Record:
    """One run: all selected tests with one seed."""

    seed: int
    collected: int = 0
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    ended: int = 0
    """Tests whose last phase is over."""
    _read: int = 0

    def update(self, path: Path) -> None:
        """Read what was written since the last call; a line that is not whole yet is left for the next."""
        with open(path, "rb") as stream:
            stream.seek(self._read)
            for line in stream:
                if not line.endswith(b"\n"):
                    break
                self._read += len(line)
                self._take(json.loads(line))

    def _take(self, line: dict[str, Any]) -> None:
        if "collected" in line:
            self.collected = line["collected"]
            return
        outcome = self.outcomes.setdefault(line["id"], Outcome(line["id"], self.seed))
        outcome.add(line)
        self.ended += line["when"] == "teardown"
