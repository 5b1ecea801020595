"""Where an accumulator looks in an activation table, and the operand of the line that it finds there.

# Ref: "GDDR6-AiM: what is publicly known", the device (table in a reserved row, linear interpolation); the format is
# that of pim_model/numerics/activation.py
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

__all__ = ["TableLookUp"]

_OCTAVE_ZERO = 127 - 11
"""Exponent field of 2 ** -11: octave k from 1 on starts at 2 ** (k - 11); octave 0 reaches down to zero."""

_OCTAVES = 15
_LINEAR = 480
_FRACTION = 8
_POSITION = 23 - 4 - _FRACTION
"""Bits of a significand below those that name segment and distance."""


class TableLookUp(wiring.Component):
    """Combinational.

    Members
    -------
    x : In(32)
        FP32, not subnormal.
    index : Out(10)
        Entry of the pair (start, slope) in the table; even.
    linear : Out(1)
        The pair is (offset, scale) of the linear zone.
    operand : Out(16)
        What the slope is multiplied by, BF16: the distance into the segment, from 0 to below 1; in the linear zone x.
    nan : Out(1)
        x is NaN.
    """

    def __init__(self):
        super().__init__({"x": In(32), "index": Out(10), "linear": Out(1), "operand": Out(16), "nan": Out(1)})

    def elaborate(self, platform):
        m = Module()
        field, fraction = self.x[23:31], self.x[:23]
        octave, position = Signal(4), Signal(23)
        low = Signal()
        below = Signal(8)
        m.d.comb += [
            self.linear.eq(field >= _OCTAVE_ZERO + _OCTAVES),
            low.eq(field <= _OCTAVE_ZERO),
            below.eq(_OCTAVE_ZERO + 1 - field),
        ]
        with m.If(low):
            # Octave 0 is linear down to zero: the whole significand at its place.
            whole = Cat(fraction, field != 0)
            m.d.comb += position.eq(Mux(below[5:].any(), 0, whole >> below[:5]))
        with m.Else():
            m.d.comb += [position.eq(fraction), octave.eq(field - _OCTAVE_ZERO)]
        segment, distance = position[-4:], position[_POSITION:-4]
        m.d.comb += self.index.eq(
            Cat(Const(0, 1), Mux(self.linear, _LINEAR // 2, Cat(segment, octave)), self.x[31])
        )

        # The distance as BF16: its highest one becomes the hidden bit.
        normal, exponent = Signal(_FRACTION), Signal(8)
        for bit in range(_FRACTION):
            with m.If(distance[bit]):
                m.d.comb += [normal.eq(distance << (_FRACTION - 1 - bit)), exponent.eq(127 - _FRACTION + bit)]
        m.d.comb += [
            self.operand.eq(Mux(self.linear, self.x[16:], Cat(normal[:7], exponent, Const(0, 1)))),
            self.nan.eq((field == 255) & fraction.any()),
        ]
        return m
