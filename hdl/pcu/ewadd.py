"""EWADD: sums of GPRs, beside the instructions that follow.

# Ref: pim_model.spec.isr (EWADD)
"""

from amaranth import Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.geometry import LANES

from .adder import Bf16Adder

__all__ = ["SUMS", "GprAdder"]

SUMS = data.StructLayout({"first": 16, "second": 16, "count": 7})
"""Words ``first + i`` become their sums with words ``second + i``, for i below ``count``."""


class GprAdder(wiring.Component):
    """About twenty cycles a word, one lane a cycle.

    Members
    -------
    sums : In(stream of SUMS)
    busy : Out(1)
        Sums are not all written: nobody else may read or write GPRs.
    wait : In(1)
        Results that may be operands are still to come.
    read : Out(1), address : Out(16), granted : In(1), data : In(256)
        A word of the buffer; its data comes in the cycle after the grant.
    write : Out(1), write_address : Out(16), write_data : Out(256)
        A whole word for the buffer.
    """

    def __init__(self):
        super().__init__(
            {
                "sums": In(stream.Signature(SUMS)),
                "busy": Out(1),
                "wait": In(1),
                "read": Out(1),
                "address": Out(16),
                "granted": In(1),
                "data": In(256),
                "write": Out(1),
                "write_address": Out(16),
                "write_data": Out(256),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.adder = adder = Bf16Adder()
        first, second, left = Signal(16), Signal(16), Signal(7)
        a, b = Signal(256), Signal(256)
        m.d.comb += [
            adder.a.eq(a),
            adder.b.eq(b),
            self.write_address.eq(first),
            self.write_data.eq(adder.sum),
        ]
        with m.FSM(name="ewadd") as fsm:
            with m.State("IDLE"):
                m.d.comb += self.sums.ready.eq(1)
                m.d.sync += [
                    first.eq(self.sums.p.first),
                    second.eq(self.sums.p.second),
                    left.eq(self.sums.p.count),
                ]
                with m.If(self.sums.valid):
                    m.next = "READ FIRST"
            with m.State("READ FIRST"):
                m.d.comb += [self.read.eq(~self.wait), self.address.eq(first)]
                with m.If(self.granted):
                    m.next = "READ SECOND"
            with m.State("READ SECOND"):
                # Granted at once or later: the first operand stands only in the cycle after its own grant.
                fresh = Signal(init=1)
                with m.If(fresh):
                    m.d.sync += a.eq(self.data)
                m.d.comb += [self.read.eq(1), self.address.eq(second)]
                m.d.sync += fresh.eq(0)
                with m.If(self.granted):
                    m.d.sync += fresh.eq(1)
                    m.next = "TAKE SECOND"
            with m.State("TAKE SECOND"):
                m.d.sync += b.eq(self.data)
                m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += adder.run.eq(1)
                with m.If(adder.lane == LANES - 1):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.write.eq(1)
                m.d.sync += [first.eq(first + 1), second.eq(second + 1), left.eq(left - 1)]
                m.next = "READ FIRST"
                with m.If(left == 1):
                    m.next = "IDLE"
        m.d.comb += self.busy.eq(~fsm.ongoing("IDLE"))
        return m
