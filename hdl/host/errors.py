"""Sticky error bits, one for each source, with what is known of the first error of each.

# Ref: pim_model.spec.errors (ErrorSource)
"""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.errors import ErrorSource

__all__ = ["StickyErrors"]

_SOURCES = len(ErrorSource)


class StickyErrors(wiring.Component):
    """A source's bit stays until it is cleared; an error in the cycle of the clearing is the next first one.

    Members
    -------
    event : In(one bit a source)
        An error of the source in this cycle.
    event_info : In(32) for each source
        What to keep of it.
    clear : In(one bit a source)
    bits : Out(one bit a source)
    info : Out(32) for each source
        Of the first error since the bit was cleared; stays after the clearing.
    """

    def __init__(self):
        super().__init__(
            {
                "event": In(_SOURCES),
                "event_info": In(32).array(_SOURCES),
                "clear": In(_SOURCES),
                "bits": Out(_SOURCES),
                "info": Out(32).array(_SOURCES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        kept = self.bits & ~self.clear
        m.d.sync += self.bits.eq(kept | self.event)
        for source in range(_SOURCES):
            with m.If(self.event[source] & ~kept[source]):
                m.d.sync += self.info[source].eq(self.event_info[source])
        return m
