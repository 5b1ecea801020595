"""Unroll a job into the row stream: pass by pass; in a pass tile by tile, of a tile each lane; then the activations."""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Job, Tile
from pim_model.spec.config import Config

from .passes import Passes

__all__ = ["TileUnroller"]


class TileUnroller(wiring.Component):
    """One tile a cycle while the controllers take them.

    Members
    -------
    job : In(Job)
        Held while ``busy``.
    start : In(1)
        Begin with ``job``.
    tiles : Out(stream of Tile)
        Broadcast to all channels.
    busy : Out(1)
        Tiles are still to come.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {"job": In(Job), "start": In(1), "tiles": Out(stream.Signature(Tile)), "busy": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        direct = self._config.timing.direct
        m.submodules.passes = passes = Passes(self._config)
        job, out = self.job, self.tiles.p
        m.d.comb += [passes.job.eq(job), passes.start.eq(self.start)]
        row, matrix = Signal(16), Signal(2)  # of the first lane
        tile, second, table = Signal(24), Signal(), Signal()
        weights = Signal(16)  # row of this lane
        crosses = passes.group_pair & passes.ends[0]  # the second lane is the next matrix's first group
        # Of the matrix after the first lane's, and of that after the pass.
        after_first = Mux(matrix == 0, job.second_row, job.third_row)
        after_pass = Mux((matrix == 0) & ~crosses, job.second_row, job.third_row)
        after_group = Mux(passes.ends[1], after_pass, weights + 1)
        last_tile = tile == job.tiles - 1
        last_lane = second | ~(passes.token_pair | passes.group_pair)
        several = job.tiles != 1
        m.d.comb += [
            weights.eq(row),
            out.row.eq(weights),
            out.accumulators.eq(second),
            out.table.eq(table),
            self.tiles.valid.eq(self.busy),
        ]
        with m.If(second & passes.group_pair):
            m.d.comb += weights.eq(Mux(crosses, after_first + tile, row + job.tiles))
        with m.If(table):
            # In register mode the first result is read with all rows closed.
            m.d.comb += [out.row.eq(job.function), out.keep.eq(~last_lane if direct else 0)]
        with m.Else():
            # Of one token, the input of a single tile stays in the buffer for all groups.
            m.d.comb += [
                out.columns.eq(Mux(last_tile, job.last_columns, self._config.geometry.columns)),
                out.load.eq(passes.token_pair | (~second & (several | passes.fresh))),
                out.release.eq(passes.token_pair | (last_lane & (several | passes.spent))),
                out.last.eq(last_tile),
                out.keep.eq(passes.stays | (passes.token_pair & ~second) if direct else 0),
                out.yields.eq(passes.stays & last_lane),
            ]

        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), row.eq(job.weight_row), matrix.eq(0), tile.eq(0)]
        with m.Elif(self.tiles.valid & self.tiles.ready):
            m.d.sync += second.eq(~last_lane)
            with m.If(last_lane & ~table):
                m.d.sync += tile.eq(Mux(last_tile, 0, tile + 1))
                with m.If(last_tile):
                    m.d.sync += table.eq(job.activate)
                with m.If(~passes.stays):
                    m.d.sync += row.eq(Mux(last_tile, after_group, row + 1))
            with m.If(last_lane & Mux(job.activate, table, last_tile)):
                m.d.comb += passes.next.eq(1)
                m.d.sync += table.eq(0)
                with m.If(~passes.stays):
                    m.d.sync += matrix.eq(matrix + passes.ends[1] + crosses)
                with m.If(passes.turns):
                    m.d.sync += [row.eq(job.weight_row), matrix.eq(0)]
                with m.If(passes.last):
                    m.d.sync += self.busy.eq(0)
        return m
