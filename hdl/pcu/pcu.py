"""The PIM control unit.

# Ref: IANUS (ASPLOS 2024), section 4.1
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import ChannelOp, Completion, Job, MacroEntry, RegisterStep, Tile
from hdl.stream import ProtectedFifo, StreamFifo
from pim_model.spec.config import Config
from pim_model.spec.errors import Path, Status

from .buffer import ActivationBuffer
from .collector import IN_FLIGHT, Collector
from .decoder import Decoder
from .fetch import Fetch
from .issue import InstructionIssuer
from .steps import StepUnroller
from .tiles import TileUnroller

__all__ = ["TURN", "Pcu"]

TURN = 256
"""Cycles that older normal traffic has the channels for, before a macro that waits takes them."""


class Pcu(wiring.Component):
    """Take macros, run them on all channels, complete each exactly once and in order.

    A MATVEC is unrolled while the results of the one before it are still collected, unless it reads what those write.
    Instructions run after all before them; a program's instructions follow each other without a gap.

    Between two macros the one that is older goes first: normal traffic that has waited since before the next macro was
    pushed has the channels for :data:`TURN` cycles or until none waits; otherwise the next macro keeps them. With dual
    row buffers that is so before programs; MATVECs share the channels.

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
    refused : Out(1), refused_info : Out(32)
        A macro completes in this cycle with another status than OK; its tag and status as in ERROR_INFO.
    wrote : Out(1)
        A word for the activation buffer in this cycle.
    inject : In(3), parity : Out(3), each a Path
        Flip a bit of each word that is written there; a bit has flipped in what is used in this cycle.
    distrust : In(1)
        A bit has flipped somewhere: macros complete with PARITY.
    now : In(32)
        Controller cycles, for the completion's duration.
    traffic : In(1), traffic_since : In(32)
        Normal requests wait for their channels; the cycle since when.
    pim_request : Out(1)
        A macro wants the channels, or has them.
    exclusive : Out(1), started : Out(1)
        With dual row buffers: that macro is, or belongs to, a program; a MATVEC starts.
    tiles, steps, ops : Out(stream), results : In(stream), idle : In(1), for each channel
        To and from the controllers.
    host_read, host_address, host_data, host_bad, host_write, host_write_data, host_write_mask, host_write_ready
        The host's port of the activation buffer, as in :class:`~hdl.pcu.buffer.ActivationBuffer`.
    """

    def __init__(self, config: Config):
        self._config = config
        channels = config.geometry.channels
        super().__init__(
            {
                **({"exclusive": Out(1), "started": Out(1)} if config.dual_row_buffer else {}),
                "macros": In(stream.Signature(MacroEntry)),
                "completions": Out(stream.Signature(Completion)),
                "space": Out(range(config.macro_queue + 1)),
                "busy": Out(1),
                "refused": Out(1),
                "refused_info": Out(32),
                "wrote": Out(1),
                "inject": In(3),
                "parity": Out(3),
                "distrust": In(1),
                "now": In(32),
                "traffic": In(1),
                "traffic_since": In(32),
                "pim_request": Out(1),
                "tiles": Out(stream.Signature(Tile)).array(channels),
                "steps": Out(stream.Signature(RegisterStep)).array(channels),
                "ops": Out(stream.Signature(ChannelOp)).array(channels),
                "results": In(stream.Signature(256)).array(channels),
                "idle": In(1).array(channels),
                "host_read": In(1),
                "host_address": In(16),
                "host_data": Out(256),
                "host_bad": Out(1),
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
        m.submodules.queue = queue = ProtectedFifo(MacroEntry, config.macro_queue)
        m.submodules.fetch = fetch = Fetch(config)
        m.submodules.decoder = decoder = Decoder(config)
        m.submodules.tiles = tiles = TileUnroller(config)
        m.submodules.steps = steps = StepUnroller(config)
        m.submodules.issue = issue = InstructionIssuer(config)
        m.submodules.collector = collector = Collector(config)
        m.submodules.completions = completions = StreamFifo(Completion, config.completion_queue)
        m.submodules.buffer = buffer = ActivationBuffer(config)

        connect(m, flipped(self.macros), queue.i)
        connect(m, queue.o, fetch.macros)
        connect(m, fetch.fetched, decoder.macros)
        connect(m, completions.o, flipped(self.completions))
        m.d.comb += self.space.eq(config.macro_queue - queue.level)

        # --- what runs
        job = Signal(Job)  # the MATVEC being unrolled
        start = Signal()
        granted = Signal()  # a macro of instructions has the channels until it completes
        ending = Signal()  # all its instructions have been taken
        unrolling = tiles.busy | steps.busy
        channels_idle = Cat(self.idle[i] for i in range(channels)).all()
        quiet = ~issue.busy & channels_idle & ~collector.expecting
        settled = Signal()
        running = unrolling | (collector.awaited != 0) | ~quiet
        m.d.comb += settled.eq(~running & ~start)
        # Not yet in the cycle of ``start``: the first register step is a cycle behind the first tile.
        m.d.comb += self.pim_request.eq(running | granted | ending)

        # --- what may begin
        next_, offered = decoder.jobs.p, decoder.jobs.valid
        older = (self.traffic_since - next_.pushed)[31]  # traffic has waited since before the push
        turn = Signal(range(TURN + 1))
        with m.If(self.pim_request | ~self.traffic):
            m.d.sync += turn.eq(0)
        with m.Elif(turn != TURN):
            m.d.sync += turn.eq(turn + 1)
        mine = granted | ~self.traffic | ~older | (turn == TURN)
        if config.dual_row_buffer:
            m.d.comb += [self.exclusive.eq(granted | ending), self.started.eq(start)]
            # A MATVEC that shares the channels takes nobody's turn.
            mine = mine | (~next_.instruction & next_.last)
        # MATVECs leave completions when their results are in, so places are kept for those that run.
        room = completions.level + collector.awaited < config.completion_queue
        begins = offered & (next_.status == Status.OK) & mine & room & ~unrolling & ~start & ~ending
        # What the MATVEC before it still writes.
        written_from, written_to = Signal(16), Signal(17)
        reads_results = ((next_.input < written_to) & (written_from < next_.input_end)) | (
            next_.has_bias & (next_.bias < written_to) & (written_from < next_.bias + next_.output_stride)
        )
        alone = collector.awaited == 0
        multiply, instruct = Signal(), Signal()
        m.d.comb += [
            multiply.eq(
                begins
                & ~next_.instruction
                & quiet
                & (alone | ((collector.awaited < IN_FLIGHT) & ~reads_results))
            ),
            instruct.eq(begins & next_.instruction & alone),
            issue.jobs.p.eq(next_),
            issue.jobs.valid.eq(instruct),
            issue.idle.eq(channels_idle & ~collector.expecting),
            issue.collecting.eq(collector.expecting),
        ]
        m.d.sync += start.eq(multiply)
        with m.If(multiply):
            m.d.comb += decoder.jobs.ready.eq(1)
            m.d.sync += [
                job.eq(next_),
                granted.eq(~next_.last),
                written_from.eq(next_.output),
                written_to.eq(next_.output_end),
            ]
        with m.If(instruct):
            m.d.comb += decoder.jobs.ready.eq(issue.jobs.ready)
            m.d.sync += [granted.eq(1), ending.eq(issue.jobs.ready & next_.last)]
            m.d.sync += [job.tag.eq(next_.tag), job.pushed.eq(next_.pushed)]
        m.d.comb += [tiles.job.eq(job), steps.job.eq(job), collector.job.eq(job)]
        m.d.comb += [unit.start.eq(start) for unit in (tiles, steps, collector)]

        # --- completions: of MATVECs with their last result, of all else when nothing runs
        done, refused = Signal(), Signal()
        completion = completions.i.p
        m.d.comb += [
            done.eq(collector.done & collector.ended.last),
            refused.eq(offered & (next_.status != Status.OK) & settled & ~ending),
            completions.i.valid.eq(done | refused | (ending & settled)),
            completion.tag.eq(job.tag),
            completion.status.eq(Mux(self.distrust, Status.PARITY, Status.OK)),
            completion.cycles.eq(self.now - job.pushed),
        ]
        with m.If(done):
            m.d.comb += completion.tag.eq(collector.ended.tag)
            m.d.comb += completion.cycles.eq(self.now - collector.ended.pushed)
        with m.Elif(refused):
            m.d.comb += [completion.tag.eq(next_.tag), completion.status.eq(next_.status)]
            m.d.comb += completion.cycles.eq(self.now - next_.pushed)
            m.d.comb += decoder.jobs.ready.eq(completions.i.ready)
        with m.If(completions.i.ready & (refused | (ending & settled))):
            m.d.sync += [granted.eq(0), ending.eq(0)]
        m.d.comb += [
            self.refused.eq(refused & completions.i.ready & ~done),
            self.refused_info.eq(next_.tag | next_.status << 16),
            self.wrote.eq(buffer.pcu_write),
        ]
        with m.If(queue.bad):
            m.d.comb += self.parity.eq(Path.MACRO)
        with m.Elif(buffer.pcu_bad | buffer.host_bad):
            m.d.comb += self.parity.eq(Path.BUFFER)
        m.d.comb += self.busy.eq(queue.o.valid | decoder.busy | start | self.pim_request)

        # --- broadcast: a tile, step or item leaves when every channel that it is for can take it
        tiles_taken, steps_taken, ops_taken = Signal(), Signal(), Signal()
        m.d.comb += [
            tiles_taken.eq(Cat(self.tiles[i].ready for i in range(channels)).all()),
            steps_taken.eq(Cat(self.steps[i].ready for i in range(channels)).all()),
            ops_taken.eq(Cat(self.ops[i].ready | ~issue.mask[i] for i in range(channels)).all()),
            tiles.tiles.ready.eq(tiles_taken),
            steps.steps.ready.eq(steps_taken),
            issue.ops.ready.eq(ops_taken),
            collector.expect.p.eq(issue.collect.p),
            collector.expect.valid.eq(issue.collect.valid),
            issue.collect.ready.eq(collector.expect.ready),
        ]
        for i in range(channels):
            m.d.comb += [
                self.tiles[i].p.eq(tiles.tiles.p),
                self.tiles[i].valid.eq(tiles.tiles.valid & tiles_taken),
                self.steps[i].p.eq(steps.steps.p),
                self.steps[i].p.data.eq(steps.words[i]),
                self.steps[i].valid.eq(steps.steps.valid & steps_taken),
                self.ops[i].p.eq(issue.ops.p),
                self.ops[i].p.data.eq(issue.words[i]),
                self.ops[i].valid.eq(issue.ops.valid & ops_taken & issue.mask[i]),
            ]
            connect(m, flipped(self.results[i]), collector.results[i])

        # --- the buffer's ports: operands before programs, and results of one kind at a time
        m.d.comb += [
            buffer.pcu_read.eq(steps.read | issue.read | fetch.granted),
            fetch.granted.eq(fetch.read & ~(steps.read | steps.holds | issue.read | issue.holds)),
            buffer.pcu_address.eq(
                Mux(steps.read, steps.address, Mux(issue.read, issue.address, fetch.address))
            ),
            steps.data.eq(buffer.pcu_data),
            issue.data.eq(buffer.pcu_data),
            fetch.data.eq(buffer.pcu_data),
            fetch.data_bad.eq(buffer.pcu_bad),
            fetch.bad.eq(queue.bad),
            queue.flip.eq(self.inject == Path.MACRO),
            buffer.flip.eq(self.inject == Path.BUFFER),
            self.host_bad.eq(buffer.host_bad),
            buffer.pcu_write.eq(collector.write | issue.write),
            buffer.pcu_write_address.eq(Mux(issue.write, issue.write_address, collector.address)),
            buffer.pcu_write_data.eq(Mux(issue.write, issue.write_data, collector.data)),
            buffer.pcu_write_mask.eq(Mux(issue.write, 0xFFFFFFFF, collector.mask)),
            buffer.host_read.eq(self.host_read),
            buffer.host_address.eq(self.host_address),
            self.host_data.eq(buffer.host_data),
            buffer.host_write.eq(self.host_write),
            buffer.host_write_data.eq(self.host_write_data),
            buffer.host_write_mask.eq(self.host_write_mask),
            self.host_write_ready.eq(buffer.host_write_ready),
        ]
        return m
