"""EWMUL's arithmetic: sixteen products of two columns, each rounded to BF16.

# Ref: "GDDR6-AiM: what is publicly known", commands (EWMUL) and numbers
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.geometry import LANES

from .unit import PRODUCTS

__all__ = ["ElementRounder"]


class ElementRounder(wiring.Component):
    """Products to BF16, nearest even, subnormal ones to zero of their sign.

    Members
    -------
    products : In(PRODUCTS)
    column : Out(256)
        16 BF16, a cycle later.
    """

    def __init__(self):
        super().__init__({"products": In(PRODUCTS), "column": Out(256)})

    def elaborate(self, platform):
        m = Module()
        for lane in range(LANES):
            negative = self.products.negative[lane]
            value = self.products.significand[lane]  # from 1 to below 4, with 14 fraction bits
            high = value[15]
            kept = Mux(high, value[8:], value[7:15])
            half, rest = Mux(high, value[7], value[6]), value[:6].any() | (high & value[6])
            rounded, exponent = (
                Signal(9, name=f"rounded{lane}"),
                Signal(range(-256, 512), name=f"exponent{lane}"),
            )
            result = Signal(16, name=f"result{lane}")
            m.d.comb += [
                rounded.eq(kept + (half & (rest | kept[0]))),
                exponent.eq(self.products.exponent[lane] - 127 + high + rounded[8]),
            ]
            with m.If(self.products.nan[lane]):
                m.d.comb += result.eq(0x7FC0)
            with m.Elif(self.products.infinite[lane] | (exponent >= 255)):
                m.d.comb += result.eq(Cat(Const(0x7F80, 15), negative))
            with m.Elif(exponent <= 0):
                m.d.comb += result.eq(Cat(Const(0, 15), negative))
            with m.Else():
                m.d.comb += result.eq(Cat(Mux(rounded[8], 0, rounded[:7]), exponent[:8], negative))
            m.d.sync += self.column.word_select(lane, 16).eq(result)
        return m
