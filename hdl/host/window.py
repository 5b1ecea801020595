"""The AXI4 data window: the host's view of the whole memory and of the activation buffer.

The same bytes that PIM computes on: a write that has been answered is seen by every read and every macro after it.
"""

from amaranth import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Request, index_range
from hdl.stream import StreamFifo
from pim_model.spec.config import Config

from .axi import Axi4Signature, Burst, Resp

__all__ = ["BURSTS", "DataWindow"]

BURSTS = 8
"""Bursts of each direction that wait for their turn, the one being served included; write answers that wait."""

_READS = 64
"""Read beats under way."""

_BUFFER_READS = 4
"""Beats of the activation buffer that wait to be returned."""

_FULL_SIZE = 5
"""AxSIZE of 32 bytes."""

_PAGE_BITS = 12 - _FULL_SIZE
"""Address bits of a word inside the 4 KB that a burst may not leave."""


class DataWindow(wiring.Component):
    """AXI4 subordinate: up to :data:`BURSTS` bursts of each direction at a time, served and answered in order.

    A beat a cycle, from one burst to the next as inside a burst. INCR bursts of 32-byte beats, of any start address and
    of any length that stays within 4 KB; the first beat of an unaligned burst is the word that holds it. Other bursts
    get SLVERR, addresses outside memory and buffer DECERR, beat by beat for reads, once for writes; what is refused is
    not written.

    Members
    -------
    bus : In(AXI4)
    requests : Out(stream of Request), reads : In(stream of 256), bad_read : In(1), for each channel
        ``bad_read``: what ``reads`` shows has a flipped bit; it is answered with SLVERR, as is ``buffer_bad``.
    buffer_read, buffer_address, buffer_data, buffer_bad, buffer_write, buffer_write_data, buffer_write_mask,
    buffer_write_ready
        Port of the activation buffer.
    refused : Out(1), refused_word : Out(32)
        A beat is refused in this cycle; its address in words of 32 bytes.
    """

    def __init__(self, config: Config):
        self._config = config
        channels = config.geometry.channels
        super().__init__(
            {
                "bus": In(Axi4Signature(config.window_bits)),
                "requests": Out(stream.Signature(Request)).array(channels),
                "reads": In(stream.Signature(256)).array(channels),
                "bad_read": In(1).array(channels),
                "buffer_read": Out(1),
                "buffer_address": Out(16),
                "buffer_data": In(256),
                "buffer_bad": In(1),
                "buffer_write": Out(1),
                "buffer_write_data": Out(256),
                "buffer_write_mask": Out(32),
                "buffer_write_ready": In(1),
                "refused": Out(1),
                "refused_word": Out(32),
            }
        )

    def _bursts(self, m, name: str):
        """The queue of one direction's bursts; its head is the one being served."""
        address, length, size, kind, identifier, valid, ready = (
            getattr(self.bus, name + field)
            for field in ("addr", "len", "size", "burst", "id", "valid", "ready")
        )
        layout = data.StructLayout({"word": len(address) - _FULL_SIZE, "length": 8, "id": 4, "legal": 1})
        m.submodules[name] = bursts = StreamFifo(layout, BURSTS)
        word = address[_FULL_SIZE:]
        m.d.comb += [
            bursts.i.p.word.eq(word),
            bursts.i.p.length.eq(length),
            bursts.i.p.id.eq(identifier),
            bursts.i.p.legal.eq(
                (size == _FULL_SIZE) & (kind == Burst.INCR) & (word[:_PAGE_BITS] + length < 1 << _PAGE_BITS)
            ),
            bursts.i.valid.eq(valid),
            ready.eq(bursts.i.ready),
        ]
        return bursts

    def _place(self, word):
        """Fields of a beat's word address: (in memory, in buffer, row, channel, bank, column)."""
        config, geometry = self._config, self._config.geometry
        inside, upper = word[:-1], word[-1]
        position = 0
        fields = []
        for bits in (geometry.column_bits, geometry.bank_bits, geometry.channel_bits, geometry.row_bits):
            fields.append(inside[position : position + bits])
            position += bits
        column, bank, channel, row = fields
        memory = ~upper & (inside < geometry.memory_bytes >> _FULL_SIZE)
        buffer = upper & (inside < config.buffer_words)
        return memory, buffer, row, channel, bank, column

    def elaborate(self, platform):
        m = Module()
        config, bus = self._config, self.bus
        channels = config.geometry.channels
        request = Signal(Request)
        target = Signal(index_range(channels))
        want_write, want_read = Signal(), Signal()  # a beat for the memory waits for its channel
        write_granted, read_granted = Signal(), Signal()

        def beat_of(bursts, served):
            """Word address of the beat being served, and its number in its burst."""
            number = Signal(8)
            word = Signal(config.window_bits - _FULL_SIZE)
            head = bursts.o.p
            m.d.comb += word.eq(Cat((head.word + number)[:_PAGE_BITS], head.word[_PAGE_BITS:]))
            with m.If(served):
                m.d.sync += number.eq(Mux(bursts.o.ready, 0, number + 1))
            return word, number

        # --- writes
        writes = self._bursts(m, "aw")
        m.submodules.answers = answers = StreamFifo(data.StructLayout({"id": 4, "resp": 2}), BURSTS)
        written = Signal()
        write_word, _ = beat_of(writes, written)
        memory, buffer, row, channel, bank, column = self._place(write_word)
        head = writes.o.p
        w_memory, w_buffer, w_channel = memory & head.legal, buffer & head.legal, channel
        write_request = {"row": row, "bank": bank, "column": column}
        offered = bus.wvalid & writes.o.valid & answers.i.ready
        missed, missing = Signal(), ~memory & ~buffer  # beats before this one; this one
        want_buffer_write = offered & w_buffer
        m.d.comb += [
            want_write.eq(offered & w_memory),
            written.eq(
                offered
                & Mux(w_memory, write_granted, Mux(w_buffer, self.buffer_write & self.buffer_write_ready, 1))
            ),
            bus.wready.eq(written),
            writes.o.ready.eq(written & bus.wlast),
            answers.i.valid.eq(writes.o.ready),
            answers.i.p.id.eq(head.id),
            answers.i.p.resp.eq(Mux(~head.legal, Resp.SLVERR, Mux(missed | missing, Resp.DECERR, Resp.OKAY))),
            Cat(bus.bid, bus.bresp).eq(answers.o.p),
            bus.bvalid.eq(answers.o.valid),
            answers.o.ready.eq(bus.bready),
            self.buffer_write_data.eq(bus.wdata),
            self.buffer_write_mask.eq(bus.wstrb),
        ]
        write_refused = written & (~head.legal | missing)
        with m.If(written):
            m.d.sync += missed.eq((missed | missing) & ~bus.wlast)

        # --- reads: issue
        beat = data.StructLayout({"memory": 1, "buffer": 1, "channel": 5, "last": 1, "id": 4, "resp": 2})
        reads = self._bursts(m, "ar")
        m.submodules.order = order = StreamFifo(beat, _READS)
        m.submodules.buffered = buffered = StreamFifo(
            data.StructLayout({"data": 256, "bad": 1}), _BUFFER_READS
        )
        issued = Signal()
        read_word, number = beat_of(reads, issued)
        memory, buffer, row, channel, bank, column = self._place(read_word)
        head = reads.o.p
        r_memory, r_buffer, r_channel = memory & head.legal, buffer & head.legal, channel
        read_request = {"row": row, "bank": bank, "column": column}
        buffer_taken = Signal(range(_BUFFER_READS + 1))
        offered = reads.o.valid & order.i.ready
        want_buffer_read = offered & r_buffer & (buffer_taken != _BUFFER_READS)
        m.d.comb += [
            want_read.eq(offered & r_memory),
            issued.eq(offered & Mux(r_memory, read_granted, Mux(r_buffer, self.buffer_read, 1))),
            reads.o.ready.eq(issued & order.i.p.last),
            order.i.valid.eq(issued),
            order.i.p.memory.eq(r_memory),
            order.i.p.buffer.eq(r_buffer),
            order.i.p.channel.eq(r_channel),
            order.i.p.last.eq(number == head.length),
            order.i.p.id.eq(head.id),
            order.i.p.resp.eq(Mux(~head.legal, Resp.SLVERR, Mux(memory | buffer, Resp.OKAY, Resp.DECERR))),
        ]

        read_refused = issued & ~r_memory & ~r_buffer
        m.d.comb += [
            self.refused.eq(write_refused | read_refused),
            self.refused_word.eq(Mux(write_refused, write_word, read_word)),
        ]

        # --- one port to the channels and one address for the buffer: reads and writes in turn
        write_next, chosen, stalled = Signal(), Signal(), Signal()
        choose_write = Mux(
            stalled, chosen, want_write & (write_next | ~want_read)
        )  # a request holds until taken
        requested = Array(self.requests[i].ready for i in range(channels))[target]
        m.d.sync += [chosen.eq(choose_write), stalled.eq((want_write | want_read) & ~requested)]
        with m.If(choose_write):
            m.d.comb += [request[name].eq(value) for name, value in write_request.items()]
            m.d.comb += [target.eq(w_channel), write_granted.eq(requested)]
        with m.Else():
            m.d.comb += [request[name].eq(value) for name, value in read_request.items()]
            m.d.comb += [target.eq(r_channel), read_granted.eq(requested & want_read)]
        with m.If((want_write | want_read) & requested):
            m.d.sync += write_next.eq(~choose_write)
        m.d.comb += [request.write.eq(choose_write), request.data.eq(bus.wdata), request.mask.eq(bus.wstrb)]
        for i in range(channels):
            m.d.comb += [
                Value.cast(self.requests[i].p).eq(Value.cast(request)),
                self.requests[i].valid.eq((want_write | want_read) & (target == i)),
            ]
        wrote = Signal()
        m.d.sync += wrote.eq(self.buffer_write)
        m.d.comb += [
            self.buffer_write.eq(want_buffer_write & ~(want_buffer_read & wrote)),
            self.buffer_read.eq(want_buffer_read & ~self.buffer_write),
            self.buffer_address.eq(Mux(self.buffer_write, write_word[:-1], read_word[:-1])),
        ]

        # --- read data, in order
        returned = Signal()
        m.d.sync += returned.eq(self.buffer_read)
        m.d.comb += [
            buffered.i.p.data.eq(self.buffer_data),
            buffered.i.p.bad.eq(self.buffer_bad),
            buffered.i.valid.eq(returned),
        ]
        m.d.sync += buffer_taken.eq(buffer_taken + self.buffer_read - (buffered.o.valid & buffered.o.ready))

        head = order.o.p
        source = Array(self.reads[i].p for i in range(channels))[head.channel]
        source_valid = Array(self.reads[i].valid for i in range(channels))[head.channel]
        bad = Mux(
            head.memory, Array(self.bad_read[i] for i in range(channels))[head.channel], buffered.o.p.bad
        )
        take = bus.rvalid & bus.rready
        m.d.comb += [
            bus.rvalid.eq(
                order.o.valid & Mux(head.memory, source_valid, Mux(head.buffer, buffered.o.valid, 1))
            ),
            bus.rdata.eq(Mux(head.memory, source, Mux(head.buffer, buffered.o.p.data, 0))),
            bus.rid.eq(head.id),
            bus.rresp.eq(Mux((head.memory | head.buffer) & bad, Resp.SLVERR, head.resp)),
            bus.rlast.eq(head.last),
            order.o.ready.eq(take),
            buffered.o.ready.eq(take & head.buffer),
        ]
        for i in range(channels):
            m.d.comb += self.reads[i].ready.eq(take & head.memory & (head.channel == i))
        return m
