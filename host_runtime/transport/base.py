"""What the driver needs of a way to the device: registers, a memory window, one interrupt line."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from pim_model.trace import Entry

__all__ = ["RecordingTransport", "Transport"]


class Transport(ABC):
    """A way to one device. The driver speaks these methods only, so that it is the same code on every transport.

    Addresses and offsets are those of :mod:`pim_model.spec.registers` and of the data window (memory from 0, activation
    buffer from ``config.buffer_base``). Every method may raise :class:`~host_runtime.errors.TransportError`; an access
    that the device refuses raises its subclass :class:`~host_runtime.errors.AccessError` and changes nothing.
    """

    name: str
    """What ``open_transport`` calls it."""

    @abstractmethod
    def read_register(self, offset: int) -> int:
        """The 32-bit register at byte ``offset``, as an unsigned integer."""

    @abstractmethod
    def write_register(self, offset: int, value: int) -> None:
        """Write all four bytes of the register at byte ``offset``, exactly once."""

    @abstractmethod
    def read_memory(self, address: int, size: int) -> bytes:
        """``size`` bytes of the data window from ``address`` on, both of any alignment."""

    @abstractmethod
    def write_memory(self, address: int, data: bytes) -> None:
        """Write bytes into the data window, of any alignment; neighbouring bytes keep their value.

        Returns when a later read or macro is sure to see the bytes.
        """

    @abstractmethod
    def wait_interrupt(self, timeout: int) -> bool:
        """Wait until the interrupt line is high; False if it is not after ``timeout`` controller cycles.

        Cycles rather than seconds: a simulation then gives the same answer on a loaded machine. A card's own
        counter tells when they have passed. Returns at once when the line is high already, or when nothing can happen
        any more.
        """

    def preload(self, address: int, data: bytes) -> None:
        """Bulk load of memory before the work that is measured: a simulation's back door takes no device time.

        DRAM only (not the activation buffer), nothing outstanding. Default: :meth:`write_memory`.
        """
        self.write_memory(address, data)

    def peek(self, address: int, size: int) -> bytes:
        """Bulk look at memory after the work that is measured, the counterpart of :meth:`preload`.

        Writes that were answered may not be in DRAM yet; what a macro wrote is. Default: :meth:`read_memory`.
        """
        return self.read_memory(address, size)

    def recover(self) -> None:  # noqa: B027 - most transports cannot fail half-way
        """Make the way usable again after it failed; the driver calls this before a soft reset.

        Raises the :class:`TransportError` that remains. Nothing is known of what the device did meanwhile.
        """

    def close(self) -> None:  # noqa: B027 - most transports hold nothing
        """Release what the transport holds. May be called twice."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


class RecordingTransport(Transport):
    """A way to a device whose command buses can be seen: a simulation of any kind."""

    on_progress: Callable[[float], None] | None = None
    """Told which part of a running PROGRAM is done, by transports that know."""

    @abstractmethod
    def record(self, capacity: int) -> None:
        """Record the commands on all channels from now on, up to ``capacity``; drops an earlier recording."""

    @abstractmethod
    def recorded(self) -> list[Entry]:
        """The commands recorded, as a trace; :class:`TransportError` if there were more than the capacity."""
