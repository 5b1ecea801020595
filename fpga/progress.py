"""How a build tells what it does."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["Progress"]

Progress = Callable[[str, str], None]
"""``progress(step, line)``: what is being done, and the last line of what the tool says."""
