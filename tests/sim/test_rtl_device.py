"""The synthesisable device against the golden arithmetic and the golden channel, command by command."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import pim_model.spec.config as config_module
from hdl.phy.aim_device import AimDevice
from pim_model.earliest import Earliest
from pim_model.numerics import activation
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.numerics.profiles import profile
from pim_model.spec import timing as timing_module
from pim_model.spec.config import config
from pim_model.spec.micro import READ_DATA, REGISTER_OPS, WITH_MODE, Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import Param, RegisterAccess
from sim.build import BuildError, rtl_device_library, verilog
from sim.native_device import COMMAND
from sim.rtl_device import RtlDevice
from tests.sim.operands import KINDS, SPECIALS, U16, operands
from tests.sim.test_native_commands import expected, random_commands, weights

pytestmark = pytest.mark.verilator

SHAPE = config("ulx3s")  # rows hold a whole activation table
BANKS = SHAPE.geometry.banks
mac_group = profile("aligned").mac_group

GROUP = (
    # command, bank, cycle
    (Op.WRBIAS, 0, 0),
    (Op.WRGB, 0, 1),
    *((Op.WR, bank, 2 + bank) for bank in range(BANKS)),
    (Op.MACAB, 0, 20),
    (Op.RDMAC, 0, 40),
)
"""One column into each accumulator, and its sum; distances are larger than any rule's."""


@pytest.fixture(scope="module")
def device() -> Iterator[RtlDevice]:
    with RtlDevice(rtl_device_library(SHAPE)) as opened:
        yield opened


def commands_of(ops: list[Op]) -> np.ndarray:
    commands = np.zeros(len(ops), COMMAND)
    commands["op"], commands["enables"] = ops, 0xFFFFFFFF
    return commands


def run(device: RtlDevice, commands: np.ndarray, cycles: np.ndarray) -> None:
    slots = np.isin(commands["op"], [int(op) for op in REGISTER_OPS]).astype(np.uint8)
    device.run(commands, slots, cycles)


def run_early(device: RtlDevice, commands: np.ndarray) -> np.ndarray:
    """Each command as early as the timing rules allow; the cycles."""
    placer, cycles = Earliest(SHAPE), []
    for command in commands:
        op = Op(int(command["op"]))
        micro = Micro.seen(op, *(int(command[name]) for name in ("bank", "row", "column", "mode")))
        cycles.append(placer.put(int(op in REGISTER_OPS), micro, 0))
    run(device, commands, np.array(cycles, np.uint64))
    return np.array(cycles)


def sums(device: RtlDevice, inputs: U16, columns: U16, bias: U16) -> U16:
    """Read-outs after each MACAB: inputs u16[n, 16], columns u16[n, banks, 16], bias u16[n, banks] -> u16[n, banks]."""
    count = len(inputs)
    commands = np.zeros((count, len(GROUP)), COMMAND)
    commands["enables"] = 0xFFFFFFFF
    commands["op"], commands["bank"] = ([step[i] for step in GROUP] for i in (0, 1))
    padded = np.zeros((count, 16), np.uint16)
    padded[:, :BANKS] = bias
    commands["data"][:, 0] = padded.view(np.uint8)
    commands["data"][:, 1] = inputs.view(np.uint8)
    commands["data"][:, 2 : 2 + BANKS] = columns.view(np.uint8).reshape(count, BANKS, 32)
    run_early(device, commands_of([Op.PREA, Op.ACTAB]))
    cycles = 48 * np.arange(count)[:, np.newaxis] + [step[2] for step in GROUP]
    flat = np.ascontiguousarray(commands.reshape(-1))
    run(device, flat, cycles.reshape(-1).astype(np.uint64))
    return flat["data"].reshape(count, len(GROUP), 32)[:, -1].copy().view("<u2")[:, :BANKS]


def require_equal(found: U16, golden: U16, *operands_: np.ndarray) -> None:
    wrong = np.argwhere(found != golden)
    assert not len(wrong), (
        f"{len(wrong)} of {found.size} differ; first {wrong[0]}: {found[tuple(wrong[0])]:#06x}, not "
        f"{golden[tuple(wrong[0])]:#06x}; operands {[each[wrong[0][0]] for each in operands_]}"
    )


@pytest.mark.parametrize("kind", KINDS)
def test_one_group_equals_golden_model(
    device: RtlDevice, kind: str, rng: np.random.Generator, pytestconfig: pytest.Config
) -> None:
    trials = pytestconfig.getoption("--columns") // (BANKS * len(KINDS))
    inputs, columns = operands(rng, kind, (trials, 16)), operands(rng, kind, (trials, BANKS, 16))
    bias = operands(rng, rng.choice(KINDS), (trials, BANKS))
    bias[: trials // 2] &= 0x8000  # the group's own sum shows
    golden = f32_to_bf16(mac_group(bf16_to_f32(bias), inputs[:, np.newaxis], columns))
    require_equal(sums(device, inputs, columns, bias), golden, inputs, columns, bias)


@pytest.mark.parametrize("rest", [0x0000, 0x8000, 0x3F80])
def test_every_pair_of_special_values(device: RtlDevice, rest: int) -> None:
    """In the first lane, on every special accumulator; the other lanes hold zeros of either sign, or ones."""
    padded = np.append(SPECIALS, SPECIALS[: -len(SPECIALS) % BANKS]).reshape(-1, BANKS)
    a, b, bias = (grid.reshape(-1) for grid in np.meshgrid(SPECIALS, SPECIALS, np.arange(len(padded))))
    inputs, columns = (
        np.full((len(a), 16), rest, np.uint16),
        np.full((len(a), BANKS, 16), rest & 0x7FFF, np.uint16),
    )
    inputs[:, 0], columns[:, :, 0] = a, b[:, np.newaxis]
    golden = f32_to_bf16(mac_group(bf16_to_f32(padded[bias]), inputs[:, np.newaxis], columns))
    require_equal(sums(device, inputs, columns, padded[bias]), golden, inputs, columns)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "zeros"])
def test_long_accumulation_shows_every_bit(device: RtlDevice, kind: str, rng: np.random.Generator) -> None:
    """A row into one accumulator, a column a cycle, then -result added: what is left are bits that read-out hides."""
    for _ in range(8):
        inputs, columns = operands(rng, kind, (64, 16)), operands(rng, kind, (64, BANKS, 16))
        load = [*([Op.WRGB] * 64), Op.WRBIAS, Op.PREA, Op.ACTAB, *([Op.WR] * (64 * BANKS))]
        first = commands_of([*load, *([Op.MACAB] * 64), Op.RDMAC])
        first["data"][:64] = inputs.view(np.uint8)
        first["column"][:64] = np.arange(64)
        writes = slice(67, len(load))
        first["bank"][writes], first["column"][writes] = np.divmod(np.arange(64 * BANKS), 64)
        first["data"][writes] = np.ascontiguousarray(columns.swapaxes(0, 1)).reshape(-1, 16).view(np.uint8)
        first["column"][len(load) : -1] = np.arange(64)
        cycles = run_early(device, first)
        assert cycles[-2] - cycles[len(load)] == 63, "the columns did not follow each other cycle by cycle"
        golden = np.zeros(BANKS, np.float32)
        for column in range(64):
            golden = mac_group(golden, np.broadcast_to(inputs[column], (BANKS, 16)), columns[column])
        head = first["data"][-1].copy().view("<u2")[:BANKS]
        np.testing.assert_array_equal(head, f32_to_bf16(golden))

        one, negated = np.zeros(16, np.uint16), np.zeros((BANKS, 16), np.uint16)
        one[0], negated[:, 0] = 0x3F80, head ^ 0x8000
        second = commands_of([Op.WRGB, *([Op.WR] * BANKS), Op.MACAB, Op.RDMAC, Op.PREA])
        second["data"][0] = one.view(np.uint8)
        second["bank"][1 : 1 + BANKS] = range(BANKS)
        second["data"][1 : 1 + BANKS] = negated.view(np.uint8)
        run_early(device, second)
        rest = mac_group(golden, np.broadcast_to(one, (BANKS, 16)), negated)
        np.testing.assert_array_equal(second["data"][-2].copy().view("<u2")[:BANKS], f32_to_bf16(rest))


def without_products_of_tables(commands: np.ndarray, accepted: np.ndarray) -> None:
    """No EWMUL while a table row is open: no rule holds the AF behind it apart, since TABLE_ROW forbids the first."""
    table = False
    for place in np.flatnonzero(accepted):
        op = Op(int(commands["op"][place]))
        if op in (Op.ACTAF, Op.ACTAB, Op.PREA):
            table = op is Op.ACTAF
        elif table and op is Op.EWMUL:
            commands["op"][place] = Op.NOP


def test_random_commands_as_early_as_the_rules_allow(rng: np.random.Generator) -> None:
    """All kinds with all modes in a row, on the golden channel and here: where the pipeline were longer than the timing
    table says, a command would meet the state of before."""
    commands = random_commands(rng, SHAPE, 12000)
    without_products_of_tables(commands, expected(commands.copy(), SHAPE, "aligned")["fault"] == 0)
    golden = expected(commands.copy(), SHAPE, "aligned")
    kept = (golden["fault"] == 0) & (golden["op"] != Op.NOP)
    commands, golden = np.ascontiguousarray(commands[kept]), golden[kept]
    with RtlDevice(rtl_device_library(SHAPE)) as device:
        run_early(device, commands)
    reads = np.isin(commands["op"], [int(op) for op in READ_DATA])
    wrong = np.flatnonzero((commands["data"] != golden["data"]).any(axis=1) & reads)
    assert not len(wrong), f"command {wrong[0]}: {commands[wrong[0]]}, not {golden[wrong[0]]['data']}"
    for op in weights(SHAPE):
        acted = commands["mode"][commands["op"] == op]
        assert len(acted) > 5 or op is Op.NOP, f"{op.name} hardly ever came"
        for mode in range(4) if op in WITH_MODE else ():
            assert (acted == mode).sum() > 5, f"{op.name} with mode {mode} hardly ever came"
    for op in READ_DATA:
        seen = commands["data"][commands["op"] == op]
        assert len(np.unique(seen, axis=0)) > 10, f"{op.name} saw hardly any data"


def test_activation_by_tables_with_any_bits(device: RtlDevice, rng: np.random.Generator) -> None:
    """Two tables at a time in each bank; accumulators sweep all octaves, the linear zone and the special values."""
    tables = [operands(rng, kind, (1024,)) for kind in KINDS]
    for each in tables:
        each[[480, 481, 992, 993]] = rng.choice(SPECIALS, 4)
    tables += [activation.table(name) for name in ("gelu", "sigmoid", "tanh", "leaky_relu")]
    edges = [127 + e << 7 for e in range(-16, 8)]
    values = np.concatenate(
        (
            SPECIALS,
            operands(rng, "any bits", (150,)),
            *(np.array([s | e + d for s in (0, 0x8000) for d in (-1, 0, 1)], np.uint16) for e in edges),
        )
    )
    for at in range(0, len(tables), BANKS):
        chosen = np.stack(tables[at : at + BANKS])
        load = commands_of([Op.PREA, Op.ACTAF, *([Op.WR] * (64 * BANKS)), Op.PREA])
        load["row"][1] = 5
        load["bank"][2:-1], load["column"][2:-1] = np.divmod(np.arange(64 * BANKS), 64)
        load["data"][2:-1] = chosen.reshape(-1, 16).view(np.uint8)
        run_early(device, load)

        # Two terms fill the 24 bits of the accumulator: coarse as bias, and 2^-9 of its size as a product.
        coarse, fine = values, rng.choice(values, len(values))
        scale, small = (coarse & 0x7F80) | 0x40, (fine & 0x8000) | 0x3B00 | (fine & 0x7F)
        one = [Op.WRBIAS, Op.WRGB, Op.ACTAB, Op.WRBK, Op.MACAB, Op.PREA, Op.ACTAF, Op.AF, Op.RDAF, Op.PREA]
        commands = commands_of(one * len(values)).reshape(len(values), len(one))
        commands["row"][:, 6] = 5
        commands["data"][:, 0] = np.repeat(coarse, 16).reshape(-1, 16).view(np.uint8)
        commands["data"][:, 1, :2] = small[:, np.newaxis].view(np.uint8)
        commands["data"][:, 3, :2] = scale[:, np.newaxis].view(np.uint8)
        flat = np.ascontiguousarray(commands.reshape(-1))
        run_early(device, flat)
        found = flat["data"].reshape(len(values), len(one), 32)[:, 8].copy().view("<u2")[:, :BANKS]

        a, b = np.zeros((len(values), 16), np.uint16), np.zeros((len(values), 16), np.uint16)
        a[:, 0], b[:, 0] = small, scale
        sums_ = mac_group(bf16_to_f32(coarse), a, b)
        golden = np.stack([f32_to_bf16(activation.apply(table, sums_)) for table in chosen], axis=1)
        require_equal(found, golden, coarse, small, scale)


@pytest.mark.parametrize(
    ("name", "timing", "message"),
    [
        ("tiny_dual", "ianus_ck", r"^config must have one row buffer a bank .*, not 'tiny_dual'$"),
        ("ianus", "ianus_ck", r"^memory must be 64 MiB at most .*, not 8192 \(ianus\)$"),
    ],
)
def test_what_it_does_not_serve_is_refused(name: str, timing: str, message: str) -> None:
    with pytest.raises(BuildError, match=message):
        verilog(config(name, timing), device="rtl")


@pytest.mark.parametrize("parameter", ["tMACRD", "tAFRD", "RLREG"])
def test_a_timing_table_too_short_for_the_pipeline_is_refused(
    parameter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    short = dict(SHAPE.timing.params) | {parameter: Param(0, 0.0, "none"), "BL": Param(2, 0.0, "one cycle")}
    monkeypatch.setattr(config_module, "TIMINGS", (*timing_module.TIMINGS, "short"))
    monkeypatch.setitem(timing_module._PRESETS, "short", ("", RegisterAccess.DIRECT, 2, short))
    with pytest.raises(ValueError, match=r"^timing must (keep|return) .*\(short\)$"):
        AimDevice(replace(SHAPE, timing_name="short"))
