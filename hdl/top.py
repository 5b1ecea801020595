"""The prototype: host side, PCU, one controller and one checker for each channel."""

from amaranth import (
    Array,
    Cat,
    ClockDomain,
    ClockSignal,
    DomainRenamer,
    Module,
    Mux,
    ResetInserter,
    ResetSignal,
    Signal,
)
from amaranth.hdl import ValueLike
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from pim_model.spec.config import Config
from pim_model.spec.errors import Path
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import REGISTER_BITS

from .checker import Checker
from .controller.controller import Controller
from .counters import CommandCounters, EventCounters
from .host.axi import Axi4LiteSignature, Axi4Signature
from .host.registers import RegisterFile
from .host.slice import BusSlice
from .host.waiting import Waiting
from .host.window import DataWindow
from .pcu.pcu import Pcu
from .phy.interface import PhySignature
from .watchdog import Watchdog

__all__ = ["Prototype"]


class Prototype(wiring.Component):
    """PCU, PIM memory controllers and host side of one configuration.

    Parameters
    ----------
    config : Config
    build : int or Value
        As in :class:`~hdl.host.registers.RegisterFile`.
    checked : bool
        With the checkers; without them no violation is ever told.

    Members
    -------
    regs : In(AXI4-Lite)
        Registers, see ``pim_model.spec.registers``.
    mem : In(AXI4)
        Data window onto memory and activation buffer.
    irq : Out(1)
        Level, high until its cause is acknowledged.
    phy : Out(PhySignature), for each channel
    """

    def __init__(self, config: Config, build: ValueLike = 0, *, checked: bool = True):
        self._config, self._build, self._checked = config, build, checked
        super().__init__(
            {
                "regs": In(Axi4LiteSignature(REGISTER_BITS)),
                "mem": In(Axi4Signature(config.window_bits)),
                "irq": Out(1),
                "phy": Out(PhySignature()).array(config.geometry.channels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self._config
        channels = config.geometry.channels
        m.submodules.registers = registers = RegisterFile(config, self._build)
        m.submodules.window = window = DataWindow(config)
        m.submodules.pcu = pcu = ResetInserter(registers.aborting)(Pcu(config))
        m.submodules.regs_slice = regs_slice = BusSlice(Axi4LiteSignature(REGISTER_BITS))
        m.submodules.mem_slice = mem_slice = BusSlice(Axi4Signature(config.window_bits))
        connect(m, flipped(self.regs), regs_slice.outer)
        connect(m, regs_slice.inner, registers.bus)
        connect(m, flipped(self.mem), mem_slice.outer)
        connect(m, mem_slice.inner, window.bus)
        connect(m, registers.macros, pcu.macros)
        connect(m, pcu.completions, registers.completions)
        m.d.comb += [
            self.irq.eq(registers.irq),
            registers.space.eq(pcu.space),
            registers.busy.eq(pcu.busy),
            registers.refused.eq(pcu.refused),
            pcu.inject.eq(registers.inject),
            pcu.distrust.eq(registers.distrust),
            registers.refused_info.eq(pcu.refused_info),
            pcu.now.eq(registers.now),
            pcu.host_read.eq(window.buffer_read),
            pcu.host_address.eq(window.buffer_address),
            window.buffer_data.eq(pcu.host_data),
            window.buffer_bad.eq(pcu.host_bad),
            registers.beat_refused.eq(window.refused),
            registers.beat_refused_word.eq(window.refused_word),
            pcu.host_write.eq(window.buffer_write),
            pcu.host_write_data.eq(window.buffer_write_data),
            pcu.host_write_mask.eq(window.buffer_write_mask),
            window.buffer_write_ready.eq(pcu.host_write_ready),
        ]

        # Since when normal traffic waits; between macros the older of both goes first.
        m.submodules.waiting = waiting = Waiting()
        m.d.comb += [
            waiting.traffic.eq(Cat(window.requests[i].valid for i in range(channels)).any()),
            waiting.now.eq(registers.now),
            pcu.traffic.eq(waiting.traffic),
            pcu.traffic_since.eq(waiting.since),
        ]

        m.submodules.watchdog = watchdog = Watchdog()
        quiet, violated, codes = Signal(channels), Signal(channels), []
        parities, counts, event_counts = [], [], []
        works, progress, flipped_bits = Signal(channels), Signal(channels), Signal(channels)
        for i in range(channels):
            m.submodules[f"controller{i}"] = controller = Controller(config)
            if self._checked:
                m.submodules[f"checker{i}"] = checker = Checker(config)
            m.submodules[f"counters{i}"] = counters = CommandCounters()
            m.submodules[f"events{i}"] = events = EventCounters(config)
            connect(m, window.requests[i], controller.requests)
            connect(m, controller.reads, window.reads[i])
            connect(m, pcu.tiles[i], controller.tiles)
            connect(m, pcu.steps[i], controller.steps)
            connect(m, pcu.ops[i], controller.ops)
            connect(m, controller.results, pcu.results[i])
            connect(m, controller.phy, flipped(self.phy[i]))
            phy = self.phy[i]
            held_back = pcu.pim_request
            if config.dual_row_buffer:  # a macro may let requests in
                held_back = held_back & ~window.requests[i].ready
            m.d.comb += [
                controller.pim_request.eq(pcu.pim_request),
                controller.abort.eq(registers.aborting),
                controller.refresh.eq(registers.refresh),
                controller.inject.eq(Mux(registers.inject_channel == i, registers.inject, Path.NONE)),
                window.bad_read[i].eq(controller.bad_read),
                flipped_bits[i].eq(controller.parity != Path.NONE),
                pcu.idle[i].eq(controller.idle),
                quiet[i].eq(controller.quiet),
                works[i].eq(controller.requested | (pcu.pim_request & ~controller.quiet)),
                progress[i].eq(
                    ~phy.op0.matches(MicroOp.NOP, MicroOp.REFPB, MicroOp.REFAB)
                    | (phy.op1 != MicroOp.NOP)
                    | phy.rvalid
                ),
                *(_watch(checker, phy, registers.refresh, violated[i]) if self._checked else ()),
                counters.op0.eq(phy.op0),
                counters.op1.eq(phy.op1),
                counters.read_op.eq(registers.count_op),
                events.op0.eq(phy.op0),
                events.bank0.eq(phy.bank0),
                events.quiet.eq(controller.quiet),
                events.requested.eq(controller.requested),
                events.blocked.eq(window.requests[i].valid & held_back),
                events.queued.eq(controller.queued),
                events.read_event.eq(registers.count_event),
            ]
            if config.dual_row_buffer:
                m.d.comb += [
                    controller.exclusive.eq(pcu.exclusive),
                    controller.started.eq(pcu.started),
                    events.lent.eq(controller.lent),
                ]
            parities.append(controller.parity | i << 8)
            if self._checked:
                codes.append(Cat(checker.code, 0, *(i >> bit & 1 for bit in range(8)), checker.op))
            counts.append(counters.count)
            event_counts.append(events.count)

        m.d.comb += [registers.quiet.eq(quiet.all()), registers.violation.eq(violated.any())]
        m.d.comb += [
            watchdog.work.eq(pcu.pim_request | works.any()),
            watchdog.progress.eq(progress.any() | pcu.wrote),
            registers.stuck.eq(watchdog.stuck),
            registers.stuck_info.eq(works),
        ]
        for i in reversed(range(channels)):
            if self._checked:
                with m.If(violated[i]):
                    m.d.comb += registers.violation_code.eq(codes[i])
            with m.If(flipped_bits[i]):
                m.d.comb += registers.parity_info.eq(parities[i])
        with m.If(pcu.parity != Path.NONE):
            m.d.comb += registers.parity_info.eq(pcu.parity)
        m.d.comb += registers.parity.eq(flipped_bits.any() | (pcu.parity != Path.NONE))
        channel = Signal.like(registers.count_channel)
        m.d.sync += channel.eq(registers.count_channel)
        m.d.comb += registers.count.eq(Array(counts)[channel])
        m.d.comb += registers.event_count.eq(Array(event_counts)[channel])
        return _with_registered_reset(m)


def _watch(checker: Checker, phy, refresh, violated):
    """What connects a checker to its command bus."""
    for name in ("op0", "bank0", "row0", "column0", "op1", "column1", "mode0", "mode1"):
        yield getattr(checker, name).eq(getattr(phy, name))
    yield checker.refresh.eq(refresh)
    yield violated.eq(checker.violation)


def _with_registered_reset(design: Module) -> Module:
    """``design`` in a domain of its own, with the outer reset one cycle later.

    The reset reaches every flip-flop. From a register it need not arrive within the cycle from a pin, and a simulator
    need not evaluate all next-state logic again whenever an input changes. Where there is no outer reset nothing is
    left of it: the register starts as 0 and stays so.
    """
    m = Module()
    m.domains.core = core = ClockDomain()
    reset = Signal(reset_less=True)
    m.d.sync += reset.eq(ResetSignal("sync", allow_reset_less=True))
    m.d.comb += [core.clk.eq(ClockSignal("sync")), core.rst.eq(reset)]
    m.submodules.core = DomainRenamer("core")(design)
    return m
