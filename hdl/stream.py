"""Stream buffers on the standard library's FIFO."""

from amaranth import Cat, Module, Shape, Value
from amaranth.lib import stream, wiring
from amaranth.lib.fifo import SyncFIFO
from amaranth.lib.wiring import In, Out

__all__ = ["ProtectedFifo", "StreamFifo"]


class StreamFifo(wiring.Component):
    """Hold up to ``depth`` payloads; one cycle from input to output.

    ``i.ready`` and ``o.valid`` come from registers only, so the buffer breaks every combinational path.

    Members
    -------
    i : In(stream)
    o : Out(stream)
    level : Out(range(depth + 1))
        Payloads held.
    """

    def __init__(self, shape, depth: int):
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.fifo = fifo = SyncFIFO(width=Shape.cast(self._shape).width, depth=self._depth)
        m.d.comb += [
            fifo.w_data.eq(Value.cast(self.i.p)),
            fifo.w_en.eq(self.i.valid),
            self.i.ready.eq(fifo.w_rdy),
            Value.cast(self.o.p).eq(fifo.r_data),
            self.o.valid.eq(fifo.r_rdy),
            fifo.r_en.eq(self.o.ready),
            self.level.eq(fifo.level),
        ]
        return m


class ProtectedFifo(wiring.Component):
    """A :class:`StreamFifo` that keeps a parity bit with each payload.

    Members
    -------
    i, o, level
        As there.
    flip : In(1)
        Store the payload with a flipped bit.
    bad : Out(1)
        What ``o`` shows is not what was stored.
    """

    def __init__(self, shape, depth: int):
        self._shape = shape
        self._depth = depth
        super().__init__(
            {
                "i": In(stream.Signature(shape)),
                "o": Out(stream.Signature(shape)),
                "level": Out(range(depth + 1)),
                "flip": In(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        width = Shape.cast(self._shape).width
        m.submodules.fifo = fifo = StreamFifo(width + 1, self._depth)
        payload = Value.cast(self.i.p)
        m.d.comb += [
            fifo.i.p.eq(Cat(payload, payload.xor() ^ self.flip)),
            fifo.i.valid.eq(self.i.valid),
            self.i.ready.eq(fifo.i.ready),
            Value.cast(self.o.p).eq(fifo.o.p[:width]),
            self.o.valid.eq(fifo.o.valid),
            fifo.o.ready.eq(self.o.ready),
            self.level.eq(fifo.level),
            self.bad.eq(fifo.o.valid & fifo.o.p.xor()),
        ]
        return m
