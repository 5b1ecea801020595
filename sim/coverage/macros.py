"""Macros as bins: kinds, sizes and edges of their shapes, operands at borders, instructions alone and in programs."""

from __future__ import annotations

from collections.abc import Sequence

from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.geometry import LANES
from pim_model.spec.isr import FIELDS, Instruction, Program, decode_instruction, decode_program
from pim_model.spec.macro import MACRO_WORDS, MacroError, MacroOp, MatVec, decode
from pim_model.spec.micro import Mode
from sim.coverage.files import hit

__all__ = ["inner", "kind_of", "sample", "status_of"]

ALONE, INSIDE = "alone", "in-PROGRAM"


def kind_of(words: Sequence[int]) -> str:
    """Name of a macro's opcode; ``unknown`` where it has none."""
    opcode = words[0] & 0xFF
    return MacroOp(opcode).name if opcode in MacroOp._value2member_map_ else "unknown"


def _decoded(words: Sequence[int], config: Config, *, inside: bool) -> MatVec | Program | Instruction:
    opcode = words[0] & 0xFF
    if opcode == MacroOp.PROGRAM and not inside:
        return decode_program(words, config)
    if opcode in FIELDS:
        return decode_instruction(words, config)
    return decode(tuple(words), config)


def status_of(words: Sequence[int], config: Config, *, inside: bool = False) -> Status:
    """What the golden decoders say of a macro."""
    try:
        _decoded(words, config, inside=inside)
    except MacroError as error:
        return error.status
    return Status.OK


def inner(words: Sequence[int], buffer: bytes | bytearray) -> list[tuple[int, ...]]:
    """The macros of a well-formed PROGRAM, from the contents of the activation buffer."""
    offset, count = words[4], words[1]
    found = []
    for place in range(offset, offset + 4 * MACRO_WORDS * count, 4 * MACRO_WORDS):
        raw = buffer[place : place + 4 * MACRO_WORDS]
        found.append(tuple(int.from_bytes(raw[at : at + 4], "little") for at in range(0, len(raw), 4)))
    return found


def sample(words: Sequence[int], config: Config, *, inside: bool = False) -> None:
    """Hit the bins of a macro that was given to the device; none if it is malformed."""
    try:
        macro = _decoded(words, config, inside=inside)
    except MacroError:
        return
    how = INSIDE if inside else ALONE
    if isinstance(macro, MatVec):
        _matvec(macro, config, how)
    elif isinstance(macro, Instruction):
        _instruction(macro, config, how)
    else:
        end = macro.offset + 4 * MACRO_WORDS * macro.count == config.buffer_bytes
        length = "one" if macro.count == 1 else "some" if macro.count <= 64 else "many"
        hit("programs", "length", length)
        if end:
            hit("programs", "ends", "with-the-buffer")


def _matvec(macro: MatVec, config: Config, how: str) -> None:
    geometry = config.geometry
    kind = "MATVEC" if macro.kv_rows is None else "QKV"
    if how == INSIDE:
        hit("programs", "holds", kind)
    rows = _size(
        macro.rows, geometry.outputs, ("part-of-a-group", "one-group", "groups-and-a-part", "groups")
    )
    if macro.rows == 1:
        rows = "one-row"
    columns = _size(macro.columns, geometry.elements, ("part-of-a-row", "one-row", "rows-and-a-part", "rows"))
    edge = "whole-lanes" if macro.columns % LANES == 0 else "partial-lanes"
    hit("shapes", kind, rows, columns)
    hit("lanes", kind, columns, edge)
    tokens = str(macro.tokens) if macro.tokens < 3 else "odd" if macro.tokens % 2 else "even"
    bias = "no-bias" if macro.bias_offset is None else "bias"
    hit("tokens", kind, tokens, bias, "linear" if macro.function is None else "activation")
    if macro.function is not None:
        hit("functions", kind, macro.function)
    tiles = macro.groups(config) * macro.tiles(config)
    borders = {
        "weights-from-the-first-row": min(macro.weight_rows) == 0,
        "weights-to-the-last-row": max(macro.weight_rows) + tiles == geometry.weight_rows,
        "inputs-from-the-buffer's-start": macro.input_offset == 0,
        "outputs-to-the-buffer's-end": macro.output_offset + macro.tokens * macro.output_stride
        == config.buffer_bytes,
        "results-right-behind-inputs": macro.output_offset
        == macro.input_offset + macro.tokens * macro.input_stride,
    }
    for name, there in borders.items():
        if there:
            hit("borders", kind, name)
    if macro.kv_rows is not None:
        query, key, value = macro.weight_rows
        order = "one-matrix" if query == key == value else "ascending" if query < key < value else "any-order"
        hit("matrices", order)


def _size(value: int, unit: int, names: tuple[str, str, str, str]) -> str:
    """Less than a unit, one, several and a part, several."""
    if value <= unit:
        return names[value == unit]
    return names[2 if value % unit else 3]


def _instruction(found: Instruction, config: Config, how: str) -> None:
    geometry, name, uses = config.geometry, found.op.name, FIELDS[found.op]
    hit("instructions", name, how)
    if "size" in uses:
        whole = geometry.columns if "column" in uses else 64
        size = "one" if found.size == 1 else "whole-row" if found.size == whole else "some"
        hit("sizes", name, size)
    if "mask" in uses:
        everywhere = found.mask == (1 << geometry.channels) - 1
        hit("masks", name, "all-channels" if everywhere else "some-channels")
    if "bank" in uses:
        place = "first" if not found.bank else "last" if found.bank == geometry.banks - 1 else "between"
        hit("banks", name, place)
    if "set" in uses or "local" in uses:
        mode = [word for bit, word in ((Mode.SET1, "set1"), (Mode.LOCAL, "local")) if found.mode & bit]
        hit("modes", name, "+".join(mode) or "plain")
    if "function" in uses:
        hit("functions", name, found.function)
