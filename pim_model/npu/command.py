# Ref: IANUS (ASPLOS 2024), section 4.1
"""Commands of the NPU: what the compiler emits, the scheduler orders, the units time and the runtime executes."""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum, IntEnum
from typing import NamedTuple

__all__ = ["OFF_CHIP", "SHARED", "Command", "Macro", "Op", "Part", "Program", "Unit"]


class Unit(IntEnum):
    """What executes a command; each has an issue queue."""

    MATRIX = 0
    VECTOR = 1
    DMA_IN = 2
    DMA_OUT = 3
    ONCHIP = 4
    PIM = 5
    SYNC = 6
    """The barrier of all cores, and the link to other devices behind it."""


OFF_CHIP = (Unit.DMA_IN, Unit.DMA_OUT)
SHARED = (Unit.PIM, Unit.SYNC)
"""Begin when the command of every core has arrived, and end for all at once."""


class Op(Enum):
    """What a command computes or moves. With layer and head this names its operands."""

    EMBED = "load token and position embeddings"
    ADD_EMBEDDINGS = "add token and position embeddings"
    NORM = "layer norm"
    LOAD_WEIGHTS = "load weights"
    QUERY = "query of a head"
    KEY = "key of a head"
    VALUE = "value of a head"
    LOAD_KEYS = "load earlier keys"
    CONCATENATE = "append the key"
    TRANSPOSE = "transpose keys on chip"
    STORE_KEY = "store the key"
    STORE_VALUE = "store the value"
    LOAD_VALUES = "load values"
    MOVE_VALUES = "move values on chip"
    SCORES = "query x keys"
    SOFTMAX = "masked softmax"
    CONTEXT = "probabilities x values"
    PROJECTION = "attention output"
    EXPAND = "feed-forward, first layer"
    GELU = "GELU"
    CONTRACT = "feed-forward, second layer"
    RESIDUAL = "residual addition"
    HEAD = "language model head"
    ARGMAX = "likeliest token"
    BARRIER = "synchronize cores"
    GATHER = "exchange between devices"


class Part(Enum):
    """Where time is booked, in the paper's words (Fig. 10)."""

    ATTENTION_FC = "FC for Q, K, V and attention output"
    FFN = "feed-forward network"
    SELF_ATTENTION = "self-attention"
    NORM = "layer norm"
    HEAD = "language model head"
    EMBEDDING = "embedding"


class Macro(NamedTuple):
    """A PIM macro command: ``tokens`` products of one matrix, one after the other."""

    rows: int
    columns: int
    tokens: int = 1
    activation: bool = False


class Command(NamedTuple):
    """One command of one core's program."""

    unit: Unit
    op: Op
    part: Part
    ticks: int
    """How long its unit works; of a PIM command the hand-over alone, since the macro's time is asked for at its
    start."""
    needs: tuple[int, ...] = ()
    """Commands, by place in the program, that must have ended."""
    layer: int = -1
    head: int = -1
    """Of this core's heads."""
    size: int = 0
    """Bytes moved, products multiplied and added, or elements of a vector: what energy and traces ask for."""
    macro: Macro | None = None
    claims: int = 0
    """Bytes of the weight scratch-pad taken from its start on."""
    frees: int = 0
    """Bytes of the weight scratch-pad given back at its end."""


Program = Sequence[Command]
"""A core's commands in program order; each needs only earlier ones."""
