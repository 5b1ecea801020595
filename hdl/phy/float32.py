"""FP32 as a processing unit computes it: sums, integers scaled to FP32, read-outs as BF16.

No subnormals (zero of their sign, as operand and as result), one NaN, nearest even.

# Ref: "GDDR6-AiM: what is publicly known", numbers
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["INFINITY", "NAN", "Fp32Adder", "IntegerScaler", "to_bf16"]

NAN = 0x7FC00000
INFINITY = 0x7F800000

_ROUND = 3
"""Bits below a significand: guard, round and sticky are enough for one rounding of a sum of two."""


def _normalised(m: Module, value) -> tuple[Signal, Signal]:
    """``value`` shifted left until its highest bit is one, and by how much; of zero, zero and anything."""
    # Step by step from the widest on, each step's test on what the steps before have left: no count, then shift.
    bits = []
    for step in reversed(range((len(value) - 1).bit_length())):
        size = 1 << step
        empty, moved = Signal(name=f"empty{size}"), Signal(len(value), name=f"moved{size}")
        m.d.comb += [empty.eq(value[len(value) - size :] == 0), moved.eq(Mux(empty, value << size, value))]
        value = moved
        bits.append(empty)
    return value, Cat(*reversed(bits))


def _shifted_down(m: Module, value, distance) -> Signal:
    """``value`` shifted right; its lowest bit also tells whether a one fell off."""
    for step in range(len(distance)):
        size = min(1 << step, len(value))
        moved = Signal(len(value), name=f"down{size}")
        less = (
            Cat(value[size : size + 1] | value[:size].any(), value[size + 1 :])
            if size < len(value)
            else value.any()
        )
        m.d.comb += moved.eq(Mux(distance[step], less, value))
        value = moved
    return value


def _rounded(m: Module, normal, below: int) -> Signal:
    """``normal``, whose highest bit is one, without its lowest ``below`` bits; bit 24 is a carry out of the others."""
    kept, half, rest = normal[below:], normal[below - 1], normal[: below - 1].any()
    total = Signal(25, name="rounded")
    m.d.comb += total.eq(kept + (half & (rest | kept[0])))
    return total


def _packed(m: Module, result, rounded, exponent, negative) -> None:
    """``result`` from a rounded significand and the exponent of its carry-less form: flushed, finite or infinite."""
    final = Signal.like(exponent, name="final")
    m.d.comb += final.eq(exponent + rounded[24])
    with m.If(final <= 0):
        m.d.comb += result.eq(Cat(Const(0, 31), negative))
    with m.Elif(final >= 255):
        m.d.comb += result.eq(Cat(Const(INFINITY, 31), negative))
    with m.Else():
        m.d.comb += result.eq(Cat(Mux(rounded[24], 0, rounded[:23]), final[:8], negative))


def to_bf16(value):
    """BF16 bits of an FP32 value that is not subnormal."""
    rounded = value[16:] + (value[15] & (value[16] | value[:15].any()))
    return Mux(value[:31] > INFINITY, NAN >> 16, rounded[:16])


class Fp32Adder(wiring.Component):
    """The sum of two FP32 values, combinational.

    An exact zero of unlike signs is +0; infinities of unlike signs give NaN.

    Members
    -------
    a, b : In(32)
        Not subnormal; a NaN is any NaN.
    sum : Out(32)
    """

    def __init__(self):
        super().__init__({"a": In(32), "b": In(32), "sum": Out(32)})

    def elaborate(self, platform):
        m = Module()
        big, small, swap = Signal(32), Signal(32), Signal()
        m.d.comb += [
            swap.eq(self.a[:31] < self.b[:31]),
            big.eq(Mux(swap, self.b, self.a)),
            small.eq(Mux(swap, self.a, self.b)),
        ]
        distance = Signal(8)
        m.d.comb += distance.eq(big[23:31] - small[23:31])

        def significand(x):
            return Cat(Const(0, _ROUND), x[:23], x[23:31] != 0)

        wide = 24 + _ROUND
        aligned = _shifted_down(m, significand(small), distance)
        subtract = Signal()
        m.d.comb += subtract.eq(big[31] ^ small[31])
        total = Signal(wide + 1)
        m.d.comb += total.eq(Mux(subtract, significand(big) - aligned, significand(big) + aligned))

        normal, zeros = _normalised(m, total)
        above = Signal(range(-32, 512))
        m.d.comb += above.eq(big[23:31] + 1 - zeros)
        rounded = _rounded(m, normal, _ROUND + 1)

        big_special = big[23:31] == 255
        small_special = small[23:31] == 255
        with m.If(big_special & (big[:23].any() | (small_special & subtract))):
            m.d.comb += self.sum.eq(NAN)
        with m.Elif(big_special):
            m.d.comb += self.sum.eq(big)
        with m.Elif(total == 0):
            m.d.comb += self.sum.eq(Cat(Const(0, 31), big[31] & small[31]))
        with m.Else():
            _packed(m, self.sum, rounded, above, big[31])
        return m


class IntegerScaler(wiring.Component):
    """An integer times a power of two as FP32, rounded once, combinational.

    Parameters
    ----------
    width : int
        Bits of the integer, its sign included.
    offset : int
        ``value`` counts units of 2 ** (``exponent`` - ``offset``).

    Members
    -------
    value : In(signed(width)), exponent : In(10)
    negative_zero : In(1)
        Sign of a ``value`` of zero.
    result : Out(32)
    """

    def __init__(self, width: int, offset: int):
        self._offset = offset
        super().__init__({"value": In(width), "exponent": In(10), "negative_zero": In(1), "result": Out(32)})

    def elaborate(self, platform):
        m = Module()
        negative = self.value[-1]
        magnitude = Signal(len(self.value) - 1)
        m.d.comb += magnitude.eq(Mux(negative, -self.value, self.value))
        normal, zeros = _normalised(m, magnitude)
        # Biased exponent of the highest bit.
        above = Signal(range(-512, 1024))
        m.d.comb += above.eq(self.exponent + (len(magnitude) - 1 - self._offset + 127) - zeros)
        rounded = _rounded(m, normal, len(magnitude) - 24)
        with m.If(magnitude == 0):
            m.d.comb += self.result.eq(Cat(Const(0, 31), self.negative_zero))
        with m.Else():
            _packed(m, self.result, rounded, above, negative)
        return m
