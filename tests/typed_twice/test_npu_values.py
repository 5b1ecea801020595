# Ref: IANUS (ASPLOS 2024), Tables 1 and 2, sections 4.1, 7.1, 8.1 and 8.2
"""The NPU's published numbers, typed once more from the paper."""

from __future__ import annotations

import pytest

from pim_model.npu.machine import Machine, System
from pim_model.spec import npu
from pim_model.spec.npu import CONSTANTS, TICKS_PER_NS


def test_table_1() -> None:
    assert npu.CORES == 4
    assert pytest.approx(0.7) == TICKS_PER_NS / npu.CORE_TICKS, "GHz"
    assert (npu.ARRAY_ROWS, npu.ARRAY_COLUMNS, npu.ARRAY_MACS) == (128, 64, 4)
    assert (npu.PROCESSORS, npu.PROCESSOR_LANES) == (16, 4)
    assert (npu.ISSUE_SLOTS, npu.PENDING_SLOTS) == (4, 256)
    assert (npu.ACTIVATION_BYTES, npu.WEIGHT_BYTES) == (12 * 1024 * 1024, 4 * 1024 * 1024)
    assert npu.CHANNELS * npu.CHANNEL_BYTES_PER_NS == 256, "GB/s"
    assert npu.CHANNELS // npu.CHANNELS_PER_CHIP * npu.CHIP_BYTES == 8 * 1024**3
    assert pytest.approx(32 * 16 / 8 * 128 / 130, abs=0.05) == npu.PCIE_BYTES_PER_NS, "32 GT/s, 16 lanes"


def test_sections() -> None:
    assert CONSTANTS.pim_energy == 3, "a PIM compute operation costs three reads"
    assert npu.DEVICES == (1, 2, 4, 8)
    assert (npu.TDP_WATTS, npu.A100_WATTS) == (120, 400)


@pytest.mark.parametrize(
    ("settings", "channels", "bandwidth"),
    [
        ({}, 8, 64),
        ({"cores": 1}, 8, 256),
        ({"chips": 2}, 4, 64),
        ({"system": System.NPU_MEM}, 8, 64),
        ({"system": System.PARTITIONED}, 4, 32),
    ],
)
def test_systems(settings: dict[str, object], channels: int, bandwidth: float) -> None:
    """PIM channels, and GB/s of a core: the partitioned system has half of each."""
    machine = Machine(**settings)  # type: ignore[arg-type]
    assert machine.memory.geometry.channels == channels
    assert machine.core_bytes_per_ns == bandwidth
