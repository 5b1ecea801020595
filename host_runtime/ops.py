# Ref: IANUS (ASPLOS 2024), sections 4.1 and 5.1
"""Matrix products in PIM memory: upload a matrix once, then multiply vectors by it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from host_runtime.bits import F32, U16, from_bits, to_bits
from host_runtime.driver import Driver
from host_runtime.plan import stride
from host_runtime.product import Matrix, Products
from host_runtime.tensor import Arena, Span, activation_buffer, weight_rows
from pim_model.mapping.layout import pack, padded_columns, rows_needed
from pim_model.numerics.activation import FUNCTIONS, TABLE_ENTRIES, table
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES, LANES

__all__ = ["Matrix", "Pim", "pim_linear"]

_ELEMENT = COLUMN_BYTES // LANES
UPLOAD_BYTES = 32 << 20  # weights laid out at a time
NARROW = 4
"""A matrix so many times narrower than a DRAM row is written row by row: the rest of its DRAM rows is never read, and
a serial line takes time for each byte."""


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
    """

    def __init__(self, driver: Driver, config: Config, *, preload: bool = True):
        self.driver = driver
        self.config = config
        self._rows: Arena = weight_rows(config)
        self._buffer: Arena = activation_buffer(config)
        self._products = Products(driver, config, self._buffer)
        self._resident = 0
        self._tables: set[str] = set()
        transport = driver.transport
        self._load = transport.preload if preload else transport.write_memory

    @property
    def macros(self) -> int:
        """Macros completed."""
        return self._products.macros

    @property
    def macro_cycles(self) -> int:
        """Sum of their cycles from push to completion; of macros queued together, which wait for each other, the
        longest."""
        return self._products.macro_cycles

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
        return Matrix(rows, columns, place, bias_bits, resident, self)

    def reserve(self, size: int) -> int:
        """Take whole DRAM rows for ``size`` bytes of anything; the address of the first.

        :class:`OutOfMemory` when no free run of DRAM rows is long enough.
        """
        rows = -(-size // self.config.geometry.slab_bytes)
        return self.config.geometry.address(self._rows.allocate(rows).start)

    def reserve_matrix(self, rows: int, columns: int) -> Matrix:
        """Room for a matrix without a bias, which :meth:`write_row` fills; until then it holds what memory holds.

        :class:`OutOfMemory` when no free run of DRAM rows is long enough.
        """
        place = self._rows.allocate(rows_needed(rows, columns, self.config.geometry))
        return Matrix(rows, columns, place, None, None, self)

    def write_row(self, matrix: Matrix, row: int, column: int, bits: U16) -> None:
        """Write BF16 bits [n] into a row of a matrix from ``column`` on, through the data window."""
        for start, size, address in self._pieces(matrix, row, column, len(bits)):
            data = bits[start : start + size].astype("<u2").tobytes()
            self.driver.transport.write_memory(address, data)

    def read_row(self, matrix: Matrix, row: int) -> U16:
        """BF16 bits of a row of a matrix [columns], from the tiles that PIM multiplies by."""
        read = self.driver.transport.read_memory
        pieces = [
            read(address, size * _ELEMENT)
            for _, size, address in self._pieces(matrix, row, 0, matrix.columns)
        ]
        return np.frombuffer(b"".join(pieces), dtype="<u2")

    def _pieces(self, matrix: Matrix, row: int, column: int, count: int) -> Iterator[tuple[int, int, int]]:
        """(first of them, number, address) of ``count`` elements of a row from ``column`` on, a DRAM row each."""
        geometry = self.config.geometry
        group, output = divmod(row, geometry.outputs)
        channel, bank = divmod(output, geometry.banks)
        tiles = rows_needed(1, matrix.columns, geometry)
        end = column + count
        while column < end:
            tile, within = divmod(column, geometry.elements)
            size = min(geometry.elements - within, end - column)
            start = geometry.address(matrix.place.start + group * tiles + tile, channel, bank)
            yield count - (end - column), size, start + within * _ELEMENT
            column += size

    def release(self, matrix: Matrix) -> None:
        """Give a matrix's memory back; it must not be used afterwards."""
        self._rows.release(matrix.place)
        if matrix.resident is not None:
            self._buffer.release(matrix.resident)
            self._resident -= matrix.resident.size

    def _store(self, place: Span, bits: U16) -> None:
        geometry = self.config.geometry
        rows, columns = bits.shape
        width = padded_columns(columns)
        if NARROW * width <= geometry.elements:
            padded = np.zeros((rows, width), dtype="<u2")
            padded[:, :columns] = bits
            for row in range(rows):
                group, output = divmod(row, geometry.outputs)
                bank = divmod(output, geometry.banks)
                self._load(geometry.address(place.start + group, *bank), padded[row].tobytes())
            return
        tiles = rows_needed(1, columns, geometry)
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
        self._products.write(span.start, bias.tobytes())
        return span

    # ---------------------------------------------------------------------------------------------------- products

    def matvec(self, matrix: Matrix, x: U16) -> U16:
        """``W @ x[t]`` for each token: BF16 bits [tokens, columns] to BF16 bits [tokens, rows]."""
        return self._product((matrix,), x, with_bias=False)[0]

    def linear(self, matrix: Matrix, x: U16, activation: str | None = None) -> U16:
        """``activation(bias + W @ x[t])`` for each token: BF16 bits [tokens, columns] to BF16 bits [tokens, rows].

        ``activation`` is a name of :data:`pim_model.numerics.activation.FUNCTIONS`, computed in PIM through its table.
        """
        return self._product((matrix,), x, with_bias=matrix.bias is not None, activation=activation)[0]

    def qkv(self, query: Matrix, key: Matrix, value: Matrix, x: U16) -> tuple[U16, U16, U16]:
        """``bias + W @ x[t]`` for each token and each of three matrices of one shape, as in a decoder layer: BF16 bits
        [tokens, columns] to three times BF16 bits [tokens, rows].

        The macro QKV loads the input once for all three where the order allows. Give all three a bias, or none.
        Uploaded one after the other, their biases lie side by side and serve where they are; others are staged.
        """
        matrices = (query, key, value)
        shapes = [[matrix.rows, matrix.columns] for matrix in matrices]
        if shapes != 3 * shapes[:1]:
            raise ValueError(f"query, key and value must be of one shape, not {', '.join(map(str, shapes))}")
        biased = [matrix.bias is not None for matrix in matrices]
        if any(biased) != all(biased):
            raise ValueError("query, key and value must all have a bias or none, not some")
        queries, keys, values = self._product(matrices, x, with_bias=all(biased))
        return queries, keys, values

    def _product(
        self, matrices: tuple[Matrix, ...], x: U16, *, with_bias: bool, activation: str | None = None
    ) -> tuple[U16, ...]:
        if any(matrix.owner is not self for matrix in matrices):
            raise ValueError("a matrix must be in this device's memory, not in another's")
        columns = matrices[0].columns
        if not isinstance(x, np.ndarray) or x.dtype != np.uint16 or x.ndim != 2 or x.shape[1] != columns:
            kind = f"{x.dtype} {list(x.shape)}" if isinstance(x, np.ndarray) else type(x).__name__
            raise ValueError(f"x must be uint16 [tokens, {columns}], not {kind}")
        function = None if activation is None else self.load_table(activation)
        return tuple(self._products.run(matrices, x, with_bias=with_bias, function=function))

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
