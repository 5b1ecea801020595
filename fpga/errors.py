"""What can go wrong in a build."""

from __future__ import annotations

from pathlib import Path

__all__ = ["BuildFailed", "FpgaUnavailable", "TimingNotMet"]


class FpgaUnavailable(Exception):
    """A tool is missing."""


class BuildFailed(Exception):
    """A tool ended with an error, or without the result it was asked for; ``log`` has what it said."""

    def __init__(self, message: str, log: Path):
        super().__init__(f"{message}; see {log}")
        self.log = log


class TimingNotMet(BuildFailed):
    """The placed and routed design is too slow for its clock: no bitstream was made."""
