"""The register file: what each register reads, what writes change, and what they must leave alone.

A second register file in the harness, written from the map and hearing the bus alone, is held to the real one cycle by
cycle: registers that are read only keep their value whatever is written, a write changes nothing but its own register,
and none that is refused changes any.
"""

from typing import Any

from amaranth import Cat, Const, Module, Mux, Signal

from hdl.host.axi import Resp
from hdl.host.registers import RegisterFile
from pim_model.spec import registers as spec
from pim_model.spec.config import Config
from pim_model.spec.errors import ErrorSource
from pim_model.spec.macro import MACRO_WORDS
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import Access, Event, Reg
from pim_model.spec.timing import TIMINGS

from .harness import Harness, inside, signals_of, state_number
from .streams import stands

__all__ = ["RegisterHarness"]

_BUILD = 0x0123_4567_89AB_CDEF
_FULL = 0xF


def _access() -> dict[int, Access]:
    """What may be done at each offset of the map, counters aside."""
    found = {int(r.reg): r.access for r in spec.REGISTERS if r.reg not in (Reg.COMMANDS, Reg.EVENTS)}
    found |= {spec.macro_word(i): Access.RW for i in range(MACRO_WORDS)}
    return found | {spec.error_info(source): Access.RO for source in ErrorSource}


def _name(offset: int) -> str:
    """What the map calls an offset."""
    if Reg.MACRO_WORD0 <= offset < spec.macro_word(MACRO_WORDS):
        return f"MACRO_WORD{(offset - Reg.MACRO_WORD0) // 4}"
    if Reg.ERROR_INFO <= offset <= spec.error_info(max(ErrorSource)):
        return f"ERROR_INFO of {ErrorSource((offset - Reg.ERROR_INFO) // 4).name}"
    return Reg(offset).name


class RegisterHarness(Harness):
    """A :class:`RegisterFile` whose bus and whose design do as they like."""

    def __init__(self, config: Config):
        super().__init__()
        self._config = config
        self._counters = {
            "COMMANDS": (Reg.COMMANDS, [4 * op for op in MicroOp]),
            "EVENTS": (Reg.EVENTS, [4 * i for i in range(2 * (max(Event) + 1))]),
        }
        self.scripts = [self._script()]

    def _script(self) -> list[dict[str, int]]:
        """Write and read every register, and what is none, in several ways; every event, a full queue, a reset."""

        def write(offset: int, strobe: int = _FULL, value: int = 3, **more: int) -> list[dict[str, int]]:
            bus = {"awvalid": 1, "awaddr": offset, "wvalid": 1, "wdata": value, "wstrb": strobe}
            return [
                {**{f"file_bus__{name}": each for name, each in bus.items()}, **more},
                {"file_bus__bready": 0, **more},
                {"file_bus__bready": 1, **more},
            ]

        def read(offset: int) -> list[dict[str, int]]:
            ask = {"file_bus__arvalid": 1, "file_bus__araddr": offset}
            return [ask, {}, {}, {"file_bus__rready": 1}]

        offsets = [*_access(), Reg.COMMANDS + 4, Reg.EVENTS + 8, 0x8, 0x7FFC, Reg.ID + 2]
        script = []
        for offset in offsets:
            script += write(offset, file_space=1) + write(offset, 7) + read(offset)
        events = ("violation", "parity", "beat_refused", "refused", "stuck")
        script += [{f"file_{name}": 1 for name in events}] * 2
        script += write(Reg.MACRO_PUSH, file_space=0) + write(Reg.IRQ_ENABLE)
        script += write(Reg.COMPLETION_POP, file_completions__valid=1) + read(Reg.COMPLETION)
        script += [{**step, "file_completions__valid": 1} for step in read(Reg.COMPLETION)]
        script += write(Reg.CONTROL) + write(Reg.MACRO_PUSH, file_space=1)
        return [*script, *read(Reg.CONTROL), {"file_quiet": 1}, {}]

    def build(self, m: Module) -> None:
        config, geometry = self._config, self._config.geometry
        file = RegisterFile(config, _BUILD)
        part = self.place(m, "file", file)
        bus = file.bus

        # --- what the bus says: a write that is taken, and whether it may do anything
        access = _access()
        written, value = Signal(), Signal(32)
        known = Signal()
        m.d.comb += [
            written.eq(bus.awvalid & bus.awready),
            value.eq(bus.wdata),
            known.eq(bus.awaddr.matches(*access) | self._is_counter(bus.awaddr)),
        ]
        self.claim(
            m,
            "address and data together",
            written == (bus.wvalid & bus.wready),
            "a write is taken whole: its address with its data",
        )
        whole = Signal()
        m.d.comb += whole.eq(written & known & (bus.wstrb == _FULL) & (bus.awaddr[:2] == 0))

        def hits(offset: int) -> Any:
            return whole & (bus.awaddr == offset)

        # --- the second register file
        words = [Signal(32, name=f"ghost_word{i}") for i in range(MACRO_WORDS)]
        for i, word in enumerate(words):
            with m.If(hits(spec.macro_word(i))):
                m.d.sync += word.eq(value)
        refresh, aborting, enable = Signal(init=1), Signal(), Signal(2)
        inject, channel = Signal(3), Signal(8)
        with m.If(hits(Reg.CONTROL)):
            m.d.sync += refresh.eq(value[0])
        with m.If(hits(Reg.CONTROL) & value[1]):
            m.d.sync += aborting.eq(1)
        with m.Elif(file.quiet):
            m.d.sync += aborting.eq(0)
        with m.If(hits(Reg.IRQ_ENABLE)):
            m.d.sync += enable.eq(value)
        with m.If(hits(Reg.INJECT)):
            m.d.sync += [inject.eq(value), channel.eq(value >> 8)]
        now, violations = Signal(64), Signal(32)
        m.d.sync += now.eq(now + 1)
        with m.If(file.violation & (violations != (1 << 32) - 1)):
            m.d.sync += violations.eq(violations + 1)

        pushes, overflow = Signal(), Signal()
        m.d.comb += [
            pushes.eq(hits(Reg.MACRO_PUSH) & ~aborting),
            overflow.eq(pushes & (file.space == 0)),
        ]
        asked, offset = Signal(), Signal(16)  # a read that is looked up in this cycle, and its offset
        missing = Signal()
        m.d.sync += asked.eq(bus.arvalid & bus.arready)
        with m.If(bus.arvalid & bus.arready):
            m.d.sync += offset.eq(bus.araddr)
        m.d.comb += missing.eq(~(offset.matches(*access) | (self._is_counter(offset) & (offset[:2] == 0))))
        refused_write = written & ~whole
        events = {
            ErrorSource.VIOLATION: (file.violation, file.violation_code),
            ErrorSource.OVERFLOW: (overflow, words[0]),
            ErrorSource.REFUSED: (file.refused, file.refused_info),
            ErrorSource.WATCHDOG: (file.stuck, file.stuck_info),
            ErrorSource.REGISTER: (
                refused_write | (asked & missing),
                Mux(refused_write, bus.awaddr | 1 << 16, offset),
            ),
            ErrorSource.PARITY: (file.parity, file.parity_info),
            ErrorSource.WINDOW: (file.beat_refused, file.beat_refused_word),
        }
        errors = {source: Signal(name=f"ghost_error_{source.name.lower()}") for source in ErrorSource}
        infos = {source: Signal(32, name=f"ghost_info_{source.name.lower()}") for source in ErrorSource}
        for source, (event, info) in events.items():
            clears = (hits(Reg.ERRORS) & value[source]) | (hits(Reg.CONTROL) & value[1])
            stays = errors[source] & ~clears
            m.d.sync += errors[source].eq(stays | event)
            with m.If(event & ~stays):
                m.d.sync += infos[source].eq(info)

        # --- what each register reads
        some_error = Cat(errors.values()).any()
        completion, waits = file.completions.p, file.completions.valid
        status = Cat(file.busy, waits, violations != 0, errors[ErrorSource.OVERFLOW])
        reads: dict[int, Any] = {
            Reg.ID: Const(spec.IDENTITY),
            Reg.ABI: Const(spec.ABI),
            Reg.CHANNELS: Const(geometry.channels),
            Reg.BANKS: Const(geometry.banks),
            Reg.ROWS: Const(geometry.rows),
            Reg.ROW_BYTES: Const(geometry.row_bytes),
            Reg.BUFFER_BYTES: Const(config.buffer_bytes),
            Reg.TIMING: Const(TIMINGS.index(config.timing_name) | config.refresh << 8),
            Reg.QUEUE_DEPTH: Const(config.macro_queue | config.completion_queue << 16),
            Reg.FEATURES: Const(int(config.dual_row_buffer)),
            Reg.BUILD_LOW: Const(_BUILD & 0xFFFFFFFF),
            Reg.BUILD_HIGH: Const(_BUILD >> 32),
            Reg.CONTROL: Cat(refresh, aborting),
            Reg.STATUS: status,
            Reg.IRQ_ENABLE: enable,
            Reg.IRQ_STATUS: Cat(waits, some_error),
            Reg.VIOLATIONS: violations,
            Reg.ERRORS: Cat(errors[source] for source in sorted(ErrorSource)),
            Reg.INJECT: Cat(inject, Const(0, 5), channel),
            Reg.CYCLES_LOW: now[:32],
            Reg.CYCLES_HIGH: now[32:],
            Reg.MACRO_PUSH: Const(0),
            Reg.MACRO_SPACE: file.space,
            Reg.COMPLETION: Mux(waits, Cat(completion.tag, completion.status, Const(0, 7), Const(1, 1)), 0),
            Reg.COMPLETION_CYCLES: Mux(waits, completion.cycles, 0),
            Reg.COMPLETION_POP: Const(0),
            **{spec.macro_word(i): word for i, word in enumerate(words)},
            **{spec.error_info(source): info for source, info in infos.items()},
        }
        if set(reads) != set(access):
            raise ValueError("the harness must read every register of the map, and no other")
        told = Signal(32)
        with m.If(asked), m.Switch(offset):
            for at, source in reads.items():
                with m.Case(int(at)):
                    m.d.sync += told.eq(source)
            with m.Default():
                counted = Mux(offset < Reg.EVENTS, file.count, file.event_count.word_select(offset[2], 32))
                m.d.sync += told.eq(Mux(missing, 0, counted))
        for at, kind in access.items():
            name = _name(at)
            self.claim(
                m,
                f"{name}: reads",
                ~(bus.rvalid & (offset == at)) | ((bus.rdata == told) & (bus.rresp == Resp.OKAY)),
                f"{name} ({kind.value}) reads what it holds, whatever was written and wherever",
            )
            self.cover(m, f"{name}: read", bus.rvalid & (offset == at))
            self.cover(m, f"{name}: written", hits(at))
        for name in self._counters:
            here = self._is_counter(offset, name) & (offset[:2] == 0)
            self.claim(
                m,
                f"{name}: reads",
                ~(bus.rvalid & here) | ((bus.rdata == told) & (bus.rresp == Resp.OKAY)),
                "a counter reads what its port gives",
            )
            self.cover(m, f"{name}: read", bus.rvalid & here)
            self.cover(m, f"{name}: written", whole & self._is_counter(bus.awaddr, name))
        self.claim(
            m,
            "no register, no value",
            ~(bus.rvalid & missing) | ((bus.rdata == 0) & (bus.rresp == Resp.SLVERR)),
            "a read of what is no register gets SLVERR and zero",
        )
        self.cover(m, "a read of no register", bus.rvalid & missing)
        self.cover(m, "a read that is not aligned", bus.rvalid & (offset[:2] != 0))

        # --- what writes do
        self.claim(
            m, "CONTROL: refresh", file.refresh == refresh, "changes with bit 0 of a write, and only then"
        )
        self.claim(m, "CONTROL: reset", file.aborting == aborting, "from bit 1 of a write until all is quiet")
        self.claim(
            m,
            "INJECT: drives",
            (file.inject == inject) & (file.inject_channel == channel),
            "only what it holds",
        )
        self.claim(m, "now", file.now == now, "time goes on whatever is written")
        self.claim(
            m,
            "MACRO_PUSH: pushes",
            file.macros.valid == (pushes & (file.space != 0)),
            "one macro for one whole write that finds a place, none while a reset lasts, none otherwise",
        )
        self.claim(
            m,
            "MACRO_PUSH: words",
            ~file.macros.valid
            | ((Cat(file.macros.p.words) == Cat(words)) & (file.macros.p.pushed == now[:32])),
            "the macro is the eight words as they were written, and the time",
        )
        self.claim(
            m,
            "COMPLETION_POP: pops",
            file.completions.ready == hits(Reg.COMPLETION_POP),
            "a completion is dropped by a write of COMPLETION_POP, and by nothing else: reads drop none",
        )
        self.claim(
            m,
            "IRQ: line",
            file.irq == ((enable[0] & waits) | (enable[1] & some_error)),
            "high while an enabled cause is set",
        )
        self.claim(
            m,
            "distrust",
            file.distrust == (file.parity | errors[ErrorSource.PARITY]),
            "as long as the bit is set",
        )
        self.cover(m, "a push into a full queue", overflow)
        self.cover(m, "a push while a reset lasts", hits(Reg.MACRO_PUSH) & aborting)
        self.cover(m, "a write with a part of its bytes", written & known & (bus.wstrb == 7))
        self.cover(m, "a write of no register", written & ~known)
        self.cover(m, "a write that is not aligned", written & (bus.awaddr[:2] != 0))
        self.cover(m, "every error at once", Cat(errors.values()).all())
        self.cover(m, "interrupt", file.irq)

        # --- answers: one for each access
        owed, refuse = Signal(), Signal()
        with m.If(written):
            m.d.sync += [owed.eq(1), refuse.eq(~whole)]
        with m.Elif(bus.bvalid & bus.bready):
            m.d.sync += owed.eq(0)
        self.claim(
            m, "one answer a write", bus.bvalid == owed, "each write is answered once, and nothing else"
        )
        self.claim(
            m, "no write unanswered", ~(owed & written), "no write is taken before the last is answered"
        )
        self.claim(
            m,
            "refused writes are told",
            ~bus.bvalid | (bus.bresp == Mux(refuse, Resp.SLVERR, Resp.OKAY)),
            "SLVERR for a write in part, unaligned, or of no register",
        )
        reading = Signal()
        m.d.sync += reading.eq(Mux(bus.arvalid & bus.arready, 1, reading & ~(bus.rvalid & bus.rready)))
        self.claim(m, "one answer a read", bus.rvalid == (reading & ~asked), "each read is answered once")
        self.claim(
            m, "no read unanswered", ~(reading & bus.arready), "none is taken before the last is answered"
        )
        stands(self, m, "b", bus.bvalid, bus.bready, bus.bresp)
        stands(self, m, "r", bus.rvalid, bus.rready, Cat(bus.rdata, bus.rresp))
        self._link(m, part, bus, words, violations, enable, errors, infos, asked, reading, offset)

    def _is_counter(self, offset: Any, only: str | None = None) -> Any:
        """Whether there is a counter of a channel at ``offset``."""
        found = Const(0, 1)
        for name, (first, places) in self._counters.items():
            if only in (None, name):
                inside_one = Cat(offset[2:7] == place >> 2 for place in places).any()
                channel = (offset - first) >> (spec.COUNTER_STRIDE.bit_length() - 1)
                found |= inside_one & (offset >= first) & (channel < self._config.geometry.channels)
        return found

    def _link(self, m, part, bus, words, violations, enable, errors, infos, asked, reading, offset) -> None:
        """The flip-flops of the real file hold what those of the second one hold."""
        inner, bridge = signals_of(part), signals_of(inside(part, "bridge"))
        sticky = signals_of(inside(part, "errors"))
        for i, word in enumerate(words):
            self.invariant(m, f"word {i}", inner[f"macro_word{i}"] == word)
        self.invariant(m, "violations", inner["violations"] == violations)
        self.invariant(m, "enables", inner["enable"] == enable)
        for source in ErrorSource:
            self.invariant(m, f"error {source.name}", sticky["bits"][source] == errors[source])
            self.invariant(m, f"info {source.name}", sticky[f"info__{int(source)}"] == infos[source])
        state = bridge["read_state"]
        for name, holds in (
            ("IDLE", ~reading & ~asked),
            ("LOOK UP", asked & reading & (bridge["offset"] == offset) & (inner["offset"] == offset)),
            ("ANSWER", ~asked & reading & (bridge["offset"] == offset)),
        ):
            self.invariant(m, f"read {name}", (state != state_number(state, name)) | holds)
        self.invariant(m, "read states", state <= state_number(state, "ANSWER"))
        self.invariant(m, "state of answers", bus.rvalid == (state == state_number(state, "ANSWER")))
