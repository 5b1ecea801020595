# Ref: IANUS (ASPLOS 2024), sections 3.2, 5.1-5.3 and 8.1
"""What of a model is whose: heads and columns of a core, and which memory holds what."""

from __future__ import annotations

from dataclasses import dataclass

from pim_model.mapping.layout import rows_needed
from pim_model.npu.machine import Machine, System
from pim_model.spec.models import Transformer
from pim_model.spec.npu import ACTIVATION_BYTES, ARRAY_ROWS, ELEMENT_BYTES

__all__ = ["Partition", "Placement", "partition", "placement"]


@dataclass(frozen=True)
class Partition:
    """The share of one core of one device."""

    heads: int
    width: int
    """Outputs of an attention output or second feed-forward layer."""
    inner: int
    """Outputs of the first feed-forward layer."""
    vocabulary: int


def partition(model: Transformer, machine: Machine) -> Partition:
    """Heads and columns spread evenly; ``ValueError`` where they do not divide."""
    cores = machine.cores * machine.devices
    if model.heads % cores:
        where = f"{machine.cores} cores" + (f" of {machine.devices} devices" if machine.devices > 1 else "")
        raise ValueError(f"heads must divide among {where}, and {model.name} has {model.heads}")
    return Partition(
        model.heads // cores,
        -(-model.width // cores),
        -(-model.inner // cores),
        -(-model.vocabulary // cores),
    )


@dataclass(frozen=True)
class Placement:
    """Bytes of one device's memory, and which blocks run their FCs in PIM."""

    weights: int
    """FC weights and head as PIM stores them, padded to whole DRAM rows; once."""
    copies: int
    """Second copies of FC weights for the NPU, in a partitioned system."""
    other: int
    """Embeddings, biases, keys and values."""
    pim_blocks: int
    """Blocks, from the first, whose weights are in PIM memory."""
    head_in_pim: bool

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.copies + self.other


def placement(model: Transformer, machine: Machine, tokens: int, *, capacity: bool = True) -> Placement:
    """Where weights, keys and values of a sequence of ``tokens`` lie; ``ValueError`` if there is too little memory.

    ``capacity``: whether the memory is as large as built; otherwise it is as large as needed.
    """
    geometry = machine.memory.geometry
    slab = geometry.slab_bytes

    def padded(rows: int, columns: int) -> int:
        return rows_needed(-(-rows // machine.devices), columns, geometry) * slab

    block = sum(padded(rows, columns) for rows, columns in model.fully_connected.values())
    head = padded(model.vocabulary, model.width) if model.decoder else 0
    weights = model.blocks * block + head
    embeddings = (model.context + (0 if model.decoder else model.vocabulary)) * model.width * ELEMENT_BYTES
    cache = 2 * model.blocks * model.width * tokens * ELEMENT_BYTES if model.decoder else 0
    vectors = model.blocks * 13 * model.width * ELEMENT_BYTES  # biases, and scales of the layer norms
    other = embeddings + -(-cache // machine.devices) + vectors
    blocks, head_in_pim, copies = model.blocks if machine.pim else 0, machine.pim, 0
    if machine.system is System.PARTITIONED:
        limit = machine.pim_bytes if capacity else weights
        blocks = min(model.blocks, max(0, limit - head) // block)
        head_in_pim = head <= limit
        # The NPU's half holds what PIM does not, and as many second copies as fit.
        plain = machine.memory_bytes - machine.pim_bytes - other - (model.blocks - blocks) * block
        copies = min(blocks * block, max(0, plain))
        short = plain < 0 and capacity
    else:
        short = False
        if machine.system is System.IANUS and capacity and weights > machine.pim_bytes:
            raise ValueError(
                f"{model.name} needs {_gib(weights)} of PIM memory a device for its weights, and there are "
                f"{_gib(machine.pim_bytes)}"
            )
    if short or (capacity and weights + other > machine.memory_bytes):
        raise ValueError(
            f"{model.name} with {tokens} tokens needs {_gib(weights + other)} of memory a device, and there are "
            f"{_gib(machine.memory_bytes)}"
        )
    return Placement(weights, copies, other, blocks, head_in_pim)


def activation_bytes(model: Transformer, machine: Machine, tokens: int) -> int:
    """Largest contents of an activation scratch-pad while ``tokens`` go through a block together.

    The residual stream, its norm and the merged heads are there in full; the inner layer as the core's share, and
    gathered for as many tokens as the matrix unit takes at once.
    """
    share = partition(model, machine)
    width = tokens * model.width
    attention = 3 * width + tokens * (3 * model.head_dim + tokens)
    feed_forward = 2 * width + tokens * share.inner + min(tokens, ARRAY_ROWS) * model.inner
    return ELEMENT_BYTES * max(attention, feed_forward)


def require_room(model: Transformer, machine: Machine, tokens: int) -> None:
    """``ValueError`` if the activation scratch-pad is too small for ``tokens`` at once."""
    needed = activation_bytes(model, machine, tokens)
    if needed > ACTIVATION_BYTES:
        raise ValueError(
            f"input must fit in the activation scratch-pad of {ACTIVATION_BYTES >> 20} MiB, and {tokens} tokens of "
            f"{model.name} take {needed / (1 << 20):.1f}"
        )


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.2f} GiB"
