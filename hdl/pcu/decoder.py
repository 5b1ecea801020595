"""Check a macro and turn it into the units of the hardware.

For a MATVEC or QKV the same checks in the same order as :func:`pim_model.spec.macro.decode`, with one multiplier used
in turn; for an instruction see ``instruction.py``.
"""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Fetched, Job
from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.geometry import LANES, TABLE_ROWS
from pim_model.spec.macro import COLUMNS_BITS, ROWS_BITS, MacroOp

from .instruction import InstructionCheck

__all__ = ["Decoder"]


def _log2(value: int) -> int:
    return value.bit_length() - 1


def _ceil_shift(value, bits: int):
    """``value / 2**bits``, rounded up."""
    return (value >> bits) + value[:bits].any() if bits else value


class Decoder(wiring.Component):
    """Take a macro, give a job: in one cycle for an instruction, in eight for a product, while the one before it runs.

    The first malformed macro of a program ends it: all that follow are dropped, and one job with its status is the
    program's last.

    Members
    -------
    macros : In(stream of Fetched)
    jobs : Out(stream of Job)
        A job whose status is not OK is the last of the host's macro, and has no other valid field but tag and push
        time.
    busy : Out(1)
        A macro is being decoded, or its job waits.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {"macros": In(stream.Signature(Fetched)), "jobs": Out(stream.Signature(Job)), "busy": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        config, geometry = self._config, self._config.geometry
        words = self.macros.p.words
        rows, columns, tokens = words[1][:ROWS_BITS], words[2][:COLUMNS_BITS], words[3][:16]
        has_bias, activate, function = words[0][24], words[0][25], words[0][28:32]
        qkv = words[0][:8] == MacroOp.QKV

        job = Signal(Job)
        factor_a = Signal(24)
        factor_b = Signal(24)
        product = Signal(48)
        input_end = Signal(50)
        output_end = Signal(50)
        bias_end = Signal(50)
        m.d.comb += [self.jobs.p.eq(job), product.eq(factor_a * factor_b)]

        def check(condition, status: Status):
            """Record ``status`` if ``condition`` holds and nothing failed before."""
            with m.If(condition & (job.status == Status.OK)):
                m.d.sync += job.status.eq(status)

        log_outputs, log_elements = _log2(geometry.outputs), _log2(geometry.elements)
        log_lanes = _log2(LANES)
        groups, part = _ceil_shift(rows, log_outputs), _ceil_shift(rows, log_lanes)
        limit = config.buffer_words
        m.submodules.check = instruction = InstructionCheck(config)
        m.d.comb += instruction.words.eq(words)

        given = Signal()  # ``job`` is on offer
        m.d.comb += self.jobs.valid.eq(given)
        with m.If(self.jobs.ready):
            m.d.sync += given.eq(0)
        free = ~given | self.jobs.ready
        failed = Signal(8)  # status of the program being dropped

        def give(status):
            """Offer ``job``, unless it is a malformed macro before the end of a program."""
            m.d.comb += self.macros.ready.eq(1)
            with m.If(self.macros.p.last):
                m.d.sync += [given.eq(1), failed.eq(Status.OK), job.status.eq(Mux(failed, failed, status))]
            with m.Elif(failed == Status.OK):
                m.d.sync += [given.eq(status == Status.OK), failed.eq(status)]

        with m.FSM(name="decoder") as fsm:
            with m.State("TAKE"):
                with m.If(self.macros.valid & free):
                    m.d.sync += [
                        job.status.eq(Status.OK),
                        job.tag.eq(self.macros.p.tag),
                        job.pushed.eq(self.macros.p.pushed),
                        job.last.eq(self.macros.p.last),
                        job.instruction.eq(instruction.instruction),
                        job.opcode.eq(words[0][:8]),
                        job.mode.eq(words[0][24:26]),
                        job.size.eq(words[1][:7]),
                        job.column.eq(words[1][8:14]),
                        job.bank.eq(words[1][16:20]),
                        job.mask.eq(words[2]),
                        job.second.eq(words[5] >> 5),
                        job.lowest.eq(instruction.lowest),
                        job.span.eq(instruction.span),
                        job.gprs.eq(instruction.gprs),
                        job.weight_row.eq(words[3][16:]),
                        job.qkv.eq(qkv),
                        job.second_row.eq(words[7][:16]),
                        job.third_row.eq(words[7][16:]),
                        job.tokens.eq(tokens),
                        job.groups.eq(groups),
                        job.all_groups.eq(groups + Mux(qkv, groups << 1, 0)),
                        job.last_rows.eq(Mux(rows[:log_outputs].any(), rows[:log_outputs], geometry.outputs)),
                        job.tiles.eq(_ceil_shift(columns, log_elements)),
                        job.last_columns.eq(
                            Mux(
                                columns[:log_elements].any(),
                                _ceil_shift(columns[:log_elements], log_lanes),
                                geometry.columns,
                            )
                        ),
                        job.last_lanes.eq(Mux(columns[:log_lanes].any(), columns[:log_lanes], LANES)),
                        job.input.eq(words[4] >> 5),
                        job.input_stride.eq(_ceil_shift(columns, log_lanes)),
                        job.output.eq(words[5] >> 5),
                        job.part_stride.eq(part),
                        job.output_stride.eq(part + Mux(qkv, part << 1, 0)),
                        job.bias.eq(words[6] >> 5),
                        job.has_bias.eq(has_bias),
                        job.activate.eq(activate),
                        job.function.eq(function),
                    ]
                    with m.If(failed | self.macros.p.status):
                        give(self.macros.p.status)
                    with m.Elif(instruction.instruction):
                        give(instruction.status)
                    with m.Else():
                        m.next = "CHECK FIELDS"

            with m.State("CHECK FIELDS"):
                reserved = Cat(
                    words[0][26:28],
                    words[1][ROWS_BITS:],
                    words[2][COLUMNS_BITS:],
                    Mux(qkv, 0, words[7]),
                    Mux(activate, 0, function),
                    Mux(has_bias, 0, words[6]),
                )
                opcode = (words[0][:8] != MacroOp.MATVEC) & ~qkv
                shape = (rows == 0) | (columns == 0) | (tokens == 0)
                with m.If(opcode):
                    m.d.sync += job.status.eq(Status.BAD_OPCODE)
                with m.Elif(reserved.any()):
                    m.d.sync += job.status.eq(Status.RESERVED_BITS)
                with m.Elif(shape):
                    m.d.sync += job.status.eq(Status.BAD_SHAPE)
                with m.Elif(activate & (function >= TABLE_ROWS)):
                    m.d.sync += job.status.eq(Status.BAD_FUNCTION)
                m.d.sync += [factor_a.eq(job.groups), factor_b.eq(job.tiles)]
                m.next = "CHECK WEIGHTS"

            with m.State("CHECK WEIGHTS"):
                beyond = [
                    row + product > geometry.weight_rows
                    for row in (job.weight_row, job.second_row, job.third_row)
                ]
                check(beyond[0] | (job.qkv & (beyond[1] | beyond[2])), Status.WEIGHT_RANGE)
                m.d.sync += [factor_a.eq(job.input_stride), factor_b.eq(job.tokens)]
                m.next = "CHECK INPUT"

            with m.State("CHECK INPUT"):
                # Alignment comes before ranges: see the order of the status codes.
                aligned = (words[4][:5] | words[5][:5] | words[6][:5]) == 0
                check(~aligned, Status.ALIGNMENT)
                m.d.sync += [input_end.eq((words[4] >> 5) + product), factor_a.eq(job.output_stride)]
                m.next = "CHECK OUTPUT"

            with m.State("CHECK OUTPUT"):
                m.d.sync += [
                    output_end.eq((words[5] >> 5) + product),
                    bias_end.eq(Mux(has_bias, (words[6] >> 5) + job.output_stride, 0)),
                ]
                m.next = "CHECK RANGES"

            with m.State("CHECK RANGES"):
                check((input_end > limit) | (output_end > limit) | (bias_end > limit), Status.BUFFER_RANGE)
                m.next = "CHECK OVERLAP"

            with m.State("CHECK OVERLAP"):
                on_input = (job.output < input_end) & (job.input < output_end)
                on_bias = (job.output < bias_end) & (job.bias < output_end)
                check(on_input | on_bias, Status.OVERLAP)
                m.d.sync += [job.input_end.eq(input_end), job.output_end.eq(output_end)]
                m.next = "GIVE"

            with m.State("GIVE"):
                give(job.status)
                m.next = "TAKE"
        m.d.comb += self.busy.eq(given | ~fsm.ongoing("TAKE"))
        return m
