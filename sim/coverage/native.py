"""The monitors of one native simulation: its commands, its host and the code of its design."""

from __future__ import annotations

import ctypes
from pathlib import Path

from pim_model.spec.config import Config
from sim import coverage
from sim.coverage import code, commands
from sim.coverage.host import HostMonitor

__all__ = ["NativeMonitor", "watch"]


class NativeMonitor:
    """Everything that is heard of one simulation."""

    def __init__(self, library: ctypes.CDLL, handle: int, path: Path, config: Config) -> None:
        self._library, self._handle, self._path, self._config = library, handle, path, config
        self.host = HostMonitor(config)

    def close(self) -> None:
        """The simulation is about to end: hit the bins, take the counts."""
        monitor = self._library.ianus_monitor(self._handle)
        commands.record(commands.take_counts(self._library, monitor), self._config)
        code.collect(self._path, "top", lambda place: self._library.ianus_code_counts(self._handle, place))


def watch(library: ctypes.CDLL, handle: int, path: Path, config: Config) -> NativeMonitor | None:
    """Listen to a simulation of ``library`` at ``path``, if anyone wants to know and its design counts."""
    if coverage.directory() is None or not coverage.has_places(path.with_name("top.v").read_text()):
        return None
    if library.ianus_watch(handle):
        raise MemoryError("no memory for a monitor")
    return NativeMonitor(library, handle, path, config)
