"""ISR instructions as commands: contexts, refresh, and the schedule against a placement by the checker alone."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from pim_model.checker import Checker
from pim_model.program_schedule import place_program, program_cost
from pim_model.spec.config import Config, config
from pim_model.spec.isr import FIELDS, Instruction
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import REGISTER_OPS, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import TIMINGS
from pim_model.trace import Entry

M = MacroOp


def isr(op: MacroOp, size: int = 0, **fields: int) -> Instruction:
    fields.setdefault("mask", int("mask" in FIELDS[op]))
    return Instruction(op=op, size=size, **fields)


def names(entries: list[Entry], channel: int = 0) -> list[str]:
    """Commands of a channel in short: op, then b bank, r row, c column where not zero."""
    found = []
    for entry in entries:
        if entry.channel == channel:
            m = entry.micro
            operands = [
                f"{name}{value}" for name, value in (("b", m.bank), ("r", m.row), ("c", m.column)) if value
            ]
            found.append(" ".join([m.op.name, *operands]))
    return found


# Instructions, then what a channel with register mode issues, then one with direct access where it differs.
CONTEXTS: dict[str, tuple[list[Instruction], list[str], list[str] | None]] = {
    "all banks": (
        [isr(M.MAC_ABK, 2, row=5), isr(M.MAC_ABK, 1, row=5, column=3), isr(M.EWMUL, 1, row=5),
         isr(M.MAC_ABK, 1, row=6)],
        ["ACTAB r5", "MACAB", "MACAB c1", "MACAB c3", "EWMUL", "PREA", "ACTAB r6", "MACAB"],
        None,
    ),
    "one item a column": (
        [isr(M.WR_ABK, 2, row=5), isr(M.WR_GB, 2), isr(M.WR_SBK, 2, row=5, bank=1)],
        ["ACTAB r5", "WRBK", "WRBK c1", "PREA", "TMOD_IN", "WRGB", "WRGB c1",
         "TMOD_OUT", "ACT b1 r5", "WR b1", "WR b1 c1"],
        ["ACTAB r5", "WRBK", "WRBK c1", "WRGB", "WRGB c1", "PREA", "ACT b1 r5", "WR b1", "WR b1 c1"],
    ),
    "registers": (
        [isr(M.WR_BIAS), isr(M.RD_MAC), isr(M.MAC_ABK, 1, row=2), isr(M.RD_MAC), isr(M.AF, function=2), isr(M.RD_AF)],
        ["TMOD_IN", "WRBIAS", "RDMAC", "TMOD_OUT", "ACTAB r2", "MACAB", "PREA", "TMOD_IN", "RDMAC",
         "TMOD_OUT", "ACTAF r2", "AF", "PREA", "TMOD_IN", "RDAF"],
        ["WRBIAS", "RDMAC", "ACTAB r2", "MACAB", "RDMAC", "PREA", "ACTAF r2", "AF", "RDAF"],
    ),
    "one function after another": (
        [isr(M.AF, function=2), isr(M.AF, function=2), isr(M.AF, function=1), isr(M.WR_ABK, 1, row=1)],
        ["ACTAF r2", "AF", "AF", "PREA", "ACTAF r1", "AF", "PREA", "ACTAB r1", "WRBK"],
        None,
    ),
    "single banks": (
        [isr(M.MAC_SBK, 1, bank=1, row=5), isr(M.COPY_BKGB, 1, bank=2, row=6), isr(M.COPY_GBBK, 1, bank=1, row=7),
         isr(M.RD_SBK, 1, bank=2, row=6), isr(M.MAC_SBK, 1, bank=2, row=6, mode=Mode.LOCAL),
         isr(M.MAC_SBK, 1, bank=1, row=7, mode=Mode.LOCAL)],
        ["ACT b1 r5", "MACSB b1", "ACT b2 r6", "RDCP b2", "PRE b1", "ACT b1 r7", "WRCP b1", "RD b2",
         "ACT b3 r6", "MACSB b2", "ACT r7", "MACSB b1"],
        None,
    ),
    "single bank within all banks": (
        [isr(M.MAC_ABK, 1, row=5), isr(M.MAC_SBK, 1, bank=1, row=5), isr(M.COPY_BKGB, 1, bank=3, row=5),
         isr(M.MAC_SBK, 1, bank=1, row=6), isr(M.MAC_ABK, 1, row=6)],
        ["ACTAB r5", "MACAB", "MACSB b1", "RDCP b3", "PREA", "ACT b1 r6", "MACSB b1", "PREA", "ACTAB r6", "MACAB"],
        None,
    ),
    "normal access never shares a row opened for PIM": (
        [isr(M.WR_ABK, 1, row=5), isr(M.RD_SBK, 1, bank=1, row=5), isr(M.COPY_GBBK, 1, bank=1, row=5)],
        ["ACTAB r5", "WRBK", "PREA", "ACT b1 r5", "RD b1", "WRCP b1"],
        None,
    ),
    "nothing on the bus": ([isr(M.EWADD, 1, mask=0), isr(M.SYNC, mask=0)], [], None),
}  # fmt: skip


@pytest.mark.parametrize("timing_name", TIMINGS)
@pytest.mark.parametrize("case", CONTEXTS)
def test_contexts_are_prepared_lazily(case: str, timing_name: str) -> None:
    instructions, by_mode, direct = CONTEXTS[case]
    shape = config("tiny", timing_name)
    expected = direct if direct is not None and shape.timing.direct else by_mode
    assert names(place_program(shape, instructions)) == expected
    assert names(place_program(shape, instructions), channel=1) == [], "a channel that no mask names"


def test_each_command_has_its_slot() -> None:
    entries = place_program(config("tiny"), [isr(M.WR_GB, 1), isr(M.MAC_ABK, 1, row=1), isr(M.RD_MAC)])
    assert [(entry.micro.op, entry.slot) for entry in entries if entry.slot] == [(Op.WRGB, 1), (Op.RDMAC, 1)]


def test_mode_bits_reach_the_commands_that_use_them() -> None:
    shape = config("tiny")
    program = [
        isr(M.WR_BIAS, mode=Mode.SET1),
        isr(M.MAC_ABK, 1, row=1, mode=Mode.SET1 | Mode.LOCAL),
        isr(M.EWMUL, 1, row=1, mode=Mode.LOCAL),
        isr(M.RD_MAC, mode=Mode.SET1),
    ]
    modes = {entry.micro.op: entry.micro.mode for entry in place_program(shape, program)}
    assert modes == {Op.WRBIAS: 1, Op.ACTAB: 0, Op.MACAB: 3, Op.EWMUL: 2, Op.RDMAC: 1}


# --- the schedule


def random_program(
    shape: Config, rng: np.random.Generator, length: int, mask: int | None = None
) -> list[Instruction]:
    """Valid instructions of all kinds, few rows so that contexts are met again."""
    geometry = shape.geometry
    found = []
    for _ in range(length):
        op = list(FIELDS)[int(rng.integers(len(FIELDS)))]
        size = int(rng.integers(1, 5))
        fields = {
            "column": int(rng.integers(geometry.columns - size)),
            "bank": int(rng.integers(geometry.banks)),
            "row": int(rng.integers(3)),
            "function": int(rng.integers(3)),
            "gpr0": 32 * int(rng.integers(64)),
            "gpr1": 32 * int(rng.integers(64)),
            "mask": mask or int(rng.integers(1, 1 << geometry.channels)),
        }
        mode = sum(
            bit for name, bit in (("set", 1), ("local", 2)) if name in FIELDS[op] and rng.random() < 0.3
        )
        used = {name: value for name, value in fields.items() if name in FIELDS[op]}
        found.append(Instruction(op=op, size=size if "size" in FIELDS[op] else 0, mode=mode, **used))
    return found


@pytest.mark.parametrize("name", ["tiny", "ianus"])
@pytest.mark.parametrize("timing_name", TIMINGS)
def test_each_command_stands_at_its_earliest_cycle(
    name: str, timing_name: str, rng: np.random.Generator
) -> None:
    shape = config(name, timing_name)
    everywhere = (1 << shape.geometry.channels) - 1
    # Without what aligns the channels nothing but the rules binds.
    program = [i for i in random_program(shape, rng, 400, everywhere) if i.op not in (M.EWADD, M.SYNC)]
    program = [i for i in program if i.op not in (M.RD_MAC, M.RD_AF, M.RD_SBK)] + [
        isr(M.RD_SBK, 3, mask=everywhere)
    ]
    entries = place_program(shape, program)
    checker = Checker(shape, strict=True, refresh=False)
    mine = [entry for entry in entries if entry.channel == 1]
    for entry in mine:
        assert entry.slot == int(entry.micro.op in REGISTER_OPS)
        assert checker.earliest(entry.micro) == entry.cycle, str(entry)
        checker.issue(entry.cycle, entry.slot, entry.micro)
    assert len(mine) > 500
    assert len(entries) == shape.geometry.channels * len(mine)
    cost = program_cost(shape, program)
    assert cost.cycles == mine[-1].cycle + shape.timing.cycles("RL + BL") + 1
    assert cost.commands == (Counter(entry.micro.op for entry in mine),) * shape.geometry.channels


@pytest.mark.parametrize("timing_name", TIMINGS)
def test_refreshes_are_on_time_and_never_inside_an_item(timing_name: str, rng: np.random.Generator) -> None:
    shape = config("tiny", timing_name)
    interval = shape.timing.refresh_interval
    program = random_program(shape, rng, 1500)
    plain = place_program(shape, program)
    entries = place_program(shape, program, interval // 2)
    ended = max(entry.cycle for entry in entries)
    for channel in range(2):
        mine = [entry for entry in entries if entry.channel == channel]
        checker = Checker(shape, strict=True)
        for entry in mine:
            checker.issue(entry.cycle, entry.slot, entry.micro)
        at = [entry.cycle for entry in mine if entry.micro.op is Op.REFAB]
        late = [cycle - (interval // 2 + interval * number) for number, cycle in enumerate(at)]
        assert min(late) >= 0
        assert max(late) < 500
        assert abs(len(at) - ended // interval) <= 1
        # What is no preparation stands in the same order as without refresh.
        assert own_commands(mine) == own_commands([entry for entry in plain if entry.channel == channel])


def own_commands(entries: list[Entry]) -> list[Micro]:
    """What is neither preparation nor refresh."""
    own = {Op.RD, Op.WR, Op.MACAB, Op.MACSB, Op.AF, Op.EWMUL, Op.RDCP, Op.WRCP, Op.WRBK, *REGISTER_OPS}
    return [entry.micro for entry in entries if entry.micro.op in own]


def test_refresh_due_at_the_cycle_of_the_next_command_goes_first() -> None:
    shape = config("tiny")
    first_mac = shape.timing.cycles("tRCDMAC")
    instruction = isr(M.MAC_ABK, 2, row=1)
    at_once = ["ACTAB r1", "MACAB", "MACAB c1"]
    assert names(place_program(shape, [instruction], first_mac + 1)) == at_once
    entries = place_program(shape, [instruction], first_mac)
    assert names(entries) == ["ACTAB r1", "PREA", "REFAB", *at_once]
    refresh = entries[2].cycle - entries[1].cycle
    assert [entry.cycle for entry in entries[:2]] == [0, max(first_mac, shape.timing.cycles("tRAS"))]
    assert refresh == shape.timing.cycles("tRP")
    assert names(place_program(shape, [instruction], 0)) == ["REFAB", *at_once]


def test_closing_for_a_refresh_begins_when_it_is_due() -> None:
    shape = config("tiny")
    due = shape.timing.cycles("tRCDAF") - 2
    assert due > shape.timing.cycles("tRAS")
    entries = place_program(shape, [isr(M.AF, function=1)], due)
    assert names(entries) == ["ACTAF r1", "PREA", "REFAB", "ACTAF r1", "AF"]
    assert entries[1].cycle == due


def test_refresh_leaves_register_mode_first() -> None:
    shape = config("tiny", "aim_simulator")
    entries = place_program(shape, [isr(M.WR_GB, 2)], 33)
    # tMODIN is 32: the first write is not caught, the second (an item of its own) is.
    assert names(entries) == ["TMOD_IN", "WRGB", "TMOD_OUT", "REFAB", "TMOD_IN", "WRGB c1"]


# --- alignment


def first_cycle(entries: list[Entry], channel: int, op: Op, which: int = 0) -> int:
    return [e.cycle for e in entries if e.channel == channel and e.micro.op is op][which]


@pytest.mark.parametrize(
    "between",
    [
        isr(M.SYNC, mask=0),
        isr(M.EWADD, 1, mask=0, gpr0=320, gpr1=352),
        isr(M.WR_GB, 1, mask=2, gpr0=64),  # the GPR that RD_SBK wrote
    ],
    ids=lambda instruction: instruction.op.name,
)
def test_what_aligns_the_channels(between: Instruction) -> None:
    shape = config("tiny")
    slow = [isr(M.MAC_ABK, 8, row=1), isr(M.RD_SBK, 1, row=1, gpr0=64)]
    quick = isr(M.MAC_ABK, 1, row=2, mask=2)
    alone = place_program(shape, [*slow, quick])
    aligned = place_program(shape, [*slow, between, quick])
    assert first_cycle(alone, 1, Op.ACTAB) == 0
    arrived = first_cycle(aligned, 0, Op.RD) + shape.timing.cycles("RL + BL")
    assert first_cycle(aligned, 1, Op.WRGB if between.op is M.WR_GB else Op.ACTAB) == arrived + 1


def test_a_gpr_that_nothing_returned_aligns_nothing() -> None:
    shape = config("tiny")
    slow = [isr(M.MAC_ABK, 8, row=1), isr(M.RD_SBK, 1, row=1, gpr0=64)]
    entries = place_program(shape, [*slow, isr(M.WR_GB, 1, mask=2, gpr0=96)])
    assert first_cycle(entries, 1, Op.WRGB) == 0


def test_a_waiting_channel_refreshes_on_time() -> None:
    shape = config("tiny")
    interval = shape.timing.refresh_interval
    long = [isr(M.MAC_ABK, 8, row=row % 50) for row in range(400)]
    entries = place_program(shape, [*long, isr(M.SYNC, mask=0), isr(M.MAC_ABK, 1, row=1, mask=2)], interval)
    checker = Checker(shape, strict=True)
    at = []
    for entry in entries:
        if entry.channel == 1:
            checker.issue(entry.cycle, entry.slot, entry.micro)
            at += [entry.cycle] if entry.micro.op is Op.REFAB else []
    assert len(at) > 9
    assert at == [interval * number for number in range(1, len(at) + 1)]
