# Ref: IANUS (ASPLOS 2024), section 7.3: the runtime library and the driver of the prototype
"""The device driver: identification, macros and their completions, reset. The same code on every transport."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from host_runtime.errors import (
    CompletionError,
    DeviceError,
    DeviceTimeout,
    DeviceUnusable,
    IanusError,
    QueueFull,
)
from host_runtime.identity import DEAD, DeviceInfo, identify, require_alive
from host_runtime.monitor import Monitor
from host_runtime.patience import RESET_POLLS, Completion, macro_bound
from host_runtime.transport.base import Transport
from pim_model.spec.config import Config
from pim_model.spec.errors import ErrorSource, Status
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MACRO_WORDS, TAG_BITS, MatVec, tag_of
from pim_model.spec.registers import COMPLETION_VALID, Control, Irq, Reg, StatusBit, macro_word

__all__ = ["Completion", "DeviceInfo", "Driver"]

TAGS = 1 << TAG_BITS
SPURIOUS = 16  # wake-ups without a completion in a row before the interrupt line counts as broken


class Driver(Monitor):
    """One program's hold on one device.

    Opening it identifies the device, refuses another register map or (with ``config``) another shape, resets what a
    killed process left behind, and turns refresh on.

    Parameters
    ----------
    transport : Transport
        The way to the device; the driver does not close it.
    config : Config, optional
        The shape and timing that the program was written for; :class:`ConfigMismatch` if the device has another.
    patience : float
        Factor on the cycles that a macro may take before it counts as lost.
    build : int, optional
        Digest of the bitstream that the device must hold; :class:`BuildMismatch`, with nothing done, if it has another.
    """

    def __init__(
        self,
        transport: Transport,
        config: Config | None = None,
        *,
        patience: float = 1.0,
        build: int | None = None,
    ):
        if not patience > 0:
            raise ValueError(f"patience must be a positive number, not {patience!r}")
        self.transport = transport
        self._patience = patience
        self._lost: str | None = None
        self._outstanding: OrderedDict[int, int] = OrderedDict()  # tag -> cycles it may take
        self._done: dict[int, Completion] = {}
        self._next_tag = 0
        self._space = 0
        self.info = identify(transport, build)
        if config is not None:
            self.info.require(config)
        self._open()

    # ---------------------------------------------------------------------------------------------------- opening

    def _open(self) -> None:
        status = self.transport.read_register(Reg.STATUS)
        left_behind = StatusBit.BUSY | StatusBit.COMPLETION | StatusBit.OVERFLOW
        if status & left_behind:
            self.soft_reset()
        else:
            self._arm()
        self.set_refresh(True)

    def _arm(self) -> None:
        """Bring the driver's own state and the interrupt registers to their start."""
        self._outstanding.clear()
        self._done.clear()
        self._space = 0
        self._lost = None
        self.clear_errors()
        self.transport.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)

    # ----------------------------------------------------------------------------------------------------- macros

    @property
    def outstanding(self) -> tuple[int, ...]:
        """Tags submitted whose completion has not arrived, oldest first."""
        return tuple(self._outstanding)

    def submit(
        self, macro: MatVec | Instruction | Program, *, wait: bool = True, holds: Sequence[MatVec] = ()
    ) -> int:
        """Queue a macro under a tag of the driver's choice, which it returns; ``macro.tag`` is not used.

        With the queue full it takes completions until there is a place, or raises :class:`QueueFull` if not ``wait``.
        A PROGRAM's macros lie in the activation buffer already; ``holds`` are the products among them, whose time its
        size does not tell.
        """
        self._require_place(wait)
        tag = self._free_tag()
        bound = macro_bound(macro, self.info, self._patience, holds)
        self._push(replace(macro, tag=tag).encode(), bound)
        return tag

    def submit_words(self, words: Iterable[int], *, wait: bool = True) -> int:
        """Queue eight words as they are, malformed or not; the tag in them must not be in use."""
        encoded = tuple(words)
        if len(encoded) != MACRO_WORDS or not all(0 <= word < 1 << 32 for word in encoded):
            raise ValueError(f"words must be {MACRO_WORDS} unsigned 32-bit integers, not {encoded!r}")
        tag = tag_of(encoded)
        if self._in_use(tag):
            raise ValueError(f"tag must not be in use, and {tag:#06x} is")
        self._require_place(wait)
        self._push(encoded, macro_bound(None, self.info, self._patience))
        return tag

    def wait(self, tag: int) -> Completion:
        """Take the completion of ``tag``, waiting for it; :class:`DeviceError` if its status is not OK."""
        while tag not in self._done:
            if tag not in self._outstanding:
                raise ValueError(f"tag must be one that was submitted and not yet waited for, not {tag!r}")
            self._take_completion()
        completion = self._done.pop(tag)
        if completion.status != Status.OK:
            raise DeviceError(completion.status, tag)
        return completion

    def drain(self) -> list[Completion]:
        """Wait until nothing is outstanding; all completions not yet waited for, in order of arrival, of any status."""
        while self._outstanding:
            self._take_completion()
        completions = list(self._done.values())
        self._done.clear()
        return completions

    def _in_use(self, tag: int) -> bool:
        return tag in self._outstanding or tag in self._done

    def _free_tag(self) -> int:
        for _ in range(TAGS):
            tag, self._next_tag = self._next_tag, (self._next_tag + 1) % TAGS
            if not self._in_use(tag):
                return tag
        raise QueueFull(f"all {TAGS} tags belong to completions that nobody waited for")

    def _require_place(self, wait: bool) -> None:
        self._require_usable()
        while not self._space:
            self._space = self.transport.read_register(Reg.MACRO_SPACE)
            if self._space:
                break
            if not wait:
                raise QueueFull(f"the macro queue ({self.info.macro_queue} places) is full")
            if not self._outstanding:
                raise self._lose(CompletionError("the macro queue is full although nothing was submitted"))
            self._take_completion()

    def _push(self, words: tuple[int, ...], bound: int) -> None:
        # Booked before it is sent: an interrupted program then knows more tags than the device, never fewer.
        self._outstanding[tag_of(words)] = bound
        self._space -= 1
        for index, word in enumerate(words):
            self.transport.write_register(macro_word(index), word)
        self.transport.write_register(Reg.MACRO_PUSH, 1)

    # ------------------------------------------------------------------------------------------------ completions

    def _take_completion(self) -> None:
        """Move the oldest completion from the device to ``_done``, waiting for it."""
        self._require_usable()
        oldest, bound = next(iter(self._outstanding.items()))
        word = self._completion_word(oldest, bound)
        cycles = self.transport.read_register(Reg.COMPLETION_CYCLES)
        self.transport.write_register(Reg.COMPLETION_POP, 1)
        tag, status = word & 0xFFFF, word >> 16 & 0xFF
        if tag not in self._outstanding:
            kind = "a second time" if tag in self._done else "without having been submitted"
            raise self._lose(CompletionError(f"macro {tag:#06x} completed {kind}"))
        del self._outstanding[tag]
        self._done[tag] = Completion(tag, status, cycles)

    def _completion_word(self, tag: int, bound: int) -> int:
        for _ in range(SPURIOUS):
            raised = self.transport.wait_interrupt(bound)
            # Read in any case: a lost interrupt must not look like a lost macro.
            word = self.transport.read_register(Reg.COMPLETION)
            if word == DEAD:
                require_alive(self.transport)
            if word & COMPLETION_VALID:
                return word
            if not raised:
                require_alive(self.transport)
                stuck = self.errors().get(ErrorSource.WATCHDOG)
                why = "" if stuck is None else f"; the watchdog saw no progress on channels {_numbers(stuck)}"
                raise self._lose(DeviceTimeout(f"macro {tag:#06x} did not complete in {bound} cycles{why}"))
        raise self._lose(CompletionError(f"the interrupt came {SPURIOUS} times without a completion"))

    # ---------------------------------------------------------------------------------------------------- recovery

    def _require_usable(self) -> None:
        if self._lost is not None:
            raise DeviceUnusable(f"the device needs a soft reset: {self._lost}")

    def _lose(self, error: IanusError) -> IanusError:
        self._lost = str(error)
        return error

    def soft_reset(self) -> None:
        """Drop all macros and completions; memory keeps its contents, refresh stays as it was.

        Also takes the driver out of the state it is in after a :class:`DeviceTimeout` or :class:`CompletionError`, and
        the transport out of the one after a failed transfer.
        """
        self.transport.recover()
        require_alive(self.transport)
        refresh = self.transport.read_register(Reg.CONTROL) & Control.REFRESH
        self.transport.write_register(Reg.CONTROL, refresh | Control.SOFT_RESET)
        for _ in range(RESET_POLLS):
            if not self.transport.read_register(Reg.CONTROL) & Control.SOFT_RESET:
                self._arm()
                return
        raise self._lose(DeviceTimeout(f"the soft reset did not end within {RESET_POLLS} reads of its bit"))

    def set_refresh(self, enable: bool) -> None:
        """Refresh every tREFI, or not at all (for measurements: a real memory then forgets)."""
        self.transport.write_register(Reg.CONTROL, Control.REFRESH if enable else 0)


def _numbers(bits: int) -> str:
    """The numbers of the bits set, as a text."""
    return ", ".join(str(bit) for bit in range(bits.bit_length()) if bits >> bit & 1)
