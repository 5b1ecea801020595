"""Two ways through the lowered streams of a macro: on golden channels, and placed by the checker alone."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from pim_model.channel import Channel
from pim_model.checker import Checker
from pim_model.lowering import Item, Lowering
from pim_model.schedule import Placed
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import READ_DATA, WRITE_DATA, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.storage import Storage


def run_on_channels(
    config: Config,
    macro: MatVec,
    storage: Storage,
    buffer: npt.NDArray[np.uint8],
    numerics: str,
    rng: np.random.Generator,
) -> None:
    """Execute a macro command by command, each channel in a random order that the hazards permit."""
    lowering = Lowering(config, macro)
    streams = (list(lowering.row_stream()), list(lowering.register_stream()))
    source = buffer.copy()
    for index in range(config.geometry.channels):
        channel = Channel(storage, index, numerics)
        done = [0, 0]
        while done[0] < len(streams[0]) or done[1] < len(streams[1]):
            heads = [
                stream[at] if at < len(stream) else None for stream, at in zip(streams, done, strict=True)
            ]
            ready = [s for s, head in enumerate(heads) if head is not None and head.needs <= done[1 - s]]
            assert ready, f"neither stream can go on at {done}"
            chosen = ready[int(rng.integers(len(ready)))]
            item = heads[chosen]
            assert item is not None
            _run(channel, lowering, item, index, source, buffer)
            done[chosen] += 1


def _run(
    channel: Channel,
    lowering: Lowering,
    item: Item,
    index: int,
    source: npt.NDArray[np.uint8],
    target: npt.NDArray[np.uint8],
) -> None:
    op = item.micro.op
    data = None
    if op in WRITE_DATA:
        offset, size = lowering.operand(item, index)
        data = source[offset : offset + size].tobytes().ljust(COLUMN_BYTES, b"\0")
    result = channel.execute(item.micro, data)
    if op in READ_DATA:
        assert result is not None
        offset, size = lowering.operand(item, index)
        target[offset : offset + size] = np.frombuffer(result[:size], np.uint8)


def place_by_checker(config: Config, macro: MatVec, refresh_due: int | None) -> list[Placed]:
    """Place a macro greedily with nothing but the checker's ``earliest``, stepping command by command."""
    lowering = Lowering(config, macro)
    rows, registers = list(lowering.row_stream()), list(lowering.register_stream())
    checker = Checker(config, strict=True)
    placed: list[Placed] = []
    done = [0, 0]
    due = refresh_due
    direct = config.timing.direct
    detour: list[
        Micro
    ] = []  # commands of the row stream that a refresh within a row that stays open asks for
    opened = Micro(Op.ACTAB)

    def issue(cycle: int, micro: Micro, slot: int) -> None:
        checker.issue(cycle, slot, micro)
        placed.append((cycle, slot, micro))

    def row_command(micro: Micro) -> tuple[int, Micro]:
        """The command, or the refresh that goes before it, and its cycle."""
        cycle = checker.earliest(micro)
        if due is not None and micro.op in (Op.ACTAB, Op.ACTAF, Op.TMOD_IN) and due <= cycle:
            refresh = Micro(Op.REFAB)
            return checker.earliest(refresh, max(due, 0)), refresh
        return cycle, micro

    while done[0] < len(rows) or done[1] < len(registers):
        boundary = done[0] == len(rows) or rows[done[0]].micro.op in (Op.ACTAB, Op.ACTAF)
        register_ready = done[1] < len(registers) and registers[done[1]].needs <= done[0]
        if not direct and boundary and register_ready:
            while (found := row_command(Micro(Op.TMOD_IN)))[1].op is Op.REFAB:
                issue(*found, 0)
                due = (due or 0) + config.timing.refresh_interval
            issue(*found, 0)
            while done[1] < len(registers) and registers[done[1]].needs <= done[0]:
                micro = registers[done[1]].micro
                issue(checker.earliest(micro), micro, 1)
                done[1] += 1
            issue(checker.earliest(Micro(Op.TMOD_OUT)), Micro(Op.TMOD_OUT), 0)
            continue
        choices: list[tuple[int, int, Micro]] = []
        if detour or (done[0] < len(rows) and rows[done[0]].needs <= done[1]):
            cycle, micro = row_command(detour[0] if detour else rows[done[0]].micro)
            choices.append((cycle, 0, micro))
        if direct and register_ready:
            micro = registers[done[1]].micro
            choices.append((checker.earliest(micro), 1, micro))
        assert choices, f"neither stream can go on at {done}"
        cycle, slot, micro = min(choices, key=lambda choice: choice[:2])
        issue(cycle, micro, slot)
        if micro.op is Op.REFAB:
            due = (due or 0) + config.timing.refresh_interval
        elif detour and slot == 0:
            del detour[0]
        else:
            done[slot] += 1
            if micro.op is Op.ACTAB:
                opened = micro
            if slot == 0 and due is not None and due <= cycle and _passes_on(rows, done[0]):
                detour = [Micro(config.row_closer), opened]
    return placed


def _passes_on(rows: list[Item], done: int) -> bool:
    """Whether the row stream goes on with the first MACAB of a pass on a row that the pass before left open."""
    before, after = rows[done - 1], rows[done] if done < len(rows) else None
    return (
        after is not None
        and before.micro.op is after.micro.op is Op.MACAB
        and after.token > before.token
        and after.token % 2 == 0
    )
