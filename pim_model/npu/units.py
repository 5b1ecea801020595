# Ref: IANUS (ASPLOS 2024), Table 1 and section 4.1; the constants: pim_model.spec.npu
"""How long each unit works on an operation, in ticks."""

from __future__ import annotations

from pim_model.npu.command import Macro
from pim_model.npu.machine import Machine
from pim_model.spec.npu import (
    ARRAY_COLUMNS,
    ARRAY_MACS,
    ARRAY_ROWS,
    CORE_TICKS,
    PCIE_BYTES_PER_NS,
    PROCESSOR_LANES,
    PROCESSORS,
    TICKS_PER_NS,
)

__all__ = ["Units"]


class Units:
    """Times on one machine."""

    def __init__(self, machine: Machine):
        self.machine = machine
        constants = machine.constants
        self._matrix_startup = round(constants.matrix_startup * CORE_TICKS)
        self._vector_startup = round(constants.vector_startup * CORE_TICKS)
        self._latency = round(constants.dma_latency * TICKS_PER_NS)
        self._rate = machine.core_bytes_per_ns
        self._handover = round(constants.macro_handover * TICKS_PER_NS)
        self.barrier = round(constants.synchronization * TICKS_PER_NS)
        self.scatter = round(constants.value_scatter * TICKS_PER_NS)

    def matrix(self, tokens: int, inputs: int, outputs: int, *, first: bool = True) -> int:
        """[tokens, inputs] x [inputs, outputs] on the matrix unit.

        128 tokens and 64 outputs at once, four inputs a cycle. ``first``: with the set-up of an operation; the tiles
        that follow it in one stream have none.
        """
        passes = -(-tokens // ARRAY_ROWS) * -(-outputs // ARRAY_COLUMNS)
        cycles = passes * -(-inputs // ARRAY_MACS)
        return CORE_TICKS * cycles + (self._matrix_startup if first else 0)

    def norm(self, tokens: int, width: int) -> int:
        """Layer norm of [tokens, width]: a token is the work of one processor."""
        return self._vector(tokens, width, self.machine.constants.norm_step)

    def softmax(self, rows: int, length: int) -> int:
        """Masked softmax of [rows, length]."""
        return self._vector(rows, length, self.machine.constants.softmax_step)

    def elementwise(self, tokens: int, width: int) -> int:
        """Addition, GELU or copy of [tokens, width]."""
        return self._vector(tokens, width, self.machine.constants.elementwise_step)

    def _vector(self, tokens: int, width: int, step: float) -> int:
        steps = -(-tokens // PROCESSORS) * -(-width // PROCESSOR_LANES)
        return self._vector_startup + round(steps * step * CORE_TICKS)

    def transfer(self, size: int) -> int:
        """``size`` bytes between memory and a scratch-pad."""
        return self._latency + self.stream(size)

    def stream(self, size: int) -> int:
        """The same without the latency: what a transfer adds to a stream of them."""
        return round(size / self._rate * TICKS_PER_NS)

    def handover(self, macro: Macro, *, staged: bool = False) -> int:
        """A macro to the PCU and its completion back, its results, and its inputs unless they are ``staged`` there.

        Of several tokens, the operands of all but one move while PIM computes.
        """
        elements = macro.rows + (0 if staged else macro.columns)
        return self._handover + round(2 * elements / self.machine.constants.operand_bandwidth * TICKS_PER_NS)

    def onchip(self, size: int) -> int:
        """``size`` bytes from one scratch-pad to the other."""
        return max(1, round(size / self.machine.constants.onchip_bandwidth * TICKS_PER_NS))

    def gather(self, size: int) -> int:
        """``size`` bytes from every other device, on a PCIe link each."""
        constants = self.machine.constants
        return round((constants.link_latency + size / PCIE_BYTES_PER_NS) * TICKS_PER_NS)
