# Ref: "GDDR6-AiM: what is publicly known", ISR macro instructions; pim_model/spec/isr.py
"""A trace in the peer's language as ISR instructions of a device, and what the host does between them.

What the text leaves open, and the decisions taken here:

* GPR g is the word at byte ``32 g`` of the activation buffer. The text has no data: at the start all GPRs hold random
  BF16 numbers of magnitudes around one, and ``W GPR`` puts new ones there, all from one seed. ``R GPR`` reads.
* CFRs are folded into the instructions. CFR 0 (operand of MACs): 1 global buffer, 0 the neighbour bank; it starts at 1.
  CFR 1 (EWMUL): 0 all bank groups, 1 the first alone; it starts at 0. CFR 2: the number of the activation function,
  which is the number of its table row; it starts at 0.
* An op without ``opsize`` is one column, and every op begins at column 0.
* ``W MEM`` and ``R MEM`` are a DMA access in program order: WR_SBK and RD_SBK of one column. Their data lie in GPRs
  at the end of the buffer: ``W MEM`` sends 16 random words in turn, ``R MEM`` returns to one word a channel.
* Channel masks: ``plain``, bit i is channel i; ``peer``, bit i is channel 31 - i, as the public simulator has it.
* A channel that the device lacks is an error, or is folded away: its mask bits and its MEM statements are dropped.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from pim_model.isr_trace import Field, Statement
from pim_model.numerics.bf16 import f32_to_bf16
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES, TABLE_ROWS
from pim_model.spec.isr import FIELDS, Instruction
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import Mode

__all__ = ["MASK_ORDERS", "Fetch", "Fill", "Phase", "TraceProgram", "translate"]

MASK_ORDERS = ("plain", "peer")
PEER_CHANNELS = 32
MAX_SIZE = 64
MEM_WORDS = 16
"""Words that W MEM sends in turn."""

_BROADCAST, _ONE_GROUP, _FUNCTION = range(3)
_CFR_LIMITS = (2, 2, TABLE_ROWS)


@dataclass(frozen=True)
class Fill:
    """The host writes a word of the buffer."""

    offset: int
    data: bytes


@dataclass(frozen=True)
class Fetch:
    """The host reads a word of the buffer, for the statement on ``line``."""

    offset: int
    line: int


Step = Instruction | Fill | Fetch


@dataclass(frozen=True)
class Phase:
    """What the host does first, then one PROGRAM."""

    before: tuple[Fill | Fetch, ...]
    instructions: tuple[Instruction, ...]


@dataclass
class TraceProgram:
    """A trace translated for one device."""

    steps: list[Step] = field(default_factory=list)
    statements: int = 0
    dropped: int = 0
    """Statements of which folding left nothing."""
    dropped_bits: int = 0
    """Mask bits of channels that the device lacks, in all statements."""
    registers: list[tuple[int, int, int]] = field(default_factory=list)
    """What R CFR read: line, CFR, value."""
    gprs: int = 0
    """GPRs that the trace uses, counted from GPR 0: words from the start of the buffer on."""
    contents: tuple[Fill, ...] = ()
    """What the buffer holds at the start: the GPRs, and the words of MEM statements."""

    @property
    def instructions(self) -> list[Instruction]:
        """All instructions, in order."""
        return [step for step in self.steps if isinstance(step, Instruction)]

    @staticmethod
    def mem_words(config: Config) -> int:
        """Words at the end of the buffer that MEM statements use."""
        return MEM_WORDS + config.geometry.channels

    def room(self, config: Config) -> int:
        """Words of the buffer behind the GPRs, for a program."""
        return config.buffer_words - self.mem_words(config) - self.gprs

    def phases(self, limit: int) -> Iterator[Phase]:
        """Cut into PROGRAMs of at most ``limit`` instructions.

        What the host does to a GPR comes before the PROGRAM unless an instruction of it has that GPR, too.
        """
        before: list[Fill | Fetch] = []
        instructions: list[Instruction] = []
        touched: set[int] = set()
        for step in self.steps:
            if isinstance(step, Instruction):
                full = len(instructions) == limit
            else:
                full = step.offset in touched
            if full:
                yield Phase(tuple(before), tuple(instructions))
                before, instructions, touched = [], [], set()
            if isinstance(step, Instruction):
                instructions.append(step)
                touched |= step.gpr_offsets()
            else:
                before.append(step)
        yield Phase(tuple(before), tuple(instructions))


def translate(
    statements: Sequence[Statement],
    config: Config,
    *,
    fold: bool = False,
    mask_order: str = "plain",
    seed: int = 1,
) -> TraceProgram:
    """Translate a whole trace.

    :class:`~pim_model.isr_trace.TraceError` where the device cannot do what a statement says. ``mask_order`` is one of
    :data:`MASK_ORDERS`.
    """
    if mask_order not in MASK_ORDERS:
        raise ValueError(f"mask_order must be one of {', '.join(MASK_ORDERS)}, not {mask_order!r}")
    return _Translator(statements, config, fold, mask_order, seed).run()


class _Translator:
    def __init__(
        self, statements: Sequence[Statement], config: Config, fold: bool, mask_order: str, seed: int
    ) -> None:
        self._statements = statements
        self._config = config
        self._fold = fold
        self._peer_order = mask_order == "peer"
        self._rng = np.random.default_rng(seed)
        self._cfr = [1, 0, 0]
        self._result = TraceProgram(statements=len(statements))
        self._writes = 0  # W MEM so far
        self._mem = config.buffer_words - TraceProgram.mem_words(config)  # first word of MEM statements

    def run(self) -> TraceProgram:
        result = self._result
        for statement in self._statements:
            match statement.kind, statement.what:
                case _, "EOC":
                    pass
                case "AiM", _:
                    self._instruction(statement)
                case _, "GPR":
                    self._gpr(statement)
                case _, "CFR":
                    self._control(statement)
                case _:
                    self._memory(statement)
        own = Fill(0, self._numbers(result.gprs))
        result.contents = (own, Fill(COLUMN_BYTES * self._mem, self._numbers(MEM_WORDS)))
        return result

    def _instruction(self, statement: Statement) -> None:
        op = MacroOp[statement.what]
        uses, geometry = FIELDS[op], self._config.geometry
        values = {"size": 1} if "size" in uses else {}
        for given in statement.fields:
            match given.name:
                case "opsize":
                    values["size"] = _within(given, 1, geometry.columns if "column" in uses else MAX_SIZE)
                case "gpr0" | "gpr1":
                    values[given.name] = COLUMN_BYTES * self._gpr_number(given)
                case "bank":
                    values["bank"] = _within(given, 0, geometry.banks - 1)
                case "row":
                    values["row"] = _within(given, 0, geometry.rows - 1)
                case _:
                    values["mask"] = self._mask(given)
        if values.get("mask") == 0:
            self._result.dropped += 1
            return
        if op is MacroOp.AF:
            values["function"] = self._cfr[_FUNCTION]
        instruction = Instruction(op=op, mode=self._mode(op), **values)
        for given in statement.fields:
            if given.name in ("gpr0", "gpr1"):
                self._gpr_number(given, instruction.gprs)
        self._result.steps.append(instruction)

    def _mode(self, op: MacroOp) -> int:
        if op is MacroOp.EWMUL:
            local = self._cfr[_ONE_GROUP] == 1
        else:
            local = op in (MacroOp.MAC_SBK, MacroOp.MAC_ABK) and self._cfr[_BROADCAST] == 0
        return int(Mode.LOCAL if local else 0)

    def _gpr_number(self, given: Field, count: int = 1) -> int:
        """Check that ``count`` GPRs from here on leave place for a program and the words of MEM statements."""
        last = self._mem - 1 - count
        if given.value > last:
            raise given.error(
                f"a GPR up to {last}, for {count} of them beside a program in the activation buffer"
            )
        self._result.gprs = max(self._result.gprs, given.value + count)
        return given.value

    def _mask(self, given: Field) -> int:
        """The mask in plain order, channels of the device alone; 0 if folding leaves none."""
        if not 0 < given.value < 1 << PEER_CHANNELS:
            raise given.error(f"a mask of 1 to {PEER_CHANNELS} channels")
        bits = [bit for bit in range(PEER_CHANNELS) if given.value >> bit & 1]
        named = [PEER_CHANNELS - 1 - bit for bit in bits] if self._peer_order else bits
        channels = self._config.geometry.channels
        absent = [channel for channel in named if channel >= channels]
        if absent and not self._fold:
            raise given.error(
                f"a mask of the device's {channels} channels (channel {min(absent)} is absent; "
                "--fold-channels drops it)"
            )
        self._result.dropped_bits += len(absent)
        return sum(1 << channel for channel in named if channel < channels)

    def _gpr(self, statement: Statement) -> None:
        offset = COLUMN_BYTES * self._gpr_number(statement.fields[0])
        if statement.kind == "W":
            self._result.steps.append(Fill(offset, self._numbers(1)))
        else:
            self._result.steps.append(Fetch(offset, statement.line))

    def _control(self, statement: Statement) -> None:
        number, data = statement.fields
        register = _within(number, 0, len(self._cfr) - 1)
        if statement.kind == "W":
            self._cfr[register] = _within(data, 0, _CFR_LIMITS[register] - 1)
        else:
            self._result.registers.append((statement.line, register, self._cfr[register]))

    def _memory(self, statement: Statement) -> None:
        number, bank, row = statement.fields
        geometry = self._config.geometry
        channel = _within(number, 0, PEER_CHANNELS - 1)
        place = {
            "bank": _within(bank, 0, geometry.banks - 1),
            "row": _within(row, 0, geometry.rows - 1),
            "size": 1,
        }
        if channel >= geometry.channels:
            if not self._fold:
                raise number.error(
                    f"one of the device's {geometry.channels} channels (--fold-channels drops the statement)"
                )
            self._result.dropped += 1
            return
        if statement.kind == "W":
            op, word = MacroOp.WR_SBK, self._mem + self._writes % MEM_WORDS
            self._writes += 1
        else:
            op, word = MacroOp.RD_SBK, self._mem + MEM_WORDS + channel
        self._result.steps.append(Instruction(op=op, mask=1 << channel, gpr0=COLUMN_BYTES * word, **place))

    def _numbers(self, words: int) -> bytes:
        numbers = f32_to_bf16(self._rng.standard_normal(words * LANES, np.float32))
        return numbers.astype("<u2").tobytes()


def _within(given: Field, lowest: int, highest: int) -> int:
    if not lowest <= given.value <= highest:
        raise given.error(f"from {lowest} to {highest}")
    return given.value
