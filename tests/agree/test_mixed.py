"""Programs, products and normal traffic in any mixture, and soft resets in the midst of it.

``IANUS_ROUNDS=100 pytest tests/agree/test_mixed.py`` makes a campaign of it: that many times as long.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator

import numpy as np
import pytest

from pim_model.device import Device
from pim_model.spec.errors import Status
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.micro import SETS, MicroOp
from pim_model.spec.registers import Control, Reg, macro_word
from tests.agree.bench import Bench
from tests.agree.test_reset import check_usable
from tests.pim_model.test_program import isr, random_program

ROUNDS = int(os.environ.get("IANUS_ROUNDS", "1"))
STEPS = 60
RESETS = 20

PIM_ROWS = 3  # of random_program
GROUPS = 3  # of a product at most
OTHER_ROWS = range(PIM_ROWS - 1 + GROUPS, 10)  # which nothing but normal traffic touches
PROGRAM_AT = 12288
RESULTS_AT = 4096


class Pair:
    """A device and the golden one, told the same."""

    def __init__(self, bench: Bench, *, refresh: bool) -> None:
        self.bench = bench
        self.golden = Device(bench.config, bench.numerics)
        self.base = bench.config.buffer_base
        bench.driver.set_refresh(refresh)
        self.golden.write_register(Reg.CONTROL, Control.REFRESH if refresh else 0)
        self.write(self.base, bench.bits(bench.config.buffer_bytes // 4).astype("<u2").tobytes())
        self.running: list[int] = []
        self.done: Counter[str] = Counter()

    def write(self, address: int, data: bytes) -> None:
        self.bench.transport.write_memory(address, data)
        self.golden.write_memory(address, data)

    def read(self, address: int, size: int) -> None:
        found = self.bench.transport.read_memory(address, size)
        wanted = self.golden.read_memory(address, size)
        assert found == wanted, f"{size} bytes from {address:#x}"

    def submit(self, macro: MatVec | Program, holds: tuple[MatVec, ...] = ()) -> None:
        """Queue it here, and run it at once there: what this test does meanwhile touches none of its operands."""
        self.running.append(self.bench.driver.submit(macro, holds=holds))
        for index, word in enumerate(macro.encode()):
            self.golden.write_register(macro_word(index), word)
        self.golden.write_register(Reg.MACRO_PUSH, 1)
        assert self.golden.step()
        assert self.golden.read_register(Reg.COMPLETION) >> 16 & 0xFF == Status.OK
        self.golden.write_register(Reg.COMPLETION_POP, 1)

    def settle(self) -> None:
        for tag in self.running:
            self.bench.driver.wait(tag)
        self.running.clear()

    def compare(self) -> None:
        self.settle()
        self.read(self.base, self.bench.config.buffer_bytes)
        # A write is answered before it is done; up to 32 a channel wait.
        self.bench.transport.wait_interrupt(4000)
        size = (OTHER_ROWS.stop + 1) * self.bench.config.geometry.slab_bytes
        assert self.bench.transport.peek(0, size) == self.golden.storage.read(0, size)
        assert self.bench.driver.violations() == 0
        assert self.bench.read(Reg.COMPLETION) == 0


def program(bench: Bench, length: int) -> list[Instruction]:
    """Random instructions, on registers that are defined first: a product leaves them undefined."""
    geometry = bench.config.geometry
    everywhere = (1 << geometry.channels) - 1
    first = [
        isr(MacroOp.WR_GB, geometry.columns, mask=everywhere),
        *(isr(MacroOp.WR_BIAS, mask=everywhere, mode=mode) for mode in range(SETS)),
        isr(MacroOp.AF, mask=everywhere),
    ]
    return [*first, *random_program(bench.config, bench.rng, length)]


def step(pair: Pair, rng: np.random.Generator) -> None:
    """One thing of a random kind."""
    bench, geometry = pair.bench, pair.bench.config.geometry
    kind = str(rng.choice(["read", "write", "program", "product"], p=[0.3, 0.3, 0.2, 0.2]))
    pair.done[kind] += 1
    if kind in ("read", "write"):
        start = geometry.address(int(rng.choice(OTHER_ROWS))) + int(rng.integers(geometry.slab_bytes))
        size = int(rng.choice([1, 31, 32, 33, 200, 700, 1500]))
        if kind == "read":
            pair.read(start, size)
        else:
            pair.write(start, rng.bytes(size))
        return
    pair.settle()
    if kind == "program":
        held = tuple(products(pair, rng)) if rng.random() < 0.5 else ()
        macros: list[Instruction | MatVec] = [*program(bench, 12), *held, *program(bench, 12)]
        pair.write(pair.base + PROGRAM_AT, np.array([each.encode() for each in macros], "<u4").tobytes())
        pair.submit(Program(offset=PROGRAM_AT, count=len(macros)), held)
        return
    for macro in products(pair, rng):
        pair.submit(macro)


def products(pair: Pair, rng: np.random.Generator) -> Iterator[MatVec]:
    """One or two, MATVECs or QKVs; the second may read what the first writes."""
    geometry = pair.bench.config.geometry
    rows, columns = (
        int(rng.integers(1, GROUPS * geometry.outputs)),
        int(rng.integers(1, min(512, geometry.elements))),
    )
    bias = 1024 if rng.random() < 0.5 else None
    tokens = 1 + int(rng.integers(2))
    for turn in range(1 + int(rng.integers(2))):
        query, key, value = (int(row) for row in rng.integers(PIM_ROWS, size=3))
        qkv = rng.random() < 0.5
        pair.done["qkv" if qkv else "matvec"] += 1
        yield MatVec(
            tag=0,
            rows=rows,
            columns=columns,
            tokens=tokens,
            weight_row=query,
            input_offset=int(rng.choice([0, RESULTS_AT])) if turn else 0,
            output_offset=RESULTS_AT + 2048 * turn,
            bias_offset=bias,
            kv_rows=(key, value) if qkv else None,
        )


@pytest.mark.parametrize("refresh", [True, False])
def test_random_mixture(bench: Bench, refresh: bool) -> None:
    pair = Pair(bench, refresh=refresh)
    for _ in range(ROUNDS):
        for _ in range(STEPS):
            step(pair, bench.rng)
        pair.compare()
    assert min(pair.done[kind] for kind in ("read", "write", "program", "product", "matvec", "qkv")) > 0
    print(dict(pair.done), sum(bench.driver.command_counts().values()), "commands")


def test_soft_reset_in_the_midst(bench: Bench) -> None:
    """After each reset nothing completes, refresh goes on, and a product is right."""
    bench.driver.set_refresh(True)
    bench.write_buffer(0, bench.bits(bench.config.buffer_bytes // 4))
    for _ in range(RESETS * ROUNDS):
        macros = program(bench, 60)
        bench.write_buffer(PROGRAM_AT, np.array([each.encode() for each in macros], "<u4").tobytes())
        bench.write(Reg.IRQ_ENABLE, 0)
        bench.push(
            bench.long_macro(1)
            if bench.rng.random() < 0.3
            else (Program(tag=1, offset=PROGRAM_AT, count=len(macros)).encode())
        )
        bench.push(Program(tag=2, offset=PROGRAM_AT, count=len(macros)).encode())
        bench.transport.wait_interrupt(int(bench.rng.integers(1, 4000)))
        bench.driver.soft_reset()
        assert bench.read(Reg.COMPLETION) == 0
        check_usable(bench)
    before = refreshes(bench)
    # More than may be postponed, and more than were pulled in.
    assert not bench.transport.wait_interrupt(10 * bench.config.timing.refresh_interval)
    if not bench.golden:  # whose time stands still
        assert refreshes(bench) > before


def refreshes(bench: Bench) -> int:
    """Refreshes so far, of one bank or of all."""
    counts = bench.driver.command_counts()
    return counts.get(MicroOp.REFAB.name, 0) + counts.get(MicroOp.REFPB.name, 0)
