"""The golden device as a transport: no RTL, no compiler, the numbers that everything else is held to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from host_runtime.errors import AccessError, TransportError
from host_runtime.transport.base import RecordingTransport
from pim_model.device import BusError, Device
from pim_model.spec.config import Config

if TYPE_CHECKING:
    from pim_model.trace import Entry

__all__ = ["ModelTransport"]


class ModelTransport(RecordingTransport):
    """A golden device in this process, fresh. Its time advances only in :meth:`wait_interrupt`.

    ``ValueError`` for an unknown arithmetic profile.
    """

    name = "model"

    def __init__(self, config: Config, numerics: str = "aligned"):
        self.device = Device(config, numerics)
        self.device.on_progress = self._progress
        self._capacity = 0

    def read_register(self, offset: int) -> int:
        try:
            return self.device.read_register(offset)
        except BusError:
            raise AccessError("read a register", offset) from None

    def write_register(self, offset: int, value: int) -> None:
        try:
            self.device.write_register(offset, value)
        except BusError:
            raise AccessError("write a register", offset) from None

    def read_memory(self, address: int, size: int) -> bytes:
        try:
            return self.device.read_memory(address, size)
        except BusError:
            raise AccessError(f"read {size} bytes", address) from None

    def write_memory(self, address: int, data: bytes) -> None:
        try:
            self.device.write_memory(address, data)
        except BusError:
            raise AccessError(f"write {len(data)} bytes", address) from None

    def wait_interrupt(self, timeout: int) -> bool:
        """As in :class:`Transport`; a macro that begins before the time is up runs to its end."""
        end = self.device.cycles + timeout
        while not self.device.interrupt and self.device.cycles < end and self.device.step():
            pass
        return self.device.interrupt

    def record(self, capacity: int) -> None:
        self.device.record()
        self._capacity = capacity

    def recorded(self) -> list[Entry]:
        """As in :class:`RecordingTransport`; normal traffic is not seen."""
        entries = self.device.recorded()
        if len(entries) > self._capacity:
            raise TransportError(f"{len(entries)} commands were issued, with room to record {self._capacity}")
        return entries

    def _progress(self, done: float) -> None:
        if self.on_progress is not None:
            self.on_progress(done)
