"""Macro commands: format, encoder and decoder side by side.

A *macro* is what the host gives the PCU: one command for a whole operation.

Macro word (256 bits; eight registers of 32 bits, word 0 first)::

    word  31      28 27   26    25     24   23            8 7         0
     0   [ function ][ 0 ][ activate ][ bias ][     tag     ][  opcode  ]
     1   [          0 (8)          ][              rows (24)            ]
     2   [          0 (8)          ][           columns (24)            ]
     3   [       weight row (16)         ][         tokens (16)         ]
     4   [                 input offset in the buffer, bytes            ]
     5   [                 output offset in the buffer, bytes           ]
     6   [                 bias offset in the buffer, bytes             ]
     7   [                              0                               ]

QKV is a MATVEC with three matrices of one shape, each anywhere in memory: word 3 has the row of W_q, and::

     7   [        row of W_v (16)      ][        row of W_k (16)        ]

# Ref: IANUS (ASPLOS 2024), section 4.1
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from .config import Config
from .errors import Status
from .geometry import COLUMN_BYTES, LANES, TABLE_ROWS


class MacroOp(IntEnum):
    """Macro opcodes, eight bits. From WR_SBK on: the ISR instructions of AiM, in ``isr.py``."""

    MATVEC = 1
    """Matrix x vector for one or more input vectors, optional bias and activation."""
    PROGRAM = 2
    """Macros that lie in the activation buffer, one after the other: see ``isr.py``."""
    QKV = 3
    """A MATVEC whose output groups run through three matrices, so that the input is loaded once for all."""
    WR_SBK = 0x10
    WR_ABK = 0x11
    WR_GB = 0x12
    WR_BIAS = 0x13
    RD_MAC = 0x14
    RD_AF = 0x15
    RD_SBK = 0x16
    COPY_BKGB = 0x17
    COPY_GBBK = 0x18
    MAC_SBK = 0x19
    MAC_ABK = 0x1A
    AF = 0x1B
    EWMUL = 0x1C
    EWADD = 0x1D
    SYNC = 0x1E


MACRO_WORDS = 8
"""32-bit words of a macro."""

ROWS_BITS = 24
COLUMNS_BITS = 24
TOKENS_BITS = 16
TAG_BITS = 16


@dataclass(frozen=True, kw_only=True)
class MatVec:
    """``output[t] = activation(bias + W @ input[t])`` for every token t.

    W lies in memory from DRAM row ``weight_row`` on, tile after tile (see ``pim_model.mapping``). Vectors lie in the
    activation buffer: input t at ``input_offset + t * input_stride``, output t at ``output_offset + t *
    output_stride``; each starts on 32 bytes. ``function`` is None for no activation.

    With ``kv_rows`` it is a QKV: W_q, W_k and W_v lie at ``weight_rows``, each [rows, columns]. An output has a part of
    ``part_stride`` bytes for each, in that order, and so has the bias.
    """

    tag: int
    rows: int
    columns: int
    tokens: int = 1
    weight_row: int
    input_offset: int
    output_offset: int
    bias_offset: int | None = None
    function: int | None = None
    kv_rows: tuple[int, int] | None = None
    """DRAM rows of W_k and W_v; None for one matrix alone."""

    @property
    def weight_rows(self) -> tuple[int, ...]:
        """DRAM row of each matrix, in the order of their outputs."""
        return (self.weight_row, *(self.kv_rows or ()))

    @property
    def input_stride(self) -> int:
        """Bytes from one input vector to the next."""
        return -(-self.columns // LANES) * COLUMN_BYTES

    @property
    def part_stride(self) -> int:
        """Bytes from the outputs of one matrix to those of the next."""
        return -(-self.rows // LANES) * COLUMN_BYTES

    @property
    def output_stride(self) -> int:
        """Bytes from one output vector to the next; also of the whole bias."""
        return len(self.weight_rows) * self.part_stride

    def groups(self, config: Config) -> int:
        """Output groups of a matrix: how many times all banks of all channels take one output row each."""
        return -(-self.rows // config.geometry.outputs)

    def tiles(self, config: Config) -> int:
        """Tiles along the input dimension of one output group."""
        return -(-self.columns // config.geometry.elements)

    def encode(self) -> tuple[int, ...]:
        """The eight words of the macro; ``ValueError`` when a field does not fit."""
        for name, bits in (
            ("tag", TAG_BITS),
            ("rows", ROWS_BITS),
            ("columns", COLUMNS_BITS),
            ("tokens", TOKENS_BITS),
            ("weight_row", 16),
            ("input_offset", 32),
            ("output_offset", 32),
        ):
            value = getattr(self, name)
            if not 0 <= value < 1 << bits:
                raise ValueError(f"{name} must fit in {bits} bits, not {value!r}")
        for name, optional, bits in (("bias_offset", self.bias_offset, 32), ("function", self.function, 4)):
            if optional is not None and not 0 <= optional < 1 << bits:
                raise ValueError(f"{name} must fit in {bits} bits, not {optional!r}")
        key, value = self.kv_rows or (0, 0)
        if not (0 <= key < 1 << 16 and 0 <= value < 1 << 16):
            raise ValueError(f"kv_rows must fit in 16 bits each, not {self.kv_rows!r}")
        opcode = MacroOp.MATVEC if self.kv_rows is None else MacroOp.QKV
        flags = (self.bias_offset is not None) | (self.function is not None) << 1
        return (
            opcode | self.tag << 8 | flags << 24 | (self.function or 0) << 28,
            self.rows,
            self.columns,
            self.tokens | self.weight_row << 16,
            self.input_offset,
            self.output_offset,
            self.bias_offset or 0,
            key | value << 16,
        )


class MacroError(Exception):
    """A macro that the device completes with an error status."""

    def __init__(self, status: Status, tag: int):
        super().__init__(f"macro {tag:#06x}: {status.name}")
        self.status = status
        self.tag = tag


def tag_of(words: tuple[int, ...]) -> int:
    """The tag of an encoded macro, malformed or not."""
    return words[0] >> 8 & 0xFFFF


def decode(words: tuple[int, ...], config: Config) -> MatVec:
    """Decode and check a macro against a configuration.

    The checks run in the order of the codes in :class:`~pim_model.spec.errors.Status`; the first that fails raises
    :class:`MacroError` with its code. The RTL decoder gives the same code for the same words.
    """
    if len(words) != MACRO_WORDS:
        raise ValueError(f"words must be {MACRO_WORDS} integers, not {len(words)}")
    tag = tag_of(words)
    if words[0] & 0xFF not in (MacroOp.MATVEC, MacroOp.QKV):
        raise MacroError(Status.BAD_OPCODE, tag)
    qkv = words[0] & 0xFF == MacroOp.QKV
    bias, activate = bool(words[0] >> 24 & 1), bool(words[0] >> 25 & 1)
    function = words[0] >> 28
    reserved = (
        words[0] >> 26 & 3,
        words[1] >> ROWS_BITS,
        words[2] >> COLUMNS_BITS,
        0 if qkv else words[7],
        0 if activate else function,
        0 if bias else words[6],
    )
    if any(reserved):
        raise MacroError(Status.RESERVED_BITS, tag)
    macro = MatVec(
        tag=tag,
        rows=words[1],
        columns=words[2],
        tokens=words[3] & 0xFFFF,
        weight_row=words[3] >> 16,
        input_offset=words[4],
        output_offset=words[5],
        bias_offset=words[6] if bias else None,
        function=function if activate else None,
        kv_rows=(words[7] & 0xFFFF, words[7] >> 16) if qkv else None,
    )
    geometry = config.geometry
    if not (macro.rows and macro.columns and macro.tokens):
        raise MacroError(Status.BAD_SHAPE, tag)
    if activate and function >= TABLE_ROWS:
        raise MacroError(Status.BAD_FUNCTION, tag)
    if max(macro.weight_rows) + macro.groups(config) * macro.tiles(config) > geometry.weight_rows:
        raise MacroError(Status.WEIGHT_RANGE, tag)
    if (words[4] | words[5] | words[6]) % COLUMN_BYTES:
        raise MacroError(Status.ALIGNMENT, tag)
    input_end = macro.input_offset + macro.tokens * macro.input_stride
    output_end = macro.output_offset + macro.tokens * macro.output_stride
    bias_end = (macro.bias_offset or 0) + (macro.output_stride if bias else 0)
    if max(input_end, output_end, bias_end) > config.buffer_bytes:
        raise MacroError(Status.BUFFER_RANGE, tag)
    on_input = macro.output_offset < input_end and macro.input_offset < output_end
    on_bias = macro.output_offset < bias_end and (macro.bias_offset or 0) < output_end
    if on_input or on_bias:
        raise MacroError(Status.OVERLAP, tag)
    return macro
