"""A recording as early as the rules allow: golden schedules have no excess, delays are found, waits told apart."""

from __future__ import annotations

import time
from collections import Counter

import numpy as np
import pytest

from pim_model.checker import Checker
from pim_model.program_schedule import place_program
from pim_model.replay import Bound, replay
from pim_model.schedule import place
from pim_model.spec.config import config
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.micro import Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import TIMINGS
from pim_model.trace import Entry, broadcast
from tests.pim_model.test_program import isr, random_program

M = MacroOp
TINY = config("tiny")


def without_alignment(seed_rng: np.random.Generator, timing_name: str) -> list[Entry]:
    shape = config("tiny", timing_name)
    aligning = (M.EWADD, M.SYNC, M.RD_MAC, M.RD_AF, M.RD_SBK)
    program = [i for i in random_program(shape, seed_rng, 600) if i.op not in aligning]
    return place_program(shape, program, 500)


@pytest.mark.parametrize("timing_name", TIMINGS)
def test_golden_schedules_have_no_excess(timing_name: str, rng: np.random.Generator) -> None:
    shape = config("tiny", timing_name)
    entries = without_alignment(rng, timing_name)
    assert Op.REFAB in {entry.micro.op for entry in entries}
    found = replay(shape, entries)
    assert found.excess_by_channel == {0: 0, 1: 0}
    assert found.commands == len(entries) == sum(each.commands for each in found.bound_by.values())
    macro = MatVec(tag=0, rows=20, columns=300, tokens=3, weight_row=0, input_offset=0, output_offset=0)
    assert replay(shape, broadcast(place(shape, macro), 2)).excess_cycles == 0


@pytest.mark.parametrize("timing_name", TIMINGS)
def test_earliest_form_of_a_delayed_recording_is_the_checkers(
    timing_name: str, rng: np.random.Generator
) -> None:
    shape = config("tiny", timing_name)
    golden = [entry for entry in without_alignment(rng, timing_name) if entry.channel == 0]
    delayed, shift = [], 0
    for entry in golden:
        shift += int(rng.integers(1, 30)) if rng.random() < 0.1 else 0
        delayed.append(entry._replace(cycle=entry.cycle + shift))
    delayed = [entry for entry in delayed if entry.micro.op is not Op.REFAB]  # those are given
    checker = Checker(shape, strict=True, refresh=False)
    start = last = delayed[0].cycle
    for entry in delayed:
        last = checker.earliest(entry.micro, start, entry.slot)
        checker.issue(last, entry.slot, entry.micro)
    found = replay(shape, delayed)
    assert found.excess_cycles == delayed[-1].cycle - last > 100


def entry(cycle: int, op: Op, channel: int = 0, slot: int = 0, **operands: int) -> Entry:
    return Entry(cycle, channel, slot, Micro(op, **operands))


def test_rules_that_bound_are_named_with_their_cycles() -> None:
    # ianus_ck: tRCDMAC 36 CK, tCCD 2 CK, tMACPRE 17 ns against tRAS 21 ns; 2 CK a cycle.
    entries = [
        entry(100, Op.ACTAB, row=1),
        entry(118, Op.MACAB),
        entry(119, Op.MACAB, column=1),
        entry(140, Op.PREA),  # 4 cycles late
    ]
    found = replay(TINY, entries)
    assert found.excess_cycles == 4
    assert found.bound_by == {
        "given": Bound(1, 0),
        "tRCDMAC": Bound(1, 17),
        "bus": Bound(1, 0),
        "tMACPRE": Bound(1, 16),
    }


def test_waiting_for_the_host_is_told_apart_by_its_starts() -> None:
    entries = [
        entry(10, Op.ACTAB, row=1),
        entry(28, Op.MACAB),
        entry(500, Op.MACAB, column=1),
        entry(503, Op.MACAB, column=2),
    ]
    assert replay(TINY, entries).excess_cycles == 473
    assert replay(TINY, entries, starts=[0, 450]).excess_cycles == 2
    assert replay(TINY, entries, starts=[0, 501]).excess_cycles == 471, (
        "the wait before, and the last is given"
    )


def test_a_start_excuses_no_earlier_delay() -> None:
    # 6 late, then a wait for the host, then 1 late.
    entries = [
        entry(0, Op.ACTAB, row=1),
        entry(24, Op.MACAB),
        entry(60, Op.MACAB, column=1),
        entry(62, Op.MACAB),
    ]
    assert replay(TINY, entries, starts=[50]).excess_cycles == 7


def test_a_refresh_is_given_but_its_closing_and_what_follows_are_not() -> None:
    open_, mac = entry(0, Op.ACTAB, row=1), entry(18, Op.MACAB)
    # The refresh was due at 60, so the channel closed then.
    entries = [open_, mac, entry(60, Op.PREA), entry(75, Op.REFAB), entry(197, Op.ACTAB, row=1)]
    assert replay(TINY, entries).excess_cycles == 2, "tRFC is 120"


def test_a_refresh_while_the_host_idles_uses_up_no_start() -> None:
    # tRFC is 120; the host's work comes after 300.
    row = [entry(500, Op.ACTAB, row=1), entry(519, Op.MACAB)]
    assert replay(TINY, [entry(100, Op.REFAB), *row]).excess_cycles == 1
    before = [entry(0, Op.ACTAB, row=1), entry(18, Op.MACAB), entry(35, Op.PREA), entry(350, Op.REFAB)]
    assert replay(TINY, [*before, *row], starts=[300]).excess_cycles == 1


def test_channels_are_apart() -> None:
    entries = [
        entry(0, Op.ACTAB, row=1),
        entry(7, Op.ACTAB, channel=1, row=1),
        entry(18, Op.MACAB),
        entry(30, Op.MACAB, channel=1),
    ]
    found = replay(TINY, entries)
    assert found.excess_by_channel == {0: 0, 1: 5}
    assert found.excess_cycles == 5
    assert replay(TINY, []).excess_cycles == 0


@pytest.mark.slow
def test_two_million_commands_take_tens_of_seconds() -> None:
    shape = config("ianus", "aim_simulator")
    program = [isr(M.MAC_ABK, 64, row=row, mask=0xFF) for row in range(4000)]
    entries = place_program(shape, program)
    assert len(entries) > 2_000_000
    began = time.process_time()
    found = replay(shape, entries)
    assert time.process_time() - began < 60
    assert found.excess_cycles == 0
    assert Counter({name: each.commands for name, each in found.bound_by.items()})["tCCDrd"] == 8 * 4000 * 63
