"""The way back for the data of normal reads: in the order in which they were accepted, however they were served."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.stream import ProtectedFifo, StreamFifo
from pim_model.spec.timing import Timing

from .queue import SLOT_BITS

__all__ = ["ReorderBuffer", "round_trip"]

_FORWARDED = 4
"""Words of queued writes that wait for their turn."""


def round_trip(timing: Timing) -> int:
    """Reads that may be on their way: one a cycle, for the device's latency and a register in either direction."""
    return max(1, timing.cycles("RL + BL")) + 4


class ReorderBuffer(wiring.Component):
    """A ring of places, one for each read from its acceptance until its data is taken.

    Parameters
    ----------
    timing : Timing
    places : int
        Reads that are accepted and not answered; a power of two, 1 << SLOT_BITS at most.

    Members
    -------
    space : Out(1), slot : Out(6), accept : In(1)
        There is a free place; its number; a read takes it.
    issue : In(1), issued : In(6)
        The RD of the read with this slot goes to the device.
    rvalid : In(1), rdata : In(256)
        Data of such an RD, in the order of the RDs.
    pending : Out(1)
        Data of an RD is still to come.
    forward : In(1), forwarded : In(6), word : In(256), forward_space : Out(1)
        The read with this slot has its data from a queued write. In the order of acceptance, while there is space.
    reads : Out(stream of 256)
        The data, in order.
    flip : In(1)
        Store data from the device with a flipped bit.
    bad : Out(1)
        What ``reads`` shows is not what was stored.
    """

    def __init__(self, timing: Timing, places: int):
        self._timing, self._places = timing, places
        super().__init__(
            {
                "space": Out(1),
                "slot": Out(SLOT_BITS),
                "accept": In(1),
                "issue": In(1),
                "issued": In(SLOT_BITS),
                "rvalid": In(1),
                "rdata": In(256),
                "pending": Out(1),
                "forward": In(1),
                "forwarded": In(SLOT_BITS),
                "word": In(256),
                "forward_space": Out(1),
                "reads": Out(stream.Signature(256)),
                "flip": In(1),
                "bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = self._places
        m.submodules.memory = words = memory.Memory(shape=257, depth=places, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        m.submodules.flight = flight = StreamFifo(SLOT_BITS, round_trip(self._timing))
        m.submodules.bypass = bypass = ProtectedFifo(256, _FORWARDED)

        head, tail = Signal(range(places)), Signal(range(places))
        used = Signal(range(places + 1))
        done, passed = Signal(places), Signal(places)  # data is there; it is in the bypass
        taken = Signal()
        m.d.comb += [
            self.space.eq(used != places),
            self.slot.eq(tail),
            self.pending.eq(flight.o.valid),
            self.forward_space.eq(bypass.i.ready),
            flight.i.p.eq(self.issued),
            flight.i.valid.eq(self.issue),
            flight.o.ready.eq(self.rvalid),
            bypass.i.p.eq(self.word),
            bypass.i.valid.eq(self.forward),
            write.addr.eq(flight.o.p),
            write.data.eq(Cat(self.rdata, self.rdata.xor() ^ self.flip)),
            write.en.eq(self.rvalid & flight.o.valid),
            read.addr.eq(head),
            self.reads.valid.eq(done.bit_select(head, 1)),
            self.reads.p.eq(Mux(passed.bit_select(head, 1), bypass.o.p, read.data[:256])),
            self.bad.eq(self.reads.valid & Mux(passed.bit_select(head, 1), bypass.bad, read.data.xor())),
            taken.eq(self.reads.valid & self.reads.ready),
            bypass.o.ready.eq(taken & passed.bit_select(head, 1)),
        ]
        m.d.sync += used.eq(used + self.accept - taken)
        with m.If(self.accept):
            m.d.sync += tail.eq(tail + 1)
        with m.If(taken):
            m.d.sync += head.eq(head + 1)
        arrived, forwarded = write.en << flight.o.p, self.forward << self.forwarded
        m.d.sync += [
            done.eq((done & ~(taken << head)) | arrived | forwarded),
            passed.eq((passed & ~arrived) | forwarded),
        ]
        return m
