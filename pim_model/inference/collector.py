"""Python's cycle collector paused while programs are compiled and simulated.

A stage is some ten thousand small objects without a cycle among them; counting references frees them. The collector
would look at all of them again and again: half of a run's time.
"""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["collector_paused"]


@contextmanager
def collector_paused() -> Iterator[None]:
    """Pause it, and start it again if it was on."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
