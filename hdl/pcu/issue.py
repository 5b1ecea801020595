"""Unroll ISR instructions: the items of each channel with their data, and what the collector has to expect."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import ChannelOp, Collect, Job
from pim_model.spec.config import Config
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import MicroOp

from .buffer import line_words
from .ewadd import GprAdder
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

    An instruction that reads GPRs waits for the results of those before it, if they may be its operands, and one that
    reads or writes any waits for the sums of an EWADD. SYNC waits until nothing is under way.

    Members
    -------
    jobs : In(stream of Job)
        Well-formed instructions.
    busy : Out(1)
        An instruction has items to send, or sums to write.
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
        A whole word for the buffer. Never while ``collecting``.
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
        by_size = uses(job.opcode, "size")
        first = job.input - job.lowest  # word of channel 0, whether it is in the mask or not

        index = Signal(7)
        held, held_bias = Signal(), Signal()
        move = Signal()  # the item at hand goes to the output register
        takes = per_column | bias

        # What the buffer is still to get: results of instructions, in a range of words that only grows until all came.
        low, high = Signal(16), Signal(17)
        end = job.input + job.gprs
        overlaps = self.collecting & (job.input < high) & (low < end)
        m.submodules.adder = adder = GprAdder()
        ready = Signal()
        m.d.comb += ready.eq(
            (~held | self.ops.ready) & ~(takes & overlaps) & ~((takes | results) & adder.busy)
        )

        with m.If(self.ops.ready):
            m.d.sync += held.eq(0)
        with m.If(~self.jobs.valid):
            pass
        with m.Elif(job.opcode == MacroOp.EWADD):
            m.d.comb += [adder.sums.valid.eq(1), self.jobs.ready.eq(adder.sums.ready)]
        with m.Elif(job.opcode == MacroOp.SYNC):
            m.d.comb += self.jobs.ready.eq(self.idle & ~held & ~adder.busy)
        with m.Else():
            m.d.comb += self.collect.valid.eq(results & ready)
            m.d.comb += move.eq(ready & (~results | self.collect.ready))
            with m.If(move & results):
                m.d.sync += [
                    low.eq(Mux(self.collecting & (low < job.input), low, job.input)),
                    high.eq(Mux(self.collecting & (high > end), high, end)),
                ]
            with m.If(move):
                m.d.sync += index.eq(index + 1)
                with m.If(~per_column | (index == job.size - 1)):
                    m.d.sync += index.eq(0)
                    m.d.comb += self.jobs.ready.eq(1)

        reads = Signal()
        m.d.comb += [
            reads.eq(move & takes),
            self.holds.eq(held & ~self.ops.ready),
            adder.sums.p.first.eq(job.input),
            adder.sums.p.second.eq(job.second),
            adder.sums.p.count.eq(job.size),
            adder.wait.eq(self.collecting),
            adder.granted.eq(adder.read & ~reads & ~self.holds),
            adder.data.eq(self.data[:256]),
            self.read.eq(reads | adder.granted),
            self.address.eq(Mux(reads, Mux(bias, first, job.input + index), adder.address)),
            self.write.eq(adder.write),
            self.write_address.eq(adder.write_address),
            self.write_data.eq(adder.write_data),
        ]
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
        m.d.comb += [self.ops.valid.eq(held), self.busy.eq(held | self.jobs.valid | adder.busy)]
        for channel in range(channels):
            m.d.comb += self.words[channel].eq(
                Mux(held_bias, self.data.word_select(channel, 256), self.data[:256])
            )
        return m
