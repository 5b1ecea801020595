"""Command counters of one channel: one number for each micro command."""

from amaranth import Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.micro import MicroOp

__all__ = ["CommandCounters"]


class CommandCounters(wiring.Component):
    """Count both command slots since power-on, modulo 2**32.

    Members
    -------
    op0, op1 : In(5)
        Commands on the bus.
    read_op : In(5), count : Out(32)
        The count of ``read_op``, one cycle later.
    """

    def __init__(self):
        super().__init__({"op0": In(5), "op1": In(5), "read_op": In(5), "count": Out(32)})

    def elaborate(self, platform):
        m = Module()
        totals = []
        # A memory for each slot: a memory has one write port in an FPGA.
        for slot, op in enumerate((self.op0, self.op1)):
            m.submodules[f"slot{slot}"] = counts = memory.Memory(shape=32, depth=32, init=[])
            write, current, host = (
                counts.write_port(),
                counts.read_port(domain="comb"),
                counts.read_port(domain="comb"),
            )
            m.d.comb += [
                current.addr.eq(op),
                host.addr.eq(self.read_op),
                write.addr.eq(op),
                write.data.eq(current.data + 1),
                write.en.eq(op != MicroOp.NOP),
            ]
            totals.append(host.data)
        total = Signal(32)
        m.d.comb += total.eq(sum(totals))
        m.d.sync += self.count.eq(total)
        return m
