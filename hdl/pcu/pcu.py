"""The PIM control unit.

# Ref: IANUS (ASPLOS 2024), section 4.1
"""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import Completion, Job, MacroEntry, RegisterStep, Tile
from hdl.stream import StreamFifo
from pim_model.spec.config import Config
from pim_model.spec.errors import Status

from .buffer import ActivationBuffer
from .collector import Collector
from .decoder import Decoder
from .steps import StepUnroller
from .tiles import TileUnroller

__all__ = ["Pcu"]


class Pcu(wiring.Component):
    """Take macros, run one after the other on all channels, complete each exactly once and in order.

    A reset of the whole unit (``ResetInserter``) drops all macros and completions and keeps the buffer's content; the
    controllers have to be aborted with it.

    Members
    -------
    macros : In(stream of MacroEntry)
        Accepted while the queue has a place.
    completions : Out(stream of Completion)
    space : Out
        Free places in the macro queue.
    busy : Out(1)
        A macro is queued, decoded or running, or its completion waits to enter the completion queue.
    now : In(32)
        Controller cycles, for the completion's duration.
    pim_request : Out(1)
        A macro wants the channels, or has them.
    tiles, steps : Out(stream), results : In(stream), for each channel
        To and from the controllers.
    host_read, host_address, host_data, host_write, host_write_data, host_write_mask, host_write_ready
        The host's port of the activation buffer, as in :class:`~hdl.pcu.buffer.ActivationBuffer`.
    """

    def __init__(self, config: Config):
        self._config = config
        channels = config.geometry.channels
        super().__init__(
            {
                "macros": In(stream.Signature(MacroEntry)),
                "completions": Out(stream.Signature(Completion)),
                "space": Out(range(config.macro_queue + 1)),
                "busy": Out(1),
                "now": In(32),
                "pim_request": Out(1),
                "tiles": Out(stream.Signature(Tile)).array(channels),
                "steps": Out(stream.Signature(RegisterStep)).array(channels),
                "results": In(stream.Signature(256)).array(channels),
                "host_read": In(1),
                "host_address": In(16),
                "host_data": Out(256),
                "host_write": In(1),
                "host_write_data": In(256),
                "host_write_mask": In(32),
                "host_write_ready": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        channels = config.geometry.channels
        m.submodules.queue = queue = StreamFifo(MacroEntry, config.macro_queue)
        m.submodules.decoder = decoder = Decoder(config)
        m.submodules.tiles = tiles = TileUnroller(config)
        m.submodules.steps = steps = StepUnroller(config)
        m.submodules.collector = collector = Collector(config)
        m.submodules.completions = completions = StreamFifo(Completion, config.completion_queue)
        m.submodules.buffer = buffer = ActivationBuffer(config)

        connect(m, flipped(self.macros), queue.i)
        connect(m, queue.o, decoder.macros)
        connect(m, completions.o, flipped(self.completions))
        m.d.comb += self.space.eq(config.macro_queue - queue.level)

        # --- one job at a time
        job = Signal(Job)
        start, complete = Signal(), Signal()
        m.d.comb += [tiles.job.eq(job), steps.job.eq(job), collector.job.eq(job)]
        m.d.comb += [unit.start.eq(start) for unit in (tiles, steps, collector)]
        with m.FSM(name="pcu") as fsm:
            with m.State("IDLE"):
                m.d.comb += decoder.jobs.ready.eq(1)
                m.d.sync += job.eq(decoder.jobs.p)
                with m.If(decoder.jobs.valid):
                    m.next = "START"
            with m.State("START"):
                with m.If(job.status != Status.OK):
                    m.next = "COMPLETE"
                with m.Else():
                    m.d.comb += start.eq(1)
                    m.next = "RUN"
            with m.State("RUN"):
                m.d.comb += self.pim_request.eq(1)
                with m.If(collector.done):
                    m.next = "COMPLETE"
            with m.State("COMPLETE"):
                m.d.comb += complete.eq(1)
                with m.If(completions.i.ready):
                    m.next = "IDLE"
        m.d.comb += [
            completions.i.valid.eq(complete),
            completions.i.p.tag.eq(job.tag),
            completions.i.p.status.eq(job.status),
            completions.i.p.cycles.eq(self.now - job.pushed),
            self.busy.eq(queue.o.valid | decoder.busy | ~fsm.ongoing("IDLE")),
        ]

        # --- broadcast: a tile or step leaves when every channel that it is for can take it
        tiles_taken, steps_taken = Signal(), Signal()
        m.d.comb += tiles_taken.eq(1)
        m.d.comb += steps_taken.eq(1)
        for i in range(channels):
            with m.If(~self.tiles[i].ready):
                m.d.comb += tiles_taken.eq(0)
            with m.If(steps.channels[i] & ~self.steps[i].ready):
                m.d.comb += steps_taken.eq(0)
        m.d.comb += [tiles.tiles.ready.eq(tiles_taken), steps.steps.ready.eq(steps_taken)]
        for i in range(channels):
            m.d.comb += [
                self.tiles[i].p.eq(tiles.tiles.p),
                self.tiles[i].valid.eq(tiles.tiles.valid & tiles_taken),
                self.steps[i].p.eq(steps.steps.p),
                self.steps[i].valid.eq(steps.steps.valid & steps_taken & steps.channels[i]),
            ]
            connect(m, flipped(self.results[i]), collector.results[i])

        m.d.comb += [
            buffer.pcu_read.eq(steps.read),
            buffer.pcu_address.eq(steps.address),
            steps.data.eq(buffer.pcu_data),
            buffer.pcu_write.eq(collector.write),
            buffer.pcu_write_address.eq(collector.address),
            buffer.pcu_write_data.eq(collector.data),
            buffer.pcu_write_mask.eq(collector.mask),
            buffer.host_read.eq(self.host_read),
            buffer.host_address.eq(self.host_address),
            self.host_data.eq(buffer.host_data),
            buffer.host_write.eq(self.host_write),
            buffer.host_write_data.eq(self.host_write_data),
            buffer.host_write_mask.eq(self.host_write_mask),
            self.host_write_ready.eq(buffer.host_write_ready),
        ]
        return m
