"""When an all-bank refresh is due.

# Ref: "GDDR6-AiM: what is publicly known", timing (tREFI, tRFC)
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.timing import POSTPONED, Timing

__all__ = ["RefreshTimer"]


class RefreshTimer(wiring.Component):
    """Count one refresh owed every tREFI.

    The command itself is the controller's: it refreshes at once when idle, at the next row boundary inside a macro.
    This file enforces no distance between commands.

    Members
    -------
    enable : In(1)
        Refresh is wanted. When low nothing is owed and the interval restarts.
    done : In(1)
        REFAB stands on the bus.
    due : Out(1)
        At least one refresh is owed.
    """

    def __init__(self, timing: Timing):
        self._interval = timing.refresh_interval
        super().__init__({"enable": In(1), "done": In(1), "due": Out(1)})

    def elaborate(self, platform):
        m = Module()
        elapsed = Signal(range(self._interval))
        owed = Signal(range(POSTPONED + 2))
        wrap = Signal()
        m.d.comb += [wrap.eq(elapsed == self._interval - 1), self.due.eq(owed != 0)]
        with m.If(~self.enable):
            m.d.sync += [elapsed.eq(0), owed.eq(0)]
        with m.Else():
            m.d.sync += elapsed.eq(Mux(wrap, 0, elapsed + 1))
            with m.If(wrap & ~self.done & (owed != POSTPONED + 1)):
                m.d.sync += owed.eq(owed + 1)
            with m.Elif(~wrap & self.done & (owed != 0)):
                m.d.sync += owed.eq(owed - 1)
        return m
