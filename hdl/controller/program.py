"""The items of ISR instructions, one after the other: which command the head of the queue needs next.

An item is ``count`` commands of one kind on consecutive columns. Before its first the channel is brought into the
state that it needs, and left in it afterwards, so that the next item on the same row pays nothing:

* register commands (WRGB, WRBIAS, RDMAC, RDAF): register mode, where the preset has one;
* MACAB, EWMUL, WRBK: the row opened by ACTAB in all banks; AF: the table row opened by ACTAF;
* MACSB, RDCP, WRCP: the row opened by ACTAB, or by ACT in the item's bank (a LOCAL MACSB: and in its neighbour);
* RD, WR: the row opened by ACT in the item's bank.

Enforced here: tGBMAC, from the last WRGB whatever its column. All other timing is in ``channel.py`` and ``bank.py``.
One command a cycle, so an item begins a cycle after the one before it has ended.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import ChannelOp
from pim_model.spec.config import Config
from pim_model.spec.micro import REGISTER_OPS, MicroOp, Mode
from pim_model.spec.timing_rules import Scope

from .channel import COLUMN_OF_ONE_BANK
from .gates import gate

__all__ = ["COLUMN_OPS", "ProgramStream"]

_ALL_BANKS = (MicroOp.MACAB, MicroOp.EWMUL, MicroOp.WRBK)
_NORMAL = (MicroOp.RD, MicroOp.WR)
COLUMN_OPS = (*_ALL_BANKS, MicroOp.AF, *COLUMN_OF_ONE_BANK, *_NORMAL)
"""Commands of items in slot 0; those of ``REGISTER_OPS`` go to slot 1."""


class ProgramStream(wiring.Component):
    """Propose the next command; the scheduler issues it when its gate is open, or does something else first.

    Members
    -------
    ops : In(stream of ChannelOp)
    enable : In(1)
        The program has the channel.
    op0, row0 : In
        Slot 0's command in the cycle in which it is decided, whoever asked for it.
    op1 : In(5)
        Slot 1's.
    in_mode, any_open : In(1)
        Register mode is on; some bank has a row open.
    open, hit : In(1)
        The bank at ``query`` has a row open; it is ``row``. From ``bank.py``.
    want : Out(5)
        Command that the head item needs now, NOP for none.
    bank, row, column, mode : Out
        Its operands.
    query : Out(4)
        The bank that ``open`` and ``hit`` are about.
    final : Out(1)
        ``want`` is a command of the item itself, not of its preparation.
    started : Out(1)
        Some commands of the head item have been issued.
    taken : In(1)
        ``want`` is issued in this cycle.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "ops": In(stream.Signature(ChannelOp)),
                "enable": In(1),
                "op0": In(5),
                "row0": In(16),
                "op1": In(5),
                "in_mode": In(1),
                "any_open": In(1),
                "open": In(1),
                "hit": In(1),
                "want": Out(5),
                "bank": Out(4),
                "query": Out(4),
                "row": Out(16),
                "column": Out(6),
                "mode": Out(2),
                "final": Out(1),
                "started": Out(1),
                "taken": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        timing = self._config.timing
        item = self.ops.p

        # --- what is open in all banks at once
        whole = Signal()
        table = Signal()
        whole_row = Signal(16)
        with m.Switch(self.op0):
            with m.Case(MicroOp.ACTAB, MicroOp.ACTAF):
                m.d.sync += [whole.eq(1), table.eq(self.op0 == MicroOp.ACTAF), whole_row.eq(self.row0)]
            with m.Case(MicroOp.PREA, MicroOp.PREP):
                m.d.sync += whole.eq(0)
        here = whole & (whole_row == item.row)

        index = Signal(7)
        neighbour = Signal()  # the item's own bank is open; the neighbour's turn
        in_register = item.op.matches(*sorted(REGISTER_OPS))
        activation = item.op == MicroOp.AF
        across = item.op.matches(*_ALL_BANKS) | activation
        normal = item.op.matches(*_NORMAL)
        neighbouring = (item.mode & Mode.LOCAL) != 0
        local = (item.op == MicroOp.MACSB) & neighbouring
        old_buffer = gate(
            m,
            "buffer_written",
            [(self.op1 == MicroOp.WRGB, timing.between(MicroOp.WRGB, MicroOp.MACAB, Scope.COLUMN))],
        )
        reads_buffer = item.op.matches(MicroOp.MACAB, MicroOp.MACSB) & ~neighbouring

        m.d.comb += [
            self.query.eq(item.bank ^ neighbour),
            self.bank.eq(Mux(self.final, item.bank, self.query)),
            self.row.eq(item.row),
            self.column.eq(item.column + index),
            self.mode.eq(item.mode),
            self.started.eq(index != 0),
        ]

        def own():
            """The item's command, as soon as what it reads is there."""
            m.d.comb += [
                self.want.eq(Mux(reads_buffer & ~old_buffer, MicroOp.NOP, item.op)),
                self.final.eq(1),
            ]

        with m.If(~self.enable | ~self.ops.valid):
            m.d.comb += self.want.eq(MicroOp.NOP)
        with m.Elif(in_register):
            with m.If(self.in_mode | timing.direct):
                own()
            with m.Elif(self.any_open):
                m.d.comb += self.want.eq(MicroOp.PREA)
            with m.Else():
                m.d.comb += self.want.eq(MicroOp.TMOD_IN)
        with m.Elif(self.in_mode):
            m.d.comb += self.want.eq(MicroOp.TMOD_OUT)
        with m.Elif(across):
            with m.If(here & (table == activation)):
                own()
            with m.Elif(self.any_open):
                m.d.comb += self.want.eq(MicroOp.PREA)
            with m.Else():
                m.d.comb += self.want.eq(Mux(activation, MicroOp.ACTAF, MicroOp.ACTAB))
        with m.Elif(whole):
            with m.If(here & ~table & ~normal):
                own()
            with m.Else():
                m.d.comb += self.want.eq(MicroOp.PREA)
        with m.Elif(self.hit):
            with m.If(local & ~neighbour):
                m.d.sync += neighbour.eq(1)
            with m.Else():
                own()
        with m.Elif(self.open):
            m.d.comb += self.want.eq(MicroOp.PRE)
        with m.Else():
            m.d.comb += self.want.eq(MicroOp.ACT)

        last = index == item.count - 1
        with m.If(self.taken & self.final):
            m.d.sync += index.eq(Mux(last, 0, index + 1))
            with m.If(last):
                m.d.sync += neighbour.eq(0)
                m.d.comb += self.ops.ready.eq(1)
        with m.If(self.op0 == MicroOp.PREA):
            m.d.sync += neighbour.eq(0)
        return m
