"""How long a recorded trace took: first and last own command, the burst of a last read, closing apart."""

from __future__ import annotations

from pim_model.program_schedule import place_program
from pim_model.span import Span, span
from pim_model.spec.config import config
from pim_model.spec.macro import MacroOp as M
from pim_model.spec.micro import Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.trace import Entry
from tests.pim_model.test_program import isr

TINY, AIM = config("tiny"), config("tiny", "aim_simulator")


def entry(cycle: int, op: Op, channel: int = 0, **operands: int) -> Entry:
    return Entry(cycle, channel, 0, Micro(op, **operands))


def test_a_last_reads_burst_belongs_to_it() -> None:
    # aim_simulator: RL 50, BL 2, one CK a cycle; closing must wait tRAS 54 from ACT at 10, tRTP 12 from RD at 46.
    found = span(AIM, [entry(10, Op.ACT, row=1), entry(46, Op.RD)])
    assert (found.first, found.end, found.cycles) == (10, 98, 88)
    assert found.closing == 0, "closed at 64, while the data come"


def test_closing_as_early_as_the_rules_allow_if_nobody_did() -> None:
    # tMACPRE is 12, and the command itself takes a cycle.
    assert span(AIM, [entry(100, Op.ACTAB), entry(156, Op.MACAB)]) == Span(100, 157, 12)


def test_closing_as_recorded() -> None:
    entries = [entry(100, Op.ACTAB), entry(103, Op.MACAB), entry(200, Op.PREA), entry(300, Op.REFAB)]
    assert span(AIM, entries) == Span(100, 104, 97)


def test_refresh_before_the_first_command_and_other_channels() -> None:
    entries = [
        entry(0, Op.REFAB),
        entry(50, Op.REFAB, channel=1),
        entry(130, Op.ACTAB),
        entry(190, Op.ACTAB, channel=1),
        entry(191, Op.MACAB),
    ]
    assert (span(AIM, entries).first, span(AIM, entries).end) == (130, 192)


def test_nothing_takes_nothing() -> None:
    assert span(TINY, []) == Span(0, 0, 0)
    assert span(TINY, [entry(5, Op.REFAB)]).cycles == 0


def test_register_mode_is_left_too() -> None:
    entries = place_program(AIM, [isr(M.WR_BIAS)])
    # TMOD_IN 0, WRBIAS 32, its data WL 1 and BL 2 before TMOD_OUT.
    assert span(AIM, entries) == Span(0, 33, 3)
