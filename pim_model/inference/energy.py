# Ref: IANUS (ASPLOS 2024), section 7.1 (a PIM compute operation costs three reads) and Fig. 11
"""Dynamic energy of a program, in bytes read from memory: what was done, times what each costs.

The paper gives one number, PIM operations against reads; the others are constants of ``pim_model.spec.npu``. The unit
cancels in every ratio that the paper prints.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import lru_cache

from pim_model.mapping.layout import padded_columns, tile_grid
from pim_model.npu.command import OFF_CHIP, Macro, Op, Program, Unit
from pim_model.npu.machine import Machine
from pim_model.spec.geometry import COLUMN_BYTES, LANES, Geometry

__all__ = ["Activity", "Energy", "activity"]


@dataclass
class Activity:
    """What the whole device did, all cores and channels together."""

    transferred: int = 0
    """Bytes between memory and scratch-pads."""
    operands: int = 0
    """Bytes of inputs written to global buffers and results read, for macros."""
    multiplications: int = 0
    """MACABs, by channel."""
    row_activations: int = 0
    """Rows of single banks opened for macros."""
    weights: int = 0
    """Bytes of weights loaded into matrix units."""
    onchip: int = 0
    """Bytes between scratch-pads."""
    macs: int = 0
    """Products of matrix units."""
    elements: int = 0
    """Elements of vector units."""

    def __add__(self, other: Activity) -> Activity:
        return Activity(*(getattr(self, name) + getattr(other, name) for name in self.__annotations__))


@dataclass(frozen=True)
class Energy:
    """In bytes read."""

    memory: float
    """Normal reads and writes, operands of macros among them."""
    pim: float
    """Computing in memory, row activations among it."""
    core: float
    """NPU cores."""

    @property
    def total(self) -> float:
        """All of it."""
        return self.memory + self.pim + self.core


@lru_cache(maxsize=4096)
def _macro(geometry: Geometry, macro: Macro) -> tuple[int, int, int]:
    """(bytes of operands, MACABs by channel, rows of banks opened) of a macro."""
    groups, tiles = tile_grid(macro.rows, macro.columns, geometry)
    columns = padded_columns(macro.columns) // LANES
    loads = columns if tiles == 1 else groups * columns
    if tiles > 1 and macro.activation:
        loads = -(-groups // 2) * columns  # two groups share a load
    # Inputs go to every channel's buffer, but over each channel's own wires; the bias goes as results come.
    operands = (loads + 2 * groups) * COLUMN_BYTES * geometry.channels
    opened = groups * tiles + (-(-groups // 2) if macro.activation else 0)
    return (
        macro.tokens * operands,
        macro.tokens * groups * columns * geometry.channels,
        macro.tokens * opened * geometry.outputs,
    )


def activity(program: Program, machine: Machine) -> Activity:
    """What all cores do that run ``program``."""
    geometry, cores = machine.memory.geometry, machine.cores
    sizes: Counter[Unit] = Counter()
    weights = 0
    macros: Counter[Macro] = Counter()
    for command in program:
        if command.macro is not None:
            macros[command.macro] += 1
            continue
        sizes[command.unit] += command.size
        if command.op is Op.LOAD_WEIGHTS:
            weights += command.size
    total = Activity(
        transferred=cores * sum(sizes[unit] for unit in OFF_CHIP),
        weights=cores * weights,
        onchip=cores * sizes[Unit.ONCHIP],
        macs=cores * sizes[Unit.MATRIX],
        elements=cores * sizes[Unit.VECTOR],
    )
    for macro, count in macros.items():
        operands, multiplications, opened = _macro(geometry, macro)
        total.operands += count * operands
        total.multiplications += count * multiplications
        total.row_activations += count * opened
    return total


def energy(done: Activity, machine: Machine) -> Energy:
    """Energy of an activity with the machine's constants."""
    constants, geometry = machine.constants, machine.memory.geometry
    opened = constants.activation_energy
    # Normal traffic streams whole rows: one activation for each row's worth of bytes.
    memory = (done.transferred + done.operands) + done.transferred / geometry.row_bytes * opened
    pim = constants.pim_energy * COLUMN_BYTES * done.multiplications + opened * done.row_activations
    core = (
        constants.weight_energy * done.weights
        + constants.mac_energy * done.macs
        + constants.element_energy * done.elements
    )
    return Energy(memory, pim, core)
