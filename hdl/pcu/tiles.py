"""Unroll a job into the row stream: one tile after the other, row-major."""

from amaranth import Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Job, Tile
from pim_model.spec.config import Config

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
        job, out = self.job, self.tiles.p
        row = Signal(16)
        token, group, tile = Signal(16), Signal(24), Signal(24)
        last_tile, last_group, last_token = (
            tile == job.tiles - 1,
            group == job.groups - 1,
            token == job.tokens - 1,
        )
        reloads = Signal()
        m.d.comb += [
            # An input of one tile stays in the buffer for all groups of its token.
            reloads.eq(job.tiles != 1),
            out.row.eq(row),
            out.columns.eq(self._config.geometry.columns),
            out.load.eq(reloads | (group == 0)),
            out.release.eq(reloads | last_group),
            out.last.eq(last_tile),
            out.activate.eq(job.activate),
            out.function.eq(job.function),
            self.tiles.valid.eq(self.busy),
        ]
        with m.If(last_tile):
            m.d.comb += out.columns.eq(job.last_columns)

        with m.If(self.start):
            m.d.sync += [self.busy.eq(1), row.eq(job.weight_row), token.eq(0), group.eq(0), tile.eq(0)]
        with m.Elif(self.tiles.valid & self.tiles.ready):
            m.d.sync += [row.eq(row + 1), tile.eq(tile + 1)]
            with m.If(last_tile):
                m.d.sync += [tile.eq(0), group.eq(group + 1)]
                with m.If(last_group):
                    m.d.sync += [group.eq(0), row.eq(job.weight_row), token.eq(token + 1)]
                    with m.If(last_token):
                        m.d.sync += self.busy.eq(0)
        return m
