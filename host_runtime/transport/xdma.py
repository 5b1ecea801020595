# Ref: Xilinx dma_ip_drivers, XDMA/linux-kernel (character devices cdev_ctrl, cdev_sgdma, cdev_events), driver 2025.2
# Ref: AMD PG195, DMA/Bridge Subsystem for PCI Express: AXI4-Lite master, user interrupts
"""A card behind the XDMA driver's character devices: registers, DMA, one user interrupt."""

from __future__ import annotations

import errno
import mmap
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property

from host_runtime.errors import AccessError, LinkDown, TransportError
from host_runtime.identity import DEAD, DeviceInfo, read_info
from host_runtime.register_map import is_register
from host_runtime.transport.base import Transport
from host_runtime.transport.system import Kernel, System
from pim_model.spec.errors import ErrorSource
from pim_model.spec.registers import Reg

__all__ = ["XdmaTransport"]

CHUNK = 4 << 20
"""Bytes of one transfer: so long a signal has to wait, a millisecond or so."""

FIRST_WAIT, LONGEST_WAIT = 1, 10
"""Milliseconds until the interrupt line is looked at although no interrupt came."""

STANDSTILL = 3
"""Longest waits without a cycle passing after which nothing can happen any more."""

LEFTOVERS = 1000
"""Interrupts left by others after which the device counts as broken."""

ERESTARTSYS = 512
"""The driver lets this number of the kernel's own out (dma_ip_drivers issue 54)."""

_AGAIN = (errno.EINTR, errno.EAGAIN, ERESTARTSYS)
_GONE = (errno.ENODEV, errno.ENXIO)
_MEANING = {
    errno.EIO: "the DMA engine reported an error",
    errno.ETIMEDOUT: "the transfer timed out",
    errno.EBUSY: "the driver holds the card offline",
    errno.EINVAL: "the driver refused the transfer, or has lost the card",
    errno.EFAULT: "the driver could not hold the buffer in memory",
    errno.ENOMEM: "the driver had no memory for the transfer",
    errno.EINTR: "a signal broke the transfer off",
    ERESTARTSYS: "a signal broke the transfer off",
}
_REFUSALS = 1 << ErrorSource.WINDOW | 1 << ErrorSource.PARITY
_ACTIONS = {"h2c_0": "write {} bytes", "c2h_0": "read {} bytes"}
# Those that a fault in the program raises on purpose: held back they would end the process.
_FAULTS = {signal.SIGSEGV, signal.SIGBUS, signal.SIGFPE, signal.SIGILL, signal.SIGABRT}
_HELD = signal.valid_signals() - _FAULTS


class XdmaTransport(Transport):
    """The card whose device files begin with ``path``, held by this process alone.

    Registers by ``_user``, the data window by ``_h2c_0`` and ``_c2h_0``, the interrupt by ``_events_0``; without the
    last one the interrupt's cause is polled. Only ``pread`` and ``pwrite`` touch the card: a register access is one of
    four bytes, which the kernel makes one 32-bit access of the bus. No page of the card is mapped: where a card falls
    off the bus, that would end the process by SIGBUS.

    The bus tells the host nothing of a refused register access, so an offset without a register is an
    :class:`AccessError` here and never reaches the card; likewise addresses outside the data window.

    After a failed transfer every access raises :class:`TransportError` until :meth:`recover`, which the driver's soft
    reset calls; after :class:`LinkDown` the card is touched no more, since each access may stall the machine.

    Parameters
    ----------
    path : str
        Such as ``/dev/xdma0``.
    system : System, optional
        Stands in for the kernel.
    """

    name = "xdma"

    def __init__(self, path: str, system: System | None = None):
        self._path, self._system = path, system or Kernel()
        self._open: dict[str, int] = {}
        self._failed: TransportError | None = None
        self._buffer = memoryview(mmap.mmap(-1, CHUNK + mmap.PAGESIZE))  # begins on a page
        self.missed = 0
        """Times that the interrupt line was high and no interrupt had told it."""
        try:
            self._open_node("user", os.O_RDWR)
            self._lock()
            self._open_engines()
            self._require_alive()
            self._drop_interrupts()
        except BaseException:
            self.close()
            raise

    # --------------------------------------------------------------------------------------------------- transport

    def read_register(self, offset: int) -> int:
        self._require_register("read a register", offset)
        value = self._load(offset)
        if value != DEAD:
            return value
        self._require_alive()
        # Some releases of the IP answer a read with all ones now and then (dma_ip_drivers issue 317).
        return self._load(offset)

    def write_register(self, offset: int, value: int) -> None:
        self._require_register("write a register", offset)
        self._store(offset, value)

    def read_memory(self, address: int, size: int) -> bytes:
        self._require_window(f"read {size} bytes", address, size)
        data = bytearray(size)
        for at in range(0, size, CHUNK):
            count = min(CHUNK, size - at)
            data[at : at + count] = self._transfer("c2h_0", address + at, count)
        return bytes(data)

    def write_memory(self, address: int, data: bytes) -> None:
        view = memoryview(data).cast("B")
        self._require_window(f"write {len(view)} bytes", address, len(view))
        for at in range(0, len(view), CHUNK):
            piece = view[at : at + CHUNK]
            self._place(address + at, len(piece))[:] = piece  # the caller's may be read-only: EFAULT
            self._transfer("h2c_0", address + at, len(piece))

    def wait_interrupt(self, timeout: int) -> bool:
        """As in :class:`Transport`, by the device's own cycle counter; up to some milliseconds longer."""
        passed = still = 0
        wait, last = FIRST_WAIT, self.read_register(Reg.CYCLES_LOW)
        told = True
        while not self._line():
            if passed >= timeout or still >= STANDSTILL:
                return False
            told = self._interrupt_came(wait)
            now = self.read_register(Reg.CYCLES_LOW)
            step = (now - last) % (1 << 32)
            passed, last = passed + step, now
            still = 0 if step else still + (wait == LONGEST_WAIT)
            wait = min(2 * wait, LONGEST_WAIT)
        self.missed += not told
        return True

    def recover(self) -> None:
        """Take up work with a card whose transfer failed: is it there, new descriptors, no leftovers."""
        self._require_open()
        if self._failed is None:
            return
        self._failed = None
        self._require_alive()
        for node in ("h2c_0", "c2h_0", "events_0"):
            self._close_node(node)
        self._open_engines()
        self._drop_interrupts()

    def close(self) -> None:
        for node in list(self._open):
            self._close_node(node)
        self._buffer = memoryview(b"")

    # ------------------------------------------------------------------------------------------------------- nodes

    def _open_node(self, node: str, flags: int) -> None:
        name = f"{self._path}_{node}"
        try:
            self._open[node] = self._system.open(name, flags)
        except OSError as error:
            hint = {
                errno.ENOENT: " (is the xdma driver loaded, and the card programmed?)",
                errno.EACCES: " (is there a udev rule for its group?)",
            }.get(error.errno or 0, "")
            raise TransportError(f"{name}: {_text(error)}{hint}") from error

    def _close_node(self, node: str) -> None:
        descriptor = self._open.pop(node, None)
        if descriptor is not None:
            with suppress(OSError):  # it is gone all the same
                self._system.close(descriptor)

    def _open_engines(self) -> None:
        self._open_node("h2c_0", os.O_WRONLY)
        self._open_node("c2h_0", os.O_RDONLY)
        with suppress(TransportError):  # a driver without user interrupts
            self._open_node("events_0", os.O_RDONLY)

    def _lock(self) -> None:
        try:
            self._system.flock(self._open["user"])
        except OSError as error:
            taken = error.errno == errno.EWOULDBLOCK
            reason = "another process has the card" if taken else f"cannot be locked ({_text(error)})"
            raise TransportError(f"{self._path}: {reason}") from error

    def _require_open(self) -> None:
        if "user" not in self._open:
            raise TransportError(f"{self._path}: the transport is closed")

    def _descriptor(self, node: str) -> int:
        self._require_open()
        if self._failed is not None:
            raise type(self._failed)(str(self._failed)) from self._failed
        return self._open[node]

    # --------------------------------------------------------------------------------------------------- registers

    def _load(self, offset: int) -> int:
        with self._calling("user", "read a register"), self._signals_held():
            count = self._system.pread(self._descriptor("user"), self._buffer[:4], offset)
            if count != 4:
                raise TransportError(f"{self._path}_user: {count} bytes came of a register's 4")
            return int.from_bytes(self._buffer[:4], "little")

    def _store(self, offset: int, value: int) -> None:
        with self._calling("user", "write a register"), self._signals_held():
            self._buffer[:4] = value.to_bytes(4, "little")
            count = self._system.pwrite(self._descriptor("user"), self._buffer[:4], offset)
            if count != 4:
                raise TransportError(f"{self._path}_user: {count} bytes went of a register's 4")

    def _require_alive(self) -> None:
        if self._load(Reg.ID) == DEAD:
            self._failed = LinkDown(
                f"{self._path}: the device's ID register reads as all ones: the card is off the bus or not configured"
            )
            raise self._failed

    def _require_register(self, action: str, offset: int) -> None:
        if offset < Reg.CONTROL and is_register(offset, 0):  # identity: there before its contents are known
            return
        if not is_register(offset, self._shape.channels):
            raise AccessError(action, offset)

    @cached_property
    def _shape(self) -> DeviceInfo:
        return read_info(self)

    # ------------------------------------------------------------------------------------------------- data window

    def _require_window(self, action: str, address: int, size: int) -> None:
        if size < 0:
            raise ValueError(f"size must be 0 or more bytes, not {size!r}")
        base, memory = self._shape.buffer_base, self._shape.memory_bytes
        end, last = base + self._shape.buffer_bytes, address + size
        starts_inside = 0 <= address < memory or base <= address < end
        ends_inside = last <= memory or (last <= end and (address >= base or memory == base))
        if size and not (starts_inside and ends_inside):
            raise AccessError(action, address)

    def _place(self, address: int, count: int) -> memoryview:
        """Where a transfer's bytes lie: the engine wants host and card address equal in their low bits."""
        start = address % mmap.PAGESIZE
        return self._buffer[start : start + count]

    def _transfer(self, node: str, address: int, count: int) -> memoryview:
        """Move all bytes of a piece between card and buffer, or fail."""
        call = self._system.pread if node == "c2h_0" else self._system.pwrite
        place, done, stops = self._place(address, count), 0, 0
        while done < count:
            with self._signals_held():
                try:
                    moved = call(self._descriptor(node), place[done:], address + done)
                except OSError as error:
                    if error.errno == errno.EIO and self._refused():
                        raise AccessError(_ACTIONS[node].format(count), address) from error
                    if error.errno not in _AGAIN:
                        raise self._fail(node, error) from error
                    moved = 0
            if not 0 <= moved <= count - done:
                raise self._fail(node, f"{moved} of {count - done} bytes were moved")
            done += moved
            # A short count hides the error of the rest, which shows when that is asked for again: once.
            stops += done < count
            if stops > 1:
                raise self._fail(node, f"the transfer stopped twice, after {done} of {count} bytes")
        return place

    def _refused(self) -> bool:
        """Whether a transfer's error may be the device's own answer: its bus said no, and it keeps why."""
        return bool(self.read_register(Reg.ERRORS) & _REFUSALS)

    def _fail(self, node: str, reason: OSError | str) -> TransportError:
        """The error of a transfer after which nothing is known of the engine."""
        text = reason if isinstance(reason, str) else _text(reason)
        if isinstance(reason, OSError) and reason.errno in _GONE:
            self._failed = LinkDown(f"{self._path}_{node}: {text}")
            return self._failed
        with suppress(TransportError):
            self._require_alive()
        if self._failed is None:
            self._failed = TransportError(
                f"{self._path}_{node}: {text}; a soft reset takes the card up again, "
                "or else the xdma driver has to be loaded anew"
            )
        return self._failed

    # --------------------------------------------------------------------------------------------------- interrupt

    def _line(self) -> bool:
        """The interrupt line, from its causes: it stays high until they are gone, and an interrupt may get lost."""
        return bool(self.read_register(Reg.IRQ_STATUS) & self.read_register(Reg.IRQ_ENABLE))

    def _interrupt_came(self, milliseconds: int) -> bool:
        """Wait for an interrupt and take note of it. Without that device file: just wait; none is missed then."""
        node = self._open.get("events_0")
        try:
            if node is None:
                self._system.poll(None, milliseconds)
                return True
            if not self._system.poll(node, milliseconds):
                return False
            with self._signals_held():  # four bytes exactly, and it blocks if there is no interrupt
                self._system.pread(node, self._buffer[:4], 0)
        except OSError as error:
            if node is None:
                raise TransportError(f"{self._path}: cannot wait: {_text(error)}") from error
            if error.errno not in _AGAIN:
                self._close_node("events_0")
        return True

    def _drop_interrupts(self) -> None:
        """Take those that another process left."""
        for _ in range(LEFTOVERS):
            if "events_0" not in self._open or not self._interrupt_came(0):
                return
        raise TransportError(f"{self._path}_events_0: interrupts came {LEFTOVERS} times without a pause")

    # ------------------------------------------------------------------------------------------------ system calls

    @contextmanager
    def _calling(self, node: str, action: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _GONE:
                self._failed = LinkDown(f"{self._path}_{node}: {_text(error)}")
                raise self._failed from error
            raise TransportError(f"{self._path}_{node}: cannot {action}: {_text(error)}") from error

    @contextmanager
    def _signals_held(self) -> Iterator[None]:
        """A signal breaks a transfer off, and the engine may not work again after that: it has to wait."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD)
        try:
            yield
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _text(error: OSError) -> str:
    return _MEANING.get(error.errno or 0) or error.strerror or f"error {error.errno}"
