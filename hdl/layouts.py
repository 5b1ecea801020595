"""Structs that travel between PCU, controllers and host side.

Widths are for the largest geometry, so that one format serves all configurations.
"""

from amaranth.lib import data, enum

from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.macro import MACRO_WORDS

__all__ = [
    "ChannelOp",
    "Collect",
    "Completion",
    "Fetched",
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
    """One run of the row stream: MACABs on an open row, or an activation through an open table row."""

    #: DRAM row; of an activation the function.
    row: 16
    #: MACABs, 1 to 64.
    columns: 7
    #: Accumulator set.
    accumulators: 1
    #: The run reads columns that the register stream writes for it.
    load: 1
    #: No later run reads the columns of this load.
    release: 1
    #: The set's sums are complete after the run.
    last: 1
    #: An activation; ``columns``, ``load``, ``release`` and ``last`` are zero.
    table: 1
    #: The row stays open for the next run.
    keep: 1
    #: With ``keep``: the next run is of the next pass, so that the row may be closed in between if something waits.
    yields: 1


class RegisterKind(enum.Enum, shape=2):
    """Commands of the register stream."""

    WRGB = 0
    WRBIAS = 1
    RDMAC = 2
    RDAF = 3


class RegisterStep(data.Struct):
    """One step of the register stream."""

    kind: RegisterKind
    #: Of WRGB.
    column: 6
    #: Accumulator set, of WRBIAS and RDMAC.
    accumulators: 1
    data: 8 * COLUMN_BYTES
    #: Last step of the macro.
    final: 1


class ChannelOp(data.Struct):
    """One item of an ISR instruction for a channel: ``count`` commands of one kind on consecutive columns."""

    #: A :class:`~pim_model.spec.micro.MicroOp` with a column, register or activation command.
    op: 5
    bank: 4
    #: DRAM row; of AF the function.
    row: 16
    #: First column.
    column: 6
    #: Commands, 1 to 64.
    count: 7
    #: A :class:`~pim_model.spec.micro.Mode`.
    mode: 2
    #: Of commands that carry data; ``count`` is 1 then.
    data: 8 * COLUMN_BYTES


class MacroEntry(data.Struct):
    """One macro on its way to the decoder: its words, and when it was pushed."""

    words: data.ArrayLayout(32, MACRO_WORDS)
    #: Controller cycle of the push.
    pushed: 32


class Fetched(data.Struct):
    """One macro as the decoder takes it: pushed by itself, or from a program."""

    words: data.ArrayLayout(32, MACRO_WORDS)
    #: Of the macro that the host pushed: of a program, the program's.
    tag: 16
    pushed: 32
    #: What the program itself is refused for; OK otherwise.
    status: 8
    #: The host's macro ends with this one.
    last: 1


class Job(data.Struct):
    """A macro decoded and checked, in the units of the hardware. Offsets count words of 32 bytes.

    ``weight_row``, ``input`` and ``function`` serve instructions too: row, first GPR and function.
    """

    tag: 16
    status: 8
    pushed: 32
    #: The host's macro completes with this job.
    last: 1
    #: An ISR instruction; a MATVEC otherwise.
    instruction: 1
    weight_row: 16
    tokens: 16
    #: Three matrices of one shape; DRAM rows of the second and the third.
    qkv: 1
    second_row: 16
    third_row: 16
    #: Output groups of all matrices and of each, and output rows of a matrix's last one (1 to channels x banks).
    all_groups: 24
    groups: 24
    last_rows: 10
    #: Tiles of a group, columns of the last one in commands, and lanes of the last column (1 to 16).
    tiles: 24
    last_columns: 7
    last_lanes: 5
    input: 16
    input_stride: 21
    output: 16
    #: From a token to the next, also of the whole bias; from a matrix's outputs to the next one's.
    output_stride: 22
    part_stride: 21
    bias: 16
    has_bias: 1
    activate: 1
    function: 3
    #: First words beyond input and results.
    input_end: 17
    output_end: 17
    opcode: 8
    size: 7
    column: 6
    bank: 4
    mode: 2
    mask: 32
    #: Lowest channel of the mask, and how many from there to the highest.
    lowest: 5
    span: 6
    #: Second GPR, and how many GPRs from each on.
    second: 16
    gprs: 13


class Collect(data.Struct):
    """Results of an instruction to come: ``rounds`` words of each channel of ``mask``."""

    mask: 32
    #: Word of channel 0, whether it is in the mask or not; each round is ``stride`` words further on.
    address: 16
    stride: 6
    rounds: 7


class Completion(data.Struct):
    """One ended macro."""

    tag: 16
    status: 8
    #: Controller cycles from push to completion.
    cycles: 32
