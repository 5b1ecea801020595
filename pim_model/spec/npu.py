# Ref: IANUS (ASPLOS 2024), Table 1 and sections 4.1, 7.1
"""The NPU in numbers: what the paper publishes, and the constants it does not.

Every number of the timing and energy model that is not a property of the memory (``timing.py``, ``geometry.py``)
stands here, once. The fields of :class:`Constants` carry unit, physical meaning and source; those marked calibrated
were fitted to the paper's tables, and are counted by a test.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

__all__ = ["CONSTANTS", "Constant", "Constants", "describe"]

TICKS_PER_NS = 14
"""Time is counted in ticks of 1/14 ns: whole for the NPU's cycle (10/7 ns) and for the memory's (1 or 0.5 ns)."""

CORE_TICKS = 20
"""Ticks of a cycle of the NPU: 700 MHz [P, Table 1]."""

ELEMENT_BYTES = 2
"""A BF16."""

CORES = 4
ISSUE_SLOTS = 4
"""Commands that a unit's issue queue holds [P, Table 1]."""
PENDING_SLOTS = 256
"""Commands that the pending queue of a core holds [P, Table 1]."""

ARRAY_ROWS, ARRAY_COLUMNS, ARRAY_MACS = 128, 64, 4
"""Matrix unit: tokens x outputs that it works on at once, and products a processing element adds in a cycle [P, Table
1]."""

PROCESSORS, PROCESSOR_LANES = 16, 4
"""Vector unit: VLIW processors, and their width [P, Table 1]."""

ACTIVATION_BYTES = 12 << 20
"""Activation scratch-pad of a core [P, Table 1]."""
WEIGHT_BYTES = 4 << 20
"""Weight scratch-pad of a core [P, Table 1]."""

CHANNEL_BYTES_PER_NS = 32
"""External bandwidth of a channel [P, Table 1: 16 Gb/s x16]."""
CHANNELS, CHANNELS_PER_CHIP = 8, 2
CHIP_BYTES = 2 << 30
"""Capacity of a chip of the paper's memory: 8 GB in four chips [P, Table 2]."""
DEVICES = (1, 2, 4, 8)
"""Devices that the paper puts together [P, section 8.1]."""
PCIE_BYTES_PER_NS = 63
"""PCIe 5.0 x16, one direction, after its 128b/130b code [P, Table 1; the code: PCI Express Base 5.0]."""
TDP_WATTS, A100_WATTS = 120, 400
"""For cost efficiency [P, section 8.2]."""


class Constant(NamedTuple):
    """One entry of the table, for reports."""

    name: str
    value: float
    unit: str
    meaning: str
    source: str
    calibrated: bool


def _constant(value: float, unit: str, meaning: str, source: str) -> Any:
    return field(default=value, metadata={"unit": unit, "meaning": meaning, "source": source})


CALIBRATED = "calibrated"


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What the paper leaves open. :func:`describe` gives the table with unit, meaning and source of each."""

    matrix_startup: float = _constant(
        1300, "NPU cycles", "set-up, fill and drain of the matrix unit, once an operation", CALIBRATED
    )
    norm_step: float = _constant(
        7.6,
        "NPU cycles",
        "two-phase layer norm: four elements of one token on one of the sixteen VLIW processors",
        CALIBRATED,
    )
    softmax_step: float = _constant(
        3, "NPU cycles", "masked softmax: four elements of one row on one VLIW processor", CALIBRATED
    )
    elementwise_step: float = _constant(
        2.8, "NPU cycles", "addition, GELU or copy: four elements of one token on one processor", CALIBRATED
    )
    dma_latency: float = _constant(
        530, "ns", "start of a DMA: descriptor, NoC and first access of the memory", CALIBRATED
    )
    macro_handover: float = _constant(
        260, "ns", "macro from scheduler to PCU, and its completion back", CALIBRATED
    )
    operand_bandwidth: float = _constant(
        4, "B/ns", "inputs and results of macros between scratch-pads and the PCU's buffer", CALIBRATED
    )
    synchronization: float = _constant(
        120, "ns", "barrier of the cores, with the exchange of their parts of a vector", CALIBRATED
    )
    value_scatter: float = _constant(
        5800,
        "ns",
        "appending a column to the transposed values of a head, when S x V runs in PIM",
        CALIBRATED,
    )
    link_latency: float = _constant(
        500,
        "ns",
        "a message between devices over PCIe, before its first byte",
        "D: half of a usual round trip",
    )
    vector_startup: float = _constant(
        50, "NPU cycles", "start of a command of the vector unit", "D: a pipeline's fill"
    )
    onchip_bandwidth: float = _constant(
        64, "B/ns", "DMA between the scratch-pads", "D: as fast as the DMA engine from memory"
    )
    pim_energy: float = _constant(
        3.0, "reads", "energy of a PIM compute operation of a channel, in reads of 32 bytes", "P, section 7.1"
    )
    activation_energy: float = _constant(
        770, "bytes read", "energy of opening a row of one bank, in bytes read from it", CALIBRATED
    )
    weight_energy: float = _constant(
        2.85, "bytes read", "energy of a byte of weights through scratch-pad and array", CALIBRATED
    )
    mac_energy: float = _constant(
        0.01,
        "bytes read",
        "energy of a multiply-accumulate of the matrix unit",
        "D: small beside its weights",
    )
    element_energy: float = _constant(
        410,
        "bytes read",
        "energy of an element of the vector unit: with it, all of a core's activity that does not follow weights",
        CALIBRATED,
    )


CONSTANTS = Constants()
"""The one parameter set of every run and every claim."""


def describe(constants: Constants = CONSTANTS) -> list[Constant]:
    """The table of constants, in its order."""
    return [
        Constant(
            entry.name,
            getattr(constants, entry.name),
            entry.metadata["unit"],
            entry.metadata["meaning"],
            entry.metadata["source"],
            entry.metadata["source"] == CALIBRATED,
        )
        for entry in fields(constants)
    ]
