"""Random contents and random macros for the benches, and what a macro has to give."""

from __future__ import annotations

import random
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from pim_model.mapping.layout import gather, padded_columns
from pim_model.matvec import activate
from pim_model.numerics import activation, kernels
from pim_model.numerics.bf16 import f32_to_bf16
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES, TABLE_ROWS
from pim_model.spec.macro import MatVec
from pim_model.storage import Storage

__all__ = ["fill_buffer", "fill_memory", "finite", "lane_results", "malformed", "random_macro"]

U16 = npt.NDArray[np.uint16]

_NAMES = sorted(activation.FUNCTIONS, key=lambda name: activation.FUNCTIONS[name])


def finite(rng: np.random.Generator, count: int) -> U16:
    """Finite BF16 of magnitudes around one, both signs, some zeros, a few of any bits at all."""
    values = rng.standard_normal(count, np.float32)
    values[rng.random(count) < 0.05] = 0
    bits = (values.view(np.uint32) >> 16).astype(np.uint16)
    odd = rng.random(count) < 0.002
    bits[odd] = rng.integers(0, 1 << 16, int(odd.sum()), dtype=np.uint16)
    return bits


_FILLED = 64
"""Rows with weights; a memory of 8 GB stays sparse."""


def fill_memory(rng: np.random.Generator, *storages: Storage) -> None:
    """The same random weights in the first rows of each storage, and activation tables in the table rows."""
    geometry = storages[0].geometry
    filled = min(_FILLED, geometry.weight_rows)
    for row in (*range(filled), *range(geometry.weight_rows, geometry.rows)):
        function = row - geometry.weight_rows
        if function < 0:
            slab = finite(rng, geometry.slab_bytes // 2)
        else:
            table = activation.table(_NAMES[function % len(_NAMES)])
            slab = np.tile(table[: geometry.elements], geometry.outputs)
        for storage in storages:
            storage.write(geometry.address(row), slab.astype("<u2").tobytes())


def fill_buffer(rng: np.random.Generator, config: Config) -> npt.NDArray[np.uint8]:
    """Random contents of the activation buffer, ``uint8[buffer_bytes]``."""
    return finite(rng, config.buffer_bytes // 2).astype("<u2").view(np.uint8).copy()


def random_macro(
    rng: random.Random, config: Config, tag: int, most_tiles: int = 16, reserved: int = 0
) -> MatVec:
    """A well-formed macro of any shape that runs at most ``most_tiles`` tiles, operands apart at random places.

    The last ``reserved`` bytes of the activation buffer are not used.
    """
    geometry = config.geometry
    while True:
        macro = MatVec(
            tag=tag,
            rows=_size(rng, 5 * geometry.outputs, (1, geometry.outputs, geometry.outputs + 1)),
            columns=_size(rng, 4 * geometry.elements, (1, LANES, geometry.elements, geometry.elements + 1)),
            tokens=rng.choice((1, 1, 2, 3, 4)),
            weight_row=0,
            input_offset=0,
            output_offset=0,
            bias_offset=0 if rng.random() < 0.5 else None,
            function=rng.randrange(TABLE_ROWS) if rng.random() < 0.4 else None,
            kv_rows=(0, 0) if rng.random() < 0.4 else None,
        )
        tiles = macro.groups(config) * macro.tiles(config)
        if tiles * len(macro.weight_rows) * macro.tokens <= most_tiles and tiles <= geometry.weight_rows:
            break
    sizes = [macro.tokens * macro.input_stride, macro.tokens * macro.output_stride]
    if macro.bias_offset is not None:
        sizes.append(macro.output_stride)
    offsets = _apart(rng, sizes, config.buffer_bytes - reserved)
    query, key, value = (rng.randrange(geometry.weight_rows - tiles + 1) for _ in range(3))
    return replace(
        macro,
        weight_row=query,
        kv_rows=(key, value) if macro.kv_rows else None,
        input_offset=offsets[0],
        output_offset=offsets[1],
        bias_offset=offsets[2] if macro.bias_offset is not None else None,
    )


def _size(rng: random.Random, most: int, edges: tuple[int, ...]) -> int:
    """A size from 1 to ``most``, often one of ``edges``."""
    return rng.choice(edges) if rng.random() < 0.3 else rng.randint(1, most)


def _apart(rng: random.Random, sizes: list[int], limit: int) -> list[int]:
    """Offsets of ranges that do not overlap, in random order, with random gaps; multiples of 32."""
    spare = (limit - sum(sizes)) // COLUMN_BYTES
    order = rng.sample(range(len(sizes)), len(sizes))
    cuts = sorted(rng.randint(0, spare) for _ in sizes)
    offsets, place = [0] * len(sizes), 0
    for cut, index in zip(cuts, order, strict=True):
        offsets[index] = place + cut * COLUMN_BYTES
        place += sizes[index]
    return offsets


def lane_results(
    config: Config, macro: MatVec, storage: Storage, buffer: npt.NDArray[np.uint8], numerics: str = "aligned"
) -> U16:
    """BF16 results of every bank of every channel, ``uint16[tokens, groups of all matrices, channels, banks]``.

    Banks beyond the last output row compute too, from +0 and from what memory holds.
    """
    geometry = config.geometry
    groups, columns = macro.groups(config), padded_columns(macro.columns)
    rows = groups * geometry.outputs
    halves = buffer.view("<u2").astype(np.uint16)
    first = macro.input_offset // 2
    inputs = halves[first : first + macro.tokens * columns].reshape(macro.tokens, columns).copy()
    inputs[:, macro.columns :] = 0
    found = []
    for matrix, weight_row in enumerate(macro.weight_rows):
        bias = np.zeros(rows, dtype=np.uint16)
        if macro.bias_offset is not None:
            first = (macro.bias_offset + matrix * macro.part_stride) // 2
            bias[: macro.rows] = halves[first : first + macro.rows]
        prepared = kernels.prepare(gather(storage, weight_row, rows, columns))
        results = kernels.matvec(numerics, prepared, inputs, bias)
        if macro.function is not None:
            results = activate(storage, macro.function, results)
        lanes = (macro.tokens, groups, geometry.channels, geometry.banks)
        found.append(f32_to_bf16(results).reshape(lanes))
    return np.concatenate(found, axis=1)


def malformed(rng: random.Random, macro: MatVec, config: Config) -> tuple[int, ...]:
    """The words of a macro with one thing wrong, or words of any bits with an opcode that nothing has."""
    words = list(macro.encode())
    if rng.random() < 0.1:
        return (rng.getrandbits(32) | 0x80, *(rng.getrandbits(32) for _ in words[1:]))
    match rng.randrange(12):
        case 0:
            words[0] = words[0] & ~0xFF | rng.choice((0, 0x7F, 0xFF))
        case 1:
            words[0] |= rng.choice((1 << 26, 1 << 27))
        case 2:
            words[rng.choice((1, 2))] |= 1 << rng.randrange(24, 32)
        case 3 if macro.kv_rows is None:
            words[7] = 1 << rng.randrange(32)
        case 3:
            limit = config.geometry.weight_rows
            words[7] = limit << rng.choice((0, 16))
        case 4:
            words[rng.choice((1, 2))] = 0
        case 5:
            words[3] &= 0xFFFF0000
        case 6:
            words[0] = words[0] & 0x0FFFFFFF | 1 << 25 | rng.randrange(8, 16) << 28
        case 7:
            words[3] = words[3] & 0xFFFF | rng.choice((config.geometry.weight_rows, 0xFFFF)) << 16
        case 8:
            words[rng.choice((4, 5))] |= rng.randrange(1, COLUMN_BYTES)
        case 9:
            words[rng.choice((4, 5))] = rng.choice((config.buffer_bytes, 1 << 31, 0xFFFFFFE0))
        case 10:
            # Results over inputs or bias, or just before them.
            operand = words[6] if macro.bias_offset is not None and rng.random() < 0.6 else words[4]
            words[5] = max(0, operand - COLUMN_BYTES * rng.randrange(8))
        case 11:
            words[rng.choice((1, 2))] = 0xFFFFFF
    return tuple(words)
