"""The processing unit of one bank: a column times a column, added to an accumulator; profile ``aligned``.

# Ref: "GDDR6-AiM: what is publicly known", numbers, profile `aligned`
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.geometry import LANES
from pim_model.spec.micro import SETS

from .float32 import INFINITY, NAN, Fp32Adder, IntegerScaler

__all__ = ["LATENCY", "PRODUCTS", "ProcessingUnit", "balanced"]

_GUARD = 8
"""Bits below the significand of the product with the largest exponent; what falls below them is dropped."""

_SHIFTED = 16 + _GUARD
_TOTAL = _SHIFTED + 5
"""Bits of a group's sum: 16 terms and a sign."""

_OFFSET = 2 * 127 + 2 * 7 + _GUARD
"""A sum counts units of two to the largest exponent less this: two biases, two fractions, the guard bits."""

LATENCY = 6
"""Cycles from operands to the cycle in which the sum can be read."""

PRODUCTS = data.StructLayout(
    {
        "significand": data.ArrayLayout(16, LANES),
        #: Sum of the operands' exponent fields; zero with a product of zero.
        "exponent": data.ArrayLayout(9, LANES),
        "negative": LANES,
        "nan": LANES,
        "infinite": LANES,
    }
)
"""The products of 16 lanes, exact and not normalised."""


def balanced(values, combine):
    """Reduce pairwise: (0, 1), (2, 3), …"""
    while len(values) > 1:
        values = [
            combine(*values[i : i + 2]) if len(values) - i > 1 else values[i]
            for i in range(0, len(values), 2)
        ]
    return values[0]


class ProcessingUnit(wiring.Component):
    """Six stages: products, largest exponent, alignment, sum, FP32, addition. One column a cycle.

    An activation takes the same way: lane 0 is slope times distance, it is added to the table's value instead of an
    accumulator, and ends in a register of its own.

    Members
    -------
    a, b : In(256)
        Operands, 16 BF16 each.
    accumulate : In(1)
        They are there, and their sum goes to the accumulator.
    accumulators : In(1)
        Which set.
    activate : In(1)
        Lane 0 of them is there; its product plus ``start`` goes to ``activation``.
    start : In(16)
        BF16.
    nan : In(1)
        With ``activate``: the result is NaN.
    load : In(1), load_set : In(1), value : In(16)
        Put a BF16 value into an accumulator, at the end of this cycle. Not within ``LATENCY`` cycles after
        ``accumulate``.
    products : Out(PRODUCTS)
        Of the operands of the cycle before.
    sums : Out(32), for each set; activation : Out(32)
        FP32, never subnormal. They survive a reset, as everything in the device does.
    """

    def __init__(self):
        super().__init__(
            {
                "a": In(256),
                "b": In(256),
                "accumulate": In(1),
                "accumulators": In(1),
                "activate": In(1),
                "start": In(16),
                "nan": In(1),
                "load": In(1),
                "load_set": In(1),
                "value": In(16),
                "products": Out(PRODUCTS),
                "sums": Out(32).array(SETS),
                "activation": Out(32),
            }
        )

    def elaborate(self, platform):
        m = Module()

        # --- products. An activation's other lanes count as -0 each, which adds nothing, the sign of zero included.
        nans, pluses, minuses = [], [], []
        for lane in range(LANES):
            a, b = self.a.word_select(lane, 16), self.b.word_select(lane, 16)
            off = self.activate if lane else 0
            a_normal, b_normal = (a[7:15] != 0) & ~off, b[7:15] != 0
            a_special, b_special = (a[7:15] == 255) & ~off, (b[7:15] == 255) & ~off
            negative, special = Signal(name=f"negative{lane}"), Signal(name=f"special{lane}")
            nan = Signal(name=f"nan{lane}")
            significand = Signal(16, name=f"significand{lane}")
            a_significand, b_significand = Signal(8, name=f"a{lane}"), Signal(8, name=f"b{lane}")
            m.d.comb += [
                a_significand.eq(Mux(a_normal, Cat(a[:7], 1), 0)),
                b_significand.eq(Mux(b_normal, Cat(b[:7], 1), 0)),
                significand.eq(a_significand * b_significand),
                negative.eq((a[15] ^ b[15]) | off),
                special.eq(a_special | b_special),
                nan.eq((a_special & (a[:7].any() | ~b_normal)) | (b_special & (b[:7].any() | ~a_normal))),
            ]
            m.d.sync += [
                self.products.significand[lane].eq(significand),
                self.products.exponent[lane].eq(Mux(a_normal & b_normal, a[7:15] + b[7:15], 0)),
                self.products.negative[lane].eq(negative),
                self.products.nan[lane].eq(nan),
                self.products.infinite[lane].eq(special & ~nan),
            ]
        products = self.products
        nans = products.nan.any()
        pluses = (products.infinite & ~products.negative).any()
        minuses = (products.infinite & products.negative).any()
        zeros = Cat(products.exponent[lane] == 0 for lane in range(LANES))

        # --- largest exponent
        largest = Signal(9)
        magnitudes = [Signal(16, name=f"magnitude{lane}") for lane in range(LANES)]
        exponents = [Signal(9, name=f"exponent{lane}") for lane in range(LANES)]
        signs = Signal(LANES)

        def larger(x, y):
            result = Signal(9, name="larger")
            m.d.comb += result.eq(Mux(x < y, y, x))
            return result

        m.d.sync += largest.eq(balanced([products.exponent[lane] for lane in range(LANES)], larger))
        for lane in range(LANES):
            m.d.sync += [
                magnitudes[lane].eq(products.significand[lane]),
                exponents[lane].eq(products.exponent[lane]),
            ]
        m.d.sync += signs.eq(products.negative)

        # --- alignment: a negative term as its complement, whose missing one is added with the sum
        terms = [Signal(_SHIFTED + 1, name=f"term{lane}") for lane in range(LANES)]
        missing, top = Signal(range(LANES + 1)), Signal(9)
        m.d.sync += [top.eq(largest), missing.eq(balanced([signs[lane] for lane in range(LANES)], _add))]
        for lane in range(LANES):
            distance, shifted = Signal(9, name=f"distance{lane}"), Signal(_SHIFTED, name=f"shifted{lane}")
            m.d.comb += [
                distance.eq(largest - exponents[lane]),
                shifted.eq(
                    Mux(distance[5:].any(), 0, Cat(Const(0, _GUARD), magnitudes[lane]) >> distance[:5])
                ),
            ]
            m.d.sync += terms[lane].eq(Cat(shifted, Const(0, 1)) ^ signs[lane].replicate(_SHIFTED + 1))

        # --- sum
        total, total_top = Signal(_TOTAL), Signal(9)
        whole = balanced([term.as_signed() for term in terms], _add)
        m.d.sync += [total.eq(whole + missing), total_top.eq(top)]

        # --- FP32; an infinity or NaN among the operands decides alone
        m.submodules.scaler = scaler = IntegerScaler(_TOTAL, _OFFSET)
        activate = _delayed(m, self.activate, 4, "activate")
        nan = _delayed(
            m, nans | _delayed(m, self.nan & self.activate, 1, "told_nan") | (pluses & minuses), 3, "nan"
        )
        plus, minus = _delayed(m, pluses, 3, "plus"), _delayed(m, minuses, 3, "minus")
        all_negative_zero = _delayed(m, (zeros & products.negative).all(), 3, "negative_zero")
        m.d.comb += [
            scaler.value.eq(total),
            scaler.exponent.eq(total_top),
            scaler.negative_zero.eq(all_negative_zero),
        ]
        group = Signal(32)
        m.d.sync += group.eq(scaler.result)
        with m.If(nan):
            m.d.sync += group.eq(NAN)
        with m.Elif(plus | minus):
            m.d.sync += group.eq(Cat(Const(INFINITY, 31), minus))

        # --- addition
        m.submodules.adder = adder = Fp32Adder()
        sums = [Signal(32, name=f"sum{i}", reset_less=True) for i in range(SETS)]
        activation = Signal(32, reset_less=True)
        accumulate = _delayed(m, self.accumulate, 5, "accumulate")
        chosen = _delayed(m, self.accumulators, 5, "accumulators")
        ends = _delayed(m, activate, 1, "ends")
        start = _delayed(m, self.start, 5, "start")
        m.d.comb += [
            adder.a.eq(Mux(ends, _wide(start), Mux(chosen, sums[1], sums[0]))),
            adder.b.eq(group),
        ]
        for index, each in enumerate(sums):
            with m.If(accumulate & (chosen == index)):
                m.d.sync += each.eq(adder.sum)
            with m.If(self.load & (self.load_set == index)):
                m.d.sync += each.eq(_wide(self.value))
            m.d.comb += self.sums[index].eq(each)
        with m.If(ends):
            m.d.sync += activation.eq(adder.sum)
        m.d.comb += self.activation.eq(activation)
        return m


def _add(x, y):
    return x + y


def _wide(bits):
    """A BF16 value as FP32; a subnormal is a zero of its sign, a NaN the one NaN."""
    nan = (bits[7:15] == 255) & bits[:7].any()
    return Mux(nan, NAN, Cat(Const(0, 16), Mux(bits[7:15] == 0, 0, bits[:7]), bits[7:]))


def _delayed(m: Module, value, cycles: int, name: str) -> Signal:
    """``value`` as it was some cycles before."""
    for stage in range(cycles):
        later = Signal.like(value, name=f"{name}_{stage}")
        m.d.sync += later.eq(value)
        value = later
    return value
