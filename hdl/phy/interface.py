"""Command and data bus of one channel, as the controller drives it.

# Ref: "GDDR6-AiM: what is publicly known", access to global buffer, bias and results
"""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.geometry import COLUMN_BYTES

__all__ = ["COMMAND", "PhySignature"]

COMMAND = ("op0", "bank0", "row0", "column0", "mode0", "op1", "column1", "mode1", "wdata", "wmask")
"""Members that the controller drives."""


class PhySignature(wiring.Signature):
    """Two command slots, one write burst and one read burst a controller cycle.

    A command stands on the bus for one cycle. Slot 0 (the first CK) takes row, column, compute, refresh and mode
    commands, slot 1 the register commands (WRGB, WRBIAS, RDMAC, RDAF). Widths do not depend on the geometry.

    Members
    -------
    op0, op1 : Out(5)
        Micro command of the slot, a :class:`pim_model.spec.micro.MicroOp`; NOP when there is none.
    bank0, row0, column0 : Out(4), Out(16), Out(6)
        Operands of slot 0, valid with an ``op0`` that uses them.
    column1 : Out(6)
        Operand of slot 1, valid with WRGB.
    mode0, mode1 : Out(2)
        Accumulator set and operand source of a slot's command, a :class:`pim_model.spec.micro.Mode`.
    wdata, wmask : Out(256), Out(32)
        Data and byte enables, valid in the cycle of a WR, WRBK, WRGB or WRBIAS; the layer below delays them by the
        write latency. At most one such command a cycle.
    rvalid, rdata : In(1), In(256)
        Data of RD, RDMAC and RDAF, in command order, a fixed number of cycles after the command.
    """

    def __init__(self):
        super().__init__(
            {
                "op0": Out(5),
                "bank0": Out(4),
                "row0": Out(16),
                "column0": Out(6),
                "op1": Out(5),
                "column1": Out(6),
                "mode0": Out(2),
                "mode1": Out(2),
                "wdata": Out(8 * COLUMN_BYTES),
                "wmask": Out(COLUMN_BYTES),
                "rvalid": In(1),
                "rdata": In(8 * COLUMN_BYTES),
            }
        )

    def __eq__(self, other):
        return isinstance(other, PhySignature)

    def __repr__(self):
        return "PhySignature()"
