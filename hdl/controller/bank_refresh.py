"""Refresh of single banks under normal traffic, while the other banks go on."""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.micro import MicroOp

from .queue import first, numbers, pick

__all__ = ["BankRefresh"]


class BankRefresh(wiring.Component):
    """Choose a bank, close it, refresh it; a bank that is wanted no longer is let go.

    Wanted are, while no request waits for them, the bank that requests have left last if it owes a refresh, and all
    that owe two; banks that are forced; on a channel at rest, all that may pull one in. A stream comes back last to the
    bank that it has left last. If each were refreshed when it falls due, a stream that once met the refresh would meet
    it at every bank from then on, since both go from bank to bank.

    Members
    -------
    forced, due, twice, spare : In(one bit a bank)
        As in :class:`~hdl.controller.refresh.RefreshTimer`.
    busy : In(one bit a bank)
        A request waits for the bank, or soon a macro for all.
    rest : In(1)
        The channel has been idle for long enough.
    opened, pre_ready, refpb_ready : In(one bit a bank)
        Banks with an open row; timing allows the command to that bank.
    op, bank : Out
        PRE or REFPB for slot 0 in this cycle; NOP for none.
    wanted : Out(one bit a bank)
        These must not be opened.
    """

    def __init__(self, banks: int):
        self._banks = banks
        vectors = ("forced", "due", "twice", "spare", "busy", "opened", "pre_ready", "refpb_ready")
        super().__init__(
            {
                **{name: In(banks) for name in vectors},
                "rest": In(1),
                "op": Out(5),
                "bank": Out(4),
                "wanted": Out(banks),
            }
        )

    def elaborate(self, platform):
        m = Module()
        banks = self._banks
        refresh, close, place = Signal(banks), Signal(banks), Signal(banks)
        was, left, leaves = Signal(banks), Signal(banks), Signal(banks)
        m.d.sync += was.eq(self.busy)
        m.d.comb += leaves.eq(was & ~self.busy)
        with m.If(leaves.any()):
            m.d.sync += left.eq(leaves)
        m.d.comb += [
            self.wanted.eq(
                self.forced
                | (((self.due & left) | self.twice) & ~self.busy)
                | (self.spare & self.rest.replicate(banks))
            ),
            refresh.eq(self.wanted & ~self.opened & self.refpb_ready),
            close.eq(self.wanted & self.opened & self.pre_ready),
            place.eq(first(Mux(refresh.any(), refresh, close))),
            self.bank.eq(pick(numbers(banks), place)),
        ]
        with m.If(refresh.any()):
            m.d.comb += self.op.eq(MicroOp.REFPB)
        with m.Elif(close.any()):
            m.d.comb += self.op.eq(MicroOp.PRE)
        return m
