"""Unroll ISR instructions: the items of each channel with their data, what the collector has to expect, and EWADD."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import ChannelOp, Collect, Job
from pim_model.spec.config import Config
from pim_model.spec.geometry import LANES
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import MicroOp

from .adder import Bf16Adder
from .buffer import line_words
from .instruction import uses

__all__ = ["InstructionIssuer"]

_MICRO = {
    MacroOp.WR_SBK: MicroOp.WR,
    MacroOp.WR_ABK: MicroOp.WRBK,
    MacroOp.WR_GB: MicroOp.WRGB,
    MacroOp.WR_BIAS: MicroOp.WRBIAS,
    MacroOp.RD_MAC: MicroOp.RDMAC,
    MacroOp.RD_AF: MicroOp.RDAF,
    MacroOp.RD_SBK: MicroOp.RD,
    MacroOp.COPY_BKGB: MicroOp.RDCP,
    MacroOp.COPY_GBBK: MicroOp.WRCP,
    MacroOp.MAC_SBK: MicroOp.MACSB,
    MacroOp.MAC_ABK: MicroOp.MACAB,
    MacroOp.AF: MicroOp.AF,
    MacroOp.EWMUL: MicroOp.EWMUL,
}
"""The micro command of each instruction that issues one."""

_WITH_DATA = (MacroOp.WR_SBK, MacroOp.WR_ABK, MacroOp.WR_GB)
"""One item a column, its data from the buffer."""

_RESULTS = (MacroOp.RD_MAC, MacroOp.RD_AF, MacroOp.RD_SBK)


class InstructionIssuer(wiring.Component):
    """An item a cycle while the controllers take them; an instruction begins when the one before has sent its last.

    An instruction that reads GPRs waits until all results of those before it are in the buffer; EWADD and SYNC wait
    until the channels are idle too.

    Members
    -------
    jobs : In(stream of Job)
        Well-formed instructions.
    busy : Out(1)
        An instruction has items to send, or is not done with the buffer.
    idle : In(1)
        No channel has an item, and no result is to come.
    collecting : In(1)
        Results are still to come.
    collect : Out(stream of Collect)
    ops : Out(stream of ChannelOp), mask : Out(channels), words : Out(256), for each channel
        An item, the channels that it is for, and the data of each channel (``ops.p.data`` is not used).
    read : Out(1), address : Out(16), data : In(256 x line words)
        Read port of the activation buffer.
    holds : Out(1)
        What the port shows is needed in the next cycle too.
    write : Out(1), write_address : Out(16), write_data : Out(256)
        A whole word for the buffer. Only while ``idle``.
    """

    def __init__(self, config: Config):
        self._config = config
        channels = config.geometry.channels
        super().__init__(
            {
                "jobs": In(stream.Signature(Job)),
                "busy": Out(1),
                "idle": In(1),
                "collecting": In(1),
                "collect": Out(stream.Signature(Collect)),
                "ops": Out(stream.Signature(ChannelOp)),
                "mask": Out(channels),
                "words": Out(256).array(channels),
                "read": Out(1),
                "holds": Out(1),
                "address": Out(16),
                "data": In(256 * line_words(config)),
                "write": Out(1),
                "write_address": Out(16),
                "write_data": Out(256),
            }
        )

    def elaborate(self, platform):
        m = Module()
        channels = self._config.geometry.channels
        job = self.jobs.p
        per_column = job.opcode.matches(*_WITH_DATA)
        bias = job.opcode == MacroOp.WR_BIAS
        results = job.opcode.matches(*_RESULTS)
        add = job.opcode == MacroOp.EWADD
        barrier = job.opcode == MacroOp.SYNC
        by_size = uses(job.opcode, "size")
        first = job.input - job.lowest  # word of channel 0, whether it is in the mask or not

        index = Signal(7)
        held, held_bias = Signal(), Signal()
        move = Signal()  # the item at hand goes to the output register
        ready = Signal()
        m.d.comb += ready.eq((~held | self.ops.ready) & (~(per_column | bias) | ~self.collecting))
        m.submodules.adder = adder = Bf16Adder()

        with m.If(self.ops.ready):
            m.d.sync += held.eq(0)
        with m.FSM(name="issue") as fsm:
            with m.State("ITEMS"):
                with m.If(~self.jobs.valid):
                    pass
                with m.Elif(add):
                    with m.If(self.idle & ~held):
                        m.next = "READ A"
                with m.Elif(barrier):
                    m.d.comb += self.jobs.ready.eq(self.idle & ~held)
                with m.Else():
                    m.d.comb += self.collect.valid.eq(results & ready)
                    m.d.comb += move.eq(ready & (~results | self.collect.ready))
                    m.d.comb += self.read.eq(move & (per_column | bias))
                    m.d.comb += self.address.eq(Mux(bias, first, job.input + index))
                    with m.If(move):
                        m.d.sync += index.eq(index + 1)
                        with m.If(~per_column | (index == job.size - 1)):
                            m.d.sync += index.eq(0)
                            m.d.comb += self.jobs.ready.eq(1)

            with m.State("READ A"):
                m.d.comb += [self.read.eq(1), self.address.eq(job.input + index)]
                m.next = "READ B"
            with m.State("READ B"):
                m.d.sync += adder.a.eq(self.data[:256])
                m.d.comb += [self.read.eq(1), self.address.eq(job.second + index)]
                m.next = "TAKE B"
            with m.State("TAKE B"):
                m.d.sync += adder.b.eq(self.data[:256])
                m.next = "ADD"
            with m.State("ADD"):
                m.d.comb += adder.run.eq(1)
                with m.If(adder.lane == LANES - 1):
                    m.next = "WRITE"
            with m.State("WRITE"):
                m.d.comb += self.write.eq(1)
                m.d.sync += index.eq(index + 1)
                m.next = "READ A"
                with m.If(index == job.size - 1):
                    m.d.sync += index.eq(0)
                    m.d.comb += self.jobs.ready.eq(1)
                    m.next = "ITEMS"
        m.d.comb += [self.write_address.eq(job.input + index), self.write_data.eq(adder.sum)]

        m.d.comb += [
            self.collect.p.mask.eq(job.mask),
            self.collect.p.address.eq(first),
            self.collect.p.stride.eq(job.span),
            self.collect.p.rounds.eq(Mux(by_size, job.size, 1)),
        ]
        item = self.ops.p
        micro = Array([MicroOp.NOP] * 32)
        for opcode, op in _MICRO.items():
            micro[opcode & 31] = op
        with m.If(move):
            m.d.sync += [
                held.eq(1),
                held_bias.eq(bias),
                self.mask.eq(job.mask),
                item.op.eq(micro[job.opcode[:5]]),
                item.bank.eq(job.bank),
                item.row.eq(Mux(job.opcode == MacroOp.AF, job.function, job.weight_row)),
                item.column.eq(job.column + index),
                item.count.eq(Mux(per_column | ~by_size, 1, job.size)),
                item.mode.eq(job.mode),
            ]
        m.d.comb += self.holds.eq(held & ~self.ops.ready)
        m.d.comb += [self.ops.valid.eq(held), self.busy.eq(held | self.jobs.valid | ~fsm.ongoing("ITEMS"))]
        for channel in range(channels):
            m.d.comb += self.words[channel].eq(
                Mux(held_bias, self.data.word_select(channel, 256), self.data[:256])
            )
        return m
