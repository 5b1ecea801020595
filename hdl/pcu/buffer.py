"""The activation buffer: inputs, biases and results of macros, on chip, seen by the host and the PCU."""

from amaranth import Module
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config

__all__ = ["ActivationBuffer"]


class ActivationBuffer(wiring.Component):
    """One write port, shared with the PCU first; one read port for the PCU, one for the host.

    Addresses count words of 32 bytes. A read's data stands from the cycle after its enable until the next enable.

    Members
    -------
    pcu_read : In(1), pcu_address : In(16), pcu_data : Out(256)
    host_read : In(1), host_address : In(16), host_data : Out(256)
    pcu_write : In(1), pcu_write_address : In(16), pcu_write_data : In(256), pcu_write_mask : In(32)
        Byte enables in the mask.
    host_write : In(1), host_write_data : In(256), host_write_mask : In(32)
        Writes at ``host_address``.
    host_write_ready : Out(1)
        The host's write is taken in this cycle.
    """

    def __init__(self, config: Config):
        self._words = config.buffer_words
        super().__init__(
            {
                "pcu_read": In(1),
                "pcu_address": In(16),
                "pcu_data": Out(256),
                "host_read": In(1),
                "host_address": In(16),
                "host_data": Out(256),
                "pcu_write": In(1),
                "pcu_write_address": In(16),
                "pcu_write_data": In(256),
                "pcu_write_mask": In(32),
                "host_write": In(1),
                "host_write_data": In(256),
                "host_write_mask": In(32),
                "host_write_ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.memory = words = memory.Memory(shape=256, depth=self._words, init=[])
        write = words.write_port(granularity=8)
        for_pcu, for_host = words.read_port(), words.read_port()
        m.d.comb += [
            for_pcu.en.eq(self.pcu_read),
            for_pcu.addr.eq(self.pcu_address),
            self.pcu_data.eq(for_pcu.data),
            for_host.en.eq(self.host_read),
            for_host.addr.eq(self.host_address),
            self.host_data.eq(for_host.data),
            self.host_write_ready.eq(~self.pcu_write),
        ]
        with m.If(self.pcu_write):
            m.d.comb += [
                write.addr.eq(self.pcu_write_address),
                write.data.eq(self.pcu_write_data),
                write.en.eq(self.pcu_write_mask),
            ]
        with m.Elif(self.host_write):
            m.d.comb += [
                write.addr.eq(self.host_address),
                write.data.eq(self.host_write_data),
                write.en.eq(self.host_write_mask),
            ]
        return m
