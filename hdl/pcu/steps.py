"""Unroll a job into the register stream: bias, buffer loads and result reads, with their data.

Inputs and biases come from the activation buffer, a line a cycle: a buffer load takes the first word for all channels,
a bias has a part for each channel.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Job, RegisterKind, RegisterStep
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES

from .buffer import line_words
from .passes import Passes

__all__ = ["StepUnroller"]


class StepUnroller(wiring.Component):
    """One step a cycle while the controllers take them.

    Members
    -------
    job : In(Job), start : In(1), busy : Out(1)
        As in :class:`~hdl.pcu.tiles.TileUnroller`.
    read : Out(1), address : Out(16), data : In(256 x line words)
        Read port of the activation buffer.
    holds : Out(1)
        What the port shows is needed in the next cycle too.
    steps : Out(stream of RegisterStep)
        For all channels.
    words : Out(256), for each channel
        Its data of the step (``steps.p.data`` is not used).
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "job": In(Job),
                "start": In(1),
                "busy": Out(1),
                "read": Out(1),
                "holds": Out(1),
                "address": Out(16),
                "data": In(256 * line_words(config)),
                "steps": Out(stream.Signature(RegisterStep)),
                "words": Out(256).array(config.geometry.channels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._config.geometry
        channels = geometry.channels
        job = self.job

        # --- address stage: which step comes next, and the word that it needs
        m.submodules.passes = passes = Passes(self._config)
        m.d.comb += [passes.job.eq(job), passes.start.eq(self.start)]
        tile, column, second = Signal(24), Signal(6), Signal()
        input_base, tile_word = Signal(16), Signal(16)  # of the first lane
        bias_byte, bias_part = Signal(21), Signal(16)  # of the next group; the next matrix's word
        last_tile = tile == job.tiles - 1
        last_lane = Signal()
        last_column = Signal()
        m.d.comb += [
            last_lane.eq(second | ~(passes.token_pair | passes.group_pair)),
            last_column.eq(column == Mux(last_tile, job.last_columns, geometry.columns) - 1),
        ]

        move = Signal()  # the data stage takes a step in this cycle
        m.d.comb += self.read.eq(move)
        kind = Signal(RegisterKind)
        zero, partial = Signal(), Signal()  # data is zero; lanes beyond the columns are zero
        issue = Signal()
        final = Signal()

        with m.FSM(name="steps") as fsm:
            with m.State("IDLE"):
                with m.If(self.start):
                    m.d.sync += [
                        input_base.eq(job.input),
                        bias_byte.eq(job.bias * COLUMN_BYTES),
                        bias_part.eq(job.bias + job.part_stride),
                    ]
                    m.next = "BIAS"

            with m.State("BIAS"):
                m.d.comb += [issue.eq(1), kind.eq(RegisterKind.WRBIAS)]
                m.d.comb += self.address.eq(bias_byte >> 5)
                m.d.comb += zero.eq(~job.has_bias)
                with m.If(move):
                    m.d.sync += second.eq(~last_lane)
                    with m.If((last_lane & ~passes.stays) | passes.group_pair):
                        m.d.sync += bias_byte.eq(bias_byte + 2 * geometry.outputs)
                        with m.If(passes.ends.bit_select(second, 1)):
                            m.d.sync += [
                                bias_byte.eq(bias_part * COLUMN_BYTES),
                                bias_part.eq(bias_part + job.part_stride),
                            ]
                    with m.If(last_lane):
                        m.d.sync += [tile.eq(0), column.eq(0), tile_word.eq(input_base)]
                        m.next = "RESULT"
                        with m.If((job.tiles != 1) | passes.fresh | passes.token_pair):
                            m.next = "LOAD"

            with m.State("LOAD"):
                m.d.comb += [issue.eq(1), kind.eq(RegisterKind.WRGB)]
                m.d.comb += self.address.eq(tile_word + column + Mux(second, job.input_stride, 0))
                m.d.comb += partial.eq(last_tile & last_column)
                with m.If(move):
                    m.d.sync += column.eq(column + 1)
                    with m.If(last_column):
                        m.d.sync += [column.eq(0), second.eq(passes.token_pair & ~second)]
                        with m.If(second | ~passes.token_pair):
                            m.d.sync += [tile.eq(tile + 1), tile_word.eq(tile_word + geometry.columns)]
                            with m.If(last_tile):
                                m.next = "RESULT"

            with m.State("RESULT"):
                m.d.comb += [issue.eq(1), zero.eq(1)]
                m.d.comb += kind.eq(Mux(job.activate, RegisterKind.RDAF, RegisterKind.RDMAC))
                m.d.comb += final.eq(passes.last & last_lane)
                with m.If(move):
                    m.d.sync += second.eq(~last_lane)
                    with m.If(last_lane):
                        m.d.comb += passes.next.eq(1)
                        m.next = "BIAS"
                        with m.If(passes.stays | passes.turns):
                            m.d.sync += input_base.eq(input_base + (job.input_stride << passes.token_pair))
                        with m.Elif(passes.rewinds):
                            m.d.sync += input_base.eq(job.input)
                        with m.If(passes.turns):
                            m.d.sync += [
                                bias_byte.eq(job.bias * COLUMN_BYTES),
                                bias_part.eq(job.bias + job.part_stride),
                            ]
                        with m.If(passes.last):
                            m.next = "IDLE"

        # --- data stage: the step, and its word as the buffer's read port shows it
        held = Signal()
        held_step = Signal(
            data.StructLayout(
                {
                    "kind": RegisterKind,
                    "column": 6,
                    "accumulators": 1,
                    "final": 1,
                    "zero": 1,
                    "partial": 1,
                    "shift": 5,
                }
            )
        )
        m.d.comb += move.eq(issue & (~held | self.steps.ready))
        with m.If(move):
            m.d.sync += [
                held.eq(1),
                held_step.kind.eq(kind),
                held_step.column.eq(column),
                held_step.accumulators.eq(second),
                held_step.final.eq(final),
                held_step.zero.eq(zero),
                held_step.partial.eq(partial),
                held_step.shift.eq(bias_byte[:5]),
            ]
        with m.Elif(self.steps.ready):
            m.d.sync += held.eq(0)

        lanes = Signal(LANES)
        m.d.comb += lanes.eq(Mux(held_step.partial, (1 << job.last_lanes) - 1, -1))
        first = self.data[:256]
        load = Signal(256)
        m.d.comb += load.eq(Cat(Mux(lanes[i], first.word_select(i, 16), 0) for i in range(LANES)))
        # The biases of a group lie together; a group that is less than a word may begin inside one.
        group_bytes, per_channel = 2 * geometry.outputs, 16 * geometry.banks
        biases = Signal(8 * group_bytes)
        with m.Switch(held_step.shift):
            for place in range(0, COLUMN_BYTES, min(group_bytes, COLUMN_BYTES)):
                with m.Case(place):
                    m.d.comb += biases.eq(self.data >> (8 * place))
        for channel in range(channels):
            word = Mux(held_step.kind == RegisterKind.WRBIAS, biases.word_select(channel, per_channel), load)
            m.d.comb += self.words[channel].eq(Mux(held_step.zero, 0, word))
        m.d.comb += [
            self.steps.valid.eq(held),
            self.holds.eq(held & ~self.steps.ready),
            self.steps.p.kind.eq(held_step.kind),
            self.steps.p.column.eq(held_step.column),
            self.steps.p.accumulators.eq(held_step.accumulators),
            self.steps.p.final.eq(held_step.final),
            self.busy.eq(held | ~fsm.ongoing("IDLE")),
        ]
        return m
