"""Register slices: cut every combinational path between the host's bus and the design.

In an FPGA this is what lets the bus run far from the logic; in simulation no logic has to be evaluated when only an
input changes.
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.stream import StreamFifo

from .axi import channels

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
        for name, source, sink, _ in channels(self.outer, self.inner):
            m.submodules[name] = fifo = StreamFifo(len(source.payload), 2)
            m.d.comb += [
                fifo.i.p.eq(source.payload),
                fifo.i.valid.eq(source.valid & alive),
                source.ready.eq(fifo.i.ready & alive),
                sink.payload.eq(fifo.o.p),
                sink.valid.eq(fifo.o.valid),
                fifo.o.ready.eq(sink.ready),
            ]
        return m
