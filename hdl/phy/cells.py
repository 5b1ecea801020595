"""The cells of one bank in block RAM, and the row that is open in it."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import index_range
from pim_model.spec.geometry import COLUMN_BYTES, Geometry

__all__ = ["Cells"]


class Cells(wiring.Component):
    """One column read or written a cycle; where both are asked for, it is written.

    The timing table keeps the two apart, so one port of the memory is enough. A row stays named until another is
    opened, so what is under way may end after a precharge. Nothing is lost without a refresh.

    Members
    -------
    open : In(1), row : In(16)
        Open a row, from the next cycle on.
    read_column : In(6), data : Out(256)
        A column of the row, in the cycle after; the one before after a write.
    write_column : In(6), write : In(32), write_data : In(256)
        ``write`` has a bit a byte.
    """

    def __init__(self, geometry: Geometry):
        self._geometry = geometry
        super().__init__(
            {
                "open": In(1),
                "row": In(16),
                "read_column": In(6),
                "data": Out(8 * COLUMN_BYTES),
                "write_column": In(6),
                "write": In(COLUMN_BYTES),
                "write_data": In(8 * COLUMN_BYTES),
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry = self._geometry
        m.submodules.memory = cells = memory.Memory(
            shape=8 * COLUMN_BYTES, depth=geometry.rows * geometry.columns, init=[]
        )
        row = Signal(index_range(geometry.rows), reset_less=True)
        with m.If(self.open):
            m.d.sync += row.eq(self.row)
        columns = geometry.column_bits
        read, write = cells.read_port(), cells.write_port(granularity=8)
        # One address and never both: the tools then find a memory with a single port, whatever the device does with a
        # read and a write of one address.
        writes, address = Signal(), Signal.like(read.addr)
        m.d.comb += [
            writes.eq(self.write.any()),
            address.eq(Cat(Mux(writes, self.write_column, self.read_column)[:columns], row)),
            read.en.eq(~writes),
            read.addr.eq(address),
            self.data.eq(read.data),
            write.en.eq(self.write),
            write.addr.eq(address),
            write.data.eq(self.write_data),
        ]
        return m
