"""Each instruction behind each other one, on one row and on others, in one bank and in others: bits, and no violation.

So every two commands of a program meet as close to each other as the rules allow.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise, product

import numpy as np
import pytest

from host_runtime.transport import open_transport
from pim_model.spec.config import config
from pim_model.spec.isr import FIELDS, Instruction, Program
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import SETS
from tests.agree.bench import Bench
from tests.agree.conftest import require
from tests.agree.test_mixed import Pair
from tests.pim_model.test_program import isr

pytestmark = pytest.mark.verilator

KINDS = [op for op in FIELDS if op not in (MacroOp.EWADD, MacroOp.SYNC)]
PROGRAM_AT, MOST = 4096, 256
ROW, OTHER_ROW = 1, 2
GPRS = 4096 // 32 - 64


@pytest.fixture(
    params=[
        ("tiny", "ianus_ck"),
        ("tiny", "aim_simulator"),
        ("tiny_dual", "ianus_ck"),
        ("ianus", "ianus_ck"),
        pytest.param(("ianus", "aim_simulator"), marks=pytest.mark.long),
    ],
    ids="-".join,
)
def pair(request: pytest.FixtureRequest, rng: np.random.Generator) -> Iterator[Pair]:
    require("verilator")
    shape = config(*request.param)
    with open_transport("verilator", shape, "aligned") as transport:
        bench = Bench(transport=transport, way="verilator", config=shape, numerics="aligned", rng=rng)
        yield Pair(bench, refresh=True)


def behind_each_other(count: int) -> list[int]:
    """Numbers below ``count`` in an order in which each stands right behind each, itself included, but for one pair."""
    order = []
    for low in range(count):
        order.append(low)
        for high in range(low + 1, count):
            order += [low, high]
    return order


def test_the_order_has_every_pair() -> None:
    order = behind_each_other(5)
    assert len(order) == 25
    assert len(set(pairwise(order))) == 24


def instruction(pair: Pair, op: MacroOp, banks: list[int], rows: list[int]) -> Instruction:
    """One column, or as few as there are, on a random one of ``banks`` and of ``rows``."""
    rng, geometry, uses = pair.bench.rng, pair.bench.config.geometry, FIELDS[op]
    everywhere = (1 << geometry.channels) - 1
    fields = {"mask": everywhere}
    if "bank" in uses:
        fields["bank"] = int(rng.choice(banks))
    if "row" in uses:
        fields["row"] = int(rng.choice(rows))
    if "column" in uses:
        fields["column"] = int(rng.integers(2))
    if "gpr0" in uses:
        fields["gpr0"] = 32 * int(rng.integers(GPRS))
    if {"set", "local"} & uses:
        fields["mode"] = int(rng.integers(2)) * int("set" in uses) + 2 * int(rng.integers(2)) * int(
            "local" in uses
        )
    return isr(op, int("size" in uses), **fields)


def run(pair: Pair, program: list[Instruction]) -> None:
    for first in range(0, len(program), MOST):
        part = program[first : first + MOST]
        words = np.array([each.encode() for each in part], "<u4").tobytes()
        pair.write(pair.base + PROGRAM_AT, words)
        pair.submit(Program(offset=PROGRAM_AT, count=len(part)))
        pair.settle()


def define_registers(pair: Pair) -> None:
    """What power-on leaves undefined."""
    geometry = pair.bench.config.geometry
    everywhere = (1 << geometry.channels) - 1
    run(
        pair,
        [
            isr(MacroOp.WR_GB, geometry.columns, mask=everywhere),
            *(isr(MacroOp.WR_BIAS, mask=everywhere, mode=mode) for mode in range(SETS)),
            isr(MacroOp.AF, mask=everywhere),
        ],
    )


@pytest.mark.parametrize("rows", [[ROW], [ROW, OTHER_ROW]], ids=["one row", "two rows"])
def test_each_instruction_behind_each(pair: Pair, rows: list[int]) -> None:
    define_registers(pair)
    geometry = pair.bench.config.geometry
    order = [KINDS[number] for number in behind_each_other(len(KINDS))]
    for banks in ([1], [1, 2], [1, 2, 5 % geometry.banks], [1, 5 % geometry.banks]):
        run(pair, [instruction(pair, op, banks, rows) for op in order])
    pair.compare()


def test_each_behind_each_on_a_row_open_in_all_banks(pair: Pair) -> None:
    """Where the first two leave it open."""
    define_registers(pair)
    order = [op for pair_of in product(KINDS, KINDS) for op in (MacroOp.MAC_ABK, *pair_of)]
    run(pair, [instruction(pair, op, [1, 2], [ROW]) for op in order])
    pair.compare()


SINGLE = [op for op in KINDS if "bank" in FIELDS[op]]


def test_single_banks_in_turn(pair: Pair) -> None:
    """One after the other on rows that stay open, in one bank, in its group, in another group; nothing closes them."""
    define_registers(pair)
    banks = sorted({1, 2, 5 % pair.bench.config.geometry.banks})
    each = list(product(SINGLE, banks))
    order = [each[number] for number in behind_each_other(len(each))]
    run(pair, [instruction(pair, op, [bank], [ROW]) for op, bank in order])
    pair.compare()
    for name in ("TMOD_IN", "TMOD_OUT"):
        entered = pair.bench.driver.command_counts()[name]
        assert (entered > 0) != pair.bench.config.timing.direct
