"""The command scheduler: queues, order, exclusion and barriers, on programs small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from pim_model.npu.command import Command, Macro, Op, Part, Unit
from pim_model.npu.invariants import Violation, check
from pim_model.npu.kernel import Deadlock, simulate
from pim_model.npu.machine import Machine
from pim_model.npu.memory import Memory
from pim_model.npu.record import Cause, Record

MACRO = 100


class FixedTime:
    """Every macro takes as many cycles as it has rows."""

    def cost(self, rows: int, columns: int, activation: bool, refresh_due: int | None, /) -> tuple[int, int]:
        return rows, 0


def command(unit: Unit, ticks: int, *needs: int) -> Command:
    macro = Macro(MACRO, 1) if unit is Unit.PIM else None
    return Command(unit, Op.BARRIER, Part.FFN, ticks, needs, macro=macro)


def memory(refresh: bool = False) -> Memory:
    return Memory(Machine().memory, FixedTime(), refresh)


def run(*programs: Sequence[Command], **settings: object) -> Record:
    record = simulate(programs, memory(), **settings)  # type: ignore[arg-type]
    options = {"exclusive": True, "issue_slots": 4, "pending_slots": 256} | settings
    assert check(record, **options) > 0  # type: ignore[arg-type]
    return record


M, V, IN, OUT, CHIP, PIM, SYNC = (
    Unit.MATRIX, Unit.VECTOR, Unit.DMA_IN, Unit.DMA_OUT, Unit.ONCHIP, Unit.PIM, Unit.SYNC,
)  # fmt: skip
LENGTH = 14 * MACRO
"""Ticks of a macro: a cycle of 1 ns has fourteen."""


def test_units_work_side_by_side_and_needs_are_kept() -> None:
    core = run([command(M, 10), command(V, 4), command(V, 4, 0), command(M, 5, 1)]).cores[0]
    assert core.start == [0, 0, 10, 10]
    assert core.end == [10, 4, 14, 15]


def test_a_full_issue_queue_holds_back_the_fifth_command() -> None:
    core = run([command(M, 10) for _ in range(7)]).cores[0]
    assert core.queued == [0, 0, 0, 0, 0, 10, 20], "one begins at once, four wait in the queue"
    assert core.waits(6)[0].cause is Cause.QUEUE_FULL


def test_the_oldest_ready_command_goes_first() -> None:
    # 2 and 3 become ready together with 1 running; 4 was ready long before, and enters the queue at once.
    program = [command(V, 5), command(M, 20), command(M, 3, 0), command(M, 3, 0), command(M, 7)]
    core = run(program).cores[0]
    assert core.start[4] == 20
    assert core.start[2] == 27
    assert core.start[3] == 30


def test_a_full_pending_queue_stalls_fetching() -> None:
    program = [command(M, 10), *(command(V, 1, 0) for _ in range(3)), command(V, 1)]
    core = run(program, pending_slots=2).cores[0]
    assert core.fetched == [0, 0, 0, 10, 10]
    assert run(program, pending_slots=3).cores[0].start[4] == 0, "with one place more it need not wait"


def test_queues_of_one_do_not_deadlock() -> None:
    program = [command(IN, 5), command(PIM, 3, 0), command(M, 5, 1), command(IN, 5), command(PIM, 3, 2, 3)]
    record = simulate([program], memory(), issue_slots=1, pending_slots=1)
    assert check(record, exclusive=True, issue_slots=1, pending_slots=1) > 0


def test_a_macro_keeps_transfers_from_beginning() -> None:
    record = run([command(PIM, 50), command(IN, 10), command(CHIP, 10), command(M, 10), command(OUT, 10)])
    core = record.cores[0]
    assert record.macros == ((0, 50, 50 + LENGTH),)
    assert core.start[2] == 0, "on chip does not wait"
    assert core.start[3] == 0
    assert core.start[1] == 50 + LENGTH
    assert core.start[4] == 60 + LENGTH, "one DMA engine"
    assert core.waits(1)[-1].cause is Cause.MACRO


def test_transfers_that_have_begun_end_first() -> None:
    record = run([command(IN, 30), command(PIM, 5), command(IN, 10)])
    core = record.cores[0]
    assert record.macros == ((0, 35, 35 + LENGTH),), "accepted at once, begun when memory is free"
    assert core.waits(1) == [(Cause.DRAINING, -1, 0, 30)]
    assert core.start[2] == 35 + LENGTH


def test_an_older_transfer_goes_before_a_macro() -> None:
    # Both wait for the first macro: at its end the older transfer begins, and the second macro after it.
    core = run([command(PIM, 5), command(IN, 10), command(PIM, 5)]).cores[0]
    assert core.start[1] == 5 + LENGTH
    assert core.start[2] == 15 + LENGTH


def test_without_exclusion_both_run() -> None:
    core = run([command(PIM, 5), command(IN, 10)], exclusive=False).cores[0]
    assert core.start == [0, 0]


def test_cores_meet_at_macros_and_barriers() -> None:
    slow = [command(M, 40), command(PIM, 5, 0), command(SYNC, 7, 1)]
    fast = [command(M, 10), command(PIM, 5, 0), command(SYNC, 9, 1)]
    record = run(slow, fast)
    assert [core.start[1] for core in record.cores] == [40, 40]
    assert record.cores[1].waits(1)[-1].cause is Cause.OTHER_CORES
    assert [core.end[2] for core in record.cores] == [45 + LENGTH + 9] * 2
    assert len(record.macros) == 1


def test_a_transfer_of_one_core_keeps_another_cores_macro() -> None:
    record = run([command(IN, 90), command(PIM, 5)], [command(M, 1), command(PIM, 5)])
    assert record.macros[0][1] == 95


def test_cores_that_never_meet_are_a_deadlock() -> None:
    with pytest.raises(Deadlock, match="core 0: command 0 of 1 never ended"):
        simulate([[command(PIM, 5)], [command(M, 5)]], memory())


@pytest.mark.parametrize("name", ["issue_slots", "pending_slots"])
def test_a_queue_needs_a_place(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} must be at least 1, not 0"):
        simulate([[command(M, 5)]], memory(), **{name: 0})  # type: ignore[arg-type]


def random_program(rng: np.random.Generator, length: int) -> list[Command]:
    program = []
    for index in range(length):
        unit = Unit(int(rng.integers(len(Unit))))
        needs = {int(rng.integers(max(0, index - 12), index)) for _ in range(int(rng.integers(3))) if index}
        program.append(command(unit, int(rng.integers(1, 400)), *sorted(needs)))
    return program


@pytest.mark.parametrize("slots", [(1, 1), (2, 3), (4, 256)])
@pytest.mark.parametrize("refresh", [False, True])
def test_rules_hold_for_random_programs(
    slots: tuple[int, int], refresh: bool, rng: np.random.Generator
) -> None:
    waited: set[Cause] = set()
    for _ in range(15):
        program = random_program(rng, 120)
        # The same units in the same order, so that the cores meet; other lengths and other needs.
        others = [
            [each._replace(ticks=int(rng.integers(1, 400)), needs=each.needs[:1]) for each in program]
            for _ in range(2)
        ]
        issue, pending = slots
        record, again = (
            simulate([program, *others], memory(refresh), issue_slots=issue, pending_slots=pending)
            for _ in range(2)
        )
        assert check(record, exclusive=True, issue_slots=issue, pending_slots=pending) > 3 * 120
        assert [core.start for core in record.cores] == [core.start for core in again.cores]
        for core in record.cores:
            for index in range(len(program)):
                waits = core.waits(index)
                assert sum(wait.end - wait.start for wait in waits) == core.start[index] - core.fetched[index]
                waited |= {wait.cause for wait in waits}
    assert Cause.MACRO in waited
    assert Cause.DEPENDENCY in waited


# ------------------------------------------------------------------------------------------------- the checker itself


def broken(change: str) -> Record:
    program = [command(PIM, 50), command(IN, 10), command(CHIP, 10, 3), command(M, 10), command(M, 10)]
    record = simulate([program], memory())
    core = record.cores[0]
    match change:
        case "twice":
            core.finishes[3] = 2
        case "never":
            core.end[4] = -1
        case "early":
            core.start[2] = 5
        case "in a macro":
            core.start[1] = 60
            core.end[1] = 70
        case "overtakes":
            core.start[4], core.end[4], core.start[3], core.end[3] = 0, 5, 5, 10
        case "on chip":
            core.start[2] += 1
            core.end[2] += 1
        case "overlap":
            core.start[4] = 5
        case "pending":
            core.most_pending = 257
    return record


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("twice", "begin and end once"),
        ("never", "begin and end once"),
        ("early", "began before 3 had ended"),
        ("in a macro", "used memory at once"),
        ("overtakes", "overtook"),
        ("on chip", "waited for more than the DMA engine"),
        ("overlap", "on a unit that was busy"),
        ("pending", "257 commands were pending"),
    ],
)
def test_checker_sees(change: str, message: str) -> None:
    with pytest.raises(Violation, match=message):
        check(broken(change), exclusive=True, issue_slots=4, pending_slots=256)


def test_checker_sees_a_full_scratchpad() -> None:
    big = 3 << 20
    program = [
        command(IN, 10)._replace(claims=big),
        command(IN, 10)._replace(claims=big),
        command(M, 10, 0, 1)._replace(frees=2 * big),
    ]
    with pytest.raises(Violation, match="6291456 bytes in a weight scratch-pad"):
        check(simulate([program], memory()), exclusive=True, issue_slots=4, pending_slots=256)


def test_checker_sees_an_overfull_issue_queue() -> None:
    record = simulate([[command(M, 10) for _ in range(7)]], memory())
    with pytest.raises(Violation, match="no place in its issue queue"):
        check(record, exclusive=True, issue_slots=3, pending_slots=256)
