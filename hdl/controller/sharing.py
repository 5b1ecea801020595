"""Dual row buffers: when normal traffic may go while MATVECs run, so that it delays none of their commands.

The row stream has slot 0 whenever it can use it; what is left are row turn-arounds: from the last MACAB of a row to
the first of the next, or to its AF. Normal rows cost PIM nothing there. Normal columns share data bus and array:

* RD keeps WRGB and WRBIAS away, WR keeps MACs, AF and results away. So RD ends early enough before the first MACAB that
  its first operand is in the buffer, WR early enough for the MACAB itself; neither goes while a bias waits, and no WR
  while a result does.
* WRGB keeps RD away. So while requests wait, loads wait through the turn-around, until RD ends: the operands still come
  one a cycle ahead of the MACABs that read them.

A row may not be open in both buffers. Before the row stream opens one, the banks that hold it for normal traffic are
closed; from then on until it is closed again normal traffic does not open it.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Tile
from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp
from pim_model.spec.timing import Timing
from pim_model.spec.timing_rules import Scope

from .queue import first, numbers, pick

__all__ = ["Sharing", "read_lead", "write_lead"]


def read_lead(timing: Timing) -> int:
    """Cycles before a row's first MACAB from which on there is no RD: the WRGB for it must find the bus free."""
    return timing.between(MicroOp.RD, MicroOp.WRGB, Scope.CHANNEL) + timing.between(
        MicroOp.WRGB, MicroOp.MACAB, Scope.COLUMN
    )


def write_lead(timing: Timing) -> int:
    """Cycles before a row's first MACAB or AF from which on there is no WR."""
    return max(timing.between(MicroOp.WR, op, Scope.CHANNEL) for op in (MicroOp.MACAB, MicroOp.AF))


class Sharing(wiring.Component):
    """What normal traffic and row stream ask of each other.

    A macro's first row waits for the writes that were accepted before the macro started (``flush``), so that what the
    host wrote before it pushed the macro is seen. A request that has grown old waiting for a row that the row stream
    wants goes before it (``overdue``).

    Members
    -------
    started : In(1)
        A MATVEC starts; none of its tiles is queued yet, all tiles of those before it are or have been.
    level : In(3), tile : In(Tile), tile_valid : In(1), tile_taken : In(1)
        The queue of tiles.
    boundary, opened, multiply, activate : In(1)
        The row stream is between two rows; it has opened one; it is at its MACABs, or at its AF.
    opens : In(1)
        ACTAB or ACTAF is issued in this cycle.
    op1 : In(5), bias_waits, result_waits : In(1)
        The register stream: its command in this cycle, and what it waits with.
    waiting, marked, overdue : In(1)
        Normal traffic: a request is queued; a write that was queued at a start still is; the oldest request is old,
        and wants ``row``.
    holds, pre_ready : In(one bit a bank)
        Banks whose buffer of normal traffic holds ``row``; timing allows PRE.
    row : Out(16)
        DRAM row that the row stream has open, or of the head tile.
    barred : Out(1)
        Normal traffic may not open ``row``.
    flush : Out(1)
        The next row waits for marked writes.
    ready : Out(1)
        Nothing but timing keeps the head tile's row from being opened.
    held : Out(one bit a bank), close : Out(1), bank : Out(4)
        Banks to be closed for that; PRE may go to one of them now.
    rd_free, wr_free : Out(1)
        Normal RD, WR would be in nobody's way.
    loads_wait : Out(1)
        No WRGB now.
    """

    def __init__(self, config: Config):
        self._config = config
        banks = config.geometry.banks
        inputs = (
            *("started", "tile_valid", "tile_taken", "boundary", "opened", "multiply", "activate", "opens"),
            *("bias_waits", "result_waits", "waiting", "marked", "overdue"),
        )
        outputs = ("barred", "flush", "ready", "close", "rd_free", "wr_free", "loads_wait")
        super().__init__(
            {
                "level": In(3),
                "tile": In(Tile),
                "op1": In(5),
                "holds": In(banks),
                "pre_ready": In(banks),
                "row": Out(16),
                "held": Out(banks),
                "bank": Out(4),
                **{name: In(1) for name in inputs},
                **{name: Out(1) for name in outputs},
            }
        )

    def elaborate(self, platform):
        m = Module()
        geometry, timing = self._config.geometry, self._config.timing
        rd_lead, wr_lead = read_lead(timing), write_lead(timing)
        if max(timing.between(MicroOp.ACT, op, Scope.CHANNEL) for op in (MicroOp.ACTAB, MicroOp.ACTAF)) > 1:
            raise ValueError(
                "tRRDpim must be one controller cycle: normal ACTs go until the cycle before ACTAB"
            )

        #: Tiles of the macros before the one that started last.
        ahead = Signal.like(self.level)
        with m.If(self.started & ~self.marked):
            m.d.sync += ahead.eq(self.level - self.tile_taken)
        with m.Elif(self.tile_taken & (ahead != 0)):
            m.d.sync += ahead.eq(ahead - 1)

        # A row that is open is remembered: the queue may be empty until its next run comes, or flushed by a reset.
        wanted_row = Signal(16)
        open_row = Signal(16, reset_less=True)
        with m.If(self.opens):
            m.d.sync += open_row.eq(wanted_row)
        gives_way, wanted = Signal(), Signal()
        closing = Signal(geometry.banks)
        m.d.comb += [
            wanted_row.eq(self.tile.row + Mux(self.tile.table, geometry.weight_rows, 0)),
            self.row.eq(Mux(self.opened, open_row, wanted_row)),
            self.flush.eq(self.boundary & self.marked & (ahead == 0)),
            gives_way.eq(self.flush | self.overdue),
            wanted.eq(self.boundary & self.tile_valid & ~gives_way),
            self.barred.eq(self.opened | wanted),
            self.ready.eq(~gives_way & ~self.holds.any()),
            self.held.eq(self.holds & wanted.replicate(geometry.banks)),
            closing.eq(first(self.held & self.pre_ready)),
            self.close.eq(closing.any()),
            self.bank.eq(pick(numbers(geometry.banks), closing)),
        ]

        #: Cycles until the row that was opened last takes its first MACAB or AF.
        distance = {
            op: max(timing.between(op, after, scope) for scope in Scope)
            for op, after in ((MicroOp.ACTAB, MicroOp.MACAB), (MicroOp.ACTAF, MicroOp.AF))
        }
        remaining = Signal(range(max(distance.values())))
        with m.If(self.opens):
            m.d.sync += remaining.eq(
                Mux(self.tile.table, distance[MicroOp.ACTAF] - 1, distance[MicroOp.ACTAB] - 1)
            )
        with m.Elif(remaining != 0):
            m.d.sync += remaining.eq(remaining - 1)
        calm = (self.op1 == MicroOp.NOP) & ~self.bias_waits
        no_rd = self.multiply & (remaining < rd_lead)
        no_wr = (self.multiply | self.activate) & (remaining < wr_lead)
        m.d.comb += [
            self.rd_free.eq(calm & ~no_rd),
            self.wr_free.eq(calm & ~self.result_waits & ~no_wr),
            self.loads_wait.eq(self.waiting & ~no_rd),
        ]
        return m
