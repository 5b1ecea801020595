"""BF16 sums of two words, lane by lane: EWADD's arithmetic.

# Ref: pim_model.spec.isr (EWADD); IEEE 754, with subnormals read as zero and flushed to it
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Bf16Adder"]

_GUARD = 11
"""Bits kept below a significand. Operands so far apart that more is lost cancel at most one bit, so what is lost counts
only as "more than nothing"."""


class Bf16Adder(wiring.Component):
    """One lane a cycle, nearest even.

    A sum of subnormal size is zero with its sign; an exact zero of two unlike signs is positive; NaN is 0x7FC0.

    Members
    -------
    a, b : In(256)
        Held while ``run``.
    run : In(1)
        Add lane after lane, from 0; ``lane`` goes back to 0 after the last.
    lane : Out(4)
        Lane of this cycle.
    sum : Out(256)
        All sums, from the cycle after the last lane.
    """

    def __init__(self):
        super().__init__({"a": In(256), "b": In(256), "run": In(1), "lane": Out(4), "sum": Out(256)})

    def elaborate(self, platform):
        m = Module()
        a, b = Signal(16), Signal(16)
        m.d.comb += [a.eq(self.a.word_select(self.lane, 16)), b.eq(self.b.word_select(self.lane, 16))]

        # The operand of larger magnitude first; a subnormal is a zero of its sign.
        def flushed(x):
            return Cat(Mux(x[7:15] == 0, 0, x[:7]), x[7:])

        swap = Signal()
        m.d.comb += swap.eq(a[:15] < b[:15])
        big, small = Signal(16), Signal(16)
        m.d.comb += [big.eq(flushed(Mux(swap, b, a))), small.eq(flushed(Mux(swap, a, b)))]

        def significand(x):
            return Cat(x[:7], x[7:15] != 0)

        distance = Signal(8)
        m.d.comb += distance.eq(big[7:15] - small[7:15])
        wide = 8 + _GUARD
        large, tiny, sticky = Signal(wide), Signal(wide), Signal()
        shifted = significand(small) << _GUARD
        m.d.comb += [
            large.eq(significand(big) << _GUARD),
            tiny.eq(shifted >> distance[:5]),
            sticky.eq((shifted & ((1 << distance[:5]) - 1)).any()),
        ]
        with m.If(distance >= wide):
            m.d.comb += [tiny.eq(0), sticky.eq(small[7:15] != 0)]
        subtract = big[15] ^ small[15]
        total = Signal(wide + 1)
        m.d.comb += total.eq(Mux(subtract, large - tiny - sticky, large + tiny))

        # Normalise: the first one of the sum goes to the top.
        leading_zeros = Signal(5)
        for position in range(wide + 1):
            with m.If(total[position]):
                m.d.comb += leading_zeros.eq(wide - position)
        normal, exponent = Signal(wide + 1), Signal(range(-64, 320))
        m.d.comb += [normal.eq(total << leading_zeros), exponent.eq(big[7:15] + 1 - leading_zeros)]
        kept, half, rest = normal[wide - 7 :], normal[wide - 8], normal[: wide - 8].any() | sticky
        rounded = Signal(9)
        m.d.comb += rounded.eq(kept + (half & (rest | kept[0])))
        carry = rounded[8]
        final = Signal(range(-64, 321))
        m.d.comb += final.eq(exponent + carry)

        result = Signal(16)
        infinite = big[7:15] == 255
        nan = infinite & (big[:7].any() | ((small[7:15] == 255) & (small[:7].any() | subtract)))
        with m.If(nan):
            m.d.comb += result.eq(0x7FC0)
        with m.Elif(infinite):
            m.d.comb += result.eq(big)
        with m.Elif(total == 0):
            m.d.comb += result[15].eq(big[15] & small[15])
        with m.Elif(final <= 0):
            m.d.comb += result[15].eq(big[15])
        with m.Elif(final >= 255):
            m.d.comb += result.eq(Cat((0x7F80 >> i) & 1 for i in range(15)))
            m.d.comb += result[15].eq(big[15])
        with m.Else():
            m.d.comb += result.eq(Cat(Mux(carry, 0, rounded[:7]), final[:8], big[15]))
        with m.If(self.run):
            m.d.sync += [self.lane.eq(self.lane + 1), self.sum.word_select(self.lane, 16).eq(result)]
        return m
