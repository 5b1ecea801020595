"""Structs that travel between PCU, controllers and host side.

Widths are for the largest geometry, so that one format serves all configurations.
"""

from amaranth.lib import data, enum

from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MACRO_WORDS

__all__ = [
    "Completion",
    "Job",
    "MacroEntry",
    "RegisterKind",
    "RegisterStep",
    "Request",
    "Tile",
    "index_range",
]


def index_range(count: int) -> range:
    """Shape of an index below ``count``: at least one bit, since Verilog has no signal of none."""
    return range(max(2, count))


class Request(data.Struct):
    """One normal access to a channel: 32 bytes."""

    write: 1
    bank: 4
    row: 16
    column: 6
    data: 8 * COLUMN_BYTES
    #: Byte enables of a write.
    mask: COLUMN_BYTES


class Tile(data.Struct):
    """One step of the row stream: open a row in all banks, multiply, close; then, if asked, the activation."""

    row: 16
    #: MACABs in this tile, 1 to 64.
    columns: 7
    #: The tile reads columns that the register stream writes for it.
    load: 1
    #: No later tile reads the columns of this load.
    release: 1
    #: First tile of an output group: the accumulators hold the bias.
    first: 1
    #: Last tile of an output group: the sums are complete after it.
    last: 1
    #: After the last tile, activate through the table row of ``function``.
    activate: 1
    function: 3


class RegisterKind(enum.Enum, shape=2):
    """Commands of the register stream."""

    WRGB = 0
    WRBIAS = 1
    RDMAC = 2
    RDAF = 3


class RegisterStep(data.Struct):
    """One step of the register stream."""

    kind: RegisterKind
    column: 6
    data: 8 * COLUMN_BYTES
    #: Last step of the macro.
    final: 1


class MacroEntry(data.Struct):
    """One macro in the queue: its words as pushed, and when."""

    words: data.ArrayLayout(32, MACRO_WORDS)
    #: Controller cycle of the push.
    pushed: 32


class Job(data.Struct):
    """A macro decoded and checked, in the units of the hardware. Offsets count words of 32 bytes."""

    tag: 16
    status: 8
    pushed: 32
    weight_row: 16
    tokens: 16
    #: Output groups, and output rows of the last one (1 to channels x banks).
    groups: 24
    last_rows: 10
    #: Tiles of a group, columns of the last one in commands, and lanes of the last column (1 to 16).
    tiles: 24
    last_columns: 7
    last_lanes: 5
    input: 16
    input_stride: 21
    output: 16
    output_stride: 21
    bias: 16
    has_bias: 1
    activate: 1
    function: 3


class Completion(data.Struct):
    """One ended macro."""

    tag: 16
    status: 8
    #: Controller cycles from push to completion.
    cycles: 32
