# Ref: IANUS (ASPLOS 2024), sections 4.1 and 5.1
"""Matrix products in PIM memory: upload a matrix once, then multiply vectors by it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

import numpy as np

from host_runtime.bits import F32, U16, from_bits, to_bits
from host_runtime.driver import Driver
from host_runtime.errors import IanusError
from host_runtime.plan import Part, Plan, stride
from host_runtime.tensor import Arena, Span, activation_buffer, weight_rows
from pim_model.mapping.layout import pack, rows_needed
from pim_model.numerics.activation import FUNCTIONS, TABLE_ENTRIES, table
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec

__all__ = ["Matrix", "Pim", "pim_linear"]

UPLOAD_BYTES = 32 << 20  # weights laid out at a time


@dataclass(frozen=True, eq=False)
class Matrix:
    """A weight matrix in PIM memory, and its bias. Made by :meth:`Pim.upload`."""

    rows: int
    columns: int
    place: Span
    """DRAM rows it takes."""
    bias: U16 | None
    resident: Span | None
    """Where the bias stays in the activation buffer; None if it is staged for each product."""


class Pim:
    """Matrices and products on one device.

    Parameters
    ----------
    driver : Driver
        An open driver; whatever else uses it must leave memory alone.
    config : Config
        Shape of the device.
    preload : bool
        Load weights and tables by the transport's back door, which takes no simulated time, rather than by writes.

    Attributes
    ----------
    macros, macro_cycles : int
        Macros completed, and the sum of their cycles from push to completion; of macros queued together, which wait
        for each other, the longest.
    """

    def __init__(self, driver: Driver, config: Config, *, preload: bool = True):
        self.driver = driver
        self.config = config
        self.macros = 0
        self.macro_cycles = 0
        self._rows: Arena = weight_rows(config)
        self._buffer: Arena = activation_buffer(config)
        self._resident = 0
        self._tables: set[str] = set()
        transport = driver.transport
        self._load = transport.preload if preload else transport.write_memory

    # ----------------------------------------------------------------------------------------------------- weights

    def upload(self, weights: U16 | F32, bias: U16 | F32 | None = None) -> Matrix:
        """Store a matrix [rows, columns] and its bias [rows], BF16 bits or float32 that BF16 holds exactly.

        :class:`OutOfMemory` when no free run of DRAM rows is long enough; nothing is stored then.
        """
        bits = to_bits("weights", weights)
        if bits.ndim != 2 or 0 in bits.shape:
            raise ValueError(f"weights must be [rows, columns], both positive, not {list(bits.shape)}")
        rows, columns = bits.shape
        bias_bits = None if bias is None else to_bits("bias", bias).copy()
        if bias_bits is not None and bias_bits.shape != (rows,):
            raise ValueError(f"bias must be [{rows}], not {list(bias_bits.shape)}")
        place = self._rows.allocate(rows_needed(rows, columns, self.config.geometry))
        try:
            self._store(place, bits)
            resident = None if bias_bits is None else self._make_resident(bias_bits)
        except BaseException:
            self._rows.release(place)
            raise
        return Matrix(rows, columns, place, bias_bits, resident)

    def release(self, matrix: Matrix) -> None:
        """Give a matrix's memory back; it must not be used afterwards."""
        self._rows.release(matrix.place)
        if matrix.resident is not None:
            self._buffer.release(matrix.resident)
            self._resident -= matrix.resident.size

    def _store(self, place: Span, bits: U16) -> None:
        geometry = self.config.geometry
        tiles = rows_needed(1, bits.shape[1], geometry)
        groups = max(1, UPLOAD_BYTES // (tiles * geometry.slab_bytes))
        step = groups * geometry.outputs
        for index, first in enumerate(range(0, len(bits), step)):
            image = pack(bits[first : first + step], geometry)
            self._load(geometry.address(place.start + index * groups * tiles), image.tobytes())

    def _make_resident(self, bias: U16) -> Span | None:
        """Keep a bias in the buffer, unless biases would take more than half of it."""
        size = stride(len(bias))
        if self._resident + size > self.config.buffer_bytes // 2 or size > self._buffer.largest:
            return None
        span = self._buffer.allocate(size)
        self._resident += span.size
        self._write(span.start, bias.tobytes())
        return span

    # ---------------------------------------------------------------------------------------------------- products

    def matvec(self, matrix: Matrix, x: U16) -> U16:
        """``W @ x[t]`` for each token: BF16 bits [tokens, columns] to BF16 bits [tokens, rows]."""
        return self._product(matrix, x, with_bias=False, activation=None)

    def linear(self, matrix: Matrix, x: U16, activation: str | None = None) -> U16:
        """``activation(bias + W @ x[t])`` for each token: BF16 bits [tokens, columns] to BF16 bits [tokens, rows].

        ``activation`` is a name of :data:`pim_model.numerics.activation.FUNCTIONS`, computed in PIM through its table.
        """
        return self._product(matrix, x, with_bias=matrix.bias is not None, activation=activation)

    def _product(self, matrix: Matrix, x: U16, *, with_bias: bool, activation: str | None) -> U16:
        if (
            not isinstance(x, np.ndarray)
            or x.dtype != np.uint16
            or x.ndim != 2
            or x.shape[1] != matrix.columns
        ):
            kind = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"x must be uint16 [tokens, {matrix.columns}], not {kind}")
        function = None if activation is None else self.load_table(activation)
        out = np.empty((len(x), matrix.rows), dtype=np.uint16)
        if not len(x):
            return out
        with ExitStack() as pieces:
            bias_offset = self._bias_offset(matrix, pieces) if with_bias else None
            room = self._buffer.largest
            plan = Plan.make(matrix.rows, matrix.columns, len(x), room, self.config)
            needed = plan.tokens * (stride(matrix.columns) + stride(plan.rows))
            space = self._borrow(needed, pieces)
            output = space.start + plan.tokens * stride(matrix.columns)
            queued: list[tuple[int, int, Part]] = []
            pieces.callback(self._abandon, queued)  # before their places are given back
            for step in plan.steps(len(x)):
                self._stage(space.start, x[step.start : step.stop])
                place = output
                for part in plan.parts:
                    macro = self._macro(matrix, part, len(step), space.start, place, bias_offset, function)
                    queued.append((self.driver.submit(macro), place, part))
                    if plan.together:
                        place += len(step) * stride(part.rows)
                    else:
                        self._finish(queued, out[step.start : step.stop])
                self._finish(queued, out[step.start : step.stop])
        return out

    def _finish(self, queued: list[tuple[int, int, Part]], out: U16) -> None:
        """Take the results of queued parts, each as soon as it has ended, and empty the list."""
        longest = 0
        while queued:
            tag, place, part = queued[0]
            completion = self.driver.wait(tag)
            del queued[0]
            longest = max(longest, completion.cycles)
            self.macros += 1
            self._collect(place, out[:, part.row : part.row + part.rows])
        self.macro_cycles += longest

    def _abandon(self, queued: list[tuple[int, int, Part]]) -> None:
        """Wait for parts whose product has failed: until then they read and write the buffer.

        What else goes wrong with them is not told: the caller has the first error, and a device that is lost drops
        every macro at the soft reset that it needs.
        """
        for tag, _, _ in queued:
            with suppress(IanusError, ValueError):  # ValueError: the part that failed has been waited for
                self.driver.wait(tag)

    def _macro(
        self,
        matrix: Matrix,
        part: Part,
        tokens: int,
        source: int,
        target: int,
        bias: int | None,
        function: int | None,
    ) -> MatVec:
        geometry = self.config.geometry
        tiles = rows_needed(1, matrix.columns, geometry)
        return MatVec(
            tag=0,
            rows=part.rows,
            columns=matrix.columns,
            tokens=tokens,
            weight_row=matrix.place.start + part.row // geometry.outputs * tiles,
            input_offset=source,
            output_offset=target,
            bias_offset=None if bias is None else bias + 2 * part.row,
            function=function,
        )

    def load_table(self, activation: str) -> int:
        """Put an activation's table into its DRAM row of every bank, unless it is there; its number in macros.

        :meth:`linear` does so by itself at the first use.
        """
        if activation not in FUNCTIONS:
            raise ValueError(f"activation must be one of {', '.join(FUNCTIONS)}, not {activation!r}")
        geometry = self.config.geometry
        if geometry.elements < TABLE_ENTRIES:
            raise ValueError(
                f"activation must be None on {self.config.name!r}: its rows of {geometry.row_bytes} bytes "
                f"are shorter than a table of {2 * TABLE_ENTRIES}"
            )
        number = FUNCTIONS[activation]
        if activation not in self._tables:
            row = np.zeros(geometry.elements, dtype="<u2")
            row[:TABLE_ENTRIES] = table(activation)
            self._load(geometry.address(geometry.table_row(number)), row.tobytes() * geometry.outputs)
            self._tables.add(activation)
        return number

    # ------------------------------------------------------------------------------------------- activation buffer

    def _write(self, offset: int, data: bytes) -> None:
        self.driver.transport.write_memory(self.config.buffer_base + offset, data)

    def _borrow(self, size: int, pieces: ExitStack) -> Span:
        span = self._buffer.allocate(size)
        pieces.callback(self._buffer.release, span)
        return span

    def _bias_offset(self, matrix: Matrix, pieces: ExitStack) -> int:
        if matrix.resident is not None:
            return matrix.resident.start
        assert matrix.bias is not None
        span = self._borrow(stride(matrix.rows), pieces)
        self._write(span.start, matrix.bias.tobytes())
        return span.start

    def _stage(self, offset: int, x: U16) -> None:
        padded = np.zeros((len(x), stride(x.shape[1]) // 2), dtype="<u2")
        padded[:, : x.shape[1]] = x
        self._write(offset, padded.tobytes())

    def _collect(self, offset: int, out: U16) -> None:
        """Read the results [tokens, rows] of a macro into ``out``."""
        tokens, rows = out.shape
        step = stride(rows)
        size = (tokens - 1) * step + 2 * rows
        data = self.driver.transport.read_memory(self.config.buffer_base + offset, size)
        lines = np.frombuffer(data.ljust(tokens * step, b"\0"), dtype="<u2").reshape(tokens, step // 2)
        out[...] = lines[:, :rows]


def pim_linear(pim: Pim) -> Callable[[str, F32, F32 | None], Callable[[F32], F32]]:
    """A maker of linear layers in PIM memory, as :class:`host_runtime.llm.gpt2.GPT2` takes it.

    The maker takes (name, weights [rows, columns], bias [rows] or None) and gives a function from [tokens, columns] to
    [tokens, rows]; all float32, each value one that BF16 holds exactly.
    """

    def make(name: str, weight: F32, bias: F32 | None, /) -> Callable[[F32], F32]:
        try:
            matrix = pim.upload(weight, bias)
        except ValueError as error:
            raise ValueError(f"{name}: {error}") from error

        def linear(x: F32, /) -> F32:
            return from_bits(pim.linear(matrix, to_bits("x", x)))

        return linear

    return make
