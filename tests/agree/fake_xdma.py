"""A card in this process behind the six system calls, with the XDMA driver's quirks; it fails where it is told to."""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from host_runtime.errors import AccessError
from host_runtime.transport import Transport
from sim.card import Card
from sim.native import AddressError, BusError

PATH = "/dev/xdma0"
LARGEST = 0x7FFFF000


class Call(NamedTuple):
    """One system call."""

    name: str
    node: str
    offset: int
    size: int


@dataclass(frozen=True)
class Outcome:
    """What a call does in place of what it should: it raises ``error``, or moves ``moves`` bytes.

    ``moves`` of a failing transfer: bytes that were moved all the same. ``wedges``: the engine times out from then on,
    until its device files are opened again (1), or for good (2). ``dies``: the card is off the bus from then on.
    ``loses``: an interrupt.
    """

    error: int = 0
    moves: int | None = None
    wedges: int = 0
    dies: bool = False
    loses: bool = False


Plan = Callable[[int, Call], Outcome | None]
"""``plan(n, call)``: what becomes of the n-th call; None if it does what it should."""


class GoldenDesign:
    """A golden device as what hangs on XDMA's AXI ports."""

    def __init__(self, device: Transport):
        self.device = device

    def read_register(self, offset: int) -> int:
        try:
            return self.device.read_register(offset)
        except AccessError:
            raise BusError("register read", offset, "SLVERR") from None

    def write_register(self, offset: int, value: int) -> None:
        try:
            self.device.write_register(offset, value)
        except AccessError:
            raise BusError("register write", offset, "SLVERR") from None

    def read(self, address: int, size: int) -> bytes:
        try:
            return self.device.read_memory(address, size)
        except AccessError:
            raise AddressError("read") from None

    def write(self, address: int, data: bytes) -> None:
        try:
            self.device.write_memory(address, data)
        except AccessError:
            raise AddressError("write") from None

    def wait_interrupt(self, max_cycles: int) -> bool:
        return self.device.wait_interrupt(max_cycles)


@dataclass
class _Opened:
    node: str
    flags: int
    locked: bool = False


@dataclass
class FakeXdma:
    """A :class:`~host_runtime.transport.system.System` for one process; ``beside`` gives another process's.

    What no program may do raises AssertionError: a count other than four bytes for a register, which overruns the
    caller's buffer; a transfer that reaches over the longest; a wait for an interrupt that blocks for ever; an access
    of the card once it is known to be dead.
    """

    device: Transport
    plan: Plan | None = None
    align: int = 64
    calls: list[Call] = field(default_factory=list)
    opened: dict[int, _Opened] = field(default_factory=dict)
    dead: bool = False
    wedged: int = 0
    others: list[FakeXdma] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.card = Card(GoldenDesign(self.device), look=0)
        self._next = 1000  # no descriptor of this process
        self._told = False

    def beside(self) -> FakeXdma:
        """The same card as another process sees it."""
        other = FakeXdma(self.device, align=self.align)
        other.card = self.card
        other.others, self.others = [self], [other]
        return other

    # ------------------------------------------------------------------------------------------------ the six calls

    def open(self, path: str, flags: int) -> int:
        assert path.startswith(f"{PATH}_")
        node = path.removeprefix(f"{PATH}_")
        self._begin(Call("open", node, 0, flags))
        self.card.require_node(node)
        if node in ("h2c_0", "c2h_0") and self.wedged == 1:
            self.wedged = 0
        self._next += 1
        self.opened[self._next] = _Opened(node, flags)
        return self._next

    def close(self, descriptor: int) -> None:
        node = self.opened.pop(descriptor).node
        self._begin(Call("close", node, 0, 0))

    def flock(self, descriptor: int) -> None:
        file = self.opened[descriptor]
        self._begin(Call("flock", file.node, 0, 0))
        if any(each.locked for holder in (self, *self.others) for each in holder.opened.values()):
            raise _error(errno.EWOULDBLOCK)
        file.locked = True

    def pread(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        file = self.opened[descriptor]
        call = Call("pread", file.node, offset, len(buffer))
        self._check(call, buffer)
        if file.flags & os.O_ACCMODE == os.O_WRONLY:
            raise _error(errno.EBADF)
        outcome = self._outcome(call)
        if outcome is not None and (outcome.error or outcome.moves is not None):
            count = min(outcome.moves or 0, len(buffer))
            if count:
                buffer[:count] = self.card.pread(file.node, count, offset)[:count]
            self._raise(outcome)
            return count
        if self.dead and file.node == "user":
            self._told = offset == 0
            buffer[:] = b"\xff" * 4
            return 4
        self._require_engine(file.node)
        data = self.card.pread(file.node, len(buffer), offset)
        buffer[:] = data
        return len(data)

    def pwrite(self, descriptor: int, buffer: memoryview, offset: int) -> int:
        file = self.opened[descriptor]
        call = Call("pwrite", file.node, offset, len(buffer))
        self._check(call, buffer)
        if file.flags & os.O_ACCMODE == os.O_RDONLY:
            raise _error(errno.EBADF)
        outcome = self._outcome(call)
        if outcome is not None and (outcome.error or outcome.moves is not None):
            count = min(outcome.moves or 0, len(buffer))
            if count and file.node != "user" and not self.dead:
                self.card.pwrite(file.node, bytes(buffer[:count]), offset)
            self._raise(outcome)
            return count
        if self.dead and file.node == "user":
            return 4
        self._require_engine(file.node)
        return self.card.pwrite(file.node, bytes(buffer), offset)

    def poll(self, descriptor: int | None, milliseconds: int) -> bool:
        node = "" if descriptor is None else self.opened[descriptor].node
        outcome = self._begin(Call("poll", node, 0, milliseconds))
        if self.dead:
            return False
        ready = self.card.poll("events_0", milliseconds)
        if node and outcome is not None and outcome.loses:
            self.card._event = False
            return False
        return ready and bool(node)

    # ------------------------------------------------------------------------------------------------------- inside

    def _check(self, call: Call, buffer: memoryview) -> None:
        match call.node:
            case "user":
                assert call.size == 4, f"{call} moves four bytes all the same"
                assert call.offset == 0 or not self._told, "the card is known to be dead"
            case "events_0":
                assert self.card._event, "this read blocks for ever"
            case _:
                assert not self._told, "the card is known to be dead"
                assert 0 < call.size <= LARGEST
                if buffer.readonly:
                    raise _error(errno.EFAULT)
                host = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
                if (host - call.offset) % self.align:
                    raise _error(errno.EINVAL)
                assert self.align <= mmap.PAGESIZE

    def _outcome(self, call: Call) -> Outcome | None:
        number = len(self.calls)
        self.calls.append(call)
        outcome = None if self.plan is None else self.plan(number, call)
        if outcome is not None:
            self.wedged = max(self.wedged, outcome.wedges)
            self.dead = self.dead or outcome.dies
        return outcome

    def _begin(self, call: Call) -> Outcome | None:
        outcome = self._outcome(call)
        if outcome is not None:
            self._raise(outcome)
        return outcome

    @staticmethod
    def _raise(outcome: Outcome) -> None:
        if outcome.error:
            raise OSError(outcome.error, os.strerror(outcome.error))

    def _require_engine(self, node: str) -> None:
        if node in ("h2c_0", "c2h_0") and (self.dead or self.wedged):
            raise _error(errno.ETIMEDOUT)


def _error(number: int) -> OSError:
    return OSError(number, os.strerror(number))
