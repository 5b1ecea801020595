# Ref: IANUS (ASPLOS 2024), section 4.1
"""The command scheduler's hand-over: a token's macros and transfers on the prototype, in the order it begins them.

A small model's token is compiled and simulated for four cores. Then the prototype gets what went to memory: the
transfers of all cores that begin between two macros, side by side; the macro once they have ended; nothing until it
completes. Data is random and compared with the golden device. On the buses no normal access may stand between the
multiplications of a macro, although writes are answered before they are done.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import cocotb

from pim_model.mapping.compiler import Compiler
from pim_model.npu.closed_form import ClosedForm
from pim_model.npu.command import OFF_CHIP, Command, Unit
from pim_model.npu.invariants import check
from pim_model.npu.kernel import simulate
from pim_model.npu.machine import Machine
from pim_model.npu.memory import Memory
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp
from pim_model.spec.models import Transformer
from pim_model.spec.npu import ISSUE_SLOTS, PENDING_SLOTS
from pim_model.spec.registers import Irq, Reg
from sim.bench.responder import Issued
from sim.bench.top_bench import TopBench
from sim.bench.workload import fill_buffer

CACHE_ROWS = 8
"""DRAM rows below the activation tables that transfers use."""
MODEL = Transformer(name="small", width=64, head_dim=16, heads=4, blocks=2, vocabulary=96, context=32)
LENGTH = 12


@dataclass(frozen=True)
class Turn:
    """Transfers of all cores, then a macro; none at the end."""

    transfers: tuple[tuple[int, Command], ...]
    """(core, command)"""
    macro: Command | None


def _turns(config: Config) -> Iterator[Turn]:
    """What a token sends to memory, in the order in which it begins."""
    machine = Machine()
    time = ClosedForm(config)
    program = Compiler(MODEL, machine, time, LENGTH).generation(LENGTH)
    record = simulate([program] * machine.cores, Memory(config, time, False))
    check(record, exclusive=True, issue_slots=ISSUE_SLOTS, pending_slots=PENDING_SLOTS)
    begun = sorted(
        (core.start[index], core.core, index)
        for core in record.cores
        for index, command in enumerate(program)
        if command.unit in OFF_CHIP or (command.unit is Unit.PIM and core.core == 0)
    )
    waiting: list[tuple[int, Command]] = []
    for _, core, index in begun:
        command = program[index]
        if command.unit is Unit.PIM:
            yield Turn(tuple(waiting), command)
            waiting = []
        else:
            waiting.append((core, command))
    yield Turn(tuple(waiting), None)


async def _engine(bench: TopBench, core: int, number: int, commands: list[Command]) -> None:
    """The transfers of a core, one after the other: it has one DMA engine."""
    for place, command in enumerate(commands):
        await _transfer(bench, core, number + place, command)


async def _transfer(bench: TopBench, core: int, number: int, command: Command) -> None:
    """Read or write as many bytes as the command moves, in the core's part of the cache."""
    geometry = bench.config.geometry
    first = geometry.address(geometry.weight_rows - CACHE_ROWS)
    share = CACHE_ROWS * geometry.slab_bytes // 4
    rng = bench.rng(f"transfer {core} {number}")
    size = min(command.size, 1024)
    address = first + core * share + rng.randrange(share - size)
    if command.unit is Unit.DMA_OUT:
        await bench.write_both(address, rng.randbytes(size))
    else:
        await bench.compare(address, size)


def _macro(command: Command, tag: int) -> MatVec:
    macro = command.macro
    assert macro is not None
    return MatVec(
        tag=tag,
        rows=macro.rows,
        columns=macro.columns,
        weight_row=0,
        input_offset=0,
        output_offset=4096,
        function=None,  # rows of `tiny` are too short for a table
    )


def _intruders(log: list[Issued]) -> int:
    """Normal accesses between the first and the last multiplication of a macro's commands on a channel."""
    ops = [micro.op for _, _, micro in log]
    macs = [place for place, op in enumerate(ops) if op is MicroOp.MACAB]
    assert macs, "the macro did not multiply"
    return sum(op in (MicroOp.RD, MicroOp.WR) for op in ops[macs[0] : macs[-1]])


@cocotb.test()
async def token(dut: Any) -> None:
    """A token of a small model: every transfer's and macro's data, and who had the memory when."""
    bench = TopBench(dut)
    await bench.begin()
    rng = bench.rng("token")
    data = fill_buffer(bench.numpy_rng("buffer"), bench.config).tobytes()
    for offset in range(0, bench.config.buffer_bytes, 2048):
        await bench.write_both(bench.config.buffer_base + offset, data[offset : offset + 2048])
    await bench.write_register(Reg.IRQ_ENABLE, Irq.COMPLETION)
    macros = transfers = 0
    for turn in _turns(bench.config):
        engines = [
            cocotb.start_soon(
                _engine(bench, core, transfers, [each for by, each in turn.transfers if by == core])
            )
            for core in range(4)
        ]
        transfers += len(turn.transfers)
        for engine in engines:
            await engine
        if turn.macro is None:
            continue
        before = [len(channel.log) for channel in bench.channels]
        await bench.push(_macro(turn.macro, macros & 0xFFFF).encode())
        await bench.complete(rng)
        macros += 1
        for channel, start in zip(bench.channels, before, strict=True):
            assert _intruders(channel.log[start:]) == 0, f"macro {macros}: a normal access inside"
        await bench.compare(
            bench.config.buffer_base + 4096, 2 * turn.macro.macro.rows if turn.macro.macro else 2
        )
    # A block has a key, query and value of each head of a core, and three layers; then comes the head.
    assert macros == MODEL.blocks * (3 + 3) + 1
    # And each core's head loads keys and values, and stores one of each; at first come the embeddings.
    assert transfers == 4 * (MODEL.blocks * 4 + 1)
    await bench.finish()
