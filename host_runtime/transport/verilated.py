"""The Verilated RTL in this process as a transport: time is simulated cycles, and only passes inside a call."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from host_runtime.errors import AccessError, TransportError
from host_runtime.transport.base import RecordingTransport
from pim_model.spec.config import Config
from pim_model.spec.micro import Micro

if TYPE_CHECKING:
    from pim_model.trace import Entry
    from sim.native import NativeSimulation

__all__ = ["SimulationUnavailable", "VerilatedTransport"]

_MICRO = ("op", "bank", "row", "column", "mode")
STALL = 1_000_000
"""Cycles without progress after which a bus access fails. Normal traffic waits for the end of a macro."""


class SimulationUnavailable(TransportError):
    """There is no simulation to open: the extra ``sim``, a compiler or a place to build in is missing."""


class VerilatedTransport(RecordingTransport):
    """A simulation of the whole prototype, freshly reset.

    The library is built the first time; ``progress(step, fraction)`` is told of it (fraction None if unknown).
    With ``device`` "rtl" the synthesisable device is behind the PHY, and the C++ model judges every word that it
    returns (a difference is a :class:`TransportError`); there is no back door then. ``ValueError`` for an unknown
    arithmetic profile; :class:`SimulationUnavailable` without the extra ``sim`` or a compiler, and for what that
    device does not serve.
    """

    name = "verilator"

    def __init__(
        self,
        config: Config,
        numerics: str = "aligned",
        progress: Callable[[str, float | None], None] | None = None,
        device: str = "cpp",
    ):
        from sim import build, native

        if device not in ("cpp", "rtl"):
            raise ValueError(f"device must be cpp or rtl, not {device!r}")
        self._errors = native
        self._back_door = device == "cpp"
        if device == "rtl" and numerics != "aligned":
            raise SimulationUnavailable(
                f"numerics must be aligned for the synthesisable device, not {numerics!r}"
            )
        try:
            path = build.library(config, progress, "rtl" if device == "rtl" else "cpp")
        except build.BuildError as error:
            raise SimulationUnavailable(f"the simulation cannot be built: {error}") from error
        self.simulation: NativeSimulation = native.NativeSimulation(path, config, numerics)
        self.simulation.set_timeout(STALL)

    @contextmanager
    def _doing(self, action: str, address: int) -> Iterator[None]:
        """Turn the simulation's exceptions into the runtime's."""
        try:
            yield
        except (self._errors.BusError, self._errors.AddressError):
            raise AccessError(action, address) from None
        except self._errors.SimulationError as error:
            raise TransportError(str(error)) from error

    def read_register(self, offset: int) -> int:
        _require_word("read a register", offset)
        with self._doing("read a register", offset):
            return self.simulation.read_register(offset)

    def write_register(self, offset: int, value: int) -> None:
        _require_word("write a register", offset)
        with self._doing("write a register", offset):
            self.simulation.write_register(offset, value)

    def read_memory(self, address: int, size: int) -> bytes:
        with self._doing(f"read {size} bytes", address):
            return self.simulation.read(address, size)

    def write_memory(self, address: int, data: bytes) -> None:
        with self._doing(f"write {len(data)} bytes", address):
            self.simulation.write(address, data)

    def wait_interrupt(self, timeout: int) -> bool:
        with self._doing("wait", 0):
            raised = self.simulation.wait_interrupt(max(1, timeout))  # the line is looked at once a cycle
            self.simulation.check_device()
        return raised

    def preload(self, address: int, data: bytes) -> None:
        if not self._back_door:
            super().preload(address, data)
            return
        with self._doing(f"preload {len(data)} bytes", address):
            self.simulation.preload(address, data)

    def peek(self, address: int, size: int) -> bytes:
        if not self._back_door:
            return super().peek(address, size)
        with self._doing(f"peek at {size} bytes", address):
            return self.simulation.peek(address, size)

    def close(self) -> None:
        self.simulation.close()

    def record(self, capacity: int) -> None:
        self.simulation.record(capacity)

    def recorded(self) -> list[Entry]:
        """The commands recorded, as a trace; :class:`TransportError` if there were more than the capacity."""
        from pim_model.trace import Entry

        with self._doing("read the trace", 0):
            records = self.simulation.trace()
        micros: dict[tuple[int, ...], Micro] = {}  # few differ, and a trace may have millions
        entries = []
        for cycle, channel, slot, *fields in records[["cycle", "channel", "slot", *_MICRO]].tolist():
            key = tuple(fields)
            micro = micros.get(key)
            if micro is None:
                micro = micros[key] = Micro.seen(*key)
            entries.append(Entry(cycle, channel, slot, micro))
        return entries


def _require_word(action: str, offset: int) -> None:
    """The register bus has no way to name a byte inside a word, or an offset beyond its 16 bits."""
    if not 0 <= offset < 1 << 16 or offset % 4:
        raise AccessError(action, offset)
