# Ref: IANUS (ASPLOS 2024), sections 4.1 and 5.1
"""One product on a device: inputs staged, macros queued, results read as they end."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

import numpy as np

from host_runtime.bits import U16
from host_runtime.driver import Driver
from host_runtime.errors import IanusError
from host_runtime.plan import Part, Plan, stride
from host_runtime.tensor import Arena, Span
from pim_model.mapping.layout import rows_needed
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec

__all__ = ["Matrix", "Products"]


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight matrix in PIM memory, and its bias. Made by :meth:`host_runtime.ops.Pim.upload`."""

    rows: int
    columns: int
    place: Span
    """DRAM rows it takes."""
    bias: U16 | None
    resident: Span | None
    """Where the bias stays in the activation buffer; None if it is staged for each product."""
    owner: object = field(repr=False)
    """The :class:`~host_runtime.ops.Pim` that has it."""


class Products:
    """Products of one device, in pieces of its activation buffer that are borrowed and given back.

    Parameters
    ----------
    driver : Driver
        An open driver.
    config : Config
        Shape of the device.
    buffer : Arena
        Its activation buffer.

    Attributes
    ----------
    macros, macro_cycles : int
        As of :class:`host_runtime.ops.Pim`.
    """

    def __init__(self, driver: Driver, config: Config, buffer: Arena):
        self.macros = 0
        self.macro_cycles = 0
        self._driver = driver
        self._config = config
        self._buffer = buffer

    def run(self, matrices: Sequence[Matrix], x: U16, *, with_bias: bool, function: int | None) -> U16:
        """``activation(bias + W @ x[t])`` for one W or three of one shape: uint16 [matrices, tokens, rows].

        Parameters
        ----------
        matrices : sequence of Matrix
            One, or query, key and value: all of one shape, and all with a bias if ``with_bias``.
        x : numpy.ndarray
            BF16 bits, uint16 [tokens, columns].
        function : int or None
            Number of an activation whose table is in memory.
        """
        rows, columns, count = matrices[0].rows, matrices[0].columns, len(matrices)
        out = np.empty((count, len(x), rows), dtype=np.uint16)
        if not len(x):
            return out
        with ExitStack() as pieces:
            plan, bias = self._plan(matrices, len(x), with_bias, pieces)
            inputs = plan.tokens * stride(columns)
            space = self._borrow(inputs + plan.tokens * count * stride(plan.rows), pieces)
            queued: list[tuple[int, int, Part]] = []
            pieces.callback(self._abandon, queued)  # before their places are given back
            for step in plan.steps(len(x)):
                self._stage(space.start, x[step.start : step.stop])
                place, target = space.start + inputs, out[:, step.start : step.stop]
                for part in plan.parts:
                    macro = self._macro(matrices, part, len(step), space.start, place, bias, function)
                    queued.append((self._driver.submit(macro), place, part))
                    if plan.together:
                        place += len(step) * count * stride(part.rows)
                    else:
                        self._finish(queued, target)
                self._finish(queued, target)
        return out

    def write(self, offset: int, data: bytes) -> None:
        """Write into the activation buffer from byte ``offset`` on."""
        self._driver.transport.write_memory(self._config.buffer_base + offset, data)

    # ------------------------------------------------------------------------------------------------------ macros

    def _macro(
        self,
        matrices: Sequence[Matrix],
        part: Part,
        tokens: int,
        source: int,
        target: int,
        bias: int | None,
        function: int | None,
    ) -> MatVec:
        geometry = self._config.geometry
        ahead = part.row // geometry.outputs * rows_needed(1, matrices[0].columns, geometry)
        places = [matrix.place.start + ahead for matrix in matrices]
        return MatVec(
            tag=0,
            rows=part.rows,
            columns=matrices[0].columns,
            tokens=tokens,
            weight_row=places[0],
            input_offset=source,
            output_offset=target,
            # A part starts on 32 bytes, so those before it take what their rows do.
            bias_offset=None if bias is None else bias + len(matrices) * 2 * part.row,
            function=function,
            kv_rows=(places[1], places[2]) if len(matrices) > 1 else None,
        )

    def _finish(self, queued: list[tuple[int, int, Part]], out: U16) -> None:
        """Take the results of queued parts, each as soon as it has ended, and empty the list."""
        longest = 0
        while queued:
            tag, place, part = queued[0]
            completion = self._driver.wait(tag)
            del queued[0]
            longest = max(longest, completion.cycles)
            self.macros += 1
            self._collect(place, out[:, :, part.row : part.row + part.rows])
        self.macro_cycles += longest

    def _abandon(self, queued: list[tuple[int, int, Part]]) -> None:
        """Wait for parts whose product has failed: until then they read and write the buffer.

        What else goes wrong with them is not told: the caller has the first error, and a device that is lost drops
        every macro at the soft reset that it needs.
        """
        for tag, _, _ in queued:
            with suppress(IanusError, ValueError):  # ValueError: the part that failed has been waited for
                self._driver.wait(tag)

    # ------------------------------------------------------------------------------------------- activation buffer

    def _plan(
        self, matrices: Sequence[Matrix], tokens: int, with_bias: bool, pieces: ExitStack
    ) -> tuple[Plan, int | None]:
        """How to cut the product, and where its bias lies; staged there if it is not resident as macros take it.

        Three biases lie part by part, so they serve where they lie only side by side and uncut.
        """
        rows, columns, count = matrices[0].rows, matrices[0].columns, len(matrices)

        def plan() -> Plan:
            room, whole = self._buffer.largest, with_bias and count > 1
            return Plan.make(rows, columns, tokens, room, self._config, matrices=count, whole=whole)

        made = plan()
        if not with_bias:
            return made, None
        places = [matrix.resident.start for matrix in matrices if matrix.resident is not None]
        side_by_side = [places[0] + index * stride(rows) for index in range(count)] if places else []
        if places == side_by_side and len(places) == count and (count == 1 or len(made.parts) == 1):
            return made, places[0]
        span = self._borrow(count * stride(rows), pieces)
        made = plan()
        self.write(span.start, _side_by_side(matrices, made.parts))
        return made, span.start

    def _borrow(self, size: int, pieces: ExitStack) -> Span:
        span = self._buffer.allocate(size)
        pieces.callback(self._buffer.release, span)
        return span

    def _stage(self, offset: int, x: U16) -> None:
        padded = np.zeros((len(x), stride(x.shape[1]) // 2), dtype="<u2")
        padded[:, : x.shape[1]] = x
        self.write(offset, padded.tobytes())

    def _collect(self, offset: int, out: U16) -> None:
        """Read the results [matrices, tokens, rows] of a macro into ``out``."""
        count, tokens, rows = out.shape
        step = stride(rows)
        size = (count * tokens - 1) * step + 2 * rows
        data = self._driver.transport.read_memory(self._config.buffer_base + offset, size)
        whole = data.ljust(count * tokens * step, b"\0")
        lines = np.frombuffer(whole, dtype="<u2").reshape(tokens, count, step // 2)
        out[...] = lines[:, :, :rows].swapaxes(0, 1)


def _side_by_side(matrices: Sequence[Matrix], parts: Sequence[Part]) -> bytes:
    """The biases as macros take them: part by part, in each those of all matrices, each padded to 32 bytes."""
    pieces = []
    for part in parts:
        for matrix in matrices:
            assert matrix.bias is not None
            bias = matrix.bias[part.row : part.row + part.rows]
            pieces.append(bias.astype("<u2").tobytes().ljust(stride(part.rows), b"\0"))
    return b"".join(pieces)
