"""State of the banks: which row is open where, and what the timing of each single bank allows.

Enforced here: the rules of scope BANK and GROUP between commands that address one bank, before ACT, RD, WR and PRE.
Rules with an all-bank command on either side, all of scope CHANNEL, and what MACSB, RDCP and WRCP wait for are in
``channel.py``.
"""

from amaranth import Array, Cat, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import MicroOp, Mode
from pim_model.spec.timing_rules import Scope

from .channel import COLUMN_OF_ONE_BANK
from .gates import distances, gates

__all__ = ["BankState"]

_ONE_BANK = (MicroOp.ACT, MicroOp.RD, MicroOp.WR, MicroOp.PRE)


class BankState(wiring.Component):
    """Follow the commands of slot 0; say what every bank allows, and whether a request's row is open.

    Members
    -------
    op, bank, row, mode : In
        Slot 0's command in the cycle in which it is decided.
    request_bank, request_row : In
        Bank and row of a request.
    hit : Out(1)
        The request's row is open.
    opened : Out(one bit a bank)
        The banks with an open row; with dual row buffers, with one open for normal traffic.
    any_open : Out(1)
        Some bank has a row open.
    act_ready, pre_ready, rd_ready, wr_ready, with the per-bank policy refpb_ready : Out(one bit a bank)
        Bank and bank group allow the command in this cycle.
    shared_row : In(16), holds : Out(one bit a bank)
        With dual row buffers: a row; the banks that have it open for normal traffic.
    """

    def __init__(self, config: Config):
        self._config = config
        banks = config.geometry.banks
        self._after: tuple[MicroOp, ...] = _ONE_BANK
        if config.refresh is RefreshPolicy.PER_BANK:
            self._after += (MicroOp.REFPB,)
        dual = {"shared_row": In(16), "holds": Out(banks)}
        super().__init__(
            {
                **(dual if config.dual_row_buffer else {}),
                "op": In(5),
                "bank": In(4),
                "row": In(16),
                "mode": In(2),
                "request_bank": In(4),
                "request_row": In(16),
                "hit": Out(1),
                "opened": Out(banks),
                "any_open": Out(1),
                **{f"{op.name.lower()}_ready": Out(banks) for op in self._after},
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry, timing = self._config.geometry, self._config.timing
        banks, group = geometry.banks, geometry.banks_per_group

        opened = self.opened
        rows = Array(Signal(geometry.row_bits, name=f"row_{i}") for i in range(banks))
        bank = self.bank[: geometry.bank_bits]
        request_bank = self.request_bank[: geometry.bank_bits]
        with m.Switch(self.op):
            with m.Case(MicroOp.ACT):
                m.d.sync += [opened.bit_select(bank, 1).eq(1), rows[bank].eq(self.row)]
            with m.Case(MicroOp.PRE):
                m.d.sync += opened.bit_select(bank, 1).eq(0)
            if not self._config.dual_row_buffer:
                with m.Case(MicroOp.ACTAB, MicroOp.ACTAF):
                    m.d.sync += opened.eq(-1)
            with m.Case(MicroOp.PREA):
                m.d.sync += opened.eq(0)
        any_open = opened.any()
        if self._config.dual_row_buffer:
            any_open = any_open | self._pim_buffer(m, opened, rows)
        m.d.comb += [
            self.any_open.eq(any_open),
            self.hit.eq(opened.bit_select(request_bank, 1) & (rows[request_bank] == self.request_row)),
        ]

        before_others = (*self._after, *COLUMN_OF_ONE_BANK)
        issued = Signal(max(before_others) + 1)
        m.d.comb += issued.eq(1 << self.op)
        strobes = {op: issued[op] for op in before_others}
        at = Signal(banks)  # the addressed bank, one-hot
        m.d.comb += at.eq(1 << bank)
        beside = Cat(at[i ^ 1] for i in range(banks))
        # A MACSB of two banks keeps both from closing.
        local = strobes[MicroOp.MACSB] & ((self.mode & Mode.LOCAL) != 0)
        group_of = bank[group.bit_length() - 1 :]
        at_group = Signal(banks // group)
        m.d.comb += at_group.eq(Cat(group_of == i for i in range(banks // group)))

        def by_distance(op, scope, befores):
            """For each distance, the commands that ask for it before ``op``."""
            found: dict[int, list] = {}
            for before, cycles in distances(timing, op, befores, scope).items():
                found.setdefault(cycles, []).append(before)
            return found

        for op in self._after:
            name = op.name.lower()
            waits = {}
            for cycles, befores in by_distance(op, Scope.BANK, before_others).items():
                waits[cycles] = Signal(banks, name=f"{name}_after{cycles}")
                m.d.comb += waits[cycles].eq(
                    (at & Cat(strobes[before] for before in befores).any().replicate(banks))
                    | (beside & (local & (MicroOp.MACSB in befores)).replicate(banks))
                )
            ready = gates(m, f"{name}_bank", waits, banks)
            # A group gate is only worth its flip-flops where it waits longer than the channel's.
            longer = [
                before
                for before in before_others
                if timing.between(before, op, Scope.GROUP) > timing.between(before, op, Scope.CHANNEL)
            ]
            if longer:
                waits = {
                    cycles: at_group
                    & Cat(strobes[before] for before in befores).any().replicate(len(at_group))
                    for cycles, befores in by_distance(op, Scope.GROUP, longer).items()
                }
                by_group = gates(m, f"{name}_group", waits, banks // group)
                ready &= Cat(by_group[i].replicate(group) for i in range(banks // group))
            m.d.comb += getattr(self, f"{name}_ready").eq(ready)
        return m

    def _pim_buffer(self, m, opened, rows):
        """Follow the PIM buffers, open or closed in all banks at once; returns whether they are open."""
        pim_open = Signal()
        with m.Switch(self.op):
            with m.Case(MicroOp.ACTAB, MicroOp.ACTAF):
                m.d.sync += pim_open.eq(1)
            with m.Case(MicroOp.PREA, MicroOp.PREP):
                m.d.sync += pim_open.eq(0)
        m.d.comb += self.holds.eq(opened & Cat(row == self.shared_row for row in rows))
        return pim_open
