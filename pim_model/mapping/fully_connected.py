# Ref: IANUS (ASPLOS 2024), sections 5.3 and 6
"""A fully connected layer as commands: tiles on the matrix unit, or one macro."""

from __future__ import annotations

from pim_model.mapping.emitter import Emitter
from pim_model.npu.command import Macro, Op, Part, Unit
from pim_model.npu.units import Units
from pim_model.spec.npu import ARRAY_COLUMNS, ELEMENT_BYTES

__all__ = ["in_pim", "load", "on_matrix_unit"]


def in_pim(
    emitter: Emitter,
    units: Units,
    op: Op,
    part: Part,
    macro: Macro,
    *needs: int | None,
    layer: int = -1,
    head: int = -1,
    staged: bool = False,
) -> int:
    """One macro for all cores; its place. ``staged``: its inputs are in the PCU's buffer already."""
    return emitter.add(
        Unit.PIM,
        op,
        part,
        units.handover(macro, staged=staged),
        *needs,
        layer=layer,
        head=head,
        size=macro.tokens * macro.rows * macro.columns,
        macro=macro,
    )


def load(
    emitter: Emitter,
    units: Units,
    part: Part,
    size: int,
    *needs: int | None,
    layer: int = -1,
    head: int = -1,
    flows: bool = False,
) -> int:
    """Weights into the weight scratch-pad; its place. A load that flows follows another without a gap."""
    ticks = units.stream(size) if flows else units.transfer(size)
    place = emitter.add(
        Unit.DMA_IN, Op.LOAD_WEIGHTS, part, ticks, *needs, layer=layer, head=head, size=size, flows=flows
    )
    emitter.claim(place, size)
    return place


def on_matrix_unit(
    emitter: Emitter,
    units: Units,
    op: Op,
    part: Part,
    tokens: int,
    inputs: int,
    outputs: int,
    *needs: int | None,
    layer: int = -1,
    prefetch: bool = True,
) -> int:
    """Tiles of 64 of this core's ``outputs``, each loaded while the one before is computed; the last tile's place.

    ``prefetch``: the first tiles are loaded before ``needs`` have ended.
    """
    place = -1
    gates = () if prefetch else needs
    for first in range(0, outputs, ARRAY_COLUMNS):
        columns = min(ARRAY_COLUMNS, outputs - first)
        size = inputs * columns * ELEMENT_BYTES
        later = first > 0
        weights = load(emitter, units, part, size, *gates, layer=layer, flows=later)
        place = emitter.add(
            Unit.MATRIX,
            op,
            part,
            units.matrix(tokens, inputs, columns, first=not later),
            weights,
            *needs,
            layer=layer,
            size=tokens * inputs * columns,
            flows=True,
        )
        emitter.free(place, size)
    return place
