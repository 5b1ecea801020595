"""The golden device as a transport: no RTL, no compiler, the numbers that everything else is held to."""

from __future__ import annotations

from host_runtime.errors import AccessError
from host_runtime.transport.base import Transport
from pim_model.device import BusError, Device
from pim_model.spec.config import Config

__all__ = ["ModelTransport"]


class ModelTransport(Transport):
    """A golden device in this process, fresh. Its time advances only in :meth:`wait_interrupt`.

    ``ValueError`` for an unknown arithmetic profile.
    """

    name = "model"

    def __init__(self, config: Config, numerics: str = "aligned"):
        self.device = Device(config, numerics)

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
