# Ref: Xilinx dma_ip_drivers, XDMA/linux-kernel (character devices cdev_ctrl, cdev_sgdma, cdev_events), driver 2025.2
# Ref: AMD PG195, DMA/Bridge Subsystem for PCI Express: user interrupts
"""What the device files of a card behind the XDMA driver do, over a simulated design: XDMA's AXI side without PCIe."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Protocol

from pim_model.spec.registers import REGISTER_BITS
from sim.native import AddressError, BusError, BusTimeout

__all__ = ["CYCLES_PER_MS", "NODES", "Card", "Design"]

NODES = ("user", "h2c_0", "c2h_0", "events_0")
"""Ends of the names of the device files."""

CYCLES_PER_MS = 500
"""Cycles that pass in a millisecond of waiting: few, since a simulation is slow, and waits are counted in cycles."""

_ONES = 0xFFFFFFFF


class Design(Protocol):
    """What hangs on XDMA's AXI ports, such as :class:`~sim.native.NativeSimulation`, and raises what that raises."""

    def read_register(self, offset: int) -> int: ...

    def write_register(self, offset: int, value: int) -> None: ...

    def read(self, address: int, size: int) -> bytes: ...

    def write(self, address: int, data: bytes) -> None: ...

    def wait_interrupt(self, max_cycles: int) -> bool: ...


class Card:
    """One card. Calls are those of the driver's device files: counts come back, or an ``OSError`` of their number.

    As on a card, the bus's refusal of a register access is not told: a read gives all ones, a write nothing. A DMA
    transfer that is refused ends with EIO, one without an answer with ETIMEDOUT. The interrupt line is seen at its
    rising edge, after each call and while waiting; the event stays until it is read.

    Parameters
    ----------
    design : Design
        What the card holds. Its time passes in calls only.
    look : int
        Cycles of a look at the interrupt line.
    """

    def __init__(self, design: Design, look: int = 1):
        self._design, self._look = design, look
        self._high = self._event = False

    def require_node(self, node: str) -> None:
        """ENOENT for a name that is none of a card."""
        if node not in NODES:
            raise _error(errno.ENOENT)

    def pread(self, node: str, size: int, offset: int) -> bytes:
        """What a ``pread`` of ``size`` bytes puts into the buffer. Of ``user`` four bytes, whatever ``size`` is."""
        match node:
            case "user":
                self._require_word(offset)
                try:
                    value = self._design.read_register(offset)
                except (BusError, BusTimeout):
                    value = _ONES
                data = value.to_bytes(4, "little")
            case "c2h_0":
                with _dma():
                    data = self._design.read(offset, size)
            case "events_0":
                return self._take_event(size)
            case _:
                raise _error(errno.EINVAL)
        self._watch()
        return data

    def pwrite(self, node: str, data: bytes, offset: int) -> int:
        """The count that a ``pwrite`` returns. To ``user`` the first four bytes are written."""
        match node:
            case "user":
                self._require_word(offset)
                with suppress(BusError, BusTimeout):
                    self._design.write_register(offset, int.from_bytes(data[:4], "little"))
                count = 4
            case "h2c_0":
                with _dma():
                    self._design.write(offset, data)
                count = len(data)
            case _:
                raise _error(errno.EINVAL)
        self._watch()
        return count

    def poll(self, node: str, milliseconds: int) -> bool:
        """Whether ``events_0`` can be read, after so long at most."""
        if node != "events_0":
            return True  # the driver has no poll for them: the kernel says that they never block
        if not self._event:
            self._watch(max(self._look, milliseconds * CYCLES_PER_MS))
        return self._event

    def _watch(self, cycles: int | None = None) -> None:
        """Let cycles pass, until the line is high; note its rise."""
        high = self._design.wait_interrupt(self._look if cycles is None else cycles)
        self._event = self._event or (high and not self._high)
        self._high = high

    def _take_event(self, size: int) -> bytes:
        if size != 4:
            raise _error(errno.EPROTO)
        if not self._event:
            raise _error(errno.EDEADLK)  # the driver would wait for ever, and time passes in calls only
        self._event = False
        return (1).to_bytes(4, "little")

    @staticmethod
    def _require_word(offset: int) -> None:
        if offset % 4:
            raise _error(errno.EPROTO)
        # The driver does not look, and touches whatever lies beyond the card's window.
        if not 0 <= offset < 1 << REGISTER_BITS:
            raise _error(errno.EFAULT)


@contextmanager
def _dma() -> Iterator[None]:
    try:
        yield
    except (BusError, AddressError):
        raise _error(errno.EIO) from None
    except BusTimeout:
        raise _error(errno.ETIMEDOUT) from None


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
