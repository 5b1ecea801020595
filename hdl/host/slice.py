"""Register slices: cut every combinational path between the host's bus and the design.

In an FPGA this is what lets the bus run far from the logic; in simulation no logic has to be evaluated when only an
input changes.
"""

from amaranth import Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.stream import StreamFifo

__all__ = ["BusSlice"]


class BusSlice(wiring.Component):
    """A two-place buffer in each channel of an AXI4 or AXI4-Lite bus: full rate, one cycle a direction.

    Members
    -------
    outer : In(signature)
        From the manager.
    inner : Out(signature)
        To the subordinate.
    """

    def __init__(self, signature: wiring.Signature):
        super().__init__({"outer": In(signature), "inner": Out(signature)})

    def elaborate(self, platform):
        m = Module()
        # Nothing is taken in the cycles of a reset, which would drop it.
        alive = Signal()
        m.d.sync += alive.eq(1)
        names = list(self.inner.signature.members)
        for channel in ("aw", "w", "b", "ar", "r"):
            source, sink = (self.inner, self.outer) if channel in ("b", "r") else (self.outer, self.inner)
            handshake = (f"{channel}valid", f"{channel}ready")
            fields = [name for name in names if name.startswith(channel) and name not in handshake]
            payload = Cat(getattr(source, name) for name in fields)
            m.submodules[channel] = fifo = StreamFifo(len(payload), 2)
            m.d.comb += [
                fifo.i.p.eq(payload),
                fifo.i.valid.eq(getattr(source, handshake[0]) & alive),
                getattr(source, handshake[1]).eq(fifo.i.ready & alive),
                Cat(getattr(sink, name) for name in fields).eq(fifo.o.p),
                getattr(sink, handshake[0]).eq(fifo.o.valid),
                fifo.o.ready.eq(getattr(sink, handshake[1])),
            ]
        return m
