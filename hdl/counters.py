"""What one channel counts: its commands, and what becomes of its cycles and its normal accesses."""

from amaranth import Array, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Event

__all__ = ["CommandCounters", "EventCounters"]


class CommandCounters(wiring.Component):
    """Count both command slots since power-on, modulo 2**32.

    Members
    -------
    op0, op1 : In(5)
        Commands on the bus.
    read_op : In(5), count : Out(32)
        The count of ``read_op``, one cycle later.
    """

    def __init__(self):
        super().__init__({"op0": In(5), "op1": In(5), "read_op": In(5), "count": Out(32)})

    def elaborate(self, platform):
        m = Module()
        totals = []
        # A memory for each slot: a memory has one write port in an FPGA.
        for slot, op in enumerate((self.op0, self.op1)):
            m.submodules[f"slot{slot}"] = counts = memory.Memory(shape=32, depth=32, init=[])
            write, current, host = (
                counts.write_port(),
                counts.read_port(domain="comb"),
                counts.read_port(domain="comb"),
            )
            m.d.comb += [
                current.addr.eq(op),
                host.addr.eq(self.read_op),
                write.addr.eq(op),
                write.data.eq(current.data + 1),
                write.en.eq(op != MicroOp.NOP),
            ]
            totals.append(host.data)
        total = Signal(32)
        m.d.comb += total.eq(sum(totals))
        m.d.sync += self.count.eq(total)
        return m


class EventCounters(wiring.Component):
    """Count the events of :class:`~pim_model.spec.registers.Event` since power-on.

    Members
    -------
    op0, bank0 : In
        Slot 0 on the bus.
    quiet : In(1)
        Normal traffic has the channel in the cycle in which a command is decided, one before it is on the bus.
    requested : In(1)
        Normal requests are queued, or their data is to come.
    blocked : In(1)
        A request waits outside.
    queued : In(6)
        Requests queued.
    lent : In(1)
        With dual row buffers: slot 0 is normal traffic's, in the cycle in which a command is decided.
    read_event : In(4), count : Out(64)
        The count of ``read_event``, one cycle later.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                **({"lent": In(1)} if config.dual_row_buffer else {}),
                "op0": In(5),
                "bank0": In(4),
                "quiet": In(1),
                "requested": In(1),
                "blocked": In(1),
                "queued": In(6),
                "read_event": In(4),
                "count": Out(64),
            }
        )

    def elaborate(self, platform):
        m = Module()
        banks = self._config.geometry.banks
        quiet = Signal()
        m.d.sync += quiet.eq(self.quiet)
        normal = quiet  # the command on the bus is normal traffic's
        if self._config.dual_row_buffer:
            normal = Signal()
            m.d.sync += normal.eq(self.lent)

        # --- of each bank: normal traffic has opened a row that is not used yet; it has closed one before
        fresh, displaced, here = Signal(banks), Signal(banks), Signal(banks)
        m.d.comb += here.eq(1 << self.bank0)
        access, first, conflict = Signal(), Signal(), Signal()
        m.d.comb += [
            access.eq(normal & self.op0.matches(MicroOp.RD, MicroOp.WR)),
            first.eq((fresh & here).any()),
            conflict.eq((displaced & here).any()),
        ]
        with m.Switch(self.op0):
            with m.Case(MicroOp.ACT):
                m.d.sync += fresh.eq(fresh | here)
            with m.Case(MicroOp.PRE):
                m.d.sync += displaced.eq(displaced | here)
            with m.Case(MicroOp.REFPB):  # the bank was closed for it
                m.d.sync += displaced.eq(displaced & ~here)
            with m.Case(MicroOp.RD, MicroOp.WR):
                m.d.sync += [fresh.eq(fresh & ~here), displaced.eq(displaced & ~here)]
            with m.Case(MicroOp.PREA):
                m.d.sync += [fresh.eq(0), displaced.eq(0)]

        recovery = self._config.timing.cycles("tRFCab")
        left = Signal(range(recovery + 1))
        refreshing = Signal()
        m.d.comb += refreshing.eq((self.op0 == MicroOp.REFAB) | (left != 0))
        m.d.sync += left.eq(Mux(self.op0 == MicroOp.REFAB, recovery - 1, left - (left != 0)))

        steps = {
            Event.ROW_HIT: access & ~first,
            Event.ROW_MISS: access & first & ~conflict,
            Event.ROW_CONFLICT: access & first & conflict,
            Event.PIM_CYCLES: ~refreshing & ~quiet,
            Event.REFRESH_CYCLES: refreshing,
            Event.BUSY_CYCLES: ~refreshing & quiet & self.requested,
            Event.IDLE_CYCLES: ~refreshing & quiet & ~self.requested,
            Event.BLOCKED_CYCLES: self.blocked,
            Event.OCCUPANCY: self.queued,
        }
        totals = [Signal(64, name=event.name.lower()) for event in Event]
        m.d.sync += [totals[event].eq(totals[event] + step) for event, step in steps.items()]
        m.d.sync += self.count.eq(Array(totals)[self.read_event])
        return m
