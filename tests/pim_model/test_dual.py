"""Dual row buffers in the golden model: configuration, legality, rules between and across buffers, the device."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from pim_model.bank import ImpossibleCommand
from pim_model.channel import Channel
from pim_model.checker import Checker, ProtocolError, describe
from pim_model.checker_rules import touch
from pim_model.schedule import place
from pim_model.spec.config import Config, RefreshPolicy, config
from pim_model.spec.errors import Violation
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import Timing
from pim_model.spec.timing_rules import Scope
from pim_model.storage import Storage
from tests.pim_model.streams import place_by_checker

DUAL = config("ianus_dual")
FAR = 300  # more than any rule


def test_what_dual_row_buffers_need() -> None:
    assert config("tiny_dual", "ianus_printed").dual_row_buffer
    with pytest.raises(ValueError, match=r"^timing must reach registers directly .*, not 'fpga_controller'$"):
        config("tiny_dual", "fpga_controller")
    with pytest.raises(ValueError, match=r"^refresh must be ALL_BANK with dual row buffers, not PER_BANK$"):
        replace(DUAL, refresh=RefreshPolicy.PER_BANK)


# ------------------------------------------------------------------------------------------------------------ legality

A1, A2, B1 = Micro(Op.ACT, bank=1, row=3), Micro(Op.ACT, bank=2, row=3), Micro(Op.ACT, bank=1, row=4)
AB3, AB4, A4 = Micro(Op.ACTAB, row=3), Micro(Op.ACTAB, row=4), Micro(Op.ACT4, bank=1, row=4)
AF0, TABLE0 = Micro(Op.ACTAF), Micro(Op.ACT, bank=1, row=DUAL.geometry.table_row(0))
PRE1, PREA, PREP, REFAB = Micro(Op.PRE, bank=1), Micro(Op.PREA), Micro(Op.PREP), Micro(Op.REFAB)
RD1, WR1, MACAB, AF, WRBK = (
    Micro(Op.RD, bank=1),
    Micro(Op.WR, bank=1),
    Micro(Op.MACAB),
    Micro(Op.AF),
    Micro(Op.WRBK),
)
COPIES = [Micro(op, bank=1) for op in (Op.MACSB, Op.RDCP, Op.WRCP)]
LOCAL = Micro(Op.MACSB, bank=1, mode=Mode.LOCAL)
IN = Micro(Op.TMOD_IN)


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ((A1, AB4, RD1), []),
        ((AB4, A1, MACAB), []),
        ((AB4, A1, WR1), []),
        ((A1, B1), ["ROW_OPEN"]),
        ((AB4, A1, AB3), ["ROW_OPEN", "SHARED_ROW"]),
        ((AB4, AF0), ["ROW_OPEN"]),
        # --- what closes what
        ((A1, AB4, PREP, RD1), []),
        ((A1, AB4, PREP, MACAB), ["ROW_CLOSED"]),
        ((A1, AB4, PRE1, MACAB), []),
        ((A1, AB4, PRE1, RD1), ["ROW_CLOSED"]),
        ((A1, AB4, PREA, RD1), ["ROW_CLOSED"]),
        ((A1, AB4, PREA, MACAB), ["ROW_CLOSED"]),
        ((A1, AB4, PREA, REFAB), []),
        ((A1, AB4, PREP, REFAB), ["REFRESH_OPEN"]),
        ((A1, AB4, PRE1, REFAB), ["REFRESH_OPEN"]),
        ((A1, AB4, PREP, Micro(Op.REFPB, bank=2)), []),
        ((AB4, Micro(Op.REFPB, bank=2)), ["REFRESH_OPEN"]),
        ((AB4, IN), ["MODE_OPEN"]),
        ((A1, IN), ["MODE_OPEN"]),
        # --- whose buffer a command asks for
        ((AB4, RD1), ["ROW_CLOSED"]),
        ((A1, MACAB), ["ROW_CLOSED"]),
        ((A1, WRBK), ["ROW_CLOSED"]),
        ((A4, Micro(Op.MAC4B, bank=3)), []),
        ((A1, Micro(Op.MAC4B, bank=1)), ["ROW_CLOSED"]),
        *(((opener, copy), []) for opener in (A1, AB4) for copy in COPIES),
        *(((copy,), ["ROW_CLOSED"]) for copy in COPIES),
        *(((A1, AF0, copy), ["TABLE_ROW"]) for copy in COPIES),
        ((A1, LOCAL), ["ROW_CLOSED"]),
        ((A1, AB4, LOCAL), []),
        ((AF0, A1, AF), []),
        ((AB4, AF), ["TABLE_ROW"]),
        ((AF0, A1, WRBK), []),
        # --- a row in both buffers
        ((A1, AB3), ["SHARED_ROW"]),
        ((AB3, A1), ["SHARED_ROW"]),
        ((A1, A2, PRE1, AB3), ["SHARED_ROW"]),
        ((A1, PRE1, AB3), []),
        ((AB3, PREP, A1), []),
        ((TABLE0, AF0), ["SHARED_ROW"]),
        ((AF0, TABLE0), ["SHARED_ROW"]),
        ((Micro(Op.ACT, bank=1, row=0), AF0), []),
        ((B1, A4), ["SHARED_ROW"]),
    ],
    ids=lambda value: "-".join(micro.op.name for micro in value) if isinstance(value, tuple) else "",
)
def test_state(commands: tuple[Micro, ...], expected: list[str]) -> None:
    checker = Checker(DUAL, refresh=False)
    findings: list[int] = []
    for number, micro in enumerate(commands):
        findings = checker.issue(FAR * (number + 1), 0, micro)
    assert [describe(finding) for finding in findings] == expected


@pytest.mark.parametrize("name", ["ianus", "tiny_refpb"])
def test_prep_is_no_command_of_other_devices(name: str) -> None:
    shape = config(name)
    checker = Checker(shape)
    assert checker.issue(10, 0, PREP) == [Violation.OPERAND]
    with pytest.raises(ProtocolError, match="OPERAND"):
        checker.earliest(PREP)
    with pytest.raises(ImpossibleCommand, match=r"^PREP to a device without dual row buffers$"):
        Channel(Storage(shape.geometry), 0).execute(PREP)


# -------------------------------------------------------------------------------------------------------------- timing


class Slow(Config):
    """Dual row buffers with a charge pump so weak that tRRDL shows: in the direct presets it is one cycle."""

    @property
    def timing(self) -> Timing:
        preset = super().timing
        slow = [
            replace(rule, cycles=5) if rule.rule.name in ("tRRDpim", "tRRDmem") else rule
            for rule in preset.rules
        ]
        return replace(preset, rules=tuple(slow))


@pytest.mark.parametrize(("first", "second"), [(A1, AB4), (A1, AF0), (AB4, A1), (AF0, A1)])
def test_activations_of_both_buffers_keep_their_distance(first: Micro, second: Micro) -> None:
    slow = Slow(name="slow", geometry=DUAL.geometry, dual_row_buffer=True)
    name = "tRRDpim" if first.op is Op.ACT else "tRRDmem"
    checker = Checker(slow, refresh=False)
    assert checker.issue(100, 0, first) == []
    assert [describe(finding) for finding in checker.probe(104, 0, second)] == [name]
    assert checker.probe(105, 0, second) == []
    assert checker.earliest(second) == 105


@pytest.mark.parametrize("preset_name", ["ianus_ck", "ianus_printed"])
def test_every_rule_on_its_edge(preset_name: str) -> None:
    """Each pair of each row: named one cycle early, not on time."""
    shape = config("ianus_dual", preset_name)
    shown = 0
    for rule in shape.timing.rules:
        for before, after in product(rule.rule.before, rule.rule.after):
            first, second = Micro(before, bank=5, column=7), Micro(after, bank=5, column=7)
            for early in (0, 1):
                checker = Checker(shape, refresh=False)
                checker.issue(500, 0, first)
                named = rule.index in checker.probe(500 + rule.cycles - early, 1, second)
                assert named is bool(early and rule.cycles), (
                    f"{rule.rule.name}: {before.name} to {after.name}, {early} early"
                )
                shown += named
    assert shown > 350


def test_random_commands_agree_with_pairwise_rules(rng: np.random.Generator) -> None:
    """Every earlier command against every later one, straight from the table, whatever came between."""
    checker = Checker(DUAL, refresh=False)
    rules, ops = DUAL.timing.rules, [op for op in Op if op is not Op.NOP]
    longest = max(rule.cycles for rule in rules)
    past: list[tuple[int, Micro]] = []
    cycle, seen = 500, set()

    def instances(micro: Micro, scope: Scope) -> set[int]:
        where = touch(micro, DUAL.geometry, True)
        assert where is not None
        if scope is Scope.COLUMN:
            return set() if where.column is None else {where.column}
        return {Scope.CHANNEL: {0}, Scope.BANK: set(where.banks), Scope.GROUP: set(where.groups)}[scope]

    for _ in range(1500):
        cycle += int(rng.choice([1, 1, 1, 2, 3, 5, 20]))
        micro = Micro(
            ops[int(rng.integers(len(ops)))], *(int(number) for number in rng.integers(0, [16, 8, 4, 4]))
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
        assert {finding for finding in findings if finding < Violation.ROW_OPEN} == expected, (
            f"{micro} at {cycle}"
        )
        seen |= expected
        past = [entry for entry in past if entry[0] > cycle - longest] + [(cycle, micro)]
    assert len(seen) > 30


@pytest.mark.parametrize("refresh_due", [None, 37])
@pytest.mark.parametrize("preset_name", ["ianus_ck", "ianus_printed"])
def test_a_macro_takes_as_long_as_with_one_buffer(preset_name: str, refresh_due: int | None) -> None:
    """Each command at its earliest cycle, the rows closed by PREP where they are closed by PREA otherwise."""
    macro = MatVec(
        tag=0, rows=24, columns=290, tokens=3, weight_row=1, input_offset=0, output_offset=0, function=2
    )
    one, two = (config(name, preset_name) for name in ("tiny", "tiny_dual"))
    placed = place(two, macro, refresh_due)
    assert placed == place_by_checker(two, macro, refresh_due)
    closed = [
        (cycle, slot, PREP if micro.op is Op.PREA else micro)
        for cycle, slot, micro in place(one, macro, refresh_due)
    ]
    assert placed == closed


# -------------------------------------------------------------------------------------------------------------- device


def test_both_buffers_of_a_channel_work_at_once() -> None:
    storage = Storage(config("tiny_dual").geometry)
    channel = Channel(storage, 0, dual=True)
    ones, data = np.full(16, 0x3F80, "<u2").tobytes(), bytes(range(32))
    for micro, payload in (
        (Micro(Op.ACTAB, row=2), None),
        (Micro(Op.WRBK), ones),
        (Micro(Op.WRGB), ones),
        (Micro(Op.WRBIAS), bytes(32)),
        (Micro(Op.ACT, bank=1, row=5), None),
        (Micro(Op.WR, bank=1, column=3), data),
        (Micro(Op.MACAB), None),
    ):
        channel.execute(micro, payload)
    assert channel.execute(Micro(Op.RD, bank=1, column=3)) == data
    channel.execute(Micro(Op.RDCP, bank=1, column=0))  # of the PIM row, which is open too
    assert channel.buffer[0].astype("<u2").tobytes() == ones
    channel.execute(PREP)
    channel.execute(Micro(Op.RDCP, bank=1, column=3))
    assert channel.buffer[3].astype("<u2").tobytes() == data
    with pytest.raises(ImpossibleCommand, match=r"^REFAB to .*, where a row is open$"):
        channel.execute(REFAB)
    channel.execute(PREA)
    channel.execute(REFAB)
    assert np.frombuffer(channel.execute(Micro(Op.RDMAC)) or b"", "<u2")[:4].tolist() == [0x4180] * 4  # 16
