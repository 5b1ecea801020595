"""Bring the results of all channels into the activation buffer, a line at a time."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import Collect, Job
from hdl.stream import StreamFifo
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.order import best_order

from .buffer import line_words

__all__ = ["IN_FLIGHT", "Collector"]

IN_FLIGHT = 2
"""MATVECs whose results are awaited: the one being unrolled, and the one before it."""

_EXPECTED = 16
"""Result reads of instructions under way."""


class Collector(wiring.Component):
    """One result of every channel concerned a cycle, in the order in which the results were announced.

    MATVECs: group after group, matrix after matrix; with direct register access of two tokens in turn or of all, as in
    ``spec/order.py``, otherwise token after token. Instructions: round after round. Both kinds are never awaited at the
    same time.

    Members
    -------
    job : In(Job), start : In(1)
        A MATVEC begins; its results are to come. At most :data:`IN_FLIGHT` at a time.
    expect : In(stream of Collect)
        An instruction's results are to come.
    results : In(stream of 256) for each channel
    write : Out(1), address : Out(16), data : Out(256 x line words), mask : Out(32 x line words)
        Write port of the activation buffer. Bytes beyond the last output row are not written.
    done : Out(1), ended : Out(layout)
        The last result of the oldest MATVEC is being written; its tag and push time, and whether it completes a macro.
    awaited : Out(range(IN_FLIGHT + 1))
        MATVECs begun and not done.
    expecting : Out(1)
        Results of instructions are to come.
    """

    ENDED = data.StructLayout({"tag": 16, "pushed": 32, "last": 1})

    def __init__(self, config: Config):
        self._config = config
        line = line_words(config)
        super().__init__(
            {
                "job": In(Job),
                "start": In(1),
                "expect": In(stream.Signature(Collect)),
                "results": In(stream.Signature(256)).array(config.geometry.channels),
                "write": Out(1),
                "address": Out(16),
                "data": Out(256 * line),
                "mask": Out(32 * line),
                "done": Out(1),
                "ended": Out(self.ENDED),
                "awaited": Out(range(IN_FLIGHT + 1)),
                "expecting": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._config.geometry
        channels, banks, outputs = geometry.channels, geometry.banks, geometry.outputs
        group_bytes = 2 * outputs

        # --- what is to come
        shape = data.StructLayout(
            {
                "tokens": 16,
                "groups": 24,
                "last_rows": 10,
                "output": 16,
                "output_stride": 22,
                "part_stride": 21,
                "qkv": 1,
                "stays": 1,
                "ended": self.ENDED,
            }
        )
        m.submodules.jobs = jobs = StreamFifo(shape, IN_FLIGHT)
        m.submodules.expected = expected = StreamFifo(Collect, _EXPECTED)
        connect(m, flipped(self.expect), expected.i)
        job, order = jobs.o.p, expected.o.p
        for name in ("tokens", "groups", "last_rows", "output", "output_stride", "part_stride", "qkv"):
            m.d.comb += jobs.i.p[name].eq(self.job[name])
        for name in ("tag", "pushed", "last"):
            m.d.comb += jobs.i.p.ended[name].eq(self.job[name])
        order_of = best_order(
            self._config.timing.direct, self.job.all_groups, self.job.tiles, self.job.activate
        )
        m.d.comb += [
            jobs.i.valid.eq(self.start),
            jobs.i.p.stays.eq(order_of.stays),
            self.awaited.eq(jobs.level),
            self.expecting.eq(expected.o.valid),
            self.ended.eq(job.ended),
        ]

        # --- a line of results, as soon as every channel concerned has one
        wanted, present = Signal(channels), Signal(channels)
        for i in range(channels):
            m.d.comb += present[i].eq(self.results[i].valid)
            m.d.comb += self.results[i].ready.eq(self.write & wanted[i])
        awaiting = jobs.o.valid | expected.o.valid
        m.d.comb += [
            wanted.eq(Mux(jobs.o.valid, -1, order.mask)),
            self.write.eq(awaiting & ((wanted & ~present) == 0)),
        ]

        # --- MATVEC: the banks of all channels side by side
        # Where registers are reached in register mode, tokens make pairs only if there is one group: in order again.
        token, matrix, group = Signal(16), Signal(2), Signal(24)
        beyond, skip = Signal(16), Signal(16)  # tokens from the first of those in turn on; their words
        base, byte = Signal(16), Signal(22)  # of the matrix's outputs from the first output on; in them
        last_group, last_token = group == job.groups - 1, token + beyond == job.tokens - 1
        last_matrix = matrix == (job.qkv << 1)
        turned = last_token | ~job.stays & (beyond[0] if self._config.timing.direct else 1)
        rows = Signal(range(outputs + 1))
        m.d.comb += rows.eq(Mux(last_group, job.last_rows, outputs))
        lanes = Cat((rows > row).replicate(2) for row in range(outputs))
        packed = Cat(self.results[i].p[: 16 * banks] for i in range(channels))
        place = byte[:5] if group_bytes < COLUMN_BYTES else 0
        # --- instructions: a word for each channel
        round_, step = Signal(7), Signal(16)
        whole = Cat(wanted[i].replicate(COLUMN_BYTES) for i in range(channels))
        words = Cat(self.results[i].p for i in range(channels))
        with m.If(jobs.o.valid):
            m.d.comb += [
                self.address.eq(job.output + base + (byte >> 5) + skip),
                self.data.eq(packed << (place * 8)),
                self.mask.eq(lanes << place),
            ]
        with m.Else():
            m.d.comb += [self.address.eq(order.address + step), self.data.eq(words), self.mask.eq(whole)]

        with m.If(self.write & jobs.o.valid):
            m.d.sync += [beyond.eq(beyond + 1), skip.eq(skip + job.output_stride)]
            with m.If(turned):
                m.d.sync += [beyond.eq(0), skip.eq(0)]
                m.d.sync += [group.eq(group + 1), byte.eq(byte + group_bytes)]
                with m.If(last_group):
                    m.d.sync += [
                        group.eq(0),
                        byte.eq(0),
                        matrix.eq(matrix + 1),
                        base.eq(base + job.part_stride),
                    ]
                with m.If(last_group & last_matrix):
                    # Other tokens' outputs lie behind: the next one is past them too.
                    m.d.sync += base.eq(base + job.part_stride + skip)
                    m.d.sync += [matrix.eq(0), token.eq(token + 1 + beyond)]
                    with m.If(last_token):
                        m.d.sync += [token.eq(0), base.eq(0)]
                        m.d.comb += [self.done.eq(1), jobs.o.ready.eq(1)]
        with m.Elif(self.write):
            m.d.sync += [round_.eq(round_ + 1), step.eq(step + order.stride)]
            with m.If(round_ == order.rounds - 1):
                m.d.sync += [round_.eq(0), step.eq(0)]
                m.d.comb += expected.o.ready.eq(1)
        return m
