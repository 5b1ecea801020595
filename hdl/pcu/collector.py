"""Bring the results of all channels into the activation buffer, in the order of the output rows."""

from amaranth import Array, Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Job, index_range
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES

__all__ = ["Collector"]


class Collector(wiring.Component):
    """Take one channel's results a cycle: channel 0 to the last, group after group, token after token.

    Members
    -------
    job : In(Job), start : In(1)
        As in :class:`~hdl.pcu.tiles.TileUnroller`.
    results : In(stream of 256) for each channel
    write : Out(1), address : Out(16), data : Out(256), mask : Out(32)
        Write port of the activation buffer. Bytes beyond the last output row are not written.
    done : Out(1)
        The last result of the job is being written.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "job": In(Job),
                "start": In(1),
                "results": In(stream.Signature(256)).array(config.geometry.channels),
                "write": Out(1),
                "address": Out(16),
                "data": Out(256),
                "mask": Out(32),
                "done": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry, job = self._config.geometry, self.job
        channels, banks = geometry.channels, geometry.banks
        per_channel = 2 * banks

        busy = Signal()
        token, group, channel = Signal(16), Signal(24), Signal(index_range(channels))
        base, byte = Signal(16), Signal(21)
        rows_left = Signal(signed_range(geometry.outputs))
        last_group, last_token = group == job.groups - 1, token == job.tokens - 1
        first_rows = Signal.like(rows_left)
        m.d.comb += first_rows.eq(Mux(job.groups == 1, job.last_rows, geometry.outputs))

        valid = Array(self.results[i].valid for i in range(channels))[channel]
        payload = Array(self.results[i].p for i in range(channels))[channel]
        for i in range(channels):
            m.d.comb += self.results[i].ready.eq(busy & (channel == i))

        # Enable two bytes for each bank that holds an output row.
        lanes = Cat((rows_left > bank).replicate(2) for bank in range(banks))
        word = payload[: 8 * per_channel]
        m.d.comb += [
            self.write.eq(busy & valid),
            self.address.eq(byte >> 5),
            self.data.eq(word.replicate(COLUMN_BYTES // per_channel)),
            self.mask.eq(lanes << byte[:5]),
            self.done.eq(self.write & (channel == channels - 1) & last_group & last_token),
        ]
        with m.If(self.start):
            m.d.sync += [
                busy.eq(1),
                token.eq(0),
                group.eq(0),
                channel.eq(0),
                base.eq(job.output),
                byte.eq(job.output * COLUMN_BYTES),
                rows_left.eq(first_rows),
            ]
        with m.Elif(self.write):
            m.d.sync += [
                channel.eq(channel + 1),
                byte.eq(byte + per_channel),
                rows_left.eq(rows_left - banks),
            ]
            with m.If(channel == channels - 1):
                next_group = group + 1
                m.d.sync += [
                    channel.eq(0),
                    group.eq(next_group),
                    rows_left.eq(Mux(next_group == job.groups - 1, job.last_rows, geometry.outputs)),
                ]
                with m.If(last_group):
                    m.d.sync += [
                        group.eq(0),
                        token.eq(token + 1),
                        base.eq(base + job.output_stride),
                        byte.eq((base + job.output_stride) * COLUMN_BYTES),
                        rows_left.eq(first_rows),
                    ]
                    with m.If(last_token):
                        m.d.sync += busy.eq(0)
        return m


def signed_range(limit: int) -> range:
    """Shape of a count that starts at most at ``limit`` and is lowered below zero by at most as much."""
    return range(-limit, limit + 1)
