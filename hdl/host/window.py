"""The AXI4 data window: the host's view of the whole memory and of the activation buffer.

The same bytes that PIM computes on: a write that has been answered is seen by every macro pushed after it.
"""

from amaranth import Array, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Request, index_range
from hdl.stream import StreamFifo
from pim_model.spec.config import Config

from .axi import Axi4Signature, Burst, Resp

__all__ = ["DataWindow"]

_READS = 32
"""Read beats under way."""

_BUFFER_READS = 4
"""Beats of the activation buffer that wait to be returned."""

_FULL_SIZE = 5
"""AxSIZE of 32 bytes."""


class DataWindow(wiring.Component):
    """AXI4 subordinate: one write burst and one read burst at a time, a beat a cycle, data in order.

    INCR bursts of 32-byte beats, any length and any start address; the first beat of an unaligned burst is the word
    that holds it. Other burst types and sizes get SLVERR, addresses outside memory and buffer DECERR, beat by beat
    for reads, once for writes; what is refused is not written.

    Members
    -------
    bus : In(AXI4)
    requests : Out(stream of Request), reads : In(stream of 256), for each channel
    buffer_read, buffer_address, buffer_data, buffer_write, buffer_write_data, buffer_write_mask, buffer_write_ready
        Port of the activation buffer.
    """

    def __init__(self, config: Config):
        self._config = config
        channels = config.geometry.channels
        super().__init__(
            {
                "bus": In(Axi4Signature(config.window_bits)),
                "requests": Out(stream.Signature(Request)).array(channels),
                "reads": In(stream.Signature(256)).array(channels),
                "buffer_read": Out(1),
                "buffer_address": Out(16),
                "buffer_data": In(256),
                "buffer_write": Out(1),
                "buffer_write_data": Out(256),
                "buffer_write_mask": Out(32),
                "buffer_write_ready": In(1),
            }
        )

    def _place(self, address):
        """Fields of a beat's address: (in memory, in buffer, row, channel, bank, column)."""
        config, geometry = self._config, self._config.geometry
        top = config.window_bits - 1
        inside = address[:top]
        legal = ~address[top + 1]
        position = 5
        fields = []
        for bits in (geometry.column_bits, geometry.bank_bits, geometry.channel_bits, geometry.row_bits):
            fields.append(inside[position : position + bits])
            position += bits
        column, bank, channel, row = fields
        memory = legal & ~address[top] & (inside < geometry.memory_bytes)
        buffer = legal & address[top] & (inside < config.buffer_bytes)
        return memory, buffer, row, channel, bank, column

    def elaborate(self, platform):
        m = Module()
        config, bus = self._config, self.bus
        channels = config.geometry.channels
        address_shape = config.window_bits + 1  # a burst may run over the end of the window
        request = Signal(Request)
        target = Signal(index_range(channels))
        want_write, want_read = Signal(), Signal()  # a beat for the memory waits for its channel
        write_granted, read_granted = Signal(), Signal()

        def well_formed(size, burst):
            return (size == _FULL_SIZE) & (burst == Burst.INCR)

        # --- write bursts
        write_address, write_ok = Signal(address_shape), Signal()
        memory, buffer, row, channel, bank, column = self._place(write_address)
        w_memory, w_buffer, w_channel = memory & write_ok, buffer & write_ok, channel
        write_request = {"row": row, "bank": bank, "column": column}
        accepted = Signal()
        with m.FSM(name="write"):
            with m.State("ADDRESS"):
                m.d.comb += bus.awready.eq(1)
                m.d.sync += [
                    write_address.eq(bus.awaddr),
                    write_ok.eq(well_formed(bus.awsize, bus.awburst)),
                    bus.bid.eq(bus.awid),
                    bus.bresp.eq(Mux(well_formed(bus.awsize, bus.awburst), Resp.OKAY, Resp.SLVERR)),
                ]
                with m.If(bus.awvalid):
                    m.next = "DATA"
            with m.State("DATA"):
                m.d.comb += [
                    want_write.eq(bus.wvalid & w_memory),
                    self.buffer_write.eq(bus.wvalid & w_buffer),
                    accepted.eq(Mux(w_memory, write_granted, Mux(w_buffer, self.buffer_write_ready, 1))),
                    bus.wready.eq(accepted),
                ]
                with m.If(bus.wvalid & accepted):
                    m.d.sync += write_address.eq((write_address[5:] + 1) << 5)
                    with m.If(write_ok & ~w_memory & ~w_buffer):
                        m.d.sync += bus.bresp.eq(Resp.DECERR)
                    with m.If(bus.wlast):
                        m.next = "ANSWER"
            with m.State("ANSWER"):
                m.d.comb += bus.bvalid.eq(1)
                with m.If(bus.bready):
                    m.next = "ADDRESS"
        m.d.comb += [self.buffer_write_data.eq(bus.wdata), self.buffer_write_mask.eq(bus.wstrb)]

        # --- read bursts: issue
        beat = data.StructLayout({"memory": 1, "buffer": 1, "channel": 5, "last": 1, "id": 4, "resp": 2})
        m.submodules.order = order = StreamFifo(beat, _READS)
        m.submodules.buffered = buffered = StreamFifo(256, _BUFFER_READS)
        read_address, read_ok, left, read_id = Signal(address_shape), Signal(), Signal(8), Signal(4)
        memory, buffer, row, channel, bank, column = self._place(read_address)
        r_memory, r_buffer, r_channel = memory & read_ok, buffer & read_ok, channel
        read_request = {"row": row, "bank": bank, "column": column}
        buffer_taken = Signal(range(_BUFFER_READS + 1))
        issued = Signal()
        with m.FSM(name="read"):
            with m.State("ADDRESS"):
                m.d.comb += bus.arready.eq(1)
                m.d.sync += [
                    read_address.eq(bus.araddr),
                    read_ok.eq(well_formed(bus.arsize, bus.arburst)),
                    left.eq(bus.arlen),
                    read_id.eq(bus.arid),
                ]
                with m.If(bus.arvalid):
                    m.next = "ISSUE"
            with m.State("ISSUE"):
                buffer_free = (buffer_taken != _BUFFER_READS) & ~self.buffer_write
                m.d.comb += [
                    want_read.eq(r_memory & order.i.ready),
                    issued.eq(order.i.ready & Mux(r_memory, read_granted, Mux(r_buffer, buffer_free, 1))),
                    order.i.valid.eq(issued),
                    self.buffer_read.eq(issued & r_buffer),
                ]
                with m.If(issued):
                    m.d.sync += [read_address.eq((read_address[5:] + 1) << 5), left.eq(left - 1)]
                    with m.If(left == 0):
                        m.next = "ADDRESS"
        m.d.comb += [
            order.i.p.memory.eq(r_memory),
            order.i.p.buffer.eq(r_buffer),
            order.i.p.channel.eq(r_channel),
            order.i.p.last.eq(left == 0),
            order.i.p.id.eq(read_id),
            order.i.p.resp.eq(Mux(r_memory | r_buffer, Resp.OKAY, Mux(read_ok, Resp.DECERR, Resp.SLVERR))),
        ]

        # --- one port to the channels, reads and writes in turn; one address for the buffer, writes first
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
        top = config.window_bits - 1
        m.d.comb += self.buffer_address.eq(Mux(self.buffer_write, write_address[5:top], read_address[5:top]))

        # --- read data, in order
        returned = Signal()
        m.d.sync += returned.eq(self.buffer_read)
        m.d.comb += [buffered.i.p.eq(self.buffer_data), buffered.i.valid.eq(returned)]
        m.d.sync += buffer_taken.eq(buffer_taken + self.buffer_read - (buffered.o.valid & buffered.o.ready))

        head = order.o.p
        source = Array(self.reads[i].p for i in range(channels))[head.channel]
        source_valid = Array(self.reads[i].valid for i in range(channels))[head.channel]
        take = bus.rvalid & bus.rready
        m.d.comb += [
            bus.rvalid.eq(
                order.o.valid & Mux(head.memory, source_valid, Mux(head.buffer, buffered.o.valid, 1))
            ),
            bus.rdata.eq(Mux(head.memory, source, Mux(head.buffer, buffered.o.p, 0))),
            bus.rid.eq(head.id),
            bus.rresp.eq(head.resp),
            bus.rlast.eq(head.last),
            order.o.ready.eq(take),
            buffered.o.ready.eq(take & head.buffer),
        ]
        for i in range(channels):
            m.d.comb += self.reads[i].ready.eq(take & head.memory & (head.channel == i))
        return m
