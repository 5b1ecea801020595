"""Read data wait for their time."""

from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["DelayLine"]


class DelayLine(wiring.Component):
    """Words come out a fixed number of cycles after they went in.

    One small memory and a shift register of single bits; a shift register of words would be many times that.

    Parameters
    ----------
    width : int
    cycles : int
        At least 1.

    Members
    -------
    push : In(1), word : In(width)
    due : Out(1), out : Out(width)
        ``push`` and ``word`` of ``cycles`` before; ``out`` is anything while not ``due``.
    """

    def __init__(self, width: int, cycles: int):
        if cycles < 1:
            raise ValueError(f"cycles must be at least 1, not {cycles!r}")
        self._cycles = cycles
        super().__init__({"push": In(1), "word": In(width), "due": Out(1), "out": Out(width)})

    def elaborate(self, platform):
        m = Module()
        depth = 1 << max(1, (self._cycles - 1).bit_length())
        m.submodules.words = words = memory.Memory(shape=self.word.shape(), depth=depth, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        head, tail, waits = Signal(range(depth)), Signal(range(depth)), Signal(self._cycles)
        m.d.sync += [waits.eq(waits << 1 | self.push), head.eq(head + self.push), tail.eq(tail + self.due)]
        m.d.comb += [
            write.en.eq(self.push),
            write.addr.eq(head),
            write.data.eq(self.word),
            read.addr.eq(tail),
            self.due.eq(waits[-1]),
            self.out.eq(read.data),
        ]
        return m
