"""Legality of a channel whose banks have two row buffers, for the checker. Timing is the checker's own business."""

from amaranth import Array, Cat, Module, Mux, Signal

from pim_model.spec.config import Config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import MicroOp

__all__ = ["dual_state"]

_CLOSED, _PIM, _TABLE = range(3)


def dual_state(m: Module, config: Config, bus, local_one):
    """Follow slot 0 of ``bus``; yield (broken, violation) for each rule on what is open.

    No command of this device opens or closes the PIM buffer of one bank alone, so all banks share one state of it.
    ``local_one``: slot 0 holds a MAC of one bank on its neighbour's column.
    """
    geometry, op = config.geometry, bus.op0
    bank = bus.bank0[: geometry.bank_bits]
    opened = Signal(geometry.banks, name="mem_opened")
    rows = Array(Signal(16, name=f"mem_row{i}") for i in range(geometry.banks))
    pim, pim_row, row = Signal(2), Signal(16), Signal(16)
    m.d.comb += row.eq(bus.row0 + Mux(op == MicroOp.ACTAF, geometry.weight_rows, 0))
    with m.Switch(op):
        with m.Case(MicroOp.ACT):
            m.d.sync += [opened.bit_select(bank, 1).eq(1), rows[bank].eq(row)]
        with m.Case(MicroOp.ACTAB, MicroOp.ACTAF):
            m.d.sync += [pim.eq(Mux(op == MicroOp.ACTAF, _TABLE, _PIM)), pim_row.eq(row)]
        with m.Case(MicroOp.PRE):
            m.d.sync += opened.bit_select(bank, 1).eq(0)
        with m.Case(MicroOp.PREP):
            m.d.sync += pim.eq(_CLOSED)
        with m.Case(MicroOp.PREA):
            m.d.sync += [opened.eq(0), pim.eq(_CLOSED)]

    here, beside = opened.bit_select(bank, 1), opened.bit_select(bank ^ 1, 1)
    closed, table = pim == _CLOSED, pim == _TABLE
    same = Cat(opened[i] & (rows[i] == row) for i in range(geometry.banks))
    activates = op.matches(MicroOp.ACTAB, MicroOp.ACTAF)
    normal = op.matches(MicroOp.RD, MicroOp.WR)
    whole = op.matches(MicroOp.MACAB, MicroOp.EWMUL, MicroOp.AF, MicroOp.WRBK)
    either = op.matches(MicroOp.MACSB, MicroOp.RDCP, MicroOp.WRCP)
    yield ((op == MicroOp.ACT) & here) | (activates & ~closed), Violation.ROW_OPEN
    yield normal & ~here, Violation.ROW_CLOSED
    yield closed & (whole | (either & ~here) | (local_one & ~beside)), Violation.ROW_CLOSED
    yield (op == MicroOp.REFPB) & (here | ~closed), Violation.REFRESH_OPEN
    yield (op == MicroOp.REFAB) & (opened.any() | ~closed), Violation.REFRESH_OPEN
    yield op.matches(MicroOp.TMOD_IN, MicroOp.TMOD_OUT) & (opened.any() | ~closed), Violation.MODE_OPEN
    yield (op == MicroOp.AF) & (pim == _PIM), Violation.TABLE_ROW
    yield table & (op.matches(MicroOp.MACAB, MicroOp.EWMUL) | either), Violation.TABLE_ROW
    yield (op == MicroOp.ACT) & ~closed & (pim_row == row), Violation.SHARED_ROW
    yield activates & same.any(), Violation.SHARED_ROW
