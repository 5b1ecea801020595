"""Tells of work that does not go on."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.errors import WATCHDOG_CYCLES

__all__ = ["Watchdog"]


class Watchdog(wiring.Component):
    """Once for each time that work stands still for :data:`~pim_model.spec.errors.WATCHDOG_CYCLES`.

    Members
    -------
    work : In(1)
        Something is to be done that needs nobody outside.
    progress : In(1)
        A part of it was done in this cycle.
    stuck : Out(1)
        For one cycle.
    """

    def __init__(self):
        super().__init__({"work": In(1), "progress": In(1), "stuck": Out(1)})

    def elaborate(self, platform):
        m = Module()
        silent = Signal(range(WATCHDOG_CYCLES + 1))
        with m.If(~self.work | self.progress):
            m.d.sync += silent.eq(0)
        with m.Elif(silent != WATCHDOG_CYCLES):
            m.d.sync += silent.eq(silent + 1)
        m.d.comb += self.stuck.eq(self.work & ~self.progress & (silent == WATCHDOG_CYCLES - 1))
        return m
