# Ref: "GDDR6-AiM: what is publicly known", ISR macro instructions; pim_model/spec/isr.py
"""ISR instructions with their data: the lowered commands on golden channels, GPRs in the activation buffer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from pim_model.channel import Channel
from pim_model.mac_run import is_mac_run, multiply_run
from pim_model.numerics.bf16 import add_f32, bf16_to_f32, f32_to_bf16
from pim_model.program import operand
from pim_model.program_schedule import Controllers
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES
from pim_model.spec.isr import Instruction
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import WRITE_DATA, Micro
from pim_model.storage import Storage

__all__ = ["ProgramUnit"]


class ProgramUnit:
    """Controllers and devices of all channels under ISR instructions.

    Accumulators, activation registers and global buffers of the channels keep their contents from one instruction to
    any later one; a MATVEC in between does not run here and leaves them undefined.

    Parameters
    ----------
    config : Config
        The build.
    storage : Storage
        The memory.
    buffer : numpy.ndarray
        The activation buffer, ``uint8[buffer_bytes]``.
    numerics : str
        Name of the arithmetic profile.
    due : int, optional
        Cycle of the first refresh; None for none.
    """

    def __init__(
        self, config: Config, storage: Storage, buffer: npt.NDArray[np.uint8], numerics: str, due: int | None
    ) -> None:
        self.controllers = Controllers(config, due, self._issue)
        self.channels = [
            Channel(storage, index, numerics, dual=config.dual_row_buffer)
            for index in range(config.geometry.channels)
        ]
        self._buffer = buffer
        self._numerics = numerics
        self._instruction: Instruction | None = None

    def run(self, instruction: Instruction) -> None:
        """Execute one instruction, checked before."""
        self._instruction = instruction
        self.controllers.run(instruction)
        if instruction.op is MacroOp.EWADD:
            self._add(instruction)

    def _add(self, instruction: Instruction) -> None:
        """Column by column: the second operand may overlap the result."""
        halves = self._buffer.view("<u2")
        for column in range(instruction.size):
            first, second = (offset // 2 + LANES * column for offset in (instruction.gpr0, instruction.gpr1))
            a, b = (bf16_to_f32(halves[at : at + LANES].astype(np.uint16)) for at in (first, second))
            # No double rounding: a sum that FP32 must round is nowhere near the middle of two BF16 values.
            halves[first : first + LANES] = f32_to_bf16(add_f32(a, b))

    def _issue(self, channels: Sequence[int], commands: Sequence[Micro]) -> None:
        if is_mac_run(commands):
            multiply_run([self.channels[index] for index in channels], commands, self._numerics)
            return
        for micro in commands:
            for index in channels:
                self._execute(index, micro)

    def _execute(self, index: int, micro: Micro) -> None:
        data = None
        if micro.op in WRITE_DATA:
            at = self._operand(index, micro)
            data = self._buffer[at : at + COLUMN_BYTES].tobytes()
        result = self.channels[index].execute(micro, data)
        if result is not None:
            at = self._operand(index, micro)
            self._buffer[at : at + COLUMN_BYTES] = np.frombuffer(result, np.uint8)

    def _operand(self, index: int, micro: Micro) -> int:
        assert self._instruction is not None
        return operand(self._instruction, micro.column - self._instruction.column, index)
