"""Which offsets hold a register, for ways to a device that hide its refusals."""

from __future__ import annotations

from pim_model.spec.errors import ErrorSource
from pim_model.spec.macro import MACRO_WORDS
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import COUNTER_STRIDE, REGISTERS, Event, Reg

__all__ = ["is_register"]

_COUNTERS = {Reg.COMMANDS: 4 * max(MicroOp), Reg.EVENTS: 8 * max(Event) + 4}
"""Last offset in a channel's counters of a kind."""

_BLOCKS = {Reg.MACRO_WORD0: 4 * MACRO_WORDS, Reg.ERROR_INFO: 4 * len(ErrorSource)}
"""Bytes of the registers that are several of a kind."""

_FIXED = frozenset(
    [int(row.reg) for row in REGISTERS if row.reg not in _COUNTERS]
    + [block + offset for block, size in _BLOCKS.items() for offset in range(0, size, 4)]
)


def is_register(offset: int, channels: int) -> bool:
    """Whether a device of so many channels has a 32-bit register at byte ``offset``."""
    if offset in _FIXED:
        return True
    if offset % 4:
        return False
    for block, last in _COUNTERS.items():
        channel, place = divmod(offset - block, COUNTER_STRIDE)
        if 0 <= channel < channels and place <= last:
            return True
    return False
