"""The fast placement against the checker: the same cycle for every command of random legal lists."""

from __future__ import annotations

from collections import Counter
from itertools import product

import numpy as np
import pytest

from pim_model.checker import Checker, ProtocolError, describe
from pim_model.earliest import BUS, FAW, GIVEN, Earliest
from pim_model.spec.config import Config, config
from pim_model.spec.errors import Violation
from pim_model.spec.micro import Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.row_buffers import DUAL_OPS
from pim_model.spec.timing import TIMINGS

KINDS = [op for op in Op if op is not Op.NOP]


def random_micro(shape: Config, rng: np.random.Generator) -> Micro:
    op = KINDS[int(rng.integers(len(KINDS)))]
    geometry = shape.geometry
    return Micro(
        op,
        bank=int(rng.integers(geometry.banks)),
        row=int(rng.integers(4)),
        column=int(rng.integers(3)),
        mode=Mode.LOCAL if op in (Op.MACSB, Op.MACAB) and rng.random() < 0.3 else 0,
    )


@pytest.mark.parametrize(
    ("name", "timing_name"),
    [*product(["tiny", "ianus"], TIMINGS), ("tiny_dual", "ianus_ck"), ("ianus_dual", "ianus_printed")],
)
def test_every_command_of_a_random_list_stands_where_the_checker_says(
    name: str, timing_name: str, rng: np.random.Generator
) -> None:
    shape = config(name, timing_name)
    checker, earliest = Checker(shape, strict=True, refresh=False), Earliest(shape)
    issued: Counter[Op] = Counter()
    clock = 0
    for _ in range(12000):
        micro = random_micro(shape, rng)
        slot = int(micro.op in (Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF))
        not_before = clock + int(rng.integers(40)) if rng.random() < 0.1 else 0
        try:
            expected = checker.earliest(micro, not_before)
        except ProtocolError:
            continue
        assert earliest.probe(slot, micro, not_before) == expected
        bound = earliest.bound
        if bound not in (GIVEN, BUS):
            # One cycle earlier the checker names that rule.
            names = [describe(found) for found in checker.probe(expected - 1, slot, micro)]
            assert ("FAW" if bound == FAW else bound) in names
        assert earliest.put(slot, micro, not_before) == expected
        checker.issue(expected, slot, micro)
        clock = expected
        issued[micro.op] += 1
    assert set(issued) == set(KINDS) - (set() if shape.dual_row_buffer else DUAL_OPS)
    assert issued.total() > 1500


def test_copy_has_the_past_and_goes_its_own_way() -> None:
    shape = config("tiny")
    one = Earliest(shape)
    one.put(0, Micro(Op.ACTAB, row=1), 10)
    other = one.copy()
    close = Micro(Op.PREA)
    assert one.put(0, close) == other.probe(0, close)
    other.put(0, Micro(Op.MACAB))
    assert other.probe(0, close) > one.probe(0, close)


def test_operand_beyond_the_device_is_refused() -> None:
    with pytest.raises(ValueError, match="operands that the device has, not ACT"):
        Earliest(config("tiny")).put(0, Micro(Op.ACT, bank=4))


def test_two_register_commands_do_not_share_a_cycle() -> None:
    shape = config("tiny")
    earliest, checker = Earliest(shape), Checker(shape)
    for slot in (0, 1):  # the first one in the row slot, against the controller's habit
        cycle = earliest.put(slot, Micro(Op.WRGB, column=slot), 5)
        assert Violation.COMMAND_BUS not in checker.issue(cycle, slot, Micro(Op.WRGB, column=slot))
        assert cycle == 5 + slot
