"""Many MACABs at once against the same MACABs one by one, on any bits."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.channel import Channel
from pim_model.mac_run import is_mac_run, multiply_run
from pim_model.spec.config import config
from pim_model.spec.micro import Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.storage import Storage


@pytest.mark.parametrize("span", [(0, 65536), (0x3F00, 0x4000)], ids=["any bits", "around one"])
@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
def test_a_run_is_its_commands(numerics: str, span: tuple[int, int], rng: np.random.Generator) -> None:
    geometry = config("tiny").geometry
    storage = Storage(geometry)
    storage.row_for_write(3)[:] = rng.integers(*span, (2, 4, 128)) ^ rng.integers(0, 2, (2, 4, 128)) << 15
    sides: list[list[Channel]] = []
    operands = rng.integers(*span, (2, 8, 16), dtype=np.uint16)
    starts = rng.integers(0, 1 << 32, (2, 2, 4), dtype=np.uint64).astype(np.uint32).view(np.float32)
    starts[0, 0, 0] = -0.0
    for _ in range(2):
        side = [Channel(storage, index, numerics) for index in range(2)]
        for channel, operand, start in zip(side, operands, starts, strict=True):
            channel.execute(Micro(Op.ACTAB, row=3))
            channel.buffer[:] = operand
            channel.accumulators[:] = start
        sides.append(side)
    for mode in (0, Mode.SET1):
        for columns in ([2, 3, 4, 5], [7], [0, 0, 1]):
            commands = [Micro(Op.MACAB, column=column, mode=mode) for column in columns]
            assert is_mac_run(commands)
            multiply_run(sides[0], commands, numerics)
            for channel in sides[1]:
                for micro in commands:
                    channel.execute(micro)
    for one, other in zip(*sides, strict=True):
        assert np.array_equal(one.accumulators.view(np.uint32), other.accumulators.view(np.uint32))
    assert not np.array_equal(sides[0][0].accumulators, starts[0], equal_nan=True)


@pytest.mark.parametrize("numerics", ["aligned", "fp32_tree"])
def test_zeros_keep_their_sign(numerics: str) -> None:
    geometry = config("tiny").geometry
    storage = Storage(geometry)
    storage.row_for_write(3)[:] = 0x8000  # every product is -0
    channel = Channel(storage, 0, numerics)
    channel.execute(Micro(Op.ACTAB, row=3))
    channel.buffer[:] = 0x3F80
    channel.accumulators[:] = -0.0
    multiply_run([channel], [Micro(Op.MACAB), Micro(Op.MACAB, column=1)], numerics)
    assert np.signbit(channel.accumulators[0]).all()


@pytest.mark.parametrize(
    "commands",
    [
        [Micro(Op.MACAB), Micro(Op.MACAB, mode=Mode.SET1)],
        [Micro(Op.MACAB, mode=Mode.LOCAL)],
        [Micro(Op.MACSB)],
        [Micro(Op.MACAB), Micro(Op.PREA)],
    ],
)
def test_what_is_no_run(commands: list[Micro]) -> None:
    assert not is_mac_run(commands)
