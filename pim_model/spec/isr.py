"""AiM's ISR instructions and PROGRAM as macros: format, encoder and checks side by side.

Instruction (256 bits; eight words, word 0 first)::

    word  31      28 27   26     25      24   23            8 7         0
     0   [ function ][ 0 (2) ][ local ][ set ][     tag     ][  opcode  ]
     1   [     0 (12)    ][ bank (4) ][ 0 (2) ][ column (6) ][ 0 ][ size (7) ]
     2   [                       channel mask (32)                      ]
     3   [            row (16)         ][             0 (16)            ]
     4   [              first GPR: offset in the buffer, bytes          ]
     5   [             second GPR: offset in the buffer, bytes          ]
     6   [                              0                               ]
     7   [                              0                               ]

A GPR is a word of 32 bytes in the activation buffer. A field that an instruction does not use is zero. ``set`` and
``local`` are the bits of :class:`~pim_model.spec.micro.Mode`.

PROGRAM: word 1 is the number of macros (24 bits), word 4 the byte offset of the first in the buffer; they lie one
after the other, 32 bytes each, and may be anything but PROGRAM. Their tags count for nothing: the PROGRAM completes,
once, after the last, or with the status of the first that is malformed. They act as if one ended before the next
begins; what happens to a program that writes over its own words is undefined, since they are fetched ahead.

Which data a channel takes or gives: WR_SBK, WR_ABK and WR_GB hand GPR ``first + i`` to column ``column + i`` of every
channel of the mask. WR_BIAS, RD_MAC and RD_AF use GPR ``first + (channel - lowest channel of the mask)``; RD_SBK too,
its column ``column + i`` further on by i times the mask's span (highest - lowest + 1). EWADD: ``first + i`` becomes its
sum, lane by lane, with ``second + i``, in BF16 (nearest even, subnormals flushed).

# Ref: "GDDR6-AiM: what is publicly known", ISR macro instructions
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .config import Config
from .errors import Status
from .geometry import COLUMN_BYTES, TABLE_ROWS
from .macro import MACRO_WORDS, TAG_BITS, MacroError, MacroOp, tag_of
from .micro import Mode

__all__ = ["FIELDS", "PROGRAM_COUNT_BITS", "Instruction", "Program", "decode_instruction", "decode_program"]

PROGRAM_COUNT_BITS = 24

FIELDS: dict[MacroOp, frozenset[str]] = {
    MacroOp.WR_SBK: frozenset({"size", "column", "bank", "row", "mask", "gpr0"}),
    MacroOp.WR_ABK: frozenset({"size", "column", "row", "mask", "gpr0"}),
    MacroOp.WR_GB: frozenset({"size", "column", "mask", "gpr0"}),
    MacroOp.WR_BIAS: frozenset({"mask", "gpr0", "set"}),
    MacroOp.RD_MAC: frozenset({"mask", "gpr0", "set"}),
    MacroOp.RD_AF: frozenset({"mask", "gpr0"}),
    MacroOp.RD_SBK: frozenset({"size", "column", "bank", "row", "mask", "gpr0"}),
    MacroOp.COPY_BKGB: frozenset({"size", "column", "bank", "row", "mask"}),
    MacroOp.COPY_GBBK: frozenset({"size", "column", "bank", "row", "mask"}),
    MacroOp.MAC_SBK: frozenset({"size", "column", "bank", "row", "mask", "set", "local"}),
    MacroOp.MAC_ABK: frozenset({"size", "column", "row", "mask", "set", "local"}),
    MacroOp.AF: frozenset({"mask", "function", "set"}),
    MacroOp.EWMUL: frozenset({"size", "column", "row", "mask", "local"}),
    MacroOp.EWADD: frozenset({"size", "gpr0", "gpr1"}),
    MacroOp.SYNC: frozenset(),
}
"""Fields that each instruction uses."""


@dataclass(frozen=True, kw_only=True)
class Instruction:
    """One ISR instruction. ``mask`` bit i is channel i; ``gpr0`` and ``gpr1`` are byte offsets in the buffer."""

    op: MacroOp
    tag: int = 0
    size: int = 0
    column: int = 0
    bank: int = 0
    row: int = 0
    mask: int = 0
    gpr0: int = 0
    gpr1: int = 0
    mode: int = 0
    function: int = 0

    @property
    def channels(self) -> list[int]:
        """Channels of the mask, ascending."""
        return [i for i in range(self.mask.bit_length()) if self.mask >> i & 1]

    @property
    def span(self) -> int:
        """GPRs from the lowest to the highest channel of the mask."""
        lowest = (self.mask & -self.mask).bit_length() - 1
        return self.mask.bit_length() - lowest if self.mask else 0

    @property
    def gprs(self) -> int:
        """GPRs from ``gpr0`` on that the instruction reads or writes."""
        if self.op in (MacroOp.WR_BIAS, MacroOp.RD_MAC, MacroOp.RD_AF):
            return self.span
        if self.op is MacroOp.RD_SBK:
            return self.size * self.span
        return self.size if "gpr0" in FIELDS[self.op] else 0

    def gpr_offsets(self) -> set[int]:
        """Byte offsets of the GPRs that the instruction reads or writes."""
        firsts = [getattr(self, name) for name in ("gpr0", "gpr1") if name in FIELDS[self.op]]
        return {first + COLUMN_BYTES * place for first in firsts for place in range(self.gprs)}

    def encode(self) -> tuple[int, ...]:
        """The eight words; ``ValueError`` when a field does not fit."""
        if self.op not in FIELDS:
            raise ValueError(f"op must be an ISR instruction, not {self.op!r}")
        for name, bits in (
            ("tag", TAG_BITS),
            ("size", 7),
            ("column", 6),
            ("bank", 4),
            ("row", 16),
            ("mask", 32),
            ("gpr0", 32),
            ("gpr1", 32),
            ("mode", 2),
            ("function", 4),
        ):
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} must fit in {bits} bits, not {value!r}")
        return (
            self.op | self.tag << 8 | self.mode << 24 | self.function << 28,
            self.size | self.column << 8 | self.bank << 16,
            self.mask,
            self.row << 16,
            self.gpr0,
            self.gpr1,
            0,
            0,
        )


@dataclass(frozen=True, kw_only=True)
class Program:
    """``count`` macros from byte ``offset`` of the activation buffer on."""

    tag: int = 0
    offset: int
    count: int

    def encode(self) -> tuple[int, ...]:
        """The eight words; ``ValueError`` when a field does not fit."""
        for name, bits in (("tag", TAG_BITS), ("offset", 32), ("count", PROGRAM_COUNT_BITS)):
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} must fit in {bits} bits, not {value!r}")
        return (MacroOp.PROGRAM | self.tag << 8, self.count, 0, 0, self.offset, 0, 0, 0)


def decode_instruction(words: Sequence[int], config: Config) -> Instruction:
    """Decode and check an ISR instruction, in the order of the codes of :class:`~pim_model.spec.errors.Status`.

    The first check that fails raises :class:`MacroError` with its code. The RTL gives the same code for the same words.
    """
    tag = tag_of(tuple(words))
    opcode = words[0] & 0xFF
    if opcode not in FIELDS:
        raise MacroError(Status.BAD_OPCODE, tag)
    op = MacroOp(opcode)
    found = Instruction(
        op=op,
        tag=tag,
        size=words[1] & 0x7F,
        column=words[1] >> 8 & 0x3F,
        bank=words[1] >> 16 & 0xF,
        row=words[3] >> 16,
        mask=words[2],
        gpr0=words[4],
        gpr1=words[5],
        mode=words[0] >> 24 & 3,
        function=words[0] >> 28,
    )
    uses, geometry = FIELDS[op], config.geometry
    unused = [
        getattr(found, name)
        for name in ("size", "column", "bank", "row", "mask", "gpr0", "gpr1", "function")
        if name not in uses
    ]
    unused += [found.mode & Mode.SET1 if "set" not in uses else 0]
    unused += [found.mode & Mode.LOCAL if "local" not in uses else 0]
    holes = (words[0] >> 26 & 3, words[1] >> 7 & 1, words[1] >> 14 & 3, words[1] >> 20, words[3] & 0xFFFF)
    if any(unused) or any(holes) or words[6] or words[7]:
        raise MacroError(Status.RESERVED_BITS, tag)
    if "size" in uses and not 0 < found.size <= 64:
        raise MacroError(Status.BAD_SHAPE, tag)
    if "function" in uses and found.function >= TABLE_ROWS:
        raise MacroError(Status.BAD_FUNCTION, tag)
    if (found.gpr0 | found.gpr1) % COLUMN_BYTES:
        raise MacroError(Status.ALIGNMENT, tag)
    ends = [found.gpr0 + COLUMN_BYTES * found.gprs if "gpr0" in uses else 0]
    ends += [found.gpr1 + COLUMN_BYTES * found.gprs if "gpr1" in uses else 0]
    # A mask beyond the device is CHANNEL_MASK, whatever its span.
    bad_mask = "mask" in uses and (not found.mask or bool(found.mask >> geometry.channels))
    if not bad_mask and max(ends) > config.buffer_bytes:
        raise MacroError(Status.BUFFER_RANGE, tag)
    if bad_mask:
        raise MacroError(Status.CHANNEL_MASK, tag)
    beyond = (
        found.bank >= geometry.banks,
        found.row >= geometry.rows,
        "column" in uses and found.column + found.size > geometry.columns,
    )
    if any(beyond):
        raise MacroError(Status.ADDRESS_RANGE, tag)
    return found


def decode_program(words: Sequence[int], config: Config) -> Program:
    """Decode and check a PROGRAM, not its macros; :class:`MacroError` as in :func:`decode_instruction`."""
    tag = tag_of(tuple(words))
    if len(words) != MACRO_WORDS or words[0] & 0xFF != MacroOp.PROGRAM:
        raise MacroError(Status.BAD_OPCODE, tag)
    if words[0] >> 24 or words[1] >> PROGRAM_COUNT_BITS or words[2] or words[3] or any(words[5:]):
        raise MacroError(Status.RESERVED_BITS, tag)
    found = Program(tag=tag, offset=words[4], count=words[1])
    if not found.count:
        raise MacroError(Status.BAD_SHAPE, tag)
    if found.offset % COLUMN_BYTES:
        raise MacroError(Status.ALIGNMENT, tag)
    if found.offset + COLUMN_BYTES * found.count > config.buffer_bytes:
        raise MacroError(Status.BUFFER_RANGE, tag)
    return found
