"""AXI4-Lite to a simple register port: one access at a time, no access lost."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.registers import REGISTER_BITS

from .axi import Axi4LiteSignature, Resp

__all__ = ["LiteBridge"]


class LiteBridge(wiring.Component):
    """Accept one read and one write at a time.

    Registers are 32 bits wide: an access that is not aligned, a write that does not enable all four bytes, and an
    offset for which the register file raises ``absent`` get SLVERR and change nothing.

    Members
    -------
    bus : In(AXI4-Lite)
    write : Out(1), write_offset, write_value : Out
        One-cycle strobe with its offset and value.
    read_offset : Out, read_value : In(32)
        The value of the offset in the next cycle.
    write_absent, read_absent : In(1)
        There is no register at the offset; combinational for writes, with ``read_value`` for reads.
    write_refused, read_refused : Out(1)
        A write of ``write_offset`` gets SLVERR; a read of ``refused_offset`` does. For one cycle.
    refused_offset : Out
    """

    def __init__(self):
        super().__init__(
            {
                "bus": In(Axi4LiteSignature(REGISTER_BITS)),
                "write": Out(1),
                "write_offset": Out(REGISTER_BITS),
                "write_value": Out(32),
                "write_absent": In(1),
                "read_offset": Out(REGISTER_BITS),
                "read_value": In(32),
                "read_absent": In(1),
                "write_refused": Out(1),
                "read_refused": Out(1),
                "refused_offset": Out(REGISTER_BITS),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        # --- writes: wait for address and data, do it, answer
        whole = Signal()
        m.d.comb += [
            whole.eq((bus.wstrb == 0xF) & (bus.awaddr[:2] == 0) & ~self.write_absent),
            self.write_offset.eq(bus.awaddr),
            self.write_value.eq(bus.wdata),
        ]
        both = bus.awvalid & bus.wvalid & ~bus.bvalid
        m.d.comb += [bus.awready.eq(both), bus.wready.eq(both), self.write.eq(both & whole)]
        m.d.comb += self.write_refused.eq(both & ~whole)
        with m.If(both):
            m.d.sync += [bus.bvalid.eq(1), bus.bresp.eq(Mux(whole, Resp.OKAY, Resp.SLVERR))]
        with m.Elif(bus.bready):
            m.d.sync += bus.bvalid.eq(0)

        # --- reads: address, one cycle for the register file, data
        offset = Signal(REGISTER_BITS)
        m.d.comb += self.read_offset.eq(Mux(bus.arready, bus.araddr, offset))
        with m.FSM(name="read"):
            with m.State("IDLE"):
                m.d.comb += bus.arready.eq(1)
                with m.If(bus.arvalid):
                    m.d.sync += offset.eq(bus.araddr)
                    m.next = "LOOK UP"
            with m.State("LOOK UP"):
                missing = self.read_absent | (offset[:2] != 0)
                m.d.comb += [self.read_refused.eq(missing), self.refused_offset.eq(offset)]
                m.d.sync += [
                    bus.rvalid.eq(1),
                    bus.rdata.eq(Mux(missing, 0, self.read_value)),
                    bus.rresp.eq(Mux(missing, Resp.SLVERR, Resp.OKAY)),
                ]
                m.next = "ANSWER"
            with m.State("ANSWER"):
                with m.If(bus.rready):
                    m.d.sync += bus.rvalid.eq(0)
                    m.next = "IDLE"
        return m
