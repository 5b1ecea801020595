# Ref: pim_model/spec/registers.py
"""What a host sees of a device, as bins: registers, errors and counters, the data window, macros and their statuses."""

from __future__ import annotations

from collections import OrderedDict

from pim_model.spec.config import Config
from pim_model.spec.errors import ErrorSource, Path, Status
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MACRO_WORDS, MacroOp, tag_of
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import COMPLETION_VALID, COUNTER_STRIDE, Control, Event, Irq, Reg
from sim.coverage import macros
from sim.coverage.files import hit

__all__ = ["HostMonitor"]

_BLOCKS = ((Reg.EVENTS, "EVENTS"), (Reg.COMMANDS, "COMMANDS"))
_PAGE = 4096


class HostMonitor:
    """Hears the accesses of one host to one device, each once it is over."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._names = {int(reg): reg.name for reg in Reg} | {
            Reg.MACRO_WORD0 + 4 * index: "MACRO_WORD" for index in range(MACRO_WORDS)
        }
        self._names |= {Reg.ERROR_INFO + 4 * source: "ERROR_INFO" for source in ErrorSource}
        self._buffer = bytearray(config.buffer_bytes)
        self._words = [0] * MACRO_WORDS
        self._errors = 0
        self._full = False
        self._waiting: OrderedDict[int, tuple[int, ...]] = OrderedDict()
        """Words of the macros that have not completed, by tag."""

    def reset(self) -> None:
        """The device was reset: no macro waits."""
        self._waiting.clear()
        self._words = [0] * MACRO_WORDS

    # --- registers

    def register_read(self, offset: int, value: int | None) -> None:
        """A register was read; ``value`` None: the device refused."""
        name = self._name(offset)
        hit("registers", name, "read", "refused" if value is None else "okay")
        if value is None:
            return
        if name in ("EVENTS", "COMMANDS"):
            self._counter(offset, value)
        elif offset == Reg.ERRORS:
            self._errors = value
            for source in ErrorSource:
                if value >> source & 1:
                    hit("errors", source.name, "told")
        elif name == "ERROR_INFO":
            self._info(ErrorSource((offset - Reg.ERROR_INFO) // 4), value)
        elif offset == Reg.IRQ_STATUS:
            for cause in Irq:
                hit("interrupts", cause.name, "pending" if value & cause else "clear")
        elif offset == Reg.MACRO_SPACE:
            self._full = value == 0
        elif offset == Reg.COMPLETION and value & COMPLETION_VALID:
            self._completed(value & 0xFFFF, Status(value >> 16 & 0xFF))

    def register_write(self, offset: int, value: int, *, refused: bool = False) -> None:
        """A register was written."""
        name = self._name(offset)
        hit("registers", name, "write", "refused" if refused else "okay")
        if refused:
            return
        if name == "MACRO_WORD":
            self._words[(offset - Reg.MACRO_WORD0) // 4] = value
        elif offset == Reg.MACRO_PUSH:
            self._pushed(tuple(self._words))
        elif offset == Reg.CONTROL and value & Control.SOFT_RESET:
            for words in self._waiting.values():
                hit("soft-reset", self._kind(words))
            if not self._waiting:
                hit("soft-reset", "at-rest")
            self.reset()
        elif offset == Reg.ERRORS:
            for source in ErrorSource:
                if value >> source & 1 and self._errors >> source & 1:
                    hit("errors", source.name, "cleared")
        elif offset == Reg.INJECT and 0 < value & 0xFF <= max(Path):
            hit("parity", Path(value & 0xFF).name, "injected")

    def _name(self, offset: int) -> str:
        for first, name in _BLOCKS:
            if offset >= first:
                inside = offset < first + COUNTER_STRIDE * self._config.geometry.channels
                return name if inside and self._known(first, offset) else "absent"
        return self._names.get(offset, "absent")

    @staticmethod
    def _known(first: int, offset: int) -> bool:
        return first == Reg.COMMANDS or offset % COUNTER_STRIDE < 8 * len(Event)

    def _counter(self, offset: int, value: int) -> None:
        place = offset % COUNTER_STRIDE
        if not value:
            return
        if offset >= Reg.EVENTS:
            hit("counters", Event(place // 8).name, "high" if place % 8 else "low")
        elif place // 4 in MicroOp._value2member_map_:
            hit("counters", MicroOp(place // 4).name)

    def _info(self, source: ErrorSource, value: int) -> None:
        if not self._errors >> source & 1:
            return
        hit("errors", source.name, "first-error")
        if source is ErrorSource.PARITY:
            hit("parity", Path(value & 0xFF).name, "told")
        if source is ErrorSource.REFUSED:
            hit("refused", Status(value >> 16 & 0xFF).name)

    # --- macros

    def _pushed(self, words: tuple[int, ...]) -> None:
        if self._full:
            hit("queue", "full")
            return
        ahead = len(self._waiting)
        hit("queue", "empty" if not ahead else "one" if ahead == 1 else "more")
        if ahead:
            hit("follows", self._kind(next(reversed(self._waiting.values()))), self._kind(words))
        self._waiting[tag_of(words)] = words
        macros.sample(words, self._config)
        if words[0] & 0xFF == MacroOp.PROGRAM and macros.status_of(words, self._config) is Status.OK:
            for each in macros.inner(words, self._buffer):
                macros.sample(each, self._config, inside=True)

    def _kind(self, words: tuple[int, ...]) -> str:
        kind = macros.kind_of(words)
        return kind if kind in ("MATVEC", "QKV", "PROGRAM", "unknown") else "instruction"

    def _completed(self, tag: int, status: Status) -> None:
        words = self._waiting.pop(tag, None)
        if words is None:  # read once more, or pushed before this monitor listened
            return
        kind, inside = macros.kind_of(words), False
        if kind == "PROGRAM" and macros.status_of(words, self._config) is Status.OK:
            for each in macros.inner(words, self._buffer):
                if macros.status_of(each, self._config, inside=True) is not Status.OK:
                    kind, inside = macros.kind_of(each), True
                    break
        hit("status", kind, macros.INSIDE if inside else macros.ALONE, status.name)

    # --- data window

    def transfer(self, address: int, data: bytes | None, size: int, *, refused: bool = False) -> None:
        """Bytes of the data window were written (``data``), or read."""
        direction = "read" if data is None else "write"
        if refused:
            hit("window-refused", direction)
            return
        if not size:
            return
        base = self._config.buffer_base
        target = "buffer" if address >= base else "memory"
        if address < base < address + size:
            target = "border"
        if size < COLUMN_BYTES:
            length = "part-of-a-word"
        else:
            length = "word" if size == COLUMN_BYTES else "page" if size <= _PAGE else "pages"
        place = "unaligned" if address % COLUMN_BYTES or (address + size) % COLUMN_BYTES else "aligned"
        hit("window", direction, target, length, place)
        if self._waiting:
            hit("meanwhile", direction, target, self._kind(next(iter(self._waiting.values()))))
        if data is not None and address + size > base:
            first = max(address, base)
            self._buffer[first - base : address + size - base] = data[first - address :]
