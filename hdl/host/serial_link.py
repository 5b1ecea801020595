"""The host's requests from a serial line, carried out on the prototype's buses.

# Ref: pim_model.spec.link
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.crc import Algorithm
from amaranth.lib.wiring import In, Out

from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.link import (
    ANSWER_BYTES,
    CRC_BYTES,
    GAP_CYCLES,
    HEADER_BYTES,
    MOST_BYTES,
    START,
    Kind,
    LinkStatus,
)
from pim_model.spec.registers import REGISTER_BITS

from .axi import Axi4LiteSignature, Axi4Signature, Burst
from .serial import SerialReceiver, SerialTransmitter

__all__ = ["SerialLink"]

_CRC = Algorithm(
    crc_width=32,
    polynomial=0x04C11DB7,
    initial_crc=0xFFFFFFFF,
    reflect_input=True,
    reflect_output=True,
    xor_output=0xFFFFFFFF,
)
_BEATS = MOST_BYTES // COLUMN_BYTES


class SerialLink(wiring.Component):
    """One request at a time: received, checked, carried out, answered.

    Parameters
    ----------
    window_bits : int
        Address bits of the data window.
    divisor : int
        Cycles a bit of the line.
    gap : int
        Cycles without a byte inside a request after which it is dropped.

    Members
    -------
    rx : In(1), tx : Out(1)
        The line, 8N1.
    irq : In(1)
    regs : Out(AXI4-Lite), mem : Out(AXI4)
        To the prototype. One burst of at most four beats at a time.
    """

    def __init__(self, window_bits: int, divisor: int, gap: int = GAP_CYCLES):
        self._window_bits, self._divisor, self._gap = window_bits, divisor, gap
        super().__init__(
            {
                "rx": In(1),
                "tx": Out(1),
                "irq": In(1),
                "regs": Out(Axi4LiteSignature(REGISTER_BITS)),
                "mem": Out(Axi4Signature(window_bits)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.receiver = receiver = SerialReceiver(self._divisor)
        m.submodules.transmitter = transmitter = SerialTransmitter(self._divisor)
        m.submodules.crc = crc = _CRC(data_width=8).create()
        m.d.comb += [receiver.line.eq(self.rx), self.tx.eq(transmitter.line)]

        # --- the request
        header = Signal(8 * HEADER_BYTES)
        sequence, kind, length, address = header[:8], header[8:16], header[16:24], header[24:]
        #: Bytes of the frame after START, and those of its payload, received or sent.
        count = Signal(range(HEADER_BYTES + MOST_BYTES + CRC_BYTES + 1))
        #: Where a payload's byte lies among the beats.
        place = Signal(range(MOST_BYTES))
        first, last = address[:5], Signal(range(2 * MOST_BYTES))
        m.d.comb += last.eq(first + length - 1)
        writes = (kind == Kind.WRITE_REGISTER) | (kind == Kind.WRITE_MEMORY)
        to_register = (kind == Kind.READ_REGISTER) | (kind == Kind.WRITE_REGISTER)
        well_formed = Signal()
        with m.Switch(kind):
            with m.Case(Kind.HELLO, Kind.WAIT):
                m.d.comb += well_formed.eq(length == 0)
            with m.Case(Kind.READ_REGISTER, Kind.WRITE_REGISTER):
                m.d.comb += well_formed.eq(
                    (length == 4) & (address[REGISTER_BITS:] == 0) & (address[:2] == 0)
                )
            with m.Case(Kind.READ_MEMORY, Kind.WRITE_MEMORY):
                m.d.comb += well_formed.eq(
                    (length != 0) & (last < MOST_BYTES) & (address[self._window_bits :] == 0)
                )

        # --- payloads, a beat a word
        m.submodules.beats = beats = memory.Memory(shape=8 * COLUMN_BYTES, depth=_BEATS, init=[])
        write, read = beats.write_port(granularity=8), beats.read_port(domain="comb")
        beat = Signal(range(_BEATS))
        value = Signal(32)
        m.d.comb += read.addr.eq(beat)

        #: Number and status of the last write that was carried out.
        done, done_number, done_status = Signal(), Signal(8), Signal(3)
        status = Signal(3)
        silence = Signal(range(self._gap + 1))
        sent, sending = Signal(range(1 + ANSWER_BYTES + MOST_BYTES + CRC_BYTES + 1)), Signal(8)
        answer_bytes = Signal(8)

        with m.FSM(name="link"):
            with m.State("WAIT FOR A FRAME"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [count.eq(0), silence.eq(0), status.eq(LinkStatus.OK)]
                with m.If(receiver.valid & (receiver.data == START)):
                    m.next = "RECEIVE"

            with m.State("RECEIVE"):
                payload = Mux(writes, length, 0)
                m.d.comb += [crc.data.eq(receiver.data), crc.valid.eq(receiver.valid)]
                m.d.sync += silence.eq(silence + 1)
                with m.If(receiver.valid):
                    m.d.sync += [silence.eq(0), count.eq(count + 1)]
                    with m.If(count < HEADER_BYTES):
                        m.d.sync += header.eq(Cat(header[8:], receiver.data))
                        m.d.sync += place.eq(0)
                    with m.Elif(count < HEADER_BYTES + payload):
                        m.d.sync += place.eq(place + 1)
                        m.d.comb += [
                            write.en.eq(1 << (place + first)[:5]),
                            write.addr.eq((place + first)[5:]),
                            write.data.eq(receiver.data.replicate(COLUMN_BYTES)),
                        ]
                        m.d.sync += value.eq(Cat(value[8:], receiver.data))
                    with m.Elif(count == HEADER_BYTES + payload + CRC_BYTES - 1):
                        m.next = "CHECK"
                # A length that cannot be is a frame that never was.
                with m.If((silence == self._gap) | ((count == HEADER_BYTES) & (length > MOST_BYTES))):
                    m.next = "WAIT FOR A FRAME"

            with m.State("CHECK"):
                m.next = "WAIT FOR A FRAME"
                with m.If(crc.match_detected):
                    m.d.sync += [beat.eq(0), silence.eq(0)]
                    with m.If(~well_formed):
                        m.d.sync += status.eq(LinkStatus.MALFORMED)
                        m.next = "ANSWER"
                    with m.Elif(kind == Kind.HELLO):
                        m.d.sync += done.eq(0)
                        m.next = "ANSWER"
                    with m.Elif(kind == Kind.WAIT):
                        m.next = "WAIT FOR THE INTERRUPT"
                    with m.Elif(writes & done & (done_number == sequence)):
                        m.d.sync += status.eq(done_status)
                        m.next = "ANSWER"
                    with m.Elif(to_register):
                        m.next = "ADDRESS A REGISTER"
                    with m.Else():
                        m.next = "ADDRESS MEMORY"

            with m.State("WAIT FOR THE INTERRUPT"):
                waited = Signal(17)
                m.d.sync += [waited.eq(waited + 1), value.eq(self.irq)]
                with m.If(self.irq | (waited >= address[:16])):
                    m.d.sync += waited.eq(0)
                    m.next = "ANSWER"

            self._registers(m, kind, address, value, status)
            self._memory(m, kind, address, first, last, beat, read, write, status)

            with m.State("REMEMBER"):
                with m.If(writes):
                    m.d.sync += [done.eq(1), done_number.eq(sequence), done_status.eq(status)]
                m.next = "ANSWER"

            with m.State("ANSWER"):
                m.d.comb += crc.start.eq(1)
                m.d.sync += [sent.eq(0), place.eq(0), answer_bytes.eq(0)]
                with m.If(status == LinkStatus.OK):
                    with m.Switch(kind):
                        with m.Case(Kind.READ_REGISTER):
                            m.d.sync += answer_bytes.eq(4)
                        with m.Case(Kind.WAIT):
                            m.d.sync += answer_bytes.eq(1)
                        with m.Case(Kind.READ_MEMORY):
                            m.d.sync += answer_bytes.eq(length)
                m.next = "SEND"

            with m.State("SEND"):
                body = 1 + ANSWER_BYTES
                at = (place + first)[: len(place)]
                m.d.comb += read.addr.eq(at[5:])
                with m.Switch(sent):
                    with m.Case(0):
                        m.d.comb += sending.eq(START)
                    with m.Case(1):
                        m.d.comb += sending.eq(sequence)
                    with m.Case(2):
                        m.d.comb += sending.eq(status)
                    with m.Case(3):
                        m.d.comb += sending.eq(answer_bytes)
                    with m.Default():
                        m.d.comb += sending.eq(
                            Mux(kind == Kind.READ_MEMORY, read.data.word_select(at[:5], 8), value[:8])
                        )
                with m.If(sent >= body + answer_bytes):
                    m.d.comb += sending.eq(crc.crc.word_select((sent - body - answer_bytes)[:2], 8))
                m.d.comb += [transmitter.data.valid.eq(1), transmitter.data.payload.eq(sending)]
                with m.If(transmitter.data.ready):
                    m.d.sync += sent.eq(sent + 1)
                    m.d.comb += [
                        crc.data.eq(sending),
                        crc.valid.eq((sent != 0) & (sent < body + answer_bytes)),
                    ]
                    with m.If((sent >= body) & (sent < body + answer_bytes)):
                        m.d.sync += [place.eq(place + 1), value.eq(value >> 8)]
                    with m.If(sent == body + answer_bytes + CRC_BYTES - 1):
                        m.next = "WAIT FOR A FRAME"
        return m

    def _registers(self, m, kind, address, value, status):
        regs = self.regs
        asked, written = Signal(), Signal()
        m.d.comb += [
            regs.araddr.eq(address),
            regs.awaddr.eq(address),
            regs.wdata.eq(value),
            regs.wstrb.eq(0xF),
        ]
        with m.State("ADDRESS A REGISTER"):
            reading = kind == Kind.READ_REGISTER
            m.d.comb += [
                regs.arvalid.eq(reading & ~asked),
                regs.awvalid.eq(~reading & ~asked),
                regs.wvalid.eq(~reading & ~written),
                regs.rready.eq(reading),
                regs.bready.eq(~reading),
            ]
            with m.If((regs.arvalid & regs.arready) | (regs.awvalid & regs.awready)):
                m.d.sync += asked.eq(1)
            with m.If(regs.wvalid & regs.wready):
                m.d.sync += written.eq(1)
            with m.If(regs.rvalid & regs.rready):
                m.d.sync += [value.eq(regs.rdata), status.eq(regs.rresp)]
            with m.If(regs.bvalid & regs.bready):
                m.d.sync += status.eq(regs.bresp)
            with m.If((regs.rvalid & regs.rready) | (regs.bvalid & regs.bready)):
                m.d.sync += [asked.eq(0), written.eq(0)]
                m.next = "REMEMBER"

    def _memory(self, m, kind, address, first, last, beat, read, write, status):
        mem = self.mem
        asked, filled = Signal(), Signal()
        final = last[5:]
        aligned = Cat(Const(0, 5), address[5 : self._window_bits])
        for channel in ("ar", "aw"):
            m.d.comb += [
                getattr(mem, f"{channel}addr").eq(aligned),
                getattr(mem, f"{channel}len").eq(final),
                getattr(mem, f"{channel}size").eq(5),
                getattr(mem, f"{channel}burst").eq(Burst.INCR),
            ]
        # Bytes of this beat between the first and the last of the payload.
        above = Mux(beat == 0, Const(-1, 32) << first, Const(-1, 32))[:32]
        below = Mux(beat == final, Const(0xFFFFFFFF, 32) >> (~last[:5]), Const(-1, 32))[:32]
        m.d.comb += [
            mem.wdata.eq(read.data),
            mem.wstrb.eq(above & below),
            mem.wlast.eq(beat == final),
        ]
        with m.State("ADDRESS MEMORY"):
            reading = kind == Kind.READ_MEMORY
            m.d.comb += [
                mem.arvalid.eq(reading & ~asked),
                mem.awvalid.eq(~reading & ~asked),
                mem.wvalid.eq(~reading & ~filled),
                mem.rready.eq(reading),
                mem.bready.eq(~reading),
            ]
            with m.If((mem.arvalid & mem.arready) | (mem.awvalid & mem.awready)):
                m.d.sync += asked.eq(1)
            with m.If(mem.wvalid & mem.wready):
                m.d.sync += [beat.eq(beat + 1), filled.eq(mem.wlast)]
            with m.If(mem.rvalid & mem.rready):
                m.d.comb += [write.en.eq(-1), write.addr.eq(beat), write.data.eq(mem.rdata)]
                m.d.sync += beat.eq(beat + 1)
                with m.If(mem.rresp != 0):
                    m.d.sync += status.eq(mem.rresp)
            with m.If(mem.bvalid & mem.bready):
                m.d.sync += status.eq(mem.bresp)
            with m.If((mem.rvalid & mem.rready & mem.rlast) | (mem.bvalid & mem.bready)):
                m.d.sync += [asked.eq(0), filled.eq(0)]
                m.next = "REMEMBER"
