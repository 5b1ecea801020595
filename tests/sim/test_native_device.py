"""The C++ device model against the golden arithmetic and a plain account of what each command does."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pim_model.numerics import activation
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.numerics.profiles import PROFILES, profile
from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.micro import Mode
from sim.build import device_library
from sim.native_device import COMMAND, NativeDevice
from tests.sim.operands import FINITE, KINDS, SPECIALS, U16, operands

pytestmark = pytest.mark.verilator

IANUS = config("ianus")
BANKS = IANUS.geometry.banks
ALL_BYTES = 0xFFFFFFFF


@pytest.fixture(scope="module")
def path() -> Path:
    return device_library(IANUS)


@pytest.fixture
def device(path: Path, request: pytest.FixtureRequest) -> Iterator[NativeDevice]:
    with NativeDevice(path, getattr(request, "param", "aligned")) as opened:
        yield opened


def program(steps: list[tuple[Op, dict[str, Any]]]) -> np.ndarray:
    commands = np.zeros(len(steps), COMMAND)
    commands["enables"] = ALL_BYTES
    for command, (op, fields) in zip(commands, steps, strict=True):
        command["op"] = op
        for name, value in fields.items():
            command[name] = np.asarray(value, "<u2").view(np.uint8) if name == "data" else value
    return commands


def products(device: NativeDevice, inputs: U16, weights: U16, bias: U16) -> U16:
    """Read-outs after each MACAB: inputs u16[n, 16], weights u16[n, banks, 16], bias u16[n, banks] -> u16[n, banks]."""
    one = [
        (Op.WRBIAS, 0, 0),
        (Op.WRGB, 0, 0),
        *((Op.WR, bank, 0) for bank in range(BANKS)),
        (Op.MACAB, 0, 0),
        (Op.RDMAC, 0, 0),
    ]
    commands = np.zeros((len(inputs), len(one)), COMMAND)
    commands["enables"] = ALL_BYTES
    for field, column in (("op", 0), ("bank", 1), ("column", 2)):
        commands[field] = [step[column] for step in one]
    commands["data"][:, 0] = bias.view(np.uint8).reshape(len(inputs), 32)
    commands["data"][:, 1] = inputs.view(np.uint8)
    commands["data"][:, 2 : 2 + BANKS] = weights.view(np.uint8).reshape(len(inputs), BANKS, 32)
    device.execute(Op.ACTAB, row=7)
    flat = np.ascontiguousarray(commands.reshape(-1))
    device.run(flat)
    device.execute(Op.PREA)
    assert not flat["fault"].any()
    return flat["data"].reshape(len(inputs), len(one), 32)[:, -1].copy().view("<u2")


@pytest.mark.parametrize("device", sorted(PROFILES), indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_one_group_equals_golden_model(
    device: NativeDevice, kind: str, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    arithmetic = profile(request.node.callspec.params["device"])
    trials = 4000
    inputs = operands(rng, kind, (trials, 16))
    weights = operands(rng, kind, (trials, BANKS, 16))
    bias = operands(rng, rng.choice(KINDS), (trials, BANKS))
    bias[: trials // 2] &= 0x8000  # the group's own sum shows
    golden = f32_to_bf16(arithmetic.mac_group(bf16_to_f32(bias), inputs[:, np.newaxis], weights))
    found = products(device, inputs, weights, bias)
    wrong = np.argwhere(found != golden)
    assert not len(wrong), (
        f"{len(wrong)} differ; first {wrong[0]}: {found[tuple(wrong[0])]:#06x}, not {golden[tuple(wrong[0])]:#06x}; "
        f"inputs {inputs[wrong[0][0]]}, weights {weights[tuple(wrong[0])]}, bias {bias[tuple(wrong[0])]:#06x}"
    )


@pytest.mark.parametrize("device", sorted(PROFILES), indirect=True)
@pytest.mark.parametrize("kind", KINDS)
def test_neighbours_as_operands_equal_golden_model(
    device: NativeDevice, kind: str, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    """LOCAL: each even bank by its neighbour, in MACAB; one bank, even or odd, in MACSB. One set each."""
    mac_group = profile(request.node.callspec.params["device"]).mac_group
    device.execute(Op.ACTAB, row=7)
    for trial in range(300):
        cells, bias = operands(rng, kind, (BANKS, 16)), operands(rng, rng.choice(KINDS), (2, BANKS))
        if trial % 2:
            bias &= 0x8000  # the group's own sum shows
        bank = int(rng.integers(BANKS))
        commands = program(
            [
                *((Op.WRBIAS, {"data": bias[s], "mode": s}) for s in (0, 1)),
                (Op.WRGB, {"data": rng.permutation(cells.reshape(-1))[:16]}),
                *((Op.WR, {"bank": b, "data": cells[b]}) for b in range(BANKS)),
                (Op.MACAB, {"mode": Mode.LOCAL | Mode.SET1}),
                (Op.MACSB, {"mode": Mode.LOCAL, "bank": bank}),
                *((Op.RDMAC, {"mode": s}) for s in (0, 1)),
            ]
        )
        device.run(commands)
        assert not commands["fault"].any()
        golden = bf16_to_f32(bias)
        golden[1, ::2] = mac_group(golden[1, ::2], cells[::2], cells[1::2])
        golden[0, bank] = mac_group(golden[0, [bank]], cells[[bank]], cells[[bank ^ 1]])[0]
        found = commands["data"][-2:].copy().view("<u2")
        np.testing.assert_array_equal(found, f32_to_bf16(golden), err_msg=f"bank {bank}, cells {cells}")


@pytest.mark.parametrize("device", sorted(PROFILES), indirect=True)
def test_every_pair_of_special_values(device: NativeDevice, request: pytest.FixtureRequest) -> None:
    arithmetic = profile(request.node.callspec.params["device"])
    a, b = (grid.reshape(-1) for grid in np.meshgrid(SPECIALS, SPECIALS))
    for bias_value in SPECIALS:
        for rest in (0x0000, 0x8000, 0x3F80):  # what the other lanes hold: the first decides alone, or not
            inputs = np.full((len(a), 16), rest, np.uint16)
            inputs[:, 0] = a
            weights = np.full((len(a), BANKS, 16), rest & 0x7FFF, np.uint16)
            weights[:, :, 0] = b[:, np.newaxis]
            bias = np.full((len(a), BANKS), bias_value, np.uint16)
            golden = f32_to_bf16(arithmetic.mac_group(bf16_to_f32(bias), inputs[:, np.newaxis], weights))
            np.testing.assert_array_equal(products(device, inputs, weights, bias), golden)


@pytest.mark.parametrize("device", sorted(PROFILES), indirect=True)
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "zeros"])
def test_long_accumulation_shows_every_bit(
    device: NativeDevice, kind: str, rng: np.random.Generator, request: pytest.FixtureRequest
) -> None:
    """64 columns into one accumulator, then -result added: what is left are the bits that the read-out hides."""
    arithmetic = profile(request.node.callspec.params["device"])
    for _ in range(20):
        inputs, weights = operands(rng, kind, (64, 16)), operands(rng, kind, (64, BANKS, 16))
        steps: list[tuple[Op, dict[str, Any]]] = [
            (Op.WRBIAS, {"data": np.zeros(16, np.uint16)}),
            (Op.ACTAB, {"row": 3}),
        ]
        for column in range(64):
            steps.append((Op.WRGB, {"column": column, "data": inputs[column]}))
            steps += [
                (Op.WR, {"bank": b, "column": column, "data": weights[column, b]}) for b in range(BANKS)
            ]
        steps += [(Op.MACAB, {"column": column}) for column in range(64)]
        golden = np.zeros(BANKS, np.float32)
        for column in range(64):
            golden = arithmetic.mac_group(
                golden, np.broadcast_to(inputs[column], (BANKS, 16)), weights[column]
            )
        first = program([*steps, (Op.RDMAC, {})])
        device.run(first)
        head = first["data"][-1].copy().view("<u2")
        np.testing.assert_array_equal(head, f32_to_bf16(golden))

        one = np.zeros(16, np.uint16)
        one[0] = 0x3F80
        negated = np.zeros((BANKS, 16), np.uint16)
        negated[:, 0] = head ^ 0x8000
        writes = [(Op.WR, {"bank": b, "column": 0, "data": negated[b]}) for b in range(BANKS)]
        second = program(
            [
                (Op.WRGB, {"column": 0, "data": one}),
                *writes,
                (Op.MACAB, {"column": 0}),
                (Op.RDMAC, {}),
                (Op.PREA, {}),
            ]
        )
        device.run(second)
        rest = arithmetic.mac_group(golden, np.broadcast_to(one, (BANKS, 16)), negated)
        np.testing.assert_array_equal(second["data"][-2].copy().view("<u2"), f32_to_bf16(rest))
        assert not second["fault"].any()


def test_activation_by_tables_with_any_bits(device: NativeDevice, rng: np.random.Generator) -> None:
    """Each bank has a table of its own; the accumulators sweep all octaves, the linear zone and the special values."""
    function = 5
    tables = np.stack([operands(rng, kind, (1024,)) for kind in (*KINDS, *KINDS)])
    tables[:, 480:482] = rng.choice(SPECIALS, (BANKS, 2))
    tables[:, 992:994] = rng.choice(FINITE, (BANKS, 2))
    tables[8:12] = [activation.table(name) for name in ("gelu", "sigmoid", "tanh", "leaky_relu")]
    load = [(Op.ACTAF, {"row": function})]
    for column in range(64):
        data = tables[:, 16 * column : 16 * column + 16]
        load += [(Op.WR, {"bank": b, "column": column, "data": data[b]}) for b in range(BANKS)]
    device.run(program(load))

    values = np.concatenate(
        (SPECIALS, operands(rng, "any bits", (3000,)), *(_around(exponent) for exponent in range(-16, 8)))
    )
    for coarse, fine in ((value, rng.choice(values)) for value in values):
        # Two terms fill the 24 bits of the accumulator: coarse as bias, fine * 2^-9 * coarse's exponent as a product.
        scale = np.uint16((coarse & 0x7F80) | 0x40)
        small = np.uint16((fine & 0x8000) | 0x3B00 | (fine & 0x7F))
        steps: list[tuple[Op, dict[str, Any]]] = [
            (Op.WRBIAS, {"data": np.full(16, coarse)}),
            (Op.PREA, {}),
            (Op.ACTAB, {"row": 0}),
            (Op.WRGB, {"data": [small] + [0] * 15}),
            (Op.WRBK, {"data": [scale] + [0] * 15}),
            (Op.MACAB, {}),
            (Op.PREA, {}),
            (Op.ACTAF, {"row": function}),
            (Op.AF, {}),
            (Op.RDAF, {}),
        ]
        commands = program(steps)
        device.run(commands)
        assert not commands["fault"].any()
        a = np.zeros((1, 16), np.uint16)
        b = a.copy()
        a[0, 0], b[0, 0] = small, scale
        acc = profile("aligned").mac_group(bf16_to_f32(np.array([coarse], np.uint16)), a, b)
        golden = [f32_to_bf16(activation.apply(table, acc))[0] for table in tables]
        np.testing.assert_array_equal(commands["data"][-1].copy().view("<u2"), golden, err_msg=f"x = {acc}")


def _around(exponent: int) -> U16:
    """BF16 about the power of two: the last values below, the first above, both signs."""
    middle = 127 + exponent << 7
    return np.array([s | middle + d for s in (0, 0x8000) for d in (-2, -1, 0, 1, 2)], np.uint16)
