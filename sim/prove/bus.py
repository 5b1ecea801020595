"""What the commands of a bus leave open, written from the device's rules and not from the controller."""

from typing import Any

from amaranth import Const, Module, Mux, Signal

from pim_model.spec.config import Config
from pim_model.spec.micro import FOUR_BANKS, REGISTER_OPS, WRITE_DATA, MicroOp, Mode

__all__ = ["Bus"]

_EITHER = (MicroOp.MACSB, MicroOp.RDCP, MicroOp.WRCP)
_WHOLE = (MicroOp.MACAB, MicroOp.EWMUL, MicroOp.AF, MicroOp.WRBK)
_ACTIVATES = (MicroOp.ACTAB, MicroOp.ACTAF)
_MODES = (MicroOp.TMOD_IN, MicroOp.TMOD_OUT)


class Bus:
    """Follows the commands decided in each cycle.

    ``opened``: banks with a row open for normal traffic, or by ACT; ``pim``, ``table``: a row is open in all banks for
    PIM, and it is a table's; ``mode``: register mode; ``row``, ``pim_row``: the row that the bank ``chosen`` has open
    by ACT, and all by ACTAB or ACTAF, table rows with their own number.
    """

    def __init__(self, m: Module, config: Config, *, op0, bank0, row0, mode0, op1, chosen):
        self._config, self._op0, self._op1, self._mode0 = config, op0, op1, mode0
        geometry = config.geometry
        self._bank = bank0[: geometry.bank_bits]
        self.opened = Signal(geometry.banks, name="bus_opened")
        self.pim, self.table, self.mode = (Signal(name=f"bus_{name}") for name in ("pim", "table", "mode"))
        self.row, self.pim_row = Signal(16, name="bus_row"), Signal(16, name="bus_pim_row")
        self.opens = Signal(16, name="bus_opens")
        m.d.comb += self.opens.eq(row0 + Mux(op0 == MicroOp.ACTAF, geometry.weight_rows, 0))
        self._chosen = self._bank == chosen
        with m.Switch(op0):
            with m.Case(MicroOp.ACT):
                m.d.sync += self.opened.bit_select(self._bank, 1).eq(1)
                with m.If(self._chosen):
                    m.d.sync += self.row.eq(self.opens)
            with m.Case(*_ACTIVATES):
                m.d.sync += [self.pim.eq(1), self.table.eq(op0 == MicroOp.ACTAF), self.pim_row.eq(self.opens)]
            with m.Case(MicroOp.PRE):
                m.d.sync += self.opened.bit_select(self._bank, 1).eq(0)
            with m.Case(MicroOp.PREA):
                m.d.sync += [self.opened.eq(0), self.pim.eq(0)]
            with m.Case(MicroOp.PREP):
                m.d.sync += self.pim.eq(0)
            with m.Case(MicroOp.TMOD_IN):
                m.d.sync += self.mode.eq(1)
            with m.Case(MicroOp.TMOD_OUT):
                m.d.sync += self.mode.eq(0)

    def rules(self) -> dict[str, tuple[Any, Any]]:
        """Each rule of legality: the commands that it is about, and what breaks it."""
        config, op0, op1 = self._config, self._op0, self._op1
        dual, direct = config.dual_row_buffer, config.timing.direct
        here = self.opened.bit_select(self._bank, 1)
        beside = self.opened.bit_select(self._bank ^ 1, 1)
        local = (op0 == MicroOp.MACSB) & ((self._mode0 & Mode.LOCAL) != 0)
        some = self.opened.any() | self.pim
        activates = op0.matches(*_ACTIVATES)
        register0, register1 = op0.matches(*sorted(REGISTER_OPS)), op1.matches(*sorted(REGISTER_OPS))
        # One buffer: a row open for PIM is a row open in each bank. Two: each side has its own.
        taken = here if dual else here | self.pim
        found: dict[str, tuple[Any, Any]] = {}
        for op, breaks in (
            (MicroOp.ACT, taken),
            (MicroOp.RD, ~here if dual else ~here | self.pim),
            (MicroOp.WR, ~here if dual else ~here | self.pim),
            (MicroOp.REFAB, some),
            (MicroOp.REFPB, taken | self.pim),
            (MicroOp.TMOD_IN, some | self.mode),
            (MicroOp.TMOD_OUT, some | ~self.mode),
            *((op, self.pim if dual else some) for op in _ACTIVATES),
            *((op, ~self.pim & ~here) for op in _EITHER),
            *((op, self.pim & self.table) for op in _EITHER),
            *((op, ~self.pim) for op in _WHOLE),
            *((op, self.pim & (self.table ^ (op is MicroOp.AF))) for op in _WHOLE if op is not MicroOp.WRBK),
        ):
            if op is MicroOp.REFPB and config.refresh == 0:
                continue
            if op in _MODES and direct:
                continue
            about = op0 == op
            text = (
                f"{op.name}: state of the bank"
                if f"{op.name}: state of the bank" not in found
                else f"{op.name}: kind of row"
            )
            found[text] = (about, about & breaks)
        found["MACSB of two banks"] = (local, local & ~self.pim & ~beside)
        if direct:
            never = op0.matches(*_MODES)
            found["no register mode"] = (Const(1), never)
        else:
            found["register commands in register mode"] = (
                register0 | register1,
                (register0 | register1) & ~self.mode,
            )
            others = (op0 != MicroOp.NOP) & ~register0 & (op0 != MicroOp.TMOD_OUT)
            found["nothing else in register mode"] = (self.mode, self.mode & others)
        found["slot 0 has no register command"] = (Const(1), register0)
        found["slot 1 has register commands alone"] = (op1 != MicroOp.NOP, (op1 != MicroOp.NOP) & ~register1)
        found["no command for four banks"] = (
            Const(1),
            op0.matches(*sorted(FOUR_BANKS)) | (op0 > MicroOp.PREP),
        )
        if not dual:
            found["no command of dual row buffers"] = (Const(1), op0 == MicroOp.PREP)
        write0, write1 = (op.matches(*sorted(WRITE_DATA)) for op in (op0, op1))
        found["one write a cycle"] = (write0 | write1, write0 & write1)
        if dual:
            acts = (op0 == MicroOp.ACT) & self.pim
            found["SHARED_ROW: ACT"] = (acts, acts & (self.opens == self.pim_row))
            same = self._chosen_open() & (self.row == self.opens)
            found["SHARED_ROW: ACTAB, ACTAF"] = (activates, activates & same)
        if config.timing.ck_per_cycle == 1:
            both = (op0 != MicroOp.NOP) & (op1 != MicroOp.NOP)
            found["one command a CK"] = ((op0 != MicroOp.NOP) | (op1 != MicroOp.NOP), both)
        return found

    def _chosen_open(self) -> Any:
        return self.open_chosen

    open_chosen: Any = Const(0)
    """Whether the chosen bank has a row open by ACT."""
