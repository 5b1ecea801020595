"""The harness (clock, bus driver, device timing, traces) on a stand-in design with the prototype's ports."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp as Op
from sim.build import library_of
from sim.native import AddressError, BusError, BusTimeout, DeviceFault, NativeSimulation, SimulationError
from tests.sim import standin

pytestmark = pytest.mark.verilator

TINY = config("tiny")
SEEDS = (0, 1, 2, 3)


@pytest.fixture(scope="module")
def path() -> Path:
    return library_of(standin.standin(TINY), TINY)


@pytest.fixture
def simulation(path: Path) -> Iterator[NativeSimulation]:
    with NativeSimulation(path, TINY) as opened:
        opened.set_timeout(500)
        yield opened
        assert opened.read_register(standin.BREACHES) == 0, "the host broke a rule of AXI"


def fire(
    simulation: NativeSimulation,
    op0: int = 0,
    bank: int = 0,
    row: int = 0,
    column: int = 0,
    *,
    op1: int = 0,
    column1: int = 0,
    modes: tuple[int, int] = (0, 0),
    data: bytes | None = None,
    mask: int = 0xFFFFFFFF,
    channel: int = 0,
) -> bytes:
    """Put one pair of commands on a channel; returns the last read data."""
    for place, word in enumerate(np.frombuffer(data, "<u4") if data else ()):
        simulation.write_register(standin.WRITE_DATA + 4 * place, int(word))
    word0 = op0 | bank << 8 | column << 16 | modes[0] << 24
    words = (word0, row | op1 << 16 | column1 << 24 | modes[1] << 30, mask)
    for place, value in enumerate(words):
        simulation.write_register(standin.COMMAND + 4 * place, value)
    simulation.write_register(standin.FIRE, channel)
    simulation.idle(TINY.timing.cycles("RL + BL") + 2)
    parts = [simulation.read_register(standin.READ_DATA + 4 * place) for place in range(8)]
    return np.array(parts, "<u4").tobytes()


def test_register_keeps_its_value_until_reset(simulation: NativeSimulation) -> None:
    for value in (0, 0xDEADBEEF, 0xFFFFFFFF):
        simulation.write_register(standin.SCRATCH, value)
        assert simulation.read_register(standin.SCRATCH) == value
    before = simulation.cycles
    simulation.reset()
    assert simulation.read_register(standin.SCRATCH) == 0
    assert simulation.cycles > before


def test_register_errors_are_told_apart(simulation: NativeSimulation) -> None:
    with pytest.raises(BusError, match=r"^register read at 0x800: DECERR$"):
        simulation.read_register(standin.DECODE_ERROR)
    with pytest.raises(BusError, match=r"^register write at 0x804: DECERR$"):
        simulation.write_register(standin.DECODE_ERROR + 4, 1)
    with pytest.raises(ValueError, match=r"^register offset must be a multiple of 4 below 65536, not 2$"):
        simulation.read_register(2)
    with pytest.raises(ValueError, match=r"^value must fit in 32 bits, not -1$"):
        simulation.write_register(0, -1)


@pytest.mark.parametrize("call", ["register read", "register write", "read", "write"])
def test_no_answer_ends_in_a_timeout_and_reset_mends_it(simulation: NativeSimulation, call: str) -> None:
    calls = {
        "register read": lambda: simulation.read_register(standin.SILENT),
        "register write": lambda: simulation.write_register(standin.SILENT, 1),
        "read": lambda: simulation.read(standin.SILENT_MEMORY, 64),
        "write": lambda: simulation.write(standin.SILENT_MEMORY, bytes(64)),
    }
    before = simulation.cycles
    with pytest.raises(BusTimeout, match="the design made no progress"):
        calls[call]()
    assert 500 <= simulation.cycles - before < 600
    with pytest.raises(BusTimeout, match="reset the simulation"):
        simulation.read_register(standin.SCRATCH)
    simulation.reset()
    simulation.write(0, b"works again")
    assert simulation.read(0, 11) == b"works again"


@pytest.mark.parametrize("seed_of_run", SEEDS)
@pytest.mark.parametrize("stall", [0, 1], ids=["at full speed", "under back-pressure"])
def test_any_byte_range_reads_back(
    simulation: NativeSimulation, stall: int, seed_of_run: int, rng: np.random.Generator
) -> None:
    size = standin.MEMORY_BYTES
    mirror = rng.integers(0, 256, size, np.uint8)
    simulation.write(0, mirror)
    simulation.write_register(standin.STALL, stall)
    for _ in range(60):
        length = int(rng.choice([1, 2, 31, 32, 33, 4095, 4096, 4097, int(rng.integers(1, 9000))]))
        at = int(rng.choice([0, 31, 4090, int(rng.integers(0, size - length))]))
        data = rng.integers(0, 256, length, np.uint8)
        simulation.write(at, data)
        mirror[at : at + length] = data
        at = int(rng.integers(0, size - length))
        assert simulation.read(at, length) == mirror[at : at + length].tobytes()
    assert simulation.read(0, size) == mirror.tobytes()


def test_long_transfers_move_almost_a_beat_a_cycle(simulation: NativeSimulation) -> None:
    data = np.arange(standin.MEMORY_BYTES, dtype=np.uint16).view(np.uint8)[: standin.MEMORY_BYTES]
    beats = standin.MEMORY_BYTES // 32
    start = simulation.cycles
    simulation.write(0, data)
    written = simulation.cycles
    assert simulation.read(0, data.size) == data.tobytes()
    # Four bursts: the stand-in takes two more cycles for each to write (address, answer), none to read.
    assert written - start <= beats + 4 * 3
    assert simulation.cycles - written <= beats + 2


def test_error_response_names_the_first_burst_and_the_transfer_goes_on(simulation: NativeSimulation) -> None:
    good = standin.SLAVE_ERROR - 4096
    with pytest.raises(BusError, match=r"^write at 0x8000: SLVERR$") as caught:
        simulation.write(good, bytes(range(256)) * 48)
    assert (caught.value.address, caught.value.response) == (standin.SLAVE_ERROR, "SLVERR")
    assert simulation.read(good, 256) == bytes(range(256))
    with pytest.raises(BusError, match=r"^read at 0x8000: SLVERR$"):
        simulation.read(standin.SLAVE_ERROR - 32, 64)


def test_empty_and_impossible_ranges(simulation: NativeSimulation) -> None:
    start = simulation.cycles
    simulation.write(5, b"")
    assert simulation.read(5, 0) == b""
    assert simulation.cycles == start
    window = 1 << TINY.window_bits
    with pytest.raises(
        AddressError, match=r"^address range must lie in the window of 0x40000 bytes, not 0x3ffff \+ 0x2$"
    ):
        simulation.read(window - 1, 2)
    with pytest.raises(AddressError, match="reaches beyond the memory"):
        simulation.peek(TINY.geometry.memory_bytes - 1, 2)
    with pytest.raises(AddressError, match="reaches beyond the memory"):
        simulation.preload(TINY.geometry.memory_bytes, b"x")


def test_interrupt_is_awaited_to_the_cycle(simulation: NativeSimulation) -> None:
    assert not simulation.wait_interrupt(50)
    simulation.write_register(standin.INTERRUPT, 40)
    start = simulation.cycles
    assert not simulation.wait_interrupt(20)
    assert simulation.cycles == start + 20
    assert simulation.wait_interrupt(1000)
    assert start + 35 <= simulation.cycles <= start + 45
    simulation.write_register(standin.INTERRUPT, 0)
    assert not simulation.wait_interrupt(10)


def test_back_door_follows_the_address_map(simulation: NativeSimulation, rng: np.random.Generator) -> None:
    geometry = TINY.geometry
    data = rng.integers(0, 256, 5000, np.uint8)
    base = geometry.address(row=3, channel=1, bank=3, column=7, byte=30)
    simulation.preload(base, data)
    assert simulation.peek(base - 2, 5004) == bytes(2) + data.tobytes() + bytes(2)
    for channel in range(geometry.channels):
        for row in (3, 4):
            fire(simulation, Op.ACTAB, row=row, channel=channel)
            for bank in range(geometry.banks):
                place = geometry.address(row=row, channel=channel, bank=bank, column=2)
                found = fire(simulation, Op.RD, bank=bank, column=2, channel=channel)
                assert found == simulation.peek(place, 32)
            fire(simulation, Op.PREA, channel=channel)
    simulation.check_device()


def test_read_data_comes_after_its_latency(simulation: NativeSimulation) -> None:
    timing = TINY.timing
    data = bytes(range(32))
    fire(simulation, Op.ACT, bank=2, row=9)
    fire(simulation, Op.WR, bank=2, column=1, data=data)
    assert fire(simulation, Op.RD, bank=2, column=1) == data
    assert simulation.read_register(standin.LATENCY) == timing.cycles("RL + BL")
    fire(simulation, op1=Op.WRBIAS, data=np.full(16, 0x3F80, "<u2").tobytes())
    assert fire(simulation, op1=Op.RDMAC) == np.array([0x3F80] * 4 + [0] * 12, "<u2").tobytes()
    assert simulation.read_register(standin.LATENCY) == timing.cycles("RLREG + BL")
    assert simulation.read_register(standin.READS) == 2


@pytest.mark.slow
def test_latencies_are_those_of_the_timing_preset() -> None:
    """Where result registers answer sooner than the array: each read has its own latency."""
    shape = config("tiny", "aim_simulator")
    with NativeSimulation(library_of(standin.standin(shape), shape), shape) as simulation:
        fire(simulation, Op.ACT)
        fire(simulation, Op.RD)
        simulation.idle(60)
        assert simulation.read_register(standin.LATENCY) == shape.timing.cycles("RL + BL") == 52
        fire(simulation, op1=Op.RDMAC)
        assert simulation.read_register(standin.LATENCY) == shape.timing.cycles("RLREG + BL") == 2


def test_slot_zero_acts_before_slot_one(simulation: NativeSimulation) -> None:
    """MACAB reads the buffer's old column in the cycle in which WRGB replaces it."""
    one, two = (np.array([value] + [0] * 15, "<u2").tobytes() for value in (0x3F80, 0x4000))
    fire(simulation, op1=Op.WRGB, data=one)
    fire(simulation, Op.ACTAB, row=0)
    fire(simulation, Op.WRBK, data=one)
    fire(simulation, Op.MACAB, op1=Op.WRGB, data=two)
    assert fire(simulation, op1=Op.RDMAC)[:2] == one[:2]
    fire(simulation, Op.MACAB)
    assert fire(simulation, op1=Op.RDMAC)[:2] == np.uint16(0x4040).tobytes()
    simulation.check_device()


def test_each_slot_has_mode_bits_of_its_own(simulation: NativeSimulation) -> None:
    one, two = (np.array([value] * 4 + [0] * 12, "<u2").tobytes() for value in (0x3F80, 0x4000))
    fire(simulation, op1=Op.WRBIAS, data=two, modes=(0, 1))
    fire(simulation, Op.WRBIAS, data=one, modes=(0, 1))
    assert fire(simulation, op1=Op.RDMAC) == one
    assert fire(simulation, op1=Op.RDMAC, modes=(0, 1)) == two
    assert fire(simulation, Op.RDMAC, modes=(1, 0)) == two
    simulation.check_device()


def test_write_enables_reach_the_device(simulation: NativeSimulation) -> None:
    fire(simulation, Op.ACT, bank=0, row=0)
    fire(simulation, Op.WR, data=b"\xff" * 32, mask=0x80000101)
    expected = bytes(0xFF if 0x80000101 >> i & 1 else 0 for i in range(32))
    assert simulation.peek(0, 32) == expected


def test_trace_and_counts(simulation: NativeSimulation) -> None:
    fire(simulation, Op.REFAB)
    simulation.record(3)
    fire(simulation, Op.ACT, bank=3, row=60, channel=1)
    fire(simulation, Op.RD, bank=3, column=5, op1=Op.RDMAC, modes=(2, 1), channel=1)
    trace = simulation.trace()
    names = ("channel", "slot", "op", "bank", "row", "column", "mode")
    assert trace[list(names)].tolist() == [
        (1, 0, Op.ACT, 3, 60, 0, 0),
        (1, 0, Op.RD, 3, 0, 5, 2),
        (1, 1, Op.RDMAC, 0, 0, 0, 1),
    ]
    assert trace["cycle"][0] < trace["cycle"][1] == trace["cycle"][2] < simulation.cycles
    fire(simulation, Op.PREA, channel=1)
    with pytest.raises(SimulationError, match=r"^trace of 3 commands is full; 1 more were not recorded$"):
        simulation.trace()
    simulation.record(0)
    assert simulation.trace().size == 0
    expected = np.zeros((TINY.geometry.channels, 32), np.uint64)
    expected[0, Op.REFAB] = expected[1, Op.ACT] = expected[1, Op.RD] = expected[1, Op.RDMAC] = expected[
        1, Op.PREA
    ] = 1
    np.testing.assert_array_equal(simulation.counts(), expected)


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ({"op0": 30}, r"^opcode 30 in slot 0 of channel 1, .*: no such command; 1 such commands$"),
        (
            {"op0": Op.RD, "bank": 1},
            r"^RD in slot 0 .*\(bank 1, row 0, column 0, mode 0\): column access or MAC on a bank without",
        ),
        ({"op0": Op.ACT, "row": 64}, r"^ACT in slot 0 .*: bank, row or column that the device does not have"),
        ({"op0": Op.WRBIAS, "op1": Op.WRGB}, r"^WRGB in slot 1 .*: two writes with data in one cycle"),
        (
            {"op0": Op.RDAF, "op1": Op.RDMAC},
            r"^RDMAC in slot 1 .*: two writes with data in one cycle, or two reads",
        ),
    ],
)
def test_command_without_meaning_is_reported(
    simulation: NativeSimulation, command: dict[str, Any], text: str
) -> None:
    simulation.check_device()
    fire(simulation, **command, channel=1)
    with pytest.raises(DeviceFault, match=text):
        simulation.check_device()


def test_reset_closes_banks_and_keeps_memory(simulation: NativeSimulation) -> None:
    fire(simulation, Op.ACT, bank=0, row=0)
    fire(simulation, Op.WR, data=b"kept" * 8)
    simulation.reset()
    fire(simulation, Op.ACT, bank=0, row=0)
    assert fire(simulation, Op.RD) == b"kept" * 8
    simulation.check_device()


def test_simulations_are_independent_and_end(path: Path) -> None:
    with NativeSimulation(path, TINY) as one, NativeSimulation(path, TINY, "fp32_tree") as two:
        one.preload(0, b"one")
        assert two.peek(0, 3) == bytes(3)
        one.idle(10)
        assert one.cycles == two.cycles + 10
    with pytest.raises(SimulationError, match=r"^simulation is closed$"):
        one.idle(1)
    with pytest.raises(ValueError, match=r"^numerics must be one of aligned, fp32_tree, not 'exact'$"):
        NativeSimulation(path, TINY, "exact")
