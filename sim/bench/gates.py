# Ref: pim_model/spec/timing_rules.py
"""Timing gates and bank states of one controller, as a unit; what they should allow, and commands to try it with."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import NamedTuple

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.controller.bank import BankState
from hdl.controller.channel import COLUMN_OF_ONE_BANK, ISSUED, ChannelGates
from pim_model.earliest import Earliest
from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import ONE_BANK, REGISTER_OPS, WITH_COLUMN, Micro, Mode
from pim_model.spec.micro import MicroOp as Op

__all__ = ["Attempt", "GateModel", "Gates", "OpenRows", "attempt", "issued_by"]

_OF_A_BANK = (Op.ACT, Op.RD, Op.WR, Op.PRE, Op.REFPB)
_OF_BANK_STATE = ("row", "request_bank", "request_row", "hit", "opened", "any_open", "shared_row", "holds")


def issued_by(config: Config) -> list[Op]:
    """Commands of a controller of this configuration."""
    ops = list(ISSUED)
    if config.refresh is RefreshPolicy.PER_BANK:
        ops.append(Op.REFPB)
    if config.dual_row_buffer:
        ops.append(Op.PREP)
    return ops


class Gates(wiring.Component):
    """Bank states and channel gates, put together as the scheduler does.

    Members
    -------
    op0, op1, bank, mode : In
        Commands of this cycle.
    <op>_ready : Out(one bit a bank) for ACT, RD, WR, PRE and REFPB, Out(1) for the others
        The command may stand in this cycle.

    The others are those of :class:`~hdl.controller.bank.BankState`.
    """

    def __init__(self, config: Config) -> None:
        self._bank, self._channel = BankState(config), ChannelGates(config)
        banks = config.geometry.banks
        members = self._bank.signature.members
        self._issued = issued_by(config)
        self._passed = [name for name in _OF_BANK_STATE if name in members]
        super().__init__(
            {
                "op0": In(5),
                "op1": In(5),
                "bank": In(4),
                "mode": In(2),
                **{name: members[name] for name in self._passed},
                **{_ready(op): Out(banks if op in _OF_A_BANK else 1) for op in self._issued},
            }
        )

    def elaborate(self, _platform: object) -> Module:
        m = Module()
        m.submodules.bank, m.submodules.channel = bank, channel = self._bank, self._channel
        m.d.comb += [bank.op.eq(self.op0), bank.bank.eq(self.bank), bank.mode.eq(self.mode)]
        m.d.comb += [channel.op0.eq(self.op0), channel.op1.eq(self.op1)]
        for name in self._passed:
            inner, outer = getattr(bank, name), getattr(self, name)
            is_input = self.signature.members[name].flow is In
            m.d.comb += inner.eq(outer) if is_input else outer.eq(inner)
        for op in self._issued:
            ready, of_channel = getattr(self, _ready(op)), getattr(channel, _ready(op))
            if op in _OF_A_BANK:
                m.d.comb += ready.eq(getattr(bank, _ready(op)) & of_channel.replicate(len(ready)))
            else:
                m.d.comb += ready.eq(of_channel)
        return m


class Attempt(NamedTuple):
    """One item of stimulus."""

    rest: int
    """Cycles without a command before it."""
    ops: tuple[Op, ...]
    """The first that the rules allow goes into its slot; behind one in slot 0 the first for slot 1, too."""
    bank: int
    local: bool
    """A MACSB has the neighbour bank as operand."""
    turns: int
    """Cycles in which it is tried, with one bank after the other."""


def attempt(rng: random.Random, config: Config) -> Attempt:
    """Any commands, whatever the state of the banks; at times activations alone, so that tFAW shows."""
    banks = config.geometry.banks
    if rng.random() < 0.02:
        return Attempt(0, (Op.ACT,), rng.randrange(banks), False, 40)
    rest = rng.choice((0, 0, 0, 0, 1, 3, 20, 150))
    return Attempt(rest, tuple(rng.sample(issued_by(config), 6)), rng.randrange(banks), rng.random() < 0.5, 1)


class GateModel:
    """What the rule table allows after the commands that were heard, cycle by cycle."""

    def __init__(self, config: Config) -> None:
        self._golden = Earliest(config)
        self._banks = config.geometry.banks
        self.ops = issued_by(config)
        self.allowed: set[Op] = set()
        """Commands that were seen allowed, and seen refused (for some bank)."""
        self.refused: set[Op] = set()

    def judge(self, cycle: int, ready: Callable[[str], int]) -> None:
        """Hold the pins, read by name, against the rules: no cycle less, none more. Before this cycle's ``hear``."""
        for op in self.ops:
            found = ready(_ready(op))
            banks = range(self._banks if op in ONE_BANK else 1)
            wanted = sum(self._legal(op, bank, cycle) << bank for bank in banks)
            if op in COLUMN_OF_ONE_BANK:  # tRCD counts from the last ACT to any bank
                assert not found or wanted == (1 << self._banks) - 1, f"{op.name} in cycle {cycle}"
                wanted, whole = found, 1
            else:
                assert found == wanted, f"{op.name} in cycle {cycle}: {found:b}, the rules say {wanted:b}"
                whole = (1 << len(banks)) - 1
            self.allowed.update([op] if wanted else [])
            self.refused.update([op] if wanted != whole else [])

    def choose(self, cycle: int, wish: Attempt, turn: int) -> tuple[Op, Op, int, int]:
        """What of an attempt is legal in ``cycle``: (op0, op1, bank, mode)."""
        bank = (wish.bank + turn) % self._banks
        mode = int(Mode.LOCAL) if wish.local else 0
        trial, chosen = self._golden.copy(), [Op.NOP, Op.NOP]
        for op in wish.ops:
            slot, micro = int(op in REGISTER_OPS), _micro(op, bank, mode)
            if chosen[slot] is Op.NOP and trial.probe(slot, micro, cycle) == cycle:
                trial.put(slot, micro, cycle)
                chosen[slot] = op
                if slot:
                    break  # the bus takes slot 0 first
        return chosen[0], chosen[1], bank, mode

    def hear(self, cycle: int, op0: Op, op1: Op, bank: int, mode: int) -> None:
        """The commands that stood on the bus in this cycle."""
        for slot, op in enumerate((op0, op1)):
            if op is not Op.NOP:
                assert self._golden.put(slot, _micro(op, bank, mode), cycle) == cycle

    def _legal(self, op: Op, bank: int, cycle: int) -> bool:
        return self._golden.probe(int(op in REGISTER_OPS), _micro(op, bank, 0), cycle) == cycle


class OpenRows:
    """Which rows are open, from the commands of slot 0."""

    def __init__(self, config: Config) -> None:
        self._dual = config.dual_row_buffer
        self.rows: list[int | str | None] = [None] * config.geometry.banks
        """Of each bank its row, none, or, after an ACTAB, all banks'."""
        self._pim = False

    @property
    def opened(self) -> int:
        """A bit for each bank with an open row; with dual row buffers, one open for normal traffic."""
        return sum((each is not None) << bank for bank, each in enumerate(self.rows))

    @property
    def any_open(self) -> bool:
        """Some bank has a row open, for whomever."""
        return self.opened != 0 or self._pim

    def hit(self, bank: int, row: int) -> bool | None:
        """Whether the bank has that row open; None after an ACTAB, whose rows nobody asks for one by one."""
        return None if self.rows[bank] == "all" else self.rows[bank] == row

    def holds(self, row: int) -> int:
        """A bit for each bank that has the row open."""
        return sum((each == row) << bank for bank, each in enumerate(self.rows))

    def hear(self, op: Op, bank: int, row: int) -> None:
        """A command of slot 0."""
        if op is Op.ACT:
            self.rows[bank] = row
        elif op is Op.PRE:
            self.rows[bank] = None
        elif op is Op.PREA:
            self.rows[:] = [None] * len(self.rows)
            self._pim = False
        elif op is Op.PREP:
            self._pim = False
        elif op in (Op.ACTAB, Op.ACTAF):
            self._pim = self._dual
            if not self._dual:
                self.rows[:] = ["all"] * len(self.rows)


def _ready(op: Op) -> str:
    return f"{op.name.lower()}_ready"


def _micro(op: Op, bank: int, mode: int) -> Micro:
    # WRGB has a column of its own: hazards on columns of the buffer are the register stream's.
    column = int(op in WITH_COLUMN and op is not Op.WRGB)
    return Micro(op, bank=bank if op in ONE_BANK else 0, column=column, mode=mode if op is Op.MACSB else 0)
