"""The PIM memory controller of one channel: normal traffic, the macros' queues, and the scheduler between them."""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import ChannelOp, RegisterStep, Request, Tile
from hdl.phy.interface import COMMAND, PhySignature
from hdl.stream import ProtectedFifo, StreamFifo
from pim_model.spec.config import Config
from pim_model.spec.errors import Path
from pim_model.spec.micro import MicroOp

from .normal import NormalTraffic
from .reorder import round_trip
from .scheduler import Scheduler

__all__ = ["Controller"]

_QUEUE = 4
"""Places of each of the tile, step and item queues."""

_RESULTS = 16
"""Results of one channel on their way or waiting for collection: a round trip of reads in a row."""

_LOST = 255
"""Cycles after which a result that has not come will not: several times what any preset's read takes."""


class Controller(wiring.Component):
    """One channel's PIM memory controller. Commands reach the bus one cycle after they are decided.

    Members
    -------
    requests : In(stream of Request)
        Normal traffic. Not accepted while ``pim_request`` is high; with dual row buffers see below.
    reads : Out(stream of 256)
        Data of the read requests, in order.
    tiles : In(stream of Tile), steps : In(stream of RegisterStep)
        Row and register stream of running MATVECs.
    ops : In(stream of ChannelOp)
        Items of running ISR instructions.
    results : Out(stream of 256)
        Data of RDMAC, RDAF and a program's RD, in order.
    idle : Out(1)
        No item waits, and the last command of the one before is on the bus.
    pim_request, abort, refresh : In(1)
        As in :class:`~hdl.controller.scheduler.Scheduler`.
    quiet : Out(1)
        Normal traffic has the channel.
    requested : Out(1), queued : Out(6)
        A normal request is here, or its data is to come; requests in the queue.
    inject : In(3), a Path
        Flip a bit of each word that is written there.
    exclusive, started : In(1)
        With dual row buffers, as in the scheduler. Requests are then not accepted while ``exclusive``, and for a
        while after ``started``.
    lent : Out(1)
        With dual row buffers: slot 0 is normal traffic's.
    bad_read : Out(1)
        What ``reads`` shows has a flipped bit.
    parity : Out(3), a Path
        A bit has flipped in what is used in this cycle; NONE otherwise.
    phy : Out(PhySignature)
    """

    def __init__(self, config: Config):
        self._config = config
        dual = {"exclusive": In(1), "started": In(1), "lent": Out(1)}
        super().__init__(
            {
                **(dual if config.dual_row_buffer else {}),
                "requests": In(stream.Signature(Request)),
                "reads": Out(stream.Signature(256)),
                "tiles": In(stream.Signature(Tile)),
                "steps": In(stream.Signature(RegisterStep)),
                "ops": In(stream.Signature(ChannelOp)),
                "idle": Out(1),
                "results": Out(stream.Signature(256)),
                "pim_request": In(1),
                "abort": In(1),
                "refresh": In(1),
                "quiet": Out(1),
                "requested": Out(1),
                "queued": Out(6),
                "inject": In(3),
                "bad_read": Out(1),
                "parity": Out(3),
                "phy": Out(PhySignature()),
            }
        )

    def elaborate(self, platform):
        m = Module()
        flush = ResetInserter(self.abort)
        m.submodules.scheduler = scheduler = Scheduler(self._config)
        m.submodules.normal = normal = NormalTraffic(self._config)
        m.submodules.tiles = tiles = flush(ProtectedFifo(Tile, _QUEUE))
        m.submodules.steps = steps = flush(ProtectedFifo(RegisterStep, _QUEUE))
        m.submodules.ops = ops = flush(ProtectedFifo(ChannelOp, _QUEUE))
        m.submodules.results = results = flush(ProtectedFifo(256, _RESULTS))

        # A macro waits for requests that were accepted before it, and holds back all others. With dual row buffers a
        # MATVEC waits for the writes among them, and lets others in when they are done.
        dual = self._config.dual_row_buffer
        shut = self.exclusive | scheduler.flush if dual else self.pim_request
        m.d.comb += [
            normal.requests.p.eq(self.requests.p),
            normal.requests.valid.eq(self.requests.valid & ~shut),
            self.requests.ready.eq(normal.requests.ready & ~shut),
        ]
        if dual:
            m.d.comb += [
                scheduler.exclusive.eq(self.exclusive),
                scheduler.started.eq(self.started),
                scheduler.level.eq(tiles.level),
                normal.mark.eq(self.started),
                self.lent.eq(normal.proposal.granted),
            ]
        connect(m, normal.proposal, scheduler.normal)
        connect(m, flipped(self.tiles), tiles.i)
        connect(m, tiles.o, scheduler.tiles)
        connect(m, flipped(self.steps), steps.i)
        connect(m, steps.o, scheduler.steps)
        connect(m, flipped(self.ops), ops.i)
        connect(m, ops.o, scheduler.ops)
        connect(m, normal.reads, flipped(self.reads))
        connect(m, results.o, flipped(self.results))

        m.d.comb += [
            tiles.flip.eq(self.inject == Path.COMMAND),
            steps.flip.eq(self.inject == Path.COMMAND),
            ops.flip.eq(self.inject == Path.COMMAND),
            results.flip.eq(self.inject == Path.RESULT),
            normal.flip_write.eq(self.inject == Path.WRITE),
            self.bad_read.eq(normal.bad_read),
            normal.flip_read.eq(self.inject == Path.READ),
        ]
        with m.If(tiles.bad | steps.bad | ops.bad):
            m.d.comb += self.parity.eq(Path.COMMAND)
        with m.Elif(results.bad):
            m.d.comb += self.parity.eq(Path.RESULT)
        with m.Elif(normal.bad_write):
            m.d.comb += self.parity.eq(Path.WRITE)
        with m.Elif(normal.bad_read):
            m.d.comb += self.parity.eq(Path.READ)

        # Read data is registered on its way in, as commands are on their way out.
        rvalid, rdata = Signal(), Signal(256)
        m.d.sync += [rvalid.eq(self.phy.rvalid), rdata.eq(self.phy.rdata)]
        for name in COMMAND:
            m.d.sync += getattr(self.phy, name).eq(getattr(scheduler, name))

        # Places taken by results under way or waiting, and results still to come from the device.
        is_result = scheduler.op1.matches(MicroOp.RDMAC, MicroOp.RDAF) | scheduler.program_read
        results_taken = Signal(range(_RESULTS + 1))
        results_pending = Signal(range(_RESULTS + 1))
        # Results come a fixed time after their commands. An abort does not wait for those of a device that is silent.
        silent = Signal(range(_LOST + 1))
        normal_data, silence_ends = normal.pending, is_result
        if dual:
            # Normal reads and results may be on their way at once. Their data come in the order of their commands.
            lost = self.abort & (silent == _LOST)
            m.submodules.order = order = ResetInserter(lost)(StreamFifo(1, round_trip(self._config.timing)))
            read = is_result | (scheduler.op0 == MicroOp.RD)
            m.d.comb += [order.i.p.eq(is_result), order.i.valid.eq(read), order.o.ready.eq(rvalid)]
            normal_data, silence_ends = ~order.o.p, read | rvalid
        result_data = rvalid & ~normal_data
        m.d.sync += [
            results_taken.eq(results_taken + is_result - (results.o.valid & results.o.ready)),
            results_pending.eq(results_pending + is_result - result_data),
        ]
        m.d.sync += silent.eq(Mux(silence_ends | result_data, 0, silent + (silent != _LOST)))
        with m.If(self.abort):
            m.d.sync += results_taken.eq(0)
            with m.If(silent == _LOST):
                m.d.sync += results_pending.eq(0)
        m.d.comb += [
            scheduler.pim_request.eq(self.pim_request),
            scheduler.abort.eq(self.abort),
            scheduler.refresh.eq(self.refresh),
            scheduler.result_space.eq(results_taken != _RESULTS),
            scheduler.results_pending.eq(results_pending != 0),
            self.quiet.eq(scheduler.quiet),
            self.requested.eq(~normal.proposal.idle),
            self.queued.eq(normal.queued),
            self.idle.eq(~ops.o.valid),
            normal.rdata.eq(rdata),
            normal.rvalid.eq(rvalid & normal_data),
            results.i.p.eq(rdata),
            results.i.valid.eq(result_data),
        ]
        return m
