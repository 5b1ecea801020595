# Ref: pim_model/spec/errors.py
"""The RTL checker beside timing: every state code, each from a sequence that is legal up to its last command."""

from __future__ import annotations

from itertools import product
from typing import Any

import cocotb

from pim_model.checker import describe
from pim_model.checker_refresh import RefreshWindow
from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.errors import Violation
from pim_model.spec.micro import REGISTER_OPS, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing_rules import RULES
from sim.bench.checker_bench import QUIET, CheckerBench, Timed
from sim.bench.checker_pairs import pairs

ACT, ACTAB, ACTAF = Micro(Op.ACT, bank=1, row=2), Micro(Op.ACTAB, row=2), Micro(Op.ACTAF, row=3)
RD, WR, PRE = Micro(Op.RD, bank=1, column=1), Micro(Op.WR, bank=1, column=1), Micro(Op.PRE, bank=1)
MACAB, MACSB = Micro(Op.MACAB, column=1), Micro(Op.MACSB, bank=1, column=1)
EWMUL, WRBK = Micro(Op.EWMUL, column=1), Micro(Op.WRBK, column=1)
RDCP, WRCP = Micro(Op.RDCP, bank=1, column=1), Micro(Op.WRCP, bank=1, column=1)
MACSB_LOCAL, MACAB_LOCAL = (
    Micro(op, bank=int(op is Op.MACSB), column=1, mode=Mode.LOCAL) for op in (Op.MACSB, Op.MACAB)
)
ACT_BESIDE, PRE_BESIDE = Micro(Op.ACT, bank=0, row=2), Micro(Op.PRE, bank=0)
AF, PREA, REFAB = Micro(Op.AF), Micro(Op.PREA), Micro(Op.REFAB)
REFPB = Micro(Op.REFPB, bank=1)
IN, OUT = Micro(Op.TMOD_IN), Micro(Op.TMOD_OUT)
WRGB, WRBIAS, RDMAC, RDAF = Micro(Op.WRGB, column=1), Micro(Op.WRBIAS), Micro(Op.RDMAC), Micro(Op.RDAF)

FORBIDDEN: tuple[tuple[Violation, tuple[Micro, ...]], ...] = (
    *((Violation.ROW_OPEN, (opened, again)) for opened in (ACT, ACTAB, ACTAF) for again in (ACT, ACTAB, ACTAF)),
    *((Violation.ROW_CLOSED, (command,)) for command in (RD, WR, MACAB, MACSB, EWMUL, WRBK, RDCP, WRCP, AF)),
    (Violation.ROW_CLOSED, (Micro(Op.ACT, bank=2, row=2), RD)),
    (Violation.ROW_CLOSED, (ACT, PRE, RD)),
    *((Violation.ROW_CLOSED, (opened, MACSB_LOCAL)) for opened in (ACT, ACT_BESIDE)),
    (Violation.ROW_CLOSED, (ACTAB, PRE_BESIDE, MACAB_LOCAL)),
    (Violation.ROW_CLOSED, (ACT, Micro(Op.PRE, bank=1), WR)),
    *((Violation.REFRESH_OPEN, (opened, REFAB)) for opened in (ACT, ACTAB, ACTAF)),
    (Violation.REFRESH_OPEN, (ACT, REFPB)),
    (Violation.REFRESH_OPEN, (ACTAB, REFPB)),
    *((Violation.MODE_OPEN, (opened, IN)) for opened in (ACT, ACTAB, ACTAF)),
    (Violation.REGISTER_MODE, (OUT,)),
    (Violation.REGISTER_MODE, (IN, OUT, OUT)),
    *((Violation.IN_REGISTER_MODE, (IN, command)) for command in (ACT, ACTAB, ACTAF, PRE, PREA, REFAB, REFPB, IN)),
    *((Violation.PIM_ROW, (opened, access)) for opened in (ACTAB, ACTAF) for access in (RD, WR)),
    *((Violation.TABLE_ROW, (ACTAF, command)) for command in (MACAB, MACSB, EWMUL, RDCP, WRCP)),
    (Violation.TABLE_ROW, (ACTAF, PRE, ACT, MACSB_LOCAL)),
    (Violation.TABLE_ROW, (ACTAF, MACAB_LOCAL)),
    (Violation.TABLE_ROW, (ACTAB, AF)),
)  # fmt: skip
"""(code of the last command, sequence); all commands in their usual slot, long after each other."""

IN_MODE_ONLY: tuple[tuple[Violation, tuple[Micro, ...]], ...] = tuple(
    (Violation.REGISTER_MODE, (*way, command))
    for way in ((), (IN, OUT))
    for command in (WRGB, WRBIAS, RDMAC, RDAF)
)

ALLOWED: tuple[tuple[Micro, ...], ...] = (
    (ACT, RD, WR, RD, PRE, ACT, PREA),
    (ACT, Micro(Op.ACT, bank=2, row=7), RD, PRE, PRE, REFPB, PREA, REFAB, ACTAB),
    (
        PRE,
        PREA,
        PREA,
        ACTAB,
        MACAB,
        MACSB,
        EWMUL,
        RDCP,
        WRCP,
        WRBK,
        PREA,
        ACTAF,
        WRBK,
        AF,
        PRE,
        Micro(Op.PREA),
        ACT,
    ),
    (ACT, MACSB, RDCP, WRCP, RD, PREA),
    (ACT, ACT_BESIDE, MACSB_LOCAL, PREA, ACTAB, MACSB_LOCAL, MACAB_LOCAL, PREA),
    (IN, WRGB, WRBIAS, RDMAC, RDAF, OUT, IN, OUT, ACT),
    (ACT, PREA, IN, OUT, REFAB, REFPB, ACT),
)
"""Sequences without a fault; a row opened by ACT serves PIM commands to its one bank too."""

PREP = Micro(Op.PREP)
PIM_ROW, BESIDE_PIM = Micro(Op.ACTAB, row=4), Micro(Op.ACT, bank=1, row=5)
COPIES = (MACSB, RDCP, WRCP)

DUAL_FORBIDDEN: tuple[tuple[Violation, tuple[Micro, ...]], ...] = (
    *((Violation.ROW_OPEN, (opened, again)) for opened in (PIM_ROW, ACTAF) for again in (PIM_ROW, ACTAB, ACTAF)),
    (Violation.ROW_OPEN, (BESIDE_PIM, ACT)),
    *((Violation.ROW_CLOSED, (command,)) for command in (RD, WR, MACAB, EWMUL, WRBK, AF, *COPIES)),
    *((Violation.ROW_CLOSED, (PIM_ROW, command)) for command in (RD, WR)),
    *((Violation.ROW_CLOSED, (ACT, command)) for command in (MACAB, EWMUL, WRBK, AF, MACSB_LOCAL)),
    *((Violation.ROW_CLOSED, (BESIDE_PIM, PIM_ROW, PREP, command)) for command in (MACAB, EWMUL, WRBK, AF)),
    *((Violation.ROW_CLOSED, (BESIDE_PIM, PIM_ROW, PRE, command)) for command in (RD, WR)),
    *((Violation.ROW_CLOSED, (BESIDE_PIM, PIM_ROW, PREA, command)) for command in (RD, MACAB, MACSB)),
    *((Violation.REFRESH_OPEN, (BESIDE_PIM, PIM_ROW, closed, REFAB)) for closed in (PRE, PREP)),
    (Violation.REFRESH_OPEN, (PIM_ROW, REFPB)),
    (Violation.REFRESH_OPEN, (BESIDE_PIM, REFPB)),
    *((Violation.MODE_OPEN, (opened, IN)) for opened in (ACT, ACTAB, ACTAF)),
    *((Violation.TABLE_ROW, (BESIDE_PIM, ACTAF, command)) for command in (MACAB, EWMUL, MACAB_LOCAL, *COPIES)),
    (Violation.TABLE_ROW, (PIM_ROW, AF)),
    *((Violation.SHARED_ROW, (ACT, command)) for command in (ACTAB,)),
    *((Violation.SHARED_ROW, (ACTAB, command)) for command in (ACT, ACT_BESIDE)),
    (Violation.SHARED_ROW, (ACT, ACT_BESIDE, PRE, ACTAB)),
    (Violation.IN_REGISTER_MODE, (IN, PREP)),
)  # fmt: skip

DUAL_ALLOWED: tuple[tuple[Micro, ...], ...] = (
    (BESIDE_PIM, PIM_ROW, RD, MACAB, WR, WRBK, EWMUL, PRE, MACAB, ACT, RD, PREP, RD, WR, PREA, REFAB),
    (PIM_ROW, BESIDE_PIM, PREP, ACTAF, AF, RD, WRBK, PREP, PREP, PRE, REFAB, REFPB),
    (ACT, *COPIES, PIM_ROW, *COPIES, MACSB_LOCAL, MACAB_LOCAL, PREP, *COPIES),
    (ACT, PRE, ACTAB, PREP, ACT, PREA, ACTAB, PREA, IN, OUT),
)

DIRECT: tuple[tuple[Micro, ...], ...] = (
    (WRGB, WRBIAS, ACTAB, WRGB, MACAB, RDMAC, WRBIAS, PREA, ACTAF, AF, RDAF, PREA),
    (ACT, WRGB, RD, RDMAC),
)
"""More, where registers are reached at any time."""


def _sequence(bench: CheckerBench, commands: tuple[Micro, ...]) -> list[Timed]:
    """Commands in their usual slots, far enough apart that no timing binds."""
    first = bench.cycle + 10
    return [
        Timed(first + index * QUIET, int(micro.op in REGISTER_OPS), micro)
        for index, micro in enumerate(commands)
    ]


def _forbidden(config: Config) -> tuple[tuple[Violation, tuple[Micro, ...]], ...]:
    if config.dual_row_buffer:
        return DUAL_FORBIDDEN
    return FORBIDDEN if config.timing.direct else FORBIDDEN + IN_MODE_ONLY


@cocotb.test()
async def forbidden_sequences(dut: Any) -> None:
    """Each is reported once, with its code, at its last command."""
    bench = CheckerBench(dut)
    await bench.begin()
    for code, commands in _forbidden(bench.config):
        sequence = _sequence(bench, commands)
        said = await bench.compare(sequence, f"{code.name}")
        assert said == [(sequence[-1].cycle, code)], f"{[micro.op.name for micro in commands]}: {said}"


@cocotb.test()
async def allowed_sequences(dut: Any) -> None:
    """Nothing is said."""
    bench = CheckerBench(dut)
    await bench.begin()
    allowed = DUAL_ALLOWED if bench.config.dual_row_buffer else ALLOWED
    for commands in allowed + (DIRECT if bench.config.timing.direct else ()):
        said = await bench.compare(_sequence(bench, commands), "allowed")
        assert said == [], f"{[micro.op.name for micro in commands]}"


@cocotb.test()
async def neighbour_edges(dut: Any) -> None:
    """A MAC on neighbours waits for both of its banks and holds both open, and does not wait for the buffer."""
    bench = CheckerBench(dut)
    await bench.begin()
    rules = {timed.rule.name: timed for timed in bench.config.timing.rules}
    for bank, early in product((0, 1, 4), (0, 1)):
        for mode, other in product((0, Mode.LOCAL), (bank, bank ^ 1, bank ^ 2)):
            mac = Micro(Op.MACSB, bank=bank, column=1, mode=mode)
            bound = other == bank or (mode == Mode.LOCAL and other == bank ^ 1)
            act, pre = Micro(Op.ACT, bank=other, row=2), Micro(Op.PRE, bank=other)
            for name, before, after in (("tRCDMAC", act, mac), ("tMACPRE", mac, pre)):
                first, distance = bench.cycle + 10, rules[name].cycles - early
                sequence = [Timed(first, 0, before), Timed(first + distance, 0, after)]
                said = await bench.compare(sequence, f"{name}, {before} to {after}")
                expected = bool(early and bound and rules[name].cycles > 1)
                assert ((first + distance, rules[name].index) in said) is expected, f"{name}: {said}"
    for mac in (MACSB_LOCAL, MACAB_LOCAL):
        first = bench.cycle + 10
        for name, pair in (("tGBMAC", (WRGB, mac)), ("tMACGB", (mac, WRGB))):
            sequence = [Timed(first + at, int(micro is WRGB), micro) for at, micro in enumerate(pair)]
            said = await bench.compare(sequence, name)
            assert rules[name].index not in {code for _, code in said}, f"{name}: {said}"
            first = bench.cycle + 10


@cocotb.test()
async def mixed_rows(dut: Any) -> None:
    """All-bank PIM commands want rows opened by ACTAB, in every bank."""
    bench = CheckerBench(dut)
    await bench.begin()
    everywhere = tuple(Micro(Op.ACT, bank=bank, row=2) for bank in range(bench.config.geometry.banks))
    for command in (MACAB, EWMUL, WRBK):
        sequence = _sequence(bench, (*everywhere, command))
        assert await bench.compare(sequence, "rows by ACT") == [(sequence[-1].cycle, Violation.PIM_ROW)]
        sequence = _sequence(bench, (ACTAB, PRE, command))
        assert await bench.compare(sequence, "one closed") == [(sequence[-1].cycle, Violation.ROW_CLOSED)]
        sequence = _sequence(bench, (ACTAB, PRE, ACT, command))
        assert await bench.compare(sequence, "one by ACT") == [(sequence[-1].cycle, Violation.PIM_ROW)]


@cocotb.test()
async def activation_window(dut: Any) -> None:
    """Four activations in tFAW; the fifth is refused one cycle before the window ends, accepted at its end."""
    bench = CheckerBench(dut)
    await bench.begin()
    config = bench.config
    window = config.timing.faw_cycles
    rules = {rule.rule.name: rule.cycles for rule in config.timing.rules}
    gap = max(rules["tRRDS"], rules["tRRDL"])
    assert 4 * gap < window, "tRRD alone spreads five activations over the window"
    for fifth, said in ((window - 1, [Violation.FAW]), (window, [])):
        first = bench.cycle + 10
        cycles = [first + gap * index for index in range(4)] + [first + fifth]
        sequence = [Timed(cycle, 0, Micro(Op.ACT, bank=bank, row=1)) for bank, cycle in enumerate(cycles)]
        assert [code for _, code in await bench.compare(sequence, "tFAW")] == said


@cocotb.test()
async def command_bus(dut: Any) -> None:
    """Slot 1 is for register commands; one register command and one data write in a cycle."""
    bench = CheckerBench(dut)
    await bench.begin()
    opened = _sequence(bench, (ACT,)) if bench.config.timing.direct else _sequence(bench, (IN,))
    await bench.drive(opened)
    await bench.idle(QUIET)
    if bench.config.timing.direct:
        both = [Timed(bench.cycle + 1, 0, WR), Timed(bench.cycle + 1, 1, WRGB)]
        await bench.drive(both)
        await bench.idle(2)
        assert [report.code for report in bench.take()] == [RULE_OF_WRITES]
    else:
        both = [Timed(bench.cycle + 1, 0, WRBIAS), Timed(bench.cycle + 1, 1, RDMAC)]
        await bench.drive(both)
        await bench.idle(2)
        assert [report.code for report in bench.take()], "two register commands in one cycle"
    await bench.clear()
    for micro in (ACT, PREA, REFAB):
        await bench.drive([Timed(bench.cycle + 1, 1, micro)])
        await bench.idle(2)
        assert [report.code for report in bench.take()] == [Violation.COMMAND_BUS], micro
        await bench.clear()


RULE_OF_WRITES = next(index for index, rule in enumerate(RULES) if rule.name == "tCCDwr")


@cocotb.test()
async def operands(dut: Any) -> None:
    """Opcodes and operands that the device does not have."""
    bench = CheckerBench(dut)
    await bench.begin()
    geometry = bench.config.geometry

    async def say(slot: int, op: int, bank: int = 0, row: int = 0, column: int = 0) -> list[int]:
        dut.bank0.value, dut.row0.value = bank, row
        dut.column0.value = dut.column1.value = column
        (dut.op0 if slot == 0 else dut.op1).value = op
        await bench.edge()
        dut.op0.value = dut.op1.value = 0
        await bench.idle(2)
        codes = [report.code for report in bench.take()]
        await bench.clear()
        return codes

    for op in range(max(Op) + 1, 32):
        assert await say(0, op) == [Violation.OPERAND], op
        assert await say(1, op) == [Violation.COMMAND_BUS], op
    for op in (Op.ACT4, Op.MAC4B):
        assert Violation.OPERAND in await say(0, op), op.name
    for op in (Op.ACT, Op.ACTAB):
        assert await say(0, op, row=geometry.rows - 1) == []
        assert await say(0, op, row=geometry.rows) == [Violation.OPERAND], op.name
    functions = geometry.rows - geometry.weight_rows
    assert await say(0, Op.ACTAF, row=functions - 1) == []
    assert await say(0, Op.ACTAF, row=functions) == [Violation.OPERAND]
    if geometry.columns < 64 and bench.config.timing.direct:
        assert await say(1, Op.WRGB, column=geometry.columns - 1) == []
        assert await say(1, Op.WRGB, column=geometry.columns) == [Violation.OPERAND]
    if geometry.banks < 16:
        assert await say(0, Op.ACT, bank=geometry.banks) == [Violation.OPERAND]


@cocotb.test()
async def refresh_deadline(dut: Any) -> None:
    """The first REFAB on the last cycle of the limit is in time, one cycle later is not; nothing without refresh."""
    for late in (0, 1):
        bench = CheckerBench(dut)
        await bench.begin(refresh=True)
        limit = bench.config.timing.refresh_limit
        await bench.drive([Timed(limit + late, 0, REFAB)])
        await bench.idle(2)
        assert [report.code for report in bench.take()] == [Violation.REFRESH_LATE] * late
        dut.refresh.value = 0
        await bench.idle(2 * limit)
        assert not bench.take()


@cocotb.test()
async def refresh_window(dut: Any) -> None:
    """Refreshes early, late and in their last cycle, in random order: a lapse is said once, when the window ends.

    With the per-bank policy single banks are refreshed too, and each has its own deadline.
    """
    bench = CheckerBench(dut)
    await bench.begin(refresh=True)
    geometry, interval = bench.config.geometry, bench.config.timing.refresh_interval
    per_bank = bench.config.refresh is RefreshPolicy.PER_BANK
    window = RefreshWindow(bench.config.timing, geometry.banks)
    rng = bench.rng("refreshes")
    commands, expected, cycle, met = [], [], 10, 0
    for _ in range((1000 if per_bank else 300) * bench.rounds):
        kind = rng.random()
        pause = QUIET if kind < (0.9 if per_bank else 0.6) else interval * rng.randrange(1, 4)
        later = cycle + pause + rng.randrange(40)
        if kind > 0.96:
            later = max(cycle + QUIET, window.deadline + rng.choice((-1, 0, 0, 1)))
        elif kind > 0.7:  # around the end of an interval
            later = max(cycle + QUIET, later // interval * interval + rng.choice((-2, -1, 0, 1)))
        cycle = later
        single = per_bank and rng.random() < 0.9
        bank = rng.randrange(geometry.banks)
        commands.append(Timed(cycle, 0, Micro(Op.REFPB, bank=bank) if single else REFAB))
        while window.deadline < cycle:
            expected.append(window.deadline)
            window.forgive(window.deadline + 1)
        met += window.deadline == cycle
        window.refresh(cycle, [bank] if single else range(geometry.banks))
    await bench.drive(commands)
    await bench.idle(2)
    said = bench.take()
    assert {report.code for report in said} == {Violation.REFRESH_LATE}
    assert [report.cycle for report in said] == expected
    assert met, "no refresh in its last cycle"
    cocotb.log.info("%d lapses, %d refreshes in their last cycle", len(expected), met)


@cocotb.test()
async def register_command_in_slot_0(dut: Any) -> None:
    """A register command alone in slot 0 is legal, and binds what follows as one in slot 1 does."""
    bench = CheckerBench(dut)
    await bench.begin()
    config = bench.config
    for pair in (
        pair for pair in pairs(config) if pair.before.op in REGISTER_OPS or pair.after.op in REGISTER_OPS
    ):
        if pair.rule.cycles < 2:
            continue
        for early in (0, 1):
            first = bench.cycle + 10
            sequence = [Timed(first, 0, pair.before), Timed(first + pair.rule.cycles - early, 0, pair.after)]
            await bench.compare(sequence, f"{pair}, in slot 0")


@cocotb.test()
async def judges_after_reset(dut: Any) -> None:
    """A reset forgets the past: what it sees afterwards is judged as after power-on."""
    bench = CheckerBench(dut)
    await bench.begin()
    for cycle in (10, 2_000):
        await bench.drive([Timed(cycle, 0, ACT), Timed(cycle + 500, 0, PRE)])
    bench = CheckerBench(dut)
    await bench.begin()
    early = [Timed(20, 0, ACTAB), Timed(21, 0, PRE)]  # within tRAS
    await bench.drive(early)
    await bench.idle(2)
    assert [(report.cycle, describe(report.code)) for report in bench.take()] == [(21, "tRAS")]
