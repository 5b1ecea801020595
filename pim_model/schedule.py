# Ref: IANUS (ASPLOS 2024), section 4.1; GDDR6-AiM notes, "Timing"
"""Golden schedule: when the commands of a macro stand on the bus, each at its earliest legal cycle.

All channels run in lock step, so one schedule serves each. Cycle 0 is the first in which a command could be
issued to an idle, precharged channel.

The lowered streams repeat, so the schedule is built from *steps* (load registers, one tile, one activation, a
mode visit, a refresh). Where a step puts its commands depends only on the recent past, expressed relative to
the last row command. Each distinct (past, step) is computed once and then reused, which makes a macro of any
length cheap.

Decisions taken here that the controller must share:

* A refresh that is due when ACTAB, ACTAF or TMOD_IN could be issued goes before it, at its earliest legal
  cycle.
* With ``register_access`` mode, the controller visits register mode before a tile that needs a register
  command, and at the end for the last results. It issues what the next tile needs, and what remains of the
  previous group.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from pim_model.lowering import Lowering
from pim_model.mapping.layout import tile_grid
from pim_model.schedule_steps import Past, Refresh, Registers, Step, StepTable, Tile, step_table
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import Micro, MicroOp

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


def macro_cycles(config: Config, macro: MatVec, refresh_due: int | None = None) -> Cost:
    """Cycles and command counts of a macro. ``refresh_due``: cycle of the next refresh, None for none."""
    shape = _shape(macro)
    cost = _cost(config, shape, None)
    if refresh_due is None or refresh_due >= cost.cycles:
        return cost
    return _cost(config, shape, refresh_due)


def place(config: Config, macro: MatVec, refresh_due: int | None = None) -> list[Placed]:
    """The commands of a macro on each channel, in the order of (cycle, slot)."""
    table = step_table(config.timing_name, config.geometry)
    tiles = tile_grid(macro.rows, macro.columns, config.geometry)[1]
    mac = [Micro(MicroOp.MACAB, column=column) for column in range(config.geometry.columns)]
    write = [Micro(MicroOp.WRGB, column=column) for column in range(config.geometry.columns)]
    placed: list[Placed] = []
    for base, past, step, group, tile in _walk(table, config, macro, refresh_due):
        for cycle, slot, op, column in table.after(past, step).commands:
            if op is MicroOp.MACAB:
                micro = mac[column]
            elif op is MicroOp.WRGB:
                micro = write[column]
            elif op is MicroOp.ACTAB:
                micro = Micro(op, row=macro.weight_row + group * tiles + tile)
            elif op is MicroOp.ACTAF:
                micro = Micro(op, row=macro.function or 0)
            else:
                micro = Micro(op)
            placed.append((base + cycle, slot, micro))
    placed.sort(key=lambda entry: entry[:2])
    return placed


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
    )


@lru_cache(maxsize=4096)
def _cost(config: Config, macro: MatVec, refresh_due: int | None) -> Cost:
    """The cost alone: as :func:`_walk`, but over numbers, since the device asks for each macro and refresh phase."""
    table = step_table(config.timing_name, config.geometry)
    numbers, plain = _numbered(config, macro)
    base, past, end, refreshes = 0, table.idle, 0, 0
    due = _NEVER if refresh_due is None else refresh_due
    interval = table.refresh_interval
    for number in numbers:
        move = table.move(past, number)
        while move.gate is not None and due <= base + move.gate:
            refresh = table.move(past, table.refresh)
            base, past, due, refreshes = base + refresh.shift, refresh.past, due + interval, refreshes + 1
            move = table.move(past, number)
        if base + move.end > end:
            end = base + move.end
        base, past = base + move.shift, move.past
    return Cost(end, {**plain, MicroOp.REFAB: refreshes} if refreshes else plain)


@lru_cache(maxsize=1024)
def _numbered(config: Config, macro: MatVec) -> tuple[list[int], dict[MicroOp, int]]:
    """Numbers of a macro's steps in order, and its commands without refresh."""
    table = step_table(config.timing_name, config.geometry)
    steps = [step for step, _, _ in _steps(Lowering(config, macro), config.timing.direct)]
    commands: Counter[MicroOp] = Counter()
    for step, times in Counter(steps).items():
        for op, count in table.counts(step).items():
            commands[op] += times * count
    return [table.number(step) for step in steps], dict(commands)


def _walk(
    table: StepTable, config: Config, macro: MatVec, refresh_due: int | None
) -> Iterator[tuple[int, Past, Step, int, int]]:
    """The steps of a macro: (cycle that the step counts from, past, step, group, tile)."""
    base, past, due = 0, table.idle, refresh_due
    interval = table.refresh_interval
    for step, group, tile in _steps(Lowering(config, macro), config.timing.direct):
        outcome = table.after(past, step)
        while due is not None and outcome.gate is not None and due <= base + outcome.gate:
            yield base, past, Refresh(), group, tile
            refresh = table.after(past, Refresh())
            base, past, due = base + refresh.shift, refresh.past, due + interval
            outcome = table.after(past, step)
        yield base, past, step, group, tile
        base, past = base + outcome.shift, outcome.past


def _steps(lowering: Lowering, direct: bool) -> Iterator[tuple[Step, int, int]]:
    """A macro as steps: before each tile the register commands it waits for, the last results first."""
    groups, tiles = lowering.grid
    activation = lowering.macro.function is not None
    read = MicroOp.RDAF if activation else MicroOp.RDMAC
    result: MicroOp | None = None
    for _ in range(lowering.macro.tokens):
        for group in range(groups):
            for tile in range(tiles):
                load = lowering.columns(tile) if lowering.loads(group) else 0
                if tile == 0 or load:
                    yield Registers(not direct, result if tile == 0 else None, tile == 0, load), group, tile
                yield Tile(lowering.columns(tile), False), group, tile
            if activation:
                yield Tile(0, True), group, tiles
            result = read
    yield Registers(not direct, result, False, 0), groups, tiles
