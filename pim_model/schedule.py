# Ref: IANUS (ASPLOS 2024), section 4.1; GDDR6-AiM notes, "Timing"
"""Golden schedule: when the commands of a macro stand on the bus, each at its earliest legal cycle.

All channels run in lock step, so one schedule serves each. Cycle 0 is the first in which a command could be
issued to an idle, precharged channel.

The lowered streams repeat, so the schedule is built from *steps* (load registers, one run on an open row, a
mode visit, a refresh). Where a step puts its commands depends only on the recent past, expressed relative to
the last row command. Each distinct (past, step) is computed once and then reused, which makes a macro of any
length cheap.

Decisions taken here that the controller must share:

* A refresh that is due when ACTAB, ACTAF or TMOD_IN could be issued goes before it, at its earliest legal
  cycle.
* A row that stays open for the next pass is closed all the same if a refresh is due in the cycle of the pass's last
  MACAB. The refresh comes next, and the next run opens the row again.
* With ``register_access`` mode, the controller visits register mode before a run that needs a register
  command, and at the end for the last results. It issues what the next run needs, and what remains of the
  previous pass.
* The results of a pass are read one after the other, when the last MACAB of all its runs is through.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pim_model.lowering import Lowering
from pim_model.schedule_steps import Past, Registers, RowRun, Step, StepTable, step_table
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import WITH_ROW, Micro, MicroOp
from pim_model.spec.order import Order

__all__ = ["PCU_LATENCY", "Cost", "Placed", "macro_cycles", "place"]

PCU_LATENCY = 0
"""Cycles from a macro's start in the PCU to the first in which its commands may stand on the bus."""

Placed = tuple[int, int, Micro]
"""(cycle, slot, command)"""


_NEVER = 1 << 62


@dataclass(frozen=True)
class Cost:
    """What a macro takes on each channel."""

    cycles: int
    """From its first possible command to the cycle after its last command and its last result's arrival."""
    commands: Mapping[MicroOp, int]


def macro_cycles(
    config: Config, macro: MatVec, refresh_due: int | None = None, order: Order | None = None
) -> Cost:
    """Cycles and command counts of a macro.

    ``refresh_due``: cycle of the next refresh, None for none. ``order``: another order than the best, to compare.
    """
    shape = _shape(macro)
    cost = _cost(config, shape, None, order)
    if refresh_due is None or refresh_due >= cost.cycles:
        return cost
    return _cost(config, shape, refresh_due, order)


def place(
    config: Config, macro: MatVec, refresh_due: int | None = None, order: Order | None = None
) -> list[Placed]:
    """The commands of a macro on each channel, in the order of (cycle, slot). As :func:`macro_cycles`."""
    table = step_table(config.timing_name, config.geometry, config.dual_row_buffer)
    placed = [
        (base + cycle, slot, _micro(op, row if op in WITH_ROW else 0, column, mode))
        for base, past, number, row in _walk(table, Lowering(config, macro, order), refresh_due)
        for cycle, slot, op, column, mode in table.move(past, number).commands
    ]
    placed.sort(key=lambda entry: entry[:2])
    return placed


@lru_cache(maxsize=4096)
def _micro(op: MicroOp, row: int, column: int, mode: int) -> Micro:
    return Micro(op, row=row, column=column, mode=mode)


def _shape(macro: MatVec) -> MatVec:
    """A macro with everything dropped that does not touch the timing."""
    return MatVec(
        tag=0,
        rows=macro.rows,
        columns=macro.columns,
        tokens=macro.tokens,
        weight_row=0,
        input_offset=0,
        output_offset=0,
        function=None if macro.function is None else 0,
        kv_rows=None if macro.kv_rows is None else (0, 0),
    )


@lru_cache(maxsize=4096)
def _cost(config: Config, macro: MatVec, refresh_due: int | None, order: Order | None) -> Cost:
    """The cost alone: as :func:`_walk`, but over numbers, since the device asks for each macro and refresh phase."""
    table = step_table(config.timing_name, config.geometry, config.dual_row_buffer)
    numbers, plain = _numbered(config, macro, order)
    base, past, end, refreshes = 0, table.idle, 0, 0
    due = _NEVER if refresh_due is None else refresh_due
    interval = table.refresh_interval
    reopen, reopened = False, 0
    for regular in numbers:
        number = regular
        if reopen and (opening := table.opened(number)) is not None:
            number, reopen, reopened = opening, False, reopened + 1
        move = table.move(past, number)
        while move.gate is not None and due <= base + move.gate:
            refresh = table.move(past, table.refresh)
            base, past, due, refreshes = base + refresh.shift, refresh.past, due + interval, refreshes + 1
            move = table.move(past, number)
        if move.yields is not None and due <= base + move.yields:
            move, reopen = table.move(past, table.closed(number)), True
        if base + move.end > end:
            end = base + move.end
        base, past = base + move.shift, move.past
    commands = Counter(plain)
    commands.update({MicroOp.REFAB: refreshes, MicroOp.ACTAB: reopened, config.row_closer: reopened})
    return Cost(end, {op: count for op, count in commands.items() if count})


@lru_cache(maxsize=1024)
def _numbered(config: Config, macro: MatVec, order: Order | None) -> tuple[list[int], dict[MicroOp, int]]:
    """Numbers of a macro's steps in order, and its commands without refresh."""
    table = step_table(config.timing_name, config.geometry, config.dual_row_buffer)
    steps = [step for step, _ in _steps(Lowering(config, macro, order))]
    commands: Counter[MicroOp] = Counter()
    for step, times in Counter(steps).items():
        for op, count in table.counts(step).items():
            commands[op] += times * count
    return [table.number(step) for step in steps], dict(commands)


def _walk(
    table: StepTable, lowering: Lowering, refresh_due: int | None
) -> Iterator[tuple[int, Past, int, int]]:
    """The steps of a macro: (cycle that the step counts from, past, number of the step, row)."""
    base, past = 0, table.idle
    due = _NEVER if refresh_due is None else refresh_due
    interval = table.refresh_interval
    reopen = False
    for step, row in _steps(lowering):
        number = table.number(step)
        if reopen and (opening := table.opened(number)) is not None:
            number, reopen = opening, False
        outcome = table.move(past, number)
        while outcome.gate is not None and due <= base + outcome.gate:
            yield base, past, table.refresh, 0
            refresh = table.move(past, table.refresh)
            base, past, due = base + refresh.shift, refresh.past, due + interval
            outcome = table.move(past, number)
        if outcome.yields is not None and due <= base + outcome.yields:
            number, reopen = table.closed(number), True
            outcome = table.move(past, number)
        yield base, past, number, row
        base, past = base + outcome.shift, outcome.past


def _steps(lowering: Lowering) -> Iterator[tuple[Step, int]]:
    """A macro as steps: before each run the register commands it waits for, the last results first. Of a run also the
    row operand."""
    visit = not lowering.config.timing.direct
    results: tuple[tuple[MicroOp, int], ...] = ()
    for lanes in lowering.passes():
        biases = len(lanes)
        for run in lowering.runs(lanes):
            load = run.columns if run.load else 0
            if results or biases or load:
                yield Registers(visit, results, biases, load), 0
            results, biases = (), 0
            closer = lowering.config.row_closer
            ends = closer if run.closes else None, closer if run.yields else None
            yield RowRun(run.columns, run.accumulators, run.opens, *ends), lowering.row(run)
            if not run.columns:
                results = ((MicroOp.RDAF, 0),)
        if lowering.macro.function is None:
            results = tuple((MicroOp.RDMAC, index) for index in range(len(lanes)))
    yield Registers(visit, results, 0, 0), 0
