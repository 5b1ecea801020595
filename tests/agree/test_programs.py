"""PROGRAM and single ISR instructions: the same data, statuses and commands on every transport."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from host_runtime.errors import DeviceError
from pim_model.device import Device
from pim_model.spec.errors import Status
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp as M
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Reg, macro_word
from tests.agree.bench import Bench
from tests.pim_model.test_program import isr, random_program

AT = 8192  # where programs lie; GPRs before


def golden_device(bench: Bench, gprs: bytes) -> Device:
    device = Device(bench.config, bench.numerics)
    device.write_register(Reg.CONTROL, 0)
    device.write_memory(bench.config.buffer_base, gprs)
    return device


def prepare(bench: Bench) -> bytes:
    """GPRs of any numbers, no refresh, so that commands can be compared."""
    bench.driver.set_refresh(False)
    gprs = bench.bits(AT // 2).astype("<u2").tobytes()
    bench.write_buffer(0, gprs)
    return gprs


def compare(bench: Bench, device: Device, rows: int) -> None:
    base = bench.config.buffer_base
    assert bench.transport.read_memory(base, AT) == device.read_memory(base, AT)
    size = rows * bench.config.geometry.slab_bytes
    assert bench.transport.peek(0, size) == device.storage.read(0, size)
    assert bench.read(Reg.VIOLATIONS) == 0


def test_random_program(bench: Bench) -> None:
    gprs = prepare(bench)
    device = golden_device(bench, gprs)
    program = random_program(bench.config, bench.rng, 120)
    words = np.array([each.encode() for each in program], "<u4").tobytes()
    macro = Program(offset=AT, count=len(program))
    bench.write_buffer(AT, words)
    device.write_memory(bench.config.buffer_base + AT, words)
    with bench.commands() as counts:
        bench.driver.wait(bench.driver.submit(macro))
    _push(device, macro.encode())
    totals = device.commands.sum(axis=0)
    assert counts == {op.name: int(totals[op]) for op in MicroOp if totals[op]}
    compare(bench, device, rows=3)


def test_single_instructions_keep_registers(bench: Bench) -> None:
    gprs = prepare(bench)
    device = golden_device(bench, gprs)
    for each in random_program(bench.config, bench.rng, 30):
        bench.driver.wait(bench.driver.submit(each))
        _push(device, each.encode())
    compare(bench, device, rows=3)


MALFORMED: list[tuple[Status, Instruction, dict[int, int]]] = [
    (Status.BAD_OPCODE, isr(M.SYNC, mask=0), {0: 0x1F}),
    (Status.BAD_OPCODE, isr(M.SYNC, mask=0), {0: M.PROGRAM, 1: 1}),
    (Status.RESERVED_BITS, isr(M.SYNC, mask=0), {7: 1}),
    (Status.BAD_SHAPE, isr(M.MAC_ABK, 0), {}),
    (Status.BAD_SHAPE, isr(M.MAC_ABK, 65), {}),
    (Status.BAD_FUNCTION, isr(M.AF, function=8), {}),
    (Status.ALIGNMENT, isr(M.WR_GB, 1, gpr0=8), {}),
    (Status.BUFFER_RANGE, isr(M.WR_GB, 1, gpr0=1 << 20), {}),
    (Status.CHANNEL_MASK, isr(M.AF, mask=0), {}),
    (Status.ADDRESS_RANGE, isr(M.MAC_ABK, 1, row=0xFFFF), {}),
]


@pytest.mark.parametrize(("status", "instruction", "words"), MALFORMED)
def test_malformed_instruction_ends_its_program(
    bench: Bench, status: Status, instruction: Instruction, words: dict[int, int]
) -> None:
    prepare(bench)
    bad = tuple(words.get(place, word) for place, word in enumerate(instruction.encode()))
    before, after = (isr(M.WR_ABK, 1, row=row) for row in (0, 1))
    program = np.array([before.encode(), bad, after.encode()], "<u4")
    bench.write_buffer(AT, program.tobytes())
    with bench.commands() as counts, pytest.raises(DeviceError, match=status.name):
        bench.driver.wait(bench.driver.submit(Program(offset=AT, count=3)))
    assert counts["WRBK"] == 1
    slab = bench.config.geometry.slab_bytes
    written = bench.transport.peek(0, 2 * slab)
    assert written[:32] == bench.transport.read_memory(bench.config.buffer_base, 32)
    assert not any(written[slab:])
    # And the next one is as if nothing had been.
    bench.driver.wait(bench.driver.submit(replace(after, row=2)))


def _push(device: Device, words: tuple[int, ...]) -> None:
    for index, word in enumerate(words):
        device.write_register(macro_word(index), word)
    device.write_register(Reg.MACRO_PUSH, 1)
    assert device.step()
    assert device.read_register(Reg.COMPLETION) >> 16 & 0xFF == Status.OK
    device.write_register(Reg.COMPLETION_POP, 1)
