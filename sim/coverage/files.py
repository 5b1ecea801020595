"""What this process has covered so far; written to files of its own now and then, and when it ends."""

from __future__ import annotations

import atexit
import json
import os
import secrets
import time
from collections import Counter
from pathlib import Path

from sim.coverage import directory

__all__ = ["code", "hit", "save", "save_now_and_then"]

_bins: dict[str, Counter[str]] = {}
_code: dict[str, Counter[str]] = {}
_saved = [time.monotonic()]
_SECONDS = 30


def hit(group: str, *values: object, count: int = 1) -> None:
    """A monitor saw a bin of a cover group: the values of its cover points, in the order of the group's declaration."""
    _bins.setdefault(group, Counter())[" ".join(map(str, values))] += count


def code(kind: str, counts: Counter[str]) -> None:
    """Counts of one kind (``branches``, ``lines``, ``toggles``) of the RTL; one of zero says that a point exists."""
    # Counter.update keeps zeros; its `+` would drop them.
    _code.setdefault(kind, Counter()).update(counts)


def save_now_and_then() -> None:
    """A process that is killed later has then left most of what it covered."""
    if time.monotonic() - _saved[0] > _SECONDS:
        _saved[0] = time.monotonic()
        save()


@atexit.register
def save() -> None:
    """Write what was covered since the last call."""
    for name, found in (("bins", _bins), ("code", _code)):
        place = directory()
        if place is None or not found:
            continue
        path = place / f"{name}-{os.getpid()}-{secrets.token_hex(4)}.json"
        _write(path, json.dumps(found))
        found.clear()


def _write(path: Path, text: str) -> None:
    """A reader sees all of a file or none of it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)
