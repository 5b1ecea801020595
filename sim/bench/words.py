"""Words of macros near all limits, and what the golden decoders make of them."""

from __future__ import annotations

import random

from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.geometry import COLUMN_BYTES, LANES
from pim_model.spec.isr import FIELDS, Instruction, decode_instruction
from pim_model.spec.macro import MacroError, MacroOp, MatVec, decode

__all__ = ["job_of", "random_instruction", "random_words", "status_of"]

Words = tuple[int, ...]


def status_of(words: Words, config: Config) -> Status:
    """What the golden decoders say."""
    try:
        _decode(words, config)
    except MacroError as error:
        return error.status
    return Status.OK


def job_of(words: Words, config: Config) -> dict[str, int]:
    """Fields of :class:`hdl.layouts.Job` that a well-formed macro defines."""
    macro = _decode(words, config)
    if isinstance(macro, Instruction):
        return _instruction_job(macro)
    geometry = config.geometry
    matrices, columns = len(macro.weight_rows), -(-macro.columns // LANES)
    groups, tiles = macro.groups(config), macro.tiles(config)
    inputs, results = macro.input_offset, macro.output_offset
    job = {
        "instruction": 0,
        "weight_row": macro.weight_row,
        "tokens": macro.tokens,
        "qkv": int(matrices == 3),
        "groups": groups,
        "all_groups": groups * matrices,
        "last_rows": macro.rows - (groups - 1) * geometry.outputs,
        "tiles": tiles,
        "last_columns": columns - (tiles - 1) * geometry.columns,
        "last_lanes": macro.columns - (columns - 1) * LANES,
        "input": inputs // COLUMN_BYTES,
        "input_stride": macro.input_stride // COLUMN_BYTES,
        "input_end": (inputs + macro.tokens * macro.input_stride) // COLUMN_BYTES,
        "output": results // COLUMN_BYTES,
        "output_stride": macro.output_stride // COLUMN_BYTES,
        "output_end": (results + macro.tokens * macro.output_stride) // COLUMN_BYTES,
        "part_stride": macro.part_stride // COLUMN_BYTES,
        "has_bias": int(macro.bias_offset is not None),
        "activate": int(macro.function is not None),
    }
    if macro.bias_offset is not None:
        job["bias"] = macro.bias_offset // COLUMN_BYTES
    if macro.function is not None:
        job["function"] = macro.function
    if macro.kv_rows:
        job["second_row"], job["third_row"] = macro.kv_rows
    return job


def _instruction_job(macro: Instruction) -> dict[str, int]:
    job = {
        "instruction": 1,
        "opcode": macro.op,
        "mode": macro.mode,
        "size": macro.size,
        "column": macro.column,
        "bank": macro.bank,
        "weight_row": macro.row,
        "mask": macro.mask,
        "input": macro.gpr0 // COLUMN_BYTES,
        "second": macro.gpr1 // COLUMN_BYTES,
        "function": macro.function,
    }
    if macro.mask:
        job["lowest"], job["span"] = macro.channels[0], macro.span
    if macro.gprs:
        job["gprs"] = macro.gprs
    return job


def _decode(words: Words, config: Config) -> MatVec | Instruction:
    return (decode_instruction if words[0] & 0xFF in FIELDS else decode)(words, config)


def _near(rng: random.Random, *anchors: int) -> int:
    """A number at or near one of the anchors."""
    return max(0, rng.choice(anchors) + rng.choice((-1, 0, 0, 1)))


def random_words(rng: random.Random, config: Config) -> Words:
    """A MATVEC or QKV that is good, or bad in one or more ways, with fields near their limits."""
    geometry, size = config.geometry, config.buffer_bytes
    words = [0] * 8
    bias, activate = rng.random() < 0.5, rng.random() < 0.5
    function = rng.choice((0, 1, 7, 8, 15)) if activate else 0
    words[0] = rng.choice((1, 1, 1, 1, 3, 3, 3, 3, 0, 2, 4, 255)) | rng.getrandbits(16) << 8
    if words[0] & 0xFF == MacroOp.QKV:
        words[7] = _near(rng, 1, 1, 1, geometry.weight_rows) | _near(rng, 1, 1, 1, geometry.weight_rows) << 16
    words[0] |= bias << 24 | activate << 25 | function << 28
    words[1] = _near(rng, 1, geometry.outputs, 3 * geometry.outputs, size // 4)
    words[2] = _near(rng, 1, 16, geometry.elements, 2 * geometry.elements, size // 4)
    words[3] = _near(rng, 1, 1, 2, 5) | _near(rng, 1, geometry.weight_rows - 2, geometry.weight_rows) << 16
    for place in (4, 5, 6):
        words[place] = rng.randrange(0, size + 64, 32)
    if rng.random() < 0.2:
        words[5] = max(0, words[rng.choice((4, 6))] + 32 * rng.randrange(-4, 5))
    if not bias:
        words[6] = 0
    if rng.random() < 0.2:
        words[rng.choice((4, 5, 6))] |= rng.randrange(1, 32)
    if rng.random() < 0.15:
        words[rng.randrange(8)] ^= 1 << rng.randrange(32)
    if rng.random() < 0.05:
        words = [rng.getrandbits(32) for _ in range(8)]
    return tuple(words)


def random_instruction(rng: random.Random, config: Config) -> Words:
    """An instruction that is good, or bad in one or more ways, with fields near their limits."""
    geometry = config.geometry
    op = rng.choice(sorted(FIELDS))
    masks = (1, 1 << geometry.channels, rng.getrandbits(geometry.channels), 0, rng.getrandbits(32))
    values = {
        "size": _near(rng, 1, 2, geometry.columns, 64),
        "column": rng.randrange(geometry.columns) if rng.random() < 0.5 else 0,
        "bank": _near(rng, 0, geometry.banks - 2) & 15,
        "row": _near(rng, 0, geometry.rows - 2) & 0xFFFF,
        "mask": rng.choice(masks),
        "gpr0": rng.randrange(0, config.buffer_bytes + 64, 32),
        "gpr1": rng.randrange(0, config.buffer_bytes + 64, 32),
        "function": rng.choice((0, 4, 7, 8)),
    }
    mode = (rng.getrandbits(1) if "set" in FIELDS[op] else 0) | (
        rng.getrandbits(1) << 1 if "local" in FIELDS[op] else 0
    )
    used = {name: value for name, value in values.items() if name in FIELDS[op]}
    words = list(Instruction(op=op, tag=rng.getrandbits(16), mode=mode, **used).encode())
    if rng.random() < 0.1:
        words[rng.choice((4, 5))] |= rng.randrange(1, 32)
    if rng.random() < 0.2:
        words[rng.randrange(8)] ^= 1 << rng.randrange(32)
    return tuple(words)
