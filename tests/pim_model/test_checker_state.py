"""The checker's protocol findings: bank states, register mode, tFAW, refresh, command bus, operands."""

from __future__ import annotations

from dataclasses import replace

import pytest

from pim_model.checker import Checker, ProtocolError, describe
from pim_model.spec.config import config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import TIMINGS, timing
from pim_model.spec.timing_rules import RULES, Scope

FAR = 300  # more than any rule

A0, A1, A2, AB, AF_ROW, A4 = (
    Micro(Op.ACT, bank=0, row=3),
    Micro(Op.ACT, bank=1, row=3),
    Micro(Op.ACT, bank=2, row=3),
    Micro(Op.ACTAB, row=3),
    Micro(Op.ACTAF, row=3),
    Micro(Op.ACT4, bank=1, row=3),
)
IN, OUT = Micro(Op.TMOD_IN), Micro(Op.TMOD_OUT)


def states(preset_name: str, *commands: Micro) -> list[str]:
    """State findings of the last of ``commands``, each far from the one before."""
    checker = Checker(config("ianus", preset_name), refresh=False)
    findings: list[int] = []
    for number, micro in enumerate(commands):
        findings = checker.issue(FAR * (number + 1), 0, micro)
    return [describe(finding) for finding in findings]


@pytest.mark.parametrize(
    ("commands", "expected"),
    [
        ((A1, A1), ["ROW_OPEN"]),
        ((A1, A2), []),
        ((A1, AB), ["ROW_OPEN"]),
        ((A1, A4), ["ROW_OPEN"]),
        ((AB, AF_ROW), ["ROW_OPEN"]),
        ((A1, Micro(Op.PRE, bank=1), AB), []),
        ((AB, Micro(Op.PRE, bank=1), A1), []),
        ((A1, Micro(Op.RD, bank=2)), ["ROW_CLOSED"]),
        ((Micro(Op.WR),), ["ROW_CLOSED"]),
        ((A4, Micro(Op.MAC4B, bank=3)), []),
        ((A4, Micro(Op.MAC4B, bank=4)), ["ROW_CLOSED"]),
        ((A4, Micro(Op.MACAB)), ["ROW_CLOSED"]),
        ((AB, Micro(Op.MACAB)), []),
        ((AB, Micro(Op.PREA), Micro(Op.MACAB)), ["ROW_CLOSED"]),
        ((A1, Micro(Op.REFPB, bank=1)), ["REFRESH_OPEN"]),
        ((A1, Micro(Op.REFPB, bank=2)), []),
        ((A1, Micro(Op.REFAB)), ["REFRESH_OPEN"]),
        ((A1, IN), ["MODE_OPEN"]),
        ((A1, Micro(Op.PREA), IN), []),
        ((OUT,), ["REGISTER_MODE"]),
        ((IN, A1), ["IN_REGISTER_MODE"]),
        ((IN, IN), ["IN_REGISTER_MODE"]),
        ((IN, Micro(Op.REFAB)), ["IN_REGISTER_MODE"]),
        ((IN, Micro(Op.WRGB)), []),
        ((IN, OUT, A1), []),
        ((AB, Micro(Op.RD)), ["PIM_ROW"]),
        ((A4, Micro(Op.WR)), ["PIM_ROW"]),
        ((AF_ROW, Micro(Op.RD)), ["PIM_ROW"]),
        ((A1, Micro(Op.MACSB, bank=1)), []),
        ((A1, Micro(Op.MACSB, bank=1, mode=Mode.LOCAL)), ["ROW_CLOSED"]),
        ((A1, A2, Micro(Op.MACSB, bank=2, mode=Mode.LOCAL)), ["ROW_CLOSED"]),
        ((A1, A0, Micro(Op.MACSB, bank=1, mode=Mode.LOCAL)), []),
        ((A1, A0, Micro(Op.MACSB, bank=0, mode=Mode.LOCAL)), []),
        ((AF_ROW, Micro(Op.PRE, bank=1), A1, Micro(Op.MACSB, bank=1)), []),
        ((AF_ROW, Micro(Op.PRE, bank=1), A1, Micro(Op.MACSB, bank=1, mode=Mode.LOCAL)), ["TABLE_ROW"]),
        ((AB, Micro(Op.MACSB, bank=1, mode=Mode.LOCAL)), []),
        ((AB, Micro(Op.MACAB, mode=Mode.LOCAL)), []),
        ((AB, Micro(Op.PRE, bank=1), Micro(Op.MACAB, mode=Mode.LOCAL)), ["ROW_CLOSED"]),
        ((A1, Micro(Op.RDCP, bank=1)), []),
        ((AB, Micro(Op.RDCP, bank=1)), []),
        ((AB, Micro(Op.WRBK)), []),
        ((AF_ROW, Micro(Op.WRBK)), []),
        ((AF_ROW, Micro(Op.AF)), []),
        ((AB, Micro(Op.AF)), ["TABLE_ROW"]),
        ((Micro(Op.AF),), ["ROW_CLOSED", "TABLE_ROW"]),
        ((AF_ROW, Micro(Op.MACAB)), ["TABLE_ROW"]),
        ((AF_ROW, Micro(Op.EWMUL)), ["TABLE_ROW"]),
    ],
    ids=lambda value: "-".join(micro.op.name for micro in value) if isinstance(value, tuple) else "",
)
@pytest.mark.parametrize("preset_name", TIMINGS)
def test_state(preset_name: str, commands: tuple[Micro, ...], expected: list[str]) -> None:
    assert states(preset_name, *commands) == expected


@pytest.mark.parametrize("op", [Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF])
@pytest.mark.parametrize("preset_name", TIMINGS)
def test_register_command_needs_register_mode_where_the_device_does(preset_name: str, op: Op) -> None:
    needed = [] if preset_name.startswith("ianus") else ["REGISTER_MODE"]
    assert states(preset_name, Micro(op)) == needed
    assert states(preset_name, IN, Micro(op)) == []
    assert states(preset_name, IN, OUT, Micro(op)) == needed


@pytest.mark.parametrize("preset_name", TIMINGS)
def test_fifth_activation_waits_for_the_window(preset_name: str) -> None:
    preset = config("ianus", preset_name)
    checker = Checker(preset)
    first = 100
    cycle = first
    for bank in (0, 4, 8, 12):
        cycle = checker.earliest(Micro(Op.ACT, bank=bank), cycle)
        assert checker.issue(cycle, 0, Micro(Op.ACT, bank=bank)) == []
    fifth = Micro(Op.ACT, bank=1)
    window = preset.timing.faw_cycles
    assert cycle < first + window - 1
    assert Violation.FAW in checker.probe(first + window - 1, 0, fifth)
    assert Violation.FAW not in checker.probe(first + window, 0, fifth)
    assert checker.earliest(fifth) >= first + window
    # Four at once need all four places.
    four = Micro(Op.ACT4, bank=1)
    assert Violation.FAW in checker.probe(cycle + window - 1, 0, four)
    assert Violation.FAW not in checker.probe(cycle + window, 0, four)
    assert Violation.FAW not in checker.probe(cycle + 1, 0, Micro(Op.ACTAB)), "tFAW does not apply to ACTAB"


@pytest.mark.parametrize("preset_name", TIMINGS)
def test_refresh_deadline(preset_name: str) -> None:
    preset = config("ianus", preset_name)
    limit = 9 * (3800 if preset_name == "aim_simulator" else 1900)
    assert preset.timing.refresh_limit == limit
    checker = Checker(preset)
    assert checker.probe(limit, 0, A1) == []
    assert checker.issue(limit + 1, 0, A1) == [Violation.REFRESH_LATE]
    assert checker.issue(limit + FAR, 0, A2) == [], "one finding a lapse"
    checker.issue(limit + 2 * FAR, 0, Micro(Op.PREA))
    refreshed = limit + 3 * FAR
    assert checker.issue(refreshed, 0, Micro(Op.REFAB)) == []
    # Eight are still owed, the ninth at the end of the interval.
    end = -(-refreshed // preset.timing.refresh_interval) * preset.timing.refresh_interval
    assert checker.probe(end, 0, A1) == []
    assert checker.probe(end + 1, 0, A1) == [Violation.REFRESH_LATE]


def deadline(refreshes: list[int]) -> int:
    """Last cycle without a finding after all-bank refreshes in these cycles, none of them late."""
    checker = Checker(config("tiny"))
    for cycle in refreshes:
        assert checker.issue(cycle, 0, Micro(Op.REFAB)) == []
    last = refreshes[-1] if refreshes else 0
    low, high = last, last + 20 * INTERVAL  # in time; late
    while high - low > 1:
        middle = (low + high) // 2
        late = Violation.REFRESH_LATE in checker.probe(middle, 0, Micro(Op.PREA))
        low, high = (low, middle) if late else (middle, high)
    return low


INTERVAL = 1900
EARLY = [150 * turn for turn in range(12)]


@pytest.mark.parametrize(
    ("refreshes", "expected"),
    [
        ([], 9 * INTERVAL),
        ([turn * INTERVAL + 5 for turn in range(1, 6)], 14 * INTERVAL),
        # One in nine intervals: eight were postponed, then each interval needs its own.
        ([9 * INTERVAL], 10 * INTERVAL),
        ([9 * INTERVAL, 10 * INTERVAL], 11 * INTERVAL),
        ([9 * INTERVAL, 9 * INTERVAL + 200], 11 * INTERVAL),
        ([8 * INTERVAL + turn for turn in EARLY[:8]], 17 * INTERVAL),
        # Pulled in: they count, but nobody is left alone for longer than nine intervals.
        (EARLY[:1], 9 * INTERVAL),
        (EARLY[:8], EARLY[7] + 9 * INTERVAL),
        ([*EARLY[:8], 9 * INTERVAL], 18 * INTERVAL),
        ([*EARLY[:8], 9 * INTERVAL, 18 * INTERVAL], 19 * INTERVAL),
        # Eight at most count ahead.
        ([*EARLY, 9 * INTERVAL, 18 * INTERVAL], 19 * INTERVAL),
        ([*EARLY[:7], 9 * INTERVAL], 17 * INTERVAL),
    ],
)
def test_refresh_window(refreshes: list[int], expected: int) -> None:
    assert deadline(refreshes) == expected


def test_refresh_bank_by_bank_each_has_its_deadline() -> None:
    preset = config("ianus")
    limit = preset.timing.refresh_limit
    checker = Checker(preset)
    for bank in range(15):
        assert checker.issue(1000 + 200 * bank, 0, Micro(Op.REFPB, bank=bank)) == []
    assert Violation.REFRESH_LATE in checker.probe(limit + 1, 0, A1)
    assert checker.issue(limit, 0, Micro(Op.REFPB, bank=15)) == []
    assert Violation.REFRESH_LATE not in checker.probe(1000 + limit, 0, A1)
    assert Violation.REFRESH_LATE in checker.probe(1000 + limit + 1, 0, A1)
    # All but bank 15, which still owes eight.
    for bank in range(15):
        assert checker.issue(limit + 20 + 20 * bank, 0, Micro(Op.REFPB, bank=bank)) == []
    end = limit + preset.timing.refresh_interval
    assert Violation.REFRESH_LATE not in checker.probe(end, 0, A1)
    assert Violation.REFRESH_LATE in checker.probe(end + 1, 0, A1)
    unwatched = Checker(preset, refresh=False)
    assert unwatched.probe(10 * limit, 0, A1) == []


@pytest.mark.parametrize("preset_name", TIMINGS)
def test_a_cycle_of_one_ck_takes_one_command(preset_name: str) -> None:
    one = preset_name == "aim_simulator"
    checker = Checker(config("ianus", preset_name))
    load = Micro(Op.WRGB)
    checker.issue(FAR, 0, A1)
    assert (Violation.COMMAND_BUS in checker.probe(FAR, 1, load)) is one


@pytest.mark.parametrize("ck_per_cycle", [1, 2])
def test_earliest_keeps_a_cycle_of_one_ck_to_one_command(
    ck_per_cycle: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under a preset that there is not: registers reached at any time, and one CK a cycle."""
    other = replace(timing("ianus_ck"), ck_per_cycle=ck_per_cycle)
    monkeypatch.setattr("pim_model.spec.config.timing", lambda name, dual: other)
    checker = Checker(config("ianus"), strict=True)
    checker.issue(FAR, 0, A1)
    load = Micro(Op.WRGB)
    cycle = checker.earliest(load, FAR)
    assert cycle == FAR + (ck_per_cycle == 1)
    checker.issue(cycle, 1, load)


def test_command_bus() -> None:
    checker = Checker(config("ianus"))
    assert Violation.COMMAND_BUS in checker.probe(FAR, 1, A1), "slot 1 is for register commands"
    assert checker.issue(FAR, 0, Micro(Op.WRGB, column=1)) == [], "a register command alone may use slot 0"
    assert Violation.COMMAND_BUS in checker.probe(FAR, 1, Micro(Op.RDMAC))
    assert Violation.COMMAND_BUS in checker.probe(FAR, 1, Micro(Op.WRGB, column=2))
    assert Violation.COMMAND_BUS in checker.probe(FAR, 0, A1), "one command a slot"
    checker.issue(2 * FAR, 0, A1)
    assert checker.issue(3 * FAR, 0, Micro(Op.WR, bank=1)) == []
    assert Violation.COMMAND_BUS in checker.probe(3 * FAR, 1, Micro(Op.WRGB)), "two data writes"
    assert checker.issue(4 * FAR, 0, Micro(Op.RD, bank=1)) == []
    assert Violation.COMMAND_BUS not in checker.probe(4 * FAR, 1, Micro(Op.WRGB))
    assert Checker(config("ianus")).earliest(A1, 7) == 7


@pytest.mark.parametrize(
    "micro",
    [
        Micro(Op.ACT, bank=16),
        Micro(Op.ACT4, bank=16),
        Micro(Op.ACTAB, row=32768),
        Micro(Op.ACTAF, row=8),
        Micro(Op.WRGB, column=64),
        Micro(Op.RD, column=-1),
    ],
    ids=str,
)
def test_operand_outside_the_device(micro: Micro) -> None:
    checker = Checker(config("ianus"))
    assert checker.issue(5, 0, micro) == [Violation.OPERAND]
    assert checker.probe(5, 0, AB) == [Violation.COMMAND_BUS], "it took its place on the bus"
    assert checker.issue(6, 0, AB) == [], "a command that does not exist changed something"
    with pytest.raises(ProtocolError, match="OPERAND"):
        checker.earliest(micro)


@pytest.mark.parametrize("timing_name", ["ianus_ck", "aim_simulator"])
def test_bus_of_a_command_outside_the_device(timing_name: str) -> None:
    """With one CK a cycle nothing fits beside it, otherwise a register command does; in slot 1 it has no place."""
    checker = Checker(config("ianus", timing_name), refresh=False)
    assert checker.issue(FAR, 0, Micro(Op.PREP)) == [Violation.OPERAND]
    beside = checker.probe(FAR, 1, Micro(Op.WRGB))
    assert (Violation.COMMAND_BUS in beside) is (checker.config.timing.ck_per_cycle == 1)
    assert checker.issue(2 * FAR, 1, Micro(Op.PREP)) == [Violation.COMMAND_BUS, Violation.OPERAND]


def test_an_error_names_the_command_before_and_both_cycles() -> None:
    checker = Checker(config("ianus"), strict=True)
    checker.issue(FAR, 0, Micro(Op.ACTAB, row=3))
    for row in range(2):
        checker.issue(FAR + 1 + row, 1, Micro(Op.WRGB, column=row))
    wanted = checker.config.timing.between(Op.ACTAB, Op.MACAB, Scope.BANK)
    early = Micro(Op.MACAB)
    with pytest.raises(ProtocolError) as caught:
        checker.issue(FAR + wanted - 1, 0, early)
    assert str(caught.value) == (
        f"cycle {FAR + wanted - 1}: {early} breaks tRCDMAC ({wanted - 1} of {wanted} cycles after "
        f"{Micro(Op.ACTAB, row=3)} in cycle {FAR})"
    )


def test_probe_changes_nothing_and_strict_raises() -> None:
    checker = Checker(config("ianus"), strict=True)
    checker.issue(0, 0, A1)
    ras = next(rule.name for rule in RULES if rule.name == "tRAS")
    for _ in range(2):
        assert [describe(finding) for finding in checker.probe(20, 0, Micro(Op.PREA))] == [ras]
    with pytest.raises(
        ProtocolError,
        match=r"^cycle 20: PREA\(.*\) breaks tRAS \(20 of 21 cycles after ACT\(.*\) in cycle 0\)$",
    ) as caught:
        checker.issue(20, 0, Micro(Op.PREA))
    assert caught.value.cycle == 20
    assert checker.issue(21, 0, Micro(Op.PREA)) == []


def test_waiting_does_not_help_against_a_state() -> None:
    checker = Checker(config("ianus"))
    checker.issue(0, 0, A1)
    with pytest.raises(ProtocolError, match="ROW_OPEN"):
        checker.earliest(A1)
    with pytest.raises(ProtocolError, match="COMMAND_BUS"):
        checker.earliest(A2, slot=1)


def test_time_does_not_run_backwards() -> None:
    checker = Checker(config("ianus"))
    checker.issue(9, 1, Micro(Op.WRGB))
    with pytest.raises(ValueError, match=r"^cycle and slot must not be before \(9, 1\), not \(9, 0\)$"):
        checker.probe(9, 0, A1)
    with pytest.raises(ValueError, match=r"^slot must be 0 or 1, not 2$"):
        checker.probe(10, 2, A1)
    assert checker.issue(0, 0, Micro(Op.NOP)) == []
