"""Since when normal traffic waits for the channels."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["OLDEST_BITS", "Waiting"]

OLDEST_BITS = 30
"""Traffic without a pause starts its age anew after two to the power of so many cycles."""


class Waiting(wiring.Component):
    """The age of the traffic that stands before the channels, in a form that may be compared modulo 2**32.

    A stream without a pause counts as old as its beginning. Half the range of the cycle counter later it would look
    younger than what came after it, so its age starts anew before that.

    Members
    -------
    traffic : In(1)
        A request stands before its channel.
    now : In(32)
        The cycle counter.
    since : Out(32)
        When ``traffic`` rose, or a later cycle of its, less than ``2**OLDEST_BITS + 2`` ago.
    """

    def __init__(self):
        super().__init__({"traffic": In(1), "now": In(32), "since": Out(32)})

    def elaborate(self, platform):
        m = Module()
        waited, first, age = Signal(), Signal(32), Signal(32)
        m.d.comb += [age.eq(self.now - first), self.since.eq(Mux(waited, first, self.now))]
        m.d.sync += waited.eq(self.traffic)
        with m.If(~waited | age[OLDEST_BITS]):
            m.d.sync += first.eq(self.now)
        return m
