"""The register file: identity, control, macro submission, completions, interrupt.

# Ref: pim_model.spec.registers
"""

from amaranth import Array, Module, Mux, Signal
from amaranth.hdl import ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import Completion, MacroEntry, index_range
from pim_model.spec import registers as spec
from pim_model.spec.config import Config
from pim_model.spec.errors import ErrorSource
from pim_model.spec.macro import MACRO_WORDS
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Control, Event, Feature, Reg
from pim_model.spec.timing import TIMINGS

from .axi import Axi4LiteSignature
from .errors import StickyErrors
from .lite import LiteBridge

__all__ = ["RegisterFile"]


class RegisterFile(wiring.Component):
    """Registers behind AXI4-Lite.

    Parameters
    ----------
    config : Config
    build : int or Value
        64 bits that tell this build from all others; 0 for none.

    Members
    -------
    bus : In(AXI4-Lite)
    irq : Out(1)
        High while an enabled cause is set.
    macros : Out(stream of MacroEntry)
        One payload for every write of MACRO_PUSH that finds a place.
    completions : In(stream of Completion)
        Taken by writes of COMPLETION_POP.
    space : In
        Free places in the macro queue.
    busy : In(1)
        The PCU has work.
    aborting : Out(1)
        High from a write of SOFT_RESET until ``quiet``.
    quiet : In(1)
        All controllers have left the macro.
    refresh : Out(1)
        Refresh is enabled.
    violation : In(1), violation_code : In(32)
        The checkers saw a violation in this cycle; what ERROR_INFO says of it.
    inject : Out(3), a Path, inject_channel : Out(8)
        Where to flip bits.
    parity : In(1), parity_info : In(32)
        A bit has flipped. Likewise.
    distrust : Out(1)
        A bit flips, or has flipped and the host has not cleared it.
    beat_refused : In(1), beat_refused_word : In(32)
        The data window refuses a beat. Likewise.
    refused : In(1), refused_info : In(32); stuck : In(1), stuck_info : In(32)
        A macro completes with another status than OK; the watchdog has run out. Likewise.
    now : Out(64)
        Controller cycles since power-on.
    count_channel, count_op, count_event : Out, count : In(32), event_count : In(64)
        Read port of the command and event counters, one cycle.
    """

    def __init__(self, config: Config, build: ValueLike = 0):
        self._config, self._build = config, build
        super().__init__(
            {
                "bus": In(Axi4LiteSignature(spec.REGISTER_BITS)),
                "irq": Out(1),
                "macros": Out(stream.Signature(MacroEntry)),
                "completions": In(stream.Signature(Completion)),
                "space": In(range(config.macro_queue + 1)),
                "busy": In(1),
                "aborting": Out(1),
                "quiet": In(1),
                "refresh": Out(1, init=1),
                "violation": In(1),
                "violation_code": In(32),
                "inject": Out(3),
                "inject_channel": Out(8),
                "parity": In(1),
                "parity_info": In(32),
                "distrust": Out(1),
                "beat_refused": In(1),
                "beat_refused_word": In(32),
                "refused": In(1),
                "refused_info": In(32),
                "stuck": In(1),
                "stuck_info": In(32),
                "now": Out(64),
                "count_channel": Out(index_range(config.geometry.channels)),
                "count_op": Out(5),
                "count_event": Out(4),
                "count": In(32),
                "event_count": In(64),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config, geometry = self._config, self._config.geometry
        m.submodules.bridge = bridge = LiteBridge()
        connect(m, flipped(self.bus), bridge.bus)
        m.d.sync += self.now.eq(self.now + 1)

        def written(reg: int):
            return bridge.write & (bridge.write_offset == reg)

        value = bridge.write_value

        # --- macros in
        words = Array(Signal(32, name=f"macro_word{i}") for i in range(MACRO_WORDS))
        for i in range(MACRO_WORDS):
            with m.If(written(spec.macro_word(i))):
                m.d.sync += words[i].eq(value)
            m.d.comb += self.macros.p.words[i].eq(words[i])
        push, overflow = Signal(), Signal()
        m.d.comb += [
            push.eq(written(Reg.MACRO_PUSH) & ~self.aborting),
            overflow.eq(push & (self.space == 0)),
            self.macros.p.pushed.eq(self.now),
            self.macros.valid.eq(push & ~overflow),
        ]

        # --- completions out
        m.d.comb += self.completions.ready.eq(written(Reg.COMPLETION_POP))

        # --- control
        with m.If(written(Reg.CONTROL)):
            m.d.sync += self.refresh.eq(value[0])
        # The PCU is reset for as long as this is high: at least until every controller has closed its banks.
        with m.If(written(Reg.CONTROL) & value[1]):
            m.d.sync += self.aborting.eq(1)
        with m.Elif(self.quiet):
            m.d.sync += self.aborting.eq(0)

        # --- errors and interrupt
        m.submodules.errors = errors = StickyErrors()
        events = {
            ErrorSource.VIOLATION: (self.violation, self.violation_code),
            ErrorSource.OVERFLOW: (overflow, words[0]),
            ErrorSource.REFUSED: (self.refused, self.refused_info),
            ErrorSource.WATCHDOG: (self.stuck, self.stuck_info),
            ErrorSource.WINDOW: (self.beat_refused, self.beat_refused_word),
            ErrorSource.PARITY: (self.parity, self.parity_info),
            ErrorSource.REGISTER: (
                bridge.write_refused | bridge.read_refused,
                Mux(bridge.write_refused, bridge.write_offset | 1 << 16, bridge.refused_offset),
            ),
        }
        for source, (event, info) in events.items():
            m.d.comb += [errors.event[source].eq(event), errors.event_info[source].eq(info)]
        m.d.comb += errors.clear.eq(
            Mux(written(Reg.ERRORS), value, (written(Reg.CONTROL) & value[1]).replicate(32))
        )
        violations = Signal(32)
        enable = Signal(2)
        with m.If(self.violation & ~violations.all()):
            m.d.sync += violations.eq(violations + 1)
        m.d.comb += self.distrust.eq(self.parity | errors.bits[ErrorSource.PARITY])
        with m.If(written(Reg.INJECT)):
            m.d.sync += [self.inject.eq(value[: len(self.inject)]), self.inject_channel.eq(value[8:])]
        with m.If(written(Reg.IRQ_ENABLE)):
            m.d.sync += enable.eq(value)
        error = errors.bits.any()
        m.d.comb += self.irq.eq((enable[0] & self.completions.valid) | (enable[1] & error))

        # --- reads, one cycle after the offset
        offset = Signal(spec.REGISTER_BITS)
        m.d.sync += offset.eq(bridge.read_offset)
        completion = self.completions.p
        status = self.busy | self.completions.valid << 1 | (violations != 0) << 2
        status |= errors.bits[ErrorSource.OVERFLOW] << 3
        sources = {
            Reg.ID: spec.IDENTITY,
            Reg.ABI: spec.ABI,
            Reg.CHANNELS: geometry.channels,
            Reg.BANKS: geometry.banks,
            Reg.ROWS: geometry.rows,
            Reg.ROW_BYTES: geometry.row_bytes,
            Reg.BUFFER_BYTES: config.buffer_bytes,
            Reg.TIMING: TIMINGS.index(config.timing_name) | config.refresh << 8,
            Reg.FEATURES: config.dual_row_buffer * Feature.DUAL_ROW_BUFFER,
            Reg.BUILD_LOW: self._build & 0xFFFFFFFF,
            Reg.BUILD_HIGH: self._build >> 32,
            Reg.QUEUE_DEPTH: config.macro_queue | config.completion_queue << 16,
            Reg.CONTROL: self.refresh * Control.REFRESH | self.aborting << 1,
            Reg.STATUS: status,
            Reg.IRQ_ENABLE: enable,
            Reg.IRQ_STATUS: self.completions.valid | error << 1,
            Reg.VIOLATIONS: violations,
            Reg.ERRORS: errors.bits,
            Reg.INJECT: self.inject | self.inject_channel << 8,
            Reg.CYCLES_LOW: self.now[:32],
            Reg.CYCLES_HIGH: self.now[32:],
            Reg.MACRO_PUSH: 0,
            Reg.MACRO_SPACE: self.space,
            Reg.COMPLETION_POP: 0,
            **{spec.macro_word(i): words[i] for i in range(MACRO_WORDS)},
            **{spec.error_info(source): errors.info[source] for source in ErrorSource},
        }
        with m.Switch(offset):
            for register, source in sources.items():
                with m.Case(int(register)):
                    m.d.comb += bridge.read_value.eq(source)
            with m.Case(int(Reg.COMPLETION)):
                with m.If(self.completions.valid):
                    m.d.comb += bridge.read_value.eq(
                        completion.tag | completion.status << 16 | spec.COMPLETION_VALID
                    )
            with m.Case(int(Reg.COMPLETION_CYCLES)):
                with m.If(self.completions.valid):
                    m.d.comb += bridge.read_value.eq(completion.cycles)
            with m.Default():
                m.d.comb += bridge.read_absent.eq(1)

        # --- counters
        stride = spec.COUNTER_STRIDE.bit_length() - 1
        m.d.comb += [
            self.count_channel.eq(bridge.read_offset[stride:]),
            self.count_op.eq(bridge.read_offset[2:stride]),
            self.count_event.eq(bridge.read_offset[3:stride]),
        ]
        with m.If(_is_counter(offset, Reg.COMMANDS, 4 * max(MicroOp), geometry.channels)):
            m.d.comb += [bridge.read_value.eq(self.count), bridge.read_absent.eq(0)]
        with m.If(_is_counter(offset, Reg.EVENTS, 8 * max(Event) + 4, geometry.channels)):
            m.d.comb += [bridge.read_value.eq(self.event_count.word_select(offset[2], 32))]
            m.d.comb += bridge.read_absent.eq(0)
        write_known = [int(r.reg) for r in spec.REGISTERS if r.reg not in (Reg.COMMANDS, Reg.EVENTS)]
        write_known += [spec.macro_word(i) for i in range(MACRO_WORDS)]
        write_known += [spec.error_info(source) for source in ErrorSource]
        with m.Switch(bridge.write_offset):
            with m.Case(*sorted(set(write_known))):
                m.d.comb += bridge.write_absent.eq(0)
            with m.Default():
                m.d.comb += bridge.write_absent.eq(
                    ~_is_counter(bridge.write_offset, Reg.COMMANDS, 4 * max(MicroOp), geometry.channels)
                    & ~_is_counter(bridge.write_offset, Reg.EVENTS, 8 * max(Event) + 4, geometry.channels)
                )
        return m


def _is_counter(offset, first: Reg, last: int, channels: int):
    """Whether ``offset`` names a counter of the channels: those of one from ``first`` on, the last at ``last``."""
    stride = spec.COUNTER_STRIDE
    within = offset[: stride.bit_length() - 1]
    return (offset >= first) & (offset < first + stride * channels) & (within[2:] <= last // 4)
