# Ref: A. Zeller, R. Hildebrandt, Simplifying and Isolating Failure-Inducing Input, IEEE TSE 28(2), 2002
"""The fewest items that still fail: delta debugging, within a number of tries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

__all__ = ["shrink"]

T = TypeVar("T")


def shrink(items: Sequence[T], fails: Callable[[Sequence[T]], bool], tries: int) -> list[T]:
    """A part of ``items``, in their order, on which ``fails`` is true, as far as ``tries`` calls of it lead.

    With tries to spare no single item can be left out. ``items`` as a whole is taken to fail, and never tried.
    """
    kept, parts = list(items), 2
    while len(kept) > 1 and tries > 0:
        size = -(-len(kept) // parts)
        for start in range(0, len(kept), size):
            if tries <= 0:
                return kept
            rest = kept[:start] + kept[start + size :]
            tries -= 1
            if fails(rest):
                kept, parts = rest, max(2, parts - 1)
                break
        else:
            if size == 1:
                return kept
            parts = min(len(kept), 2 * parts)
    return kept
