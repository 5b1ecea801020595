"""Check an ISR instruction: the same checks in the same order as :func:`pim_model.spec.isr.decode_instruction`."""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import index_range
from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.geometry import TABLE_ROWS
from pim_model.spec.isr import FIELDS
from pim_model.spec.macro import MACRO_WORDS, MacroOp

__all__ = ["InstructionCheck", "first_failure", "uses"]


def uses(opcode, field: str):
    """Whether the instruction ``opcode`` uses ``field``."""
    return opcode.matches(*sorted(op for op in FIELDS if field in FIELDS[op]))


def first_failure(*checks):
    """Status of the first of ``(condition, status)`` whose condition holds; OK if none does."""
    found = Status.OK
    for condition, status in reversed(checks):
        found = Mux(condition, status, found)
    return found


class InstructionCheck(wiring.Component):
    """Combinational.

    Members
    -------
    words : In(8 x 32)
    instruction : Out(1)
        The opcode is an instruction's; what follows is valid with it.
    status : Out(8)
    lowest, span : Out
        Lowest channel of the mask, and GPRs from there to the highest.
    gprs : Out(13)
        GPRs that it reaches: its columns, its channels, or both (RD_SBK).
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "words": In(data.ArrayLayout(32, MACRO_WORDS)),
                "instruction": Out(1),
                "status": Out(8),
                "lowest": Out(index_range(config.geometry.channels)),
                "span": Out(6),
                "gprs": Out(13),
            }
        )

    def elaborate(self, platform):
        m = Module()
        words, geometry = self.words, self._config.geometry
        opcode = words[0][:8]
        size, column, bank = words[1][:7], words[1][8:14], words[1][16:20]
        mask, row = words[2], words[3][16:]
        local, second_set, function = words[0][25], words[0][24], words[0][28:]
        m.d.comb += self.instruction.eq(opcode.matches(*sorted(FIELDS)))

        fields = {
            "size": size,
            "column": column,
            "bank": bank,
            "row": row,
            "mask": mask,
            "gpr0": words[4],
            "gpr1": words[5],
            "function": function,
            "set": second_set,
            "local": local,
        }
        unused = Cat(value.any() & ~uses(opcode, name) for name, value in fields.items())
        holes = Cat(
            words[0][26:28], words[1][7], words[1][14:16], words[1][20:], words[3][:16], words[6], words[7]
        )

        highest = Signal.like(self.lowest)
        present = mask[: geometry.channels]
        for channel in range(geometry.channels):
            with m.If(present[channel]):
                m.d.comb += highest.eq(channel)
        for channel in reversed(range(geometry.channels)):
            with m.If(present[channel]):
                m.d.comb += self.lowest.eq(channel)
        m.d.comb += self.span.eq(highest - self.lowest + 1)
        absent = mask[geometry.channels :].any() if geometry.channels < 32 else Const(0, 1)
        bad_mask = uses(opcode, "mask") & (~mask.any() | absent)

        by_channel = opcode.matches(MacroOp.WR_BIAS, MacroOp.RD_MAC, MacroOp.RD_AF, MacroOp.RD_SBK)
        m.d.comb += self.gprs.eq(Mux(uses(opcode, "size"), size, 1) * Mux(by_channel, self.span, 1))
        limit = self._config.buffer_words
        beyond = (uses(opcode, "gpr0") & ((words[4] >> 5) + self.gprs > limit)) | (
            uses(opcode, "gpr1") & ((words[5] >> 5) + self.gprs > limit)
        )
        address = (
            (bank >= geometry.banks)
            | (row >= geometry.rows)
            | (uses(opcode, "column") & (column + size > geometry.columns))
        )
        m.d.comb += self.status.eq(
            first_failure(
                (unused.any() | holes.any(), Status.RESERVED_BITS),
                (uses(opcode, "size") & ((size == 0) | (size > 64)), Status.BAD_SHAPE),
                (uses(opcode, "function") & (function >= TABLE_ROWS), Status.BAD_FUNCTION),
                ((words[4][:5] | words[5][:5]).any(), Status.ALIGNMENT),
                (beyond & ~bad_mask, Status.BUFFER_RANGE),
                (bad_mask, Status.CHANNEL_MASK),
                (address, Status.ADDRESS_RANGE),
            )
        )
        return m
