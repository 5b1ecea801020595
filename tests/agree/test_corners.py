"""What random tests seldom meet, met on purpose: each shape, order, status and size once, against the golden device.

These are the bins of ``tests/coverage`` that the other tests leave.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from pim_model.spec.config import Config
from pim_model.spec.errors import ErrorSource, Path, Status
from pim_model.spec.isr import FIELDS, Instruction, Program, decode_instruction, decode_program
from pim_model.spec.macro import MacroError, MacroOp, MatVec, decode
from pim_model.spec.registers import Control, Reg, error_info
from tests.agree.bench import Bench
from tests.agree.conftest import MARKS, require
from tests.agree.test_mixed import Pair
from tests.pim_model.test_program import isr

Words = tuple[int, ...]

BIAS, OUTPUTS, PROGRAM_AT = 4096, 5120, 12288
PRODUCTS = (MacroOp.MATVEC, MacroOp.QKV)


@pytest.fixture(params=[pytest.param(way, marks=MARKS.get(way, ())) for way in ("model", "verilator")])
def bench(request: pytest.FixtureRequest, rng: np.random.Generator) -> Iterator[Bench]:
    """The smallest configuration; every other transport is the same device."""
    require(request.param)
    with Bench.open(request.param, "tiny", rng) as opened:
        yield opened


@pytest.fixture
def pair(bench: Bench) -> Pair:
    """The device and the golden one, with the same weights, tables and inputs."""
    both = Pair(bench, refresh=True)
    weights = bench.bits(bench.config.geometry.memory_bytes // 2).astype("<u2").tobytes()
    bench.transport.preload(0, weights)
    both.golden.storage.write(0, weights)
    return both


def matvec(kind: MacroOp, rows: int, columns: int, tokens: int = 1, **fields: Any) -> MatVec:
    kv_rows = (3, 5) if kind is MacroOp.QKV else None
    default = MatVec(
        tag=0,
        rows=rows,
        columns=columns,
        tokens=tokens,
        weight_row=1,
        input_offset=0,
        output_offset=OUTPUTS,
        kv_rows=kv_rows,
    )
    return replace(default, **fields)


@pytest.mark.parametrize("kind", PRODUCTS)
def test_every_shape(pair: Pair, kind: MacroOp) -> None:
    """A row, part of a group, one, some; part of a DRAM row, one, some: with whole and with partial last columns."""
    geometry = pair.bench.config.geometry
    group, row = geometry.outputs, geometry.elements
    for rows, columns in product(
        (1, group - 1, group, 2 * group - 1, 2 * group), (16, 17, row, row + 16, row + 1, 2 * row)
    ):
        pair.submit(matvec(kind, rows, columns))
        pair.settle()
    pair.compare()


@pytest.mark.parametrize("kind", PRODUCTS)
def test_every_pairing_of_tokens(pair: Pair, kind: MacroOp) -> None:
    """One, two, odd and even, with and without bias and activation; all functions."""
    functions = iter(range(100))
    for tokens, bias, activation in product((1, 2, 3, 4), (None, BIAS), (False, True)):
        function = next(functions) % 8 if activation else None
        pair.submit(matvec(kind, 9, 20, tokens, bias_offset=bias, function=function))
        pair.settle()
    pair.compare()


@pytest.mark.parametrize("kind", PRODUCTS)
def test_operands_at_borders(pair: Pair, kind: MacroOp) -> None:
    config = pair.bench.config
    rows = config.geometry.weight_rows
    parts = 3 if kind is MacroOp.QKV else 1
    end = config.buffer_bytes - 32 * parts
    at_end: dict[str, Any] = {"kv_rows": (rows - 1, 0)} if parts == 3 else {"weight_row": rows - 1}
    cases: list[dict[str, Any]] = [
        at_end,
        {"weight_row": 0},
        {"output_offset": end},
        {"input_offset": end, "output_offset": 0},
        {"output_offset": 32},
    ]
    if parts == 3:
        cases += [{"weight_row": 4, "kv_rows": (4, 4)}, {"kv_rows": (2, 3)}, {"kv_rows": (2, 0)}]
    for fields in cases:
        pair.submit(matvec(kind, 3, 16, **fields))
        pair.settle()
    pair.compare()


@pytest.mark.parametrize("op", [op for op in FIELDS if "size" in FIELDS[op]])
def test_every_size(pair: Pair, op: MacroOp) -> None:
    """One column, some, a whole row; alone, so that the channels are closed before and after."""
    columns = pair.bench.config.geometry.columns
    most = columns if "column" in FIELDS[op] else 64
    everywhere = (1 << pair.bench.config.geometry.channels) - 1
    fields: dict[str, int] = {"mask": everywhere} if "mask" in FIELDS[op] else {}
    if "gpr1" in FIELDS[op]:
        fields["gpr1"] = 8192
    for size in (1, most - 1, most):
        define_registers(pair)
        submit(pair, isr(op, size, **fields))
    pair.compare()


def test_every_table(pair: Pair) -> None:
    everywhere = (1 << pair.bench.config.geometry.channels) - 1
    define_registers(pair)
    for function in range(8):
        submit(pair, isr(MacroOp.AF, mask=everywhere, function=function))
        submit(pair, isr(MacroOp.RD_AF, mask=everywhere, gpr0=32 * function))
    pair.compare()


def define_registers(pair: Pair) -> None:
    """A product leaves the registers of the channels undefined, as does power-on."""
    geometry = pair.bench.config.geometry
    everywhere = (1 << geometry.channels) - 1
    submit(pair, isr(MacroOp.WR_GB, geometry.columns, mask=everywhere))
    for mode in range(2):
        submit(pair, isr(MacroOp.WR_BIAS, mask=everywhere, mode=mode))


def submit(pair: Pair, macro: Instruction | Program | MatVec) -> None:
    """Push a macro to both, without the driver, which knows no instruction alone."""
    words = macro.encode()
    pair.bench.write(Reg.IRQ_ENABLE, 1)
    pair.bench.push(words)
    pair.golden.write_register(Reg.CONTROL, Control.REFRESH)
    golden_push(pair, words)
    assert pair.bench.completion() == golden_completion(pair)


def golden_push(pair: Pair, words: Words) -> None:
    for index, word in enumerate(words):
        pair.golden.write_register(Reg.MACRO_WORD0 + 4 * index, word)
    pair.golden.write_register(Reg.MACRO_PUSH, 1)
    assert pair.golden.step()


def golden_completion(pair: Pair) -> tuple[int, int]:
    word = pair.golden.read_register(Reg.COMPLETION)
    pair.golden.write_register(Reg.COMPLETION_POP, 1)
    return word & 0xFFFF, word >> 16 & 0xFF


# --- one behind the other


def behind_each_other(bench: Bench) -> dict[str, Words]:
    """A macro of each sort."""
    return {
        "MATVEC": matvec(MacroOp.MATVEC, 9, 20).encode(),
        "QKV": matvec(MacroOp.QKV, 9, 20).encode(),
        "PROGRAM": Program(offset=PROGRAM_AT, count=1).encode(),
        "instruction": isr(MacroOp.MAC_ABK, 8, mask=3).encode(),
        "unknown": (0xFF, 0, 0, 0, 0, 0, 0, 0),
    }


def test_each_behind_each(pair: Pair) -> None:
    """Two macros at once, of all sorts; transfers of memory and buffer meanwhile."""
    bench = pair.bench
    sync = np.array(isr(MacroOp.SYNC).encode(), "<u4").tobytes()
    pair.write(pair.base + PROGRAM_AT, sync)
    bench.write(Reg.IRQ_ENABLE, 1)
    sorts = behind_each_other(bench)
    memory = bench.config.geometry.address(20)
    for first, second in product(sorts.values(), sorts.values()):
        for words in (first, second):
            bench.push(words)
            golden_push(pair, words)
        for address in (memory, pair.base + 8192):
            pair.write(address, bench.bytes(64))
            pair.read(address, 64)
        for _ in range(2):
            assert bench.completion() == golden_completion(pair)
        bench.write(Reg.ERRORS, 1 << ErrorSource.REFUSED)
        pair.golden.write_register(Reg.ERRORS, 1 << ErrorSource.REFUSED)
    pair.compare()


def test_a_program_at_the_end_of_the_buffer(pair: Pair) -> None:
    place = pair.bench.config.buffer_bytes - 64
    words = [isr(MacroOp.MAC_ABK, 2, mask=3), isr(MacroOp.RD_MAC, mask=3, gpr0=512)]
    define_registers(pair)
    pair.write(pair.base + place, np.array([each.encode() for each in words], "<u4").tobytes())
    submit(pair, Program(offset=place, count=2))
    pair.compare()


def test_a_transfer_across_memory_and_buffer(pair: Pair) -> None:
    geometry = pair.bench.config.geometry
    assert geometry.memory_bytes == pair.base, "there is a hole between them"
    pair.write(pair.base - 33, pair.bench.bytes(97))
    pair.read(pair.base - 65, 161)
    size = 3 * 4096
    pair.write(geometry.address(20), pair.bench.bytes(size))
    pair.read(geometry.address(20), size)


def test_registers_that_keep_their_value(bench: Bench) -> None:
    before = bench.read(Reg.CYCLES_LOW)
    for register in (Reg.CYCLES_LOW, Reg.CYCLES_HIGH):
        bench.write(register, 0xFFFF_FFFF)
    assert before <= bench.read(Reg.CYCLES_LOW) < 0x1000_0000
    assert bench.read(Reg.CYCLES_HIGH) == 0
    bench.write(Reg.INJECT, Path.READ | 1 << 8)
    assert bench.read(Reg.INJECT) == Path.READ | 1 << 8
    bench.write(Reg.INJECT, 0)


def test_soft_reset_over_an_instruction(bench: Bench) -> None:
    bench.push(isr(MacroOp.MAC_ABK, 8, mask=3).encode())
    bench.driver.soft_reset()
    assert bench.read(Reg.COMPLETION) == 0
    assert bench.read(Reg.STATUS) == 0


def test_a_qkv_of_flipped_bits(bench: Bench) -> None:
    if bench.golden:
        pytest.skip("the golden device has no path on which a bit could flip")
    bench.write(Reg.IRQ_ENABLE, 1)
    bench.write(Reg.INJECT, Path.BUFFER)
    bench.write_buffer(0, bench.bits(64))
    bench.write(Reg.INJECT, 0)
    bench.push(matvec(MacroOp.QKV, 3, 16).encode())
    assert bench.completion()[1] == Status.PARITY


# --- refused


def refused(config_rows: int, buffer: int) -> Iterator[tuple[Words, Status]]:
    """Words of every kind of macro, for every status that it can have but OK and PARITY."""
    for kind in PRODUCTS:
        good = matvec(kind, 3, 16).encode()
        yield flip(good, 0, 1 << 26), Status.RESERVED_BITS
        yield put(good, 1, 0), Status.BAD_SHAPE
        yield flip(good, 0, 1 << 25 | 8 << 28), Status.BAD_FUNCTION
        yield put(good, 3, 1 | config_rows << 16), Status.WEIGHT_RANGE
        yield flip(good, 4, 1), Status.ALIGNMENT
        yield put(good, 5, buffer), Status.BUFFER_RANGE
        yield put(good, 5, good[4]), Status.OVERLAP
    for op, uses in FIELDS.items():
        good = isr(op, int("size" in uses)).encode()
        yield flip(good, 7, 1), Status.RESERVED_BITS
        if "size" in uses:
            yield put(good, 1, 0), Status.BAD_SHAPE
        if "function" in uses:
            yield flip(good, 0, 8 << 28), Status.BAD_FUNCTION
        if "gpr0" in uses:
            yield put(good, 4, 4), Status.ALIGNMENT
            yield put(good, 4, buffer), Status.BUFFER_RANGE
        if "mask" in uses:
            yield put(good, 2, 1 << 31), Status.CHANNEL_MASK
        if "row" in uses:
            yield put(good, 3, 0xFFFF0000), Status.ADDRESS_RANGE
        elif "column" in uses:
            yield flip(good, 1, 0x3F << 8), Status.ADDRESS_RANGE
    yield (0xEE, 0, 0, 0, 0, 0, 0, 0), Status.BAD_OPCODE


def refused_programs(buffer: int) -> Iterator[tuple[Words, Status]]:
    good = Program(offset=0, count=1).encode()
    yield flip(good, 7, 1), Status.RESERVED_BITS
    yield put(good, 1, 0), Status.BAD_SHAPE
    yield flip(good, 4, 1), Status.ALIGNMENT
    yield put(good, 4, buffer), Status.BUFFER_RANGE


def flip(words: Words, place: int, bits: int) -> Words:
    return put(words, place, words[place] ^ bits)


def put(words: Words, place: int, word: int) -> Words:
    return (*words[:place], word, *words[place + 1 :])


def test_every_status_alone(bench: Bench) -> None:
    """And ERROR_INFO keeps the first."""
    config = bench.config
    bench.write(Reg.IRQ_ENABLE, 1)
    cases = [
        *refused(config.geometry.weight_rows, config.buffer_bytes),
        *refused_programs(config.buffer_bytes),
    ]
    assert len(cases) > 80
    for words, status in cases:
        check(words, status, bench)
        bench.push(words)
        assert bench.completion()[1] == status, words
        assert bench.read(Reg.ERRORS) == 1 << ErrorSource.REFUSED
        assert bench.transport.read_register(error_info(ErrorSource.REFUSED)) >> 16 == status
        bench.write(Reg.ERRORS, 1 << ErrorSource.REFUSED)
    assert not any(bench.driver.command_counts().get(op, 0) for op in ("ACTAB", "MACAB", "RD", "WR"))


def test_every_status_in_a_program(bench: Bench) -> None:
    """Where a PROGRAM too is a macro that may not stand."""
    config = bench.config
    bench.write(Reg.IRQ_ENABLE, 1)
    cases = [*refused(config.geometry.weight_rows, config.buffer_bytes)]
    cases.append((Program(offset=0, count=1).encode(), Status.BAD_OPCODE))
    for words, status in cases:
        bench.write_buffer(PROGRAM_AT, np.array([isr(MacroOp.SYNC).encode(), words], "<u4").tobytes())
        bench.push(Program(offset=PROGRAM_AT, count=2).encode())
        assert bench.completion()[1] == status, words
        bench.write(Reg.ERRORS, 1 << ErrorSource.REFUSED)


def check(words: Words, status: Status, bench: Bench) -> None:
    """The golden decoders say the same, so that a case is what it is called."""
    decoders: dict[int, Callable[[Words, Config], object]] = {
        **dict.fromkeys(PRODUCTS, decode),
        **dict.fromkeys(FIELDS, decode_instruction),
        MacroOp.PROGRAM: decode_program,
    }
    with pytest.raises(MacroError) as caught:
        decoders.get(words[0] & 0xFF, decode)(words, bench.config)
    assert caught.value.status is status
