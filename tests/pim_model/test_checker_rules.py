"""Every timing rule of every preset: refused one cycle early, accepted on time, silent elsewhere."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from pim_model.checker import Checker
from pim_model.spec.config import config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, ONE_BANK, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import TIMINGS, TimedRule, timing
from pim_model.spec.timing_rules import DUAL_RULES, RULES, Scope

START = 500


def found(preset_name: str, rule: TimedRule, first: Micro, second: Micro, distance: int) -> bool:
    """Whether the checker names ``rule`` when ``second`` follows ``first`` after ``distance`` cycles."""
    checker = Checker(config("ianus", preset_name))
    checker.issue(START, 0, first)
    return rule.index in checker.probe(START + distance, 1, second)


@pytest.mark.parametrize("number", range(len(RULES)), ids=lambda number: RULES[number].name)
@pytest.mark.parametrize("preset_name", TIMINGS)
def test_rule_binds_to_the_cycle(preset_name: str, number: int) -> None:
    rule = timing(preset_name).rules[number]
    assert rule.index == number
    for before, after in product(rule.rule.before, rule.rule.after):
        first, second = Micro(before, bank=5, row=0, column=7), Micro(after, bank=5, row=0, column=7)
        if rule.cycles:
            assert found(preset_name, rule, first, second, rule.cycles - 1), (
                f"{before.name} to {after.name}: early"
            )
        assert not found(preset_name, rule, first, second, rule.cycles), (
            f"{before.name} to {after.name}: late"
        )


@pytest.mark.parametrize(
    "number",
    [number for number, rule in enumerate(RULES) if rule.name not in DUAL_RULES],  # those: test_dual.py
    ids=lambda number: RULES[number].name,
)
def test_rule_binds_within_its_scope_only(number: int) -> None:
    rule = timing("ianus_ck").rules[number]
    for before, after in product(rule.rule.before, rule.rule.after):
        first = Micro(before, bank=5, column=7)
        cases = {
            "bank": Micro(after, bank=6, column=7),
            "group": Micro(after, bank=9, column=7),
            "column": Micro(after, bank=5, column=8),
        }
        wide = before not in ONE_BANK or after not in ONE_BANK
        grouped = (before in ONE_BANK | FOUR_BANKS) and (after in ONE_BANK | FOUR_BANKS)
        expected = {
            Scope.BANK: {"bank": wide, "group": not grouped, "column": True},
            Scope.GROUP: {"bank": True, "group": not grouped, "column": True},
            Scope.CHANNEL: {"bank": True, "group": True, "column": True},
            Scope.COLUMN: {"bank": True, "group": True, "column": False},
        }[rule.rule.scope]
        for name, second in cases.items():
            outcome = found("ianus_ck", rule, first, second, rule.cycles - 1)
            assert outcome == (expected[name] and rule.cycles > 0), (
                f"{before.name} to {after.name}, other {name}"
            )


def instances(micro: Micro, scope: Scope) -> set[int]:
    """What a command touches, from the words of the rule table; a mode switch concerns all banks."""
    if scope is Scope.CHANNEL:
        return {0}
    local = micro.op in (Op.MACSB, Op.MACAB) and bool(micro.mode & Mode.LOCAL)
    if scope is Scope.COLUMN:
        return set() if local else {micro.column}
    banks: set[int] = set()
    if micro.op in ALL_BANKS or micro.op in (Op.TMOD_IN, Op.TMOD_OUT):
        banks = set(range(16))
    elif micro.op in FOUR_BANKS:
        banks = {bank for bank in range(16) if bank // 4 == micro.bank // 4}
    elif micro.op in ONE_BANK:
        banks = {micro.bank, micro.bank ^ 1} if local else {micro.bank}
    return banks if scope is Scope.BANK else {bank // 4 for bank in banks}


@pytest.mark.parametrize("preset_name", TIMINGS)
def test_random_commands_agree_with_pairwise_rules(preset_name: str, rng: np.random.Generator) -> None:
    """Every earlier command against every later one, straight from the table, whatever came between."""
    checker = Checker(config("ianus", preset_name))
    rules = timing(preset_name).rules
    longest = max(rule.cycles for rule in rules)
    past: list[tuple[int, Micro]] = []
    ops = [op for op in Op if op is not Op.NOP]
    cycle = START
    seen: set[int] = set()
    for _ in range(1500):
        cycle += int(rng.choice([1, 1, 1, 2, 3, 5, 20]))
        micro = Micro(
            ops[int(rng.integers(len(ops)))],
            int(rng.integers(16)),
            int(rng.integers(8)),
            int(rng.integers(4)),
            int(rng.integers(4)),
        )
        expected = {
            rule.index
            for then, other in past
            for rule in rules
            if rule.binds(other.op, micro.op)
            and cycle - then < rule.cycles
            and instances(other, rule.rule.scope) & instances(micro, rule.rule.scope)
        }
        findings = checker.issue(cycle, 0, micro)
        assert findings == sorted(findings)
        assert {finding for finding in findings if finding < Violation.ROW_OPEN} == expected, (
            f"{micro} at {cycle}"
        )
        seen |= expected
        past = [entry for entry in past if entry[0] > cycle - longest] + [(cycle, micro)]
    assert len(seen) > 30


def rule_named(name: str) -> TimedRule:
    return next(rule for rule in timing("ianus_ck").rules if rule.rule.name == name)


@pytest.mark.parametrize(("bank", "neighbour", "apart"), [(5, 4, 6), (4, 5, 3)])
def test_local_macsb_touches_its_neighbour_too(bank: int, neighbour: int, apart: int) -> None:
    local = Micro(Op.MACSB, bank=bank, column=7, mode=Mode.LOCAL)
    plain = Micro(Op.MACSB, bank=bank, column=7)
    opened, closed = rule_named("tRCDMAC"), rule_named("tMACPRE")
    for other, expected in ((bank, True), (neighbour, True), (apart, False)):
        act, pre = Micro(Op.ACT, bank=other), Micro(Op.PRE, bank=other)
        for mac, bound in ((local, expected), (plain, other == bank)):
            assert found("ianus_ck", opened, act, mac, opened.cycles - 1) is bound
            assert found("ianus_ck", closed, mac, pre, closed.cycles - 1) is bound
            assert not found("ianus_ck", opened, act, mac, opened.cycles)
            assert not found("ianus_ck", closed, mac, pre, closed.cycles)


@pytest.mark.parametrize("op", [Op.MACSB, Op.MACAB])
def test_local_macs_leave_the_buffer_alone(op: Op) -> None:
    load = Micro(Op.WRGB, column=7)
    for mode, bound in ((0, True), (Mode.SET1, True), (Mode.LOCAL, False)):
        mac = Micro(op, bank=5, column=7, mode=mode)
        for name, pair in (("tGBMAC", (load, mac)), ("tMACGB", (mac, load))):
            rule = rule_named(name)
            assert found("ianus_ck", rule, *pair, rule.cycles - 1) is bound, f"{name}, mode {mode}"


LEGAL = [
    (Op.ACT, Op.RD, Op.PRE, Op.ACT, Op.WR, Op.RD, Op.WR, Op.PRE, Op.REFPB, Op.ACT),
    (Op.ACTAB, Op.MACAB, Op.MACAB, Op.PREA, Op.ACTAF, Op.AF, Op.PREA, Op.REFAB, Op.ACTAB),
    (Op.ACTAB, Op.WRBK, Op.RDCP, Op.WRCP, Op.EWMUL, Op.MACSB, Op.PREA),
    (
        Op.TMOD_IN,
        Op.RDMAC,
        Op.WRBIAS,
        Op.WRGB,
        Op.RDAF,
        Op.TMOD_OUT,
        Op.TMOD_IN,
        Op.TMOD_OUT,
        Op.ACT4,
        Op.MAC4B,
    ),
]


@pytest.mark.parametrize("sequence", LEGAL, ids=lambda sequence: "-".join(op.name for op in sequence))
@pytest.mark.parametrize("preset_name", TIMINGS)
def test_legal_sequence_is_accepted_at_the_earliest_cycle_and_not_before(
    preset_name: str, sequence: tuple[Op, ...]
) -> None:
    checker = Checker(config("ianus", preset_name), strict=True)
    for op in sequence:
        micro = Micro(op, bank=1, row=0, column=2)
        now = checker.earliest(micro, 0, slot=0 if op not in (Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF) else 1)
        slot = int(op in (Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF))
        try:
            early = checker.probe(now - 1, slot, micro) if now else [Violation.COMMAND_BUS]
        except ValueError:  # before the last command
            early = [Violation.COMMAND_BUS]
        assert early, f"{micro} was legal at {now - 1} already"
        assert checker.probe(now, slot, micro) == []
        checker.issue(now, slot, micro)
