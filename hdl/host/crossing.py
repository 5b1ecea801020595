"""A host bus from one clock to another."""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.fifo import AsyncFIFO
from amaranth.lib.wiring import In, Out

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
        names = list(self.inner.signature.members)
        # Nothing is taken in the cycles of a reset, which would drop it.
        alive = {domain: Signal(name=f"{domain}_alive") for domain in self._domains}
        for domain, signal in alive.items():
            m.d[domain] += signal.eq(1)
        for channel in ("aw", "w", "b", "ar", "r"):
            back = channel in ("b", "r")
            source, sink = (self.inner, self.outer) if back else (self.outer, self.inner)
            written, read = (inner, outer) if back else (outer, inner)
            handshake = (f"{channel}valid", f"{channel}ready")
            fields = [name for name in names if name.startswith(channel) and name not in handshake]
            payload = Cat(getattr(source, name) for name in fields)
            m.submodules[channel] = fifo = AsyncFIFO(
                width=len(payload), depth=DEPTH, w_domain=written, r_domain=read
            )
            m.d.comb += [
                fifo.w_data.eq(payload),
                fifo.w_en.eq(getattr(source, handshake[0]) & alive[written]),
                getattr(source, handshake[1]).eq(fifo.w_rdy & alive[written]),
                Cat(getattr(sink, name) for name in fields).eq(fifo.r_data),
                getattr(sink, handshake[0]).eq(fifo.r_rdy),
                fifo.r_en.eq(getattr(sink, handshake[1])),
            ]
        return m
