"""Bytes over a serial line, 8N1.

# Ref: ANSI/TIA-232 framing as universal asynchronous receivers and transmitters use it
"""

from amaranth import Cat, Const, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["SerialReceiver", "SerialTransmitter"]

_BITS = 10
"""Start bit, eight data bits, stop bit."""


class SerialReceiver(wiring.Component):
    """Bytes from a line.

    Parameters
    ----------
    divisor : int
        Cycles a bit, at least 4.

    Members
    -------
    line : In(1)
        High while idle; may change at any time.
    data : Out(8), valid : Out(1)
        A byte, for one cycle. One without a stop bit is dropped.
    """

    def __init__(self, divisor: int):
        if divisor < 4:
            raise ValueError(f"divisor must be at least 4, not {divisor!r}")
        self._divisor = divisor
        super().__init__({"line": In(1), "data": Out(8), "valid": Out(1)})

    def elaborate(self, platform):
        m = Module()
        line = Signal(init=1)
        m.submodules.synchronizer = FFSynchronizer(self.line, line, init=1)
        left, timer = Signal(range(_BITS + 1)), Signal(range(2 * self._divisor))
        bits = Signal(_BITS)
        m.d.sync += self.valid.eq(0)
        with m.If(left == 0):
            # The middle of the start bit is half a bit away.
            m.d.sync += timer.eq(self._divisor // 2 - 1)
            with m.If(~line):
                m.d.sync += left.eq(_BITS)
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1), bits.eq(Cat(bits[1:], line))]
            with m.If((left == _BITS) & line):  # no start bit after all
                m.d.sync += left.eq(0)
            with m.If(left == 1):
                m.d.sync += self.valid.eq(line)
        m.d.comb += self.data.eq(bits[1:9])
        return m


class SerialTransmitter(wiring.Component):
    """Bytes to a line.

    Members
    -------
    data : In(stream of 8)
    line : Out(1)
        High while idle.
    """

    def __init__(self, divisor: int):
        self._divisor = divisor
        super().__init__({"data": In(stream.Signature(8)), "line": Out(1, init=1)})

    def elaborate(self, platform):
        m = Module()
        left, timer = Signal(range(_BITS + 1)), Signal(range(self._divisor))
        bits = Signal(_BITS, init=-1)
        m.d.comb += [self.data.ready.eq(left == 0), self.line.eq(bits[0])]
        with m.If(left == 0):
            m.d.sync += timer.eq(self._divisor - 1)
            with m.If(self.data.valid):
                m.d.sync += [bits.eq(Cat(Const(0, 1), self.data.payload, Const(1, 1))), left.eq(_BITS)]
        with m.Elif(timer != 0):
            m.d.sync += timer.eq(timer - 1)
        with m.Else():
            m.d.sync += [timer.eq(self._divisor - 1), left.eq(left - 1), bits.eq(Cat(bits[1:], Const(1, 1)))]
        return m
