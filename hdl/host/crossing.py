"""A host bus from one clock to another."""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out

from .axi import channels

__all__ = ["DEPTH", "BusCrossing"]

DEPTH = 16
"""Places of each channel's queue: more than the cycles a pointer takes there and back, so that beats do not wait for it
while the outer clock is at most a few times the inner one."""


class BusCrossing(wiring.Component):
    """Each channel of an AXI4 or AXI4-Lite bus through a queue with a clock on either side.

    Both domains must be reset together, for some cycles of the slower clock: what is under way is lost on both sides
    then. The clocks may have any ratio and phase. For the tools, a path between them may take as long as the shorter
    of both periods, since pointers are Gray-coded and data stand long before they are read.

    Parameters
    ----------
    signature : Axi4LiteSignature or Axi4Signature
    outer, inner : str
        Domains of the manager and of the subordinate.

    Members
    -------
    outer : In(signature)
        From the manager.
    inner : Out(signature)
        To the subordinate.
    """

    def __init__(self, signature: wiring.Signature, *, outer: str, inner: str = "sync"):
        self._domains = (outer, inner)
        super().__init__({"outer": In(signature), "inner": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        outer, inner = self._domains
        # Nothing is taken in the cycles of a reset, which would drop it.
        alive = {domain: Signal(name=f"{domain}_alive") for domain in self._domains}
        for domain, signal in alive.items():
            m.d[domain] += signal.eq(1)
        for name, source, sink, back in channels(self.outer, self.inner):
            written, read = (inner, outer) if back else (outer, inner)
            m.submodules[name] = fifo = AsyncFIFO(
                width=len(source.payload), depth=DEPTH, w_domain=written, r_domain=read
            )
            m.d.comb += [
                fifo.w_data.eq(source.payload),
                fifo.w_en.eq(source.valid & alive[written]),
                source.ready.eq(fifo.w_rdy & alive[written]),
                sink.payload.eq(fifo.r_data),
                sink.valid.eq(fifo.r_rdy),
                fifo.r_en.eq(sink.ready),
            ]
        return m
