"""Random command sequences on the C++ device model and on the golden channel: state, masks, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.bank import ImpossibleCommand
from pim_model.channel import Channel
from pim_model.numerics.profiles import PROFILES
from pim_model.spec.config import Config, config
from pim_model.spec.geometry import Geometry
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, READ_DATA, WITH_MODE, WRITE_DATA, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.row_buffers import DUAL_OPS
from pim_model.storage import Storage
from sim.build import device_library
from sim.native import FAULTS
from sim.native_device import COMMAND, NativeDevice
from tests.sim.operands import KINDS, operands

pytestmark = pytest.mark.verilator

TINY = config("tiny")
CONFIGS = (
    TINY,
    config("tiny_dual"),
    Config(name="groups", geometry=Geometry(channels=1, banks=16, rows=16, row_bytes=128)),
)

# How often each command comes; what opens and closes comes seldom, so that rows live long enough to be used.
WEIGHTS = {
    Op.ACT: 4, Op.ACT4: 2, Op.ACTAB: 8, Op.ACTAF: 6, Op.PRE: 1, Op.PREA: 4, Op.RD: 12, Op.WR: 20, Op.WRBK: 4,
    Op.WRGB: 8, Op.WRBIAS: 4, Op.RDMAC: 10, Op.RDAF: 4, Op.MACSB: 6, Op.MAC4B: 6, Op.MACAB: 10, Op.AF: 6, Op.EWMUL: 6,
    Op.RDCP: 6, Op.WRCP: 6, Op.NOP: 1, Op.REFAB: 4, Op.REFPB: 1, Op.TMOD_IN: 1, Op.TMOD_OUT: 1, Op.PREP: 4,
}  # fmt: skip


def weights(shape: Config) -> dict[Op, int]:
    """Those of the commands that the device has."""
    return {op: weight for op, weight in WEIGHTS.items() if shape.dual_row_buffer or op not in DUAL_OPS}


def random_commands(rng: np.random.Generator, shape: Config, count: int) -> np.ndarray:
    """Legal operands, any mode, any order; rows and columns from a few, so that commands meet."""
    geometry, chosen_from = shape.geometry, weights(shape)
    ops = np.array([int(op) for op in chosen_from])
    shares = np.array(list(chosen_from.values()), float)
    commands = np.zeros(count, COMMAND)
    commands["op"] = rng.choice(ops, count, p=shares / shares.sum())
    commands["bank"] = rng.integers(0, geometry.banks, count)
    commands["column"] = rng.choice([0, 1, geometry.columns - 1], count)
    commands["mode"] = rng.integers(0, 4, count)
    table = commands["op"] == Op.ACTAF
    rows = rng.choice([0, 1, geometry.rows - 1, geometry.weight_rows], count)
    commands["row"] = np.where(table, rng.choice([0, 7], count), rows)
    full = rng.random(count) < 0.5
    commands["enables"] = np.where(full, 0xFFFFFFFF, rng.integers(0, 1 << 32, count))
    for kind, chosen in zip(KINDS, np.array_split(rng.permutation(count), len(KINDS)), strict=True):
        commands["data"][chosen] = operands(rng, kind, (len(chosen), 16)).view(np.uint8)
    return commands


def half_way(channel: Channel, micro: Micro) -> bool:
    """Whether the golden model, which goes bank by bank, would refuse a command after it changed some banks."""
    op = micro.op
    if op in FOUR_BANKS:
        banks = channel.banks[micro.bank // 4 * 4 : micro.bank // 4 * 4 + 4]
    elif op is Op.EWMUL and micro.mode & Mode.LOCAL:
        banks = channel.banks[:4]
    elif op in ALL_BANKS:
        banks = channel.banks
    else:
        return False
    # Refused at once, or not at all, if all banks are in the state of the first.
    return len(
        {(other.open_row(op) is None, other.opened_by(op) is Op.ACTAF) for other in banks}
    ) > 1 and op not in (Op.PREA, Op.PREP)


def expected(commands: np.ndarray, shape: Config, numerics: str) -> np.ndarray:
    """What the golden channel answers; ``fault`` is one where it refuses. Some commands become NOPs."""
    channel = Channel(Storage(shape.geometry), 0, numerics, dual=shape.dual_row_buffer)
    for command in commands:
        op = Op(int(command["op"]))
        operands = [int(command[name]) for name in ("bank", "row", "column", "mode")]
        if half_way(channel, Micro(op, *operands)):
            command["op"] = op = Op.NOP
        micro = Micro(op, *operands)
        data = command["data"].tobytes() if op in WRITE_DATA else None
        try:
            read = channel.execute(micro, data, int(command["enables"]))
        except ImpossibleCommand:
            command["fault"] = 1
            read = bytes(32) if op in READ_DATA else None
        if read is not None:
            command["data"] = np.frombuffer(read, np.uint8)
    return commands


@pytest.mark.parametrize("shape", CONFIGS, ids=lambda shape: shape.name)
@pytest.mark.parametrize("numerics", sorted(PROFILES))
def test_random_commands_equal_golden_channel(shape: Config, numerics: str, rng: np.random.Generator) -> None:
    commands = random_commands(rng, shape, 12000)
    golden = expected(commands.copy(), shape, numerics)
    commands["op"] = golden["op"]
    with NativeDevice(device_library(shape), numerics) as device:
        device.run(commands)
    assert set(np.unique(commands["fault"])) <= {0, 3, 4, 5}
    commands["fault"] = commands["fault"] != 0
    wrong = np.flatnonzero(commands != golden)
    assert not len(wrong), f"command {wrong[0]}: {commands[wrong[0]]}, not {golden[wrong[0]]}"
    for op in weights(shape):
        acted = commands["mode"][(commands["op"] == op) & (commands["fault"] == 0)]
        assert len(acted) > 5, f"{op.name} hardly ever acted"
        for mode in range(4) if op in WITH_MODE else ():
            assert (acted == mode).sum() > 5, f"{op.name} with mode {mode} hardly ever acted"
    for op in READ_DATA:
        seen = commands["data"][(commands["op"] == op) & (commands["fault"] == 0)]
        assert len(np.unique(seen, axis=0)) > 10, f"{op.name} saw hardly any data"


@pytest.mark.parametrize(
    ("op", "fields", "fault"),
    [
        (31, {}, 1),
        (Op.PREP, {}, 1),
        (Op.ACT, {"bank": TINY.geometry.banks}, 2),
        (Op.ACT, {"row": TINY.geometry.rows}, 2),
        (Op.ACTAF, {"row": 8}, 2),
        (Op.WRGB, {"column": TINY.geometry.columns}, 2),
        (Op.RD, {}, 3),
        (Op.MACAB, {}, 3),
        (Op.AF, {}, 3),
        (Op.WRCP, {"column": TINY.geometry.columns}, 2),
    ],
)
def test_command_without_meaning_is_a_fault_and_reads_zeros(
    op: int, fields: dict[str, int], fault: int
) -> None:
    commands = np.zeros(1, COMMAND)
    commands["op"], commands["data"] = op, 0xAA
    for name, value in fields.items():
        commands[name] = value
    with NativeDevice(device_library(TINY)) as device:
        device.run(commands)
    assert commands["fault"][0] == fault
    assert fault in FAULTS
    assert commands["data"].max() == (0 if op == Op.RD else 0xAA)


def test_refused_command_changes_nothing() -> None:
    with NativeDevice(device_library(TINY)) as device:
        device.execute(Op.ACT, bank=1, row=5)
        device.execute(Op.WR, bank=1, data=bytes(range(32)))
        with pytest.raises(ValueError, match=r"^ACTAB: activation or refresh of a bank with an open row$"):
            device.execute(Op.ACTAB, row=6)
        assert device.execute(Op.RD, bank=1) == bytes(range(32))
        with pytest.raises(ValueError, match=r"^RD: column access or MAC on a bank without an open row$"):
            device.execute(Op.RD, bank=0)


def test_closed_device_and_wrong_arguments_are_refused() -> None:
    device = NativeDevice(device_library(TINY))
    with pytest.raises(
        TypeError, match=r"^commands must be a writable contiguous array of COMMAND, not dtype"
    ):
        device.run(np.zeros(1, np.uint8))
    device.close()
    device.close()
    with pytest.raises(ValueError, match=r"^device is closed$"):
        device.execute(Op.NOP)
    with pytest.raises(ValueError, match=r"^numerics must be one of aligned, fp32_tree, not 'exact'$"):
        NativeDevice(device_library(TINY), "exact")
