# Ref: pim_model/spec/timing_rules.py
"""Directed sequences for the checker: every pair of commands that a timing rule speaks of, right on its edge."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from pim_model.checker import Checker, Finding, ProtocolError
from pim_model.spec.config import Config
from pim_model.spec.micro import FOUR_BANKS, ONE_BANK, REGISTER_OPS, WITH_COLUMN, WITH_ROW, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.row_buffers import PIM_ONLY
from pim_model.spec.timing import TimedRule
from pim_model.spec.timing_rules import Scope
from sim.bench.checker_bench import QUIET, Timed, slot_of

__all__ = ["Pair", "edge_between", "edge_of", "legal_edge", "one", "pairs"]

_OPENER = {
    **dict.fromkeys((Op.RD, Op.WR), Op.ACT),
    **dict.fromkeys((Op.MACSB, Op.MACAB, Op.EWMUL, Op.RDCP, Op.WRCP, Op.WRBK), Op.ACTAB),
    Op.AF: Op.ACTAF,
}
"""What opens the row that a command needs; others need closed banks."""

_OTHER_BANK = {Scope.BANK: 1, Scope.COLUMN: 1, Scope.GROUP: 2, Scope.CHANNEL: 5}
"""Bank of the second command, the first one's being 1: as far away as the scope reaches."""


class Pair(NamedTuple):
    """Two commands that a rule binds, on one instance of its scope."""

    rule: TimedRule
    before: Micro
    after: Micro

    def __str__(self) -> str:
        return (
            f"{self.rule.rule.name}: {self.before.op.name} to {self.after.op.name}, {self.rule.cycles} cycles"
        )


def pairs(config: Config) -> Iterator[Pair]:
    """Every pair of every rule that has a value, for the commands that the RTL checker knows.

    Left out: a distance of one cycle between commands of one slot, which nothing can fall short of.
    """
    for rule in config.timing.rules:
        for before in sorted(rule.rule.before - FOUR_BANKS):
            for after in sorted(rule.rule.after - FOUR_BANKS):
                first, second = one(before), one(after, _OTHER_BANK[rule.rule.scope])
                if rule.cycles > 1 or (rule.cycles == 1 and slot_of(first) < slot_of(second)):
                    yield Pair(rule, first, second)


def one(op: Op, bank: int = 1) -> Micro:
    """A command on row 2, column 1: none of its operands zero, so that one that is ignored shows."""
    return Micro(
        op,
        bank=bank if op in ONE_BANK else 0,
        row=2 if op in WITH_ROW else 0,
        column=1 if op in WITH_COLUMN else 0,
    )


def edge_of(pair: Pair, start: int) -> tuple[list[Timed], list[Timed]]:
    """The two commands alone, whatever the state of the banks: exactly on the rule's distance, and one less."""
    first = Timed(start, slot_of(pair.before), pair.before)
    on_time, early = (
        Timed(start + distance, slot_of(pair.after), pair.after)
        for distance in (pair.rule.cycles, pair.rule.cycles - 1)
    )
    return [first, on_time], [first, early]


class LegalEdge(NamedTuple):
    """A whole legal sequence that ends with the pair's second command at the first cycle that is legal."""

    sequence: list[Timed]
    early: list[Finding]
    """What the second command breaks one cycle earlier; the pair's rule is among it."""


def legal_edge(pair: Pair, config: Config, start: int) -> LegalEdge | None:
    """The legal sequence around ``pair``; None where another rule keeps the commands further apart."""
    found = edge_between(pair.before, pair.after, pair.rule.cycles, config, start)
    return found if found and found.early else None


def edge_between(before: Micro, after: Micro, cycles: int, config: Config, start: int) -> LegalEdge | None:
    """A legal sequence in which ``after`` comes ``cycles`` behind ``before``; None if the one known here takes longer.

    ``early`` is empty where the second command has no place in the cycle before, since another one stands there.
    """
    checker = Checker(config, strict=True, refresh=False)
    sequence: list[Timed] = []

    banks = _Banks(config)

    def issue(micro: Micro, not_before: int = start) -> int:
        slot = slot_of(micro)
        cycle = checker.earliest(micro, not_before, slot)
        checker.issue(cycle, slot, micro)
        sequence.append(Timed(cycle, slot, micro))
        banks.take(micro)
        return cycle

    try:
        # What the second command needs comes first, as far as the first one leaves it alone.
        for target in (after, before):
            for micro in banks.way(target):
                issue(micro)
        # Long after that, so that nothing but the first command holds the second one back.
        first = issue(before, sequence[-1].cycle + QUIET if sequence else start)
        for micro in banks.way(after):
            issue(micro)
        slot = slot_of(after)
        edge = checker.earliest(after, start, slot)
    except ProtocolError:
        return None
    last = sequence[-1]
    if edge != first + cycles:
        return None
    has_place = (edge - 1, slot) > (last.cycle, last.slot)
    early = checker.probe(edge - 1, slot, after) if has_place else []
    sequence.append(Timed(edge, slot, after))
    return LegalEdge(sequence, early)


class _Banks:
    """What is open, and the shortest way to what a command needs."""

    def __init__(self, config: Config) -> None:
        self._direct = config.timing.direct
        self._dual = config.dual_row_buffer
        self._opened_by: list[Op | None] = [
            None
        ] * config.geometry.banks  # with dual row buffers: for normal traffic
        self._pim: Op | None = None  # what opened the PIM buffers
        self._mode = False

    def take(self, micro: Micro) -> None:
        """A command was issued."""
        everywhere = range(len(self._opened_by))
        if self._dual and (micro.op in PIM_ONLY or micro.op is Op.PREA):
            opens = micro.op in WITH_ROW
            self._pim = micro.op if opens else None if micro.op in (Op.PREP, Op.PREA) else self._pim
            if micro.op is not Op.PREA:
                return
        for bank in (micro.bank,) if micro.op in ONE_BANK else everywhere:
            if micro.op in WITH_ROW:
                self._opened_by[bank] = micro.op
            elif micro.op in (Op.PRE, Op.PREA):
                self._opened_by[bank] = None
        if micro.op in (Op.TMOD_IN, Op.TMOD_OUT):
            self._mode = micro.op is Op.TMOD_IN

    def way(self, micro: Micro) -> list[Micro]:
        """Commands after which ``micro`` is legal but for its timing."""
        op = micro.op
        if op is Op.TMOD_OUT or (op in REGISTER_OPS and not self._direct):
            return [] if self._mode else [*self._close(), Micro(Op.TMOD_IN)]
        way = [Micro(Op.TMOD_OUT)] if self._mode else []
        if self._dual and op in PIM_ONLY:
            return [*way, *self._way_of_pim(op)]
        if op in REGISTER_OPS:  # direct: in register mode or out of it
            return []
        if op in (Op.PRE, Op.PREA):  # of something
            return way if any(self._opened_by) else [*way, one(Op.ACT)]
        opener = _OPENER.get(op)
        state = self._opened_by[micro.bank] if op in ONE_BANK else None
        if op not in ONE_BANK and len(set(self._opened_by)) == 1:
            state = self._opened_by[0]
        if state is opener and (opener is not None or op in ONE_BANK or not any(self._opened_by)):
            return way
        if opener is Op.ACT and state is None and not any(by is not Op.ACT for by in self._opened_by if by):
            return [*way, one(Op.ACT, micro.bank)]
        way += [Micro(Op.PRE, bank=micro.bank)] if state is Op.ACT and op in ONE_BANK else self._close()
        return way if opener is None else [*way, one(opener, micro.bank)]

    def _way_of_pim(self, op: Op) -> list[Micro]:
        opener = Op.ACTAB if op is Op.PREP else _OPENER.get(op)
        if self._pim is opener or (op is Op.PREP and self._pim):
            return []
        # The row of these commands is open for normal traffic.
        way = [Micro(Op.PREA)] if any(self._opened_by) and Op.ACTAB in (op, opener) else []
        if self._pim and not way:
            way = [Micro(Op.PREP)]
        return [*way, one(opener)] if opener else way

    def _close(self) -> list[Micro]:
        return [Micro(Op.PREA)] if any(self._opened_by) or self._pim else []
