"""The activation buffer: inputs, biases, results and programs of macros, on chip, seen by the host and the PCU."""

from amaranth import Cat, Module, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES

__all__ = ["ActivationBuffer", "line_words"]


def line_words(config: Config) -> int:
    """Words of a line: one for each channel."""
    return config.geometry.channels


class ActivationBuffer(wiring.Component):
    """Words of 32 bytes in as many memories as there are channels, so that a *line* of consecutive words, from any
    word on, is read or written in one cycle.

    One write port, shared with the PCU first; one read port for the PCU, one for the host. Addresses count words; a
    line wraps at the end of the buffer. A read's data stands from the cycle after its enable until the next enable.
    Each byte has a parity bit, for which block RAMs of FPGAs have room.

    Members
    -------
    pcu_read : In(1), pcu_address : In(16), pcu_data : Out(256 x line words)
        A line; the addressed word comes first.
    host_read : In(1), host_address : In(16), host_data : Out(256)
        One word.
    pcu_write : In(1), pcu_write_address : In(16), pcu_write_data : In(256 x line words), pcu_write_mask : In
        A line, a byte enable in the mask for each byte.
    host_write : In(1), host_write_data : In(256), host_write_mask : In(32)
        Writes one word at ``host_address``.
    host_write_ready : Out(1)
        The host's write is taken in this cycle.
    flip : In(1)
        Store words with a flipped bit each.
    pcu_bad, host_bad : Out(1)
        In the cycle after a read: some word of the line, the word, is not what was stored.
    """

    def __init__(self, config: Config):
        self._words = config.buffer_words
        self._places = line_words(config)
        super().__init__(
            {
                "pcu_read": In(1),
                "pcu_address": In(16),
                "pcu_data": Out(256 * self._places),
                "host_read": In(1),
                "host_address": In(16),
                "host_data": Out(256),
                "pcu_write": In(1),
                "pcu_write_address": In(16),
                "pcu_write_data": In(256 * self._places),
                "pcu_write_mask": In(32 * self._places),
                "host_write": In(1),
                "host_write_data": In(256),
                "host_write_mask": In(32),
                "host_write_ready": Out(1),
                "flip": In(1),
                "pcu_bad": Out(1),
                "host_bad": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = self._places
        bits = places.bit_length() - 1

        def row(address, place: int):
            """Where memory ``place`` holds its word of the line from ``address`` on."""
            return (address >> bits) + (address[:bits] > place if place < places - 1 else 0)

        # The line in the order of the memories. A case for each turn rather than stages of a barrel shifter: the same
        # multiplexers in hardware, one branch in a simulation.
        turned, enables = Signal.like(self.pcu_write_data), Signal.like(self.pcu_write_mask)
        with m.Switch(self.pcu_write_address[:bits]):
            for turn in range(places):
                with m.Case(turn):
                    m.d.comb += turned.eq(self.pcu_write_data.rotate_left(256 * turn))
                    m.d.comb += enables.eq(self.pcu_write_mask.rotate_left(32 * turn))

        def parity(word):
            return Cat(word.word_select(byte, 8).xor() for byte in range(COLUMN_BYTES))

        host_parity = Signal(COLUMN_BYTES)
        m.d.comb += host_parity.eq(parity(self.host_write_data) ^ self.flip)
        for_pcu, for_host, bad_for_pcu, bad_for_host = [], [], [], []
        for place in range(places):
            words = memory.Memory(shape=256, depth=self._words // places, init=[])
            parities = memory.Memory(shape=COLUMN_BYTES, depth=self._words // places, init=[])
            m.submodules[f"memory{place}"] = words
            m.submodules[f"parity{place}"] = parities
            write, pcu, host = words.write_port(granularity=8), words.read_port(), words.read_port()
            written, pcu_check, host_check = (
                parities.write_port(granularity=1),
                parities.read_port(),
                parities.read_port(),
            )
            m.d.comb += [
                pcu.en.eq(self.pcu_read),
                pcu.addr.eq(row(self.pcu_address, place)),
                host.en.eq(self.host_read),
                host.addr.eq(self.host_address >> bits),
                pcu_check.en.eq(pcu.en),
                pcu_check.addr.eq(pcu.addr),
                host_check.en.eq(host.en),
                host_check.addr.eq(host.addr),
                written.addr.eq(write.addr),
                written.en.eq(write.en),
            ]
            for_pcu.append(pcu.data)
            for_host.append(host.data)
            bad_for_pcu.append(pcu.data.xor() ^ pcu_check.data.xor())
            bad_for_host.append(host.data.xor() ^ host_check.data.xor())
            with m.If(self.pcu_write):
                m.d.comb += [
                    write.addr.eq(row(self.pcu_write_address, place)),
                    write.data.eq(turned.word_select(place, 256)),
                    write.en.eq(enables.word_select(place, 32)),
                    written.data.eq(parity(write.data) ^ self.flip),
                ]
            with m.Elif(self.host_write & (self.host_address[:bits] == place)):
                m.d.comb += [
                    write.addr.eq(self.host_address >> bits),
                    write.data.eq(self.host_write_data),
                    write.en.eq(self.host_write_mask),
                    written.data.eq(host_parity),
                ]
        m.d.comb += self.host_write_ready.eq(~self.pcu_write)

        pcu_first, host_place = Signal(max(1, bits)), Signal(max(1, bits))
        with m.If(self.pcu_read):
            m.d.sync += pcu_first.eq(self.pcu_address[:bits])
        with m.If(self.host_read):
            m.d.sync += host_place.eq(self.host_address[:bits])
        host_wrong = Signal()
        with m.Switch(pcu_first):
            for turn in range(places):
                with m.Case(turn):
                    m.d.comb += self.pcu_data.eq(Cat(for_pcu[turn:] + for_pcu[:turn]))
        with m.Switch(host_place):
            for place, data in enumerate(for_host):
                with m.Case(place):
                    m.d.comb += [self.host_data.eq(data), host_wrong.eq(bad_for_host[place])]
        pcu_checked, host_checked = Signal(), Signal()
        m.d.sync += [pcu_checked.eq(self.pcu_read), host_checked.eq(self.host_read)]
        m.d.comb += [
            self.pcu_bad.eq(pcu_checked & Cat(bad_for_pcu).any()),
            self.host_bad.eq(host_checked & host_wrong),
        ]
        return m
