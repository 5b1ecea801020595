"""A trace in the peer's language on a device: run, timed by its recorded commands, compared with the golden device."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from host_runtime.driver import Driver
from host_runtime.ops import Pim
from host_runtime.transport.base import RecordingTransport
from pim_model.isr_program import Fill, Phase, TraceProgram
from pim_model.numerics.activation import FUNCTIONS, TABLE_ENTRIES
from pim_model.replay import Replay, replay
from pim_model.span import AROUND, Span, span
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp
from pim_model.spec.micro import Micro, Mode
from pim_model.trace import Entry

__all__ = ["MODEL_CAPACITY", "TraceRun", "mismatches", "replayed", "run_trace", "same_order"]

MODEL_CAPACITY = 1 << 62
"""Room for any recording."""

_SLICE = 20_000
"""Cycles of a running PROGRAM between two looks at how far it is."""


@dataclass(frozen=True, kw_only=True)
class TraceRun:
    """What was seen."""

    entries: list[Entry]
    """Commands on all channels, from the first PROGRAM's push to the last one's completion."""
    starts: list[int]
    """Cycle of each PROGRAM's push."""
    span: Span
    macros: int
    """PROGRAMs run."""
    violations: int
    fetched: list[tuple[int, bytes]]
    """What R GPR read: line and data."""
    contents: bytes
    """The trace's GPRs and the words of MEM statements at the end."""
    memory: bytes
    """What the columns hold at the end that instructions wrote."""
    seconds: float
    """Wall time of the PROGRAMs and of what the host did between them."""

    @property
    def commands(self) -> dict[str, int]:
        """How many of each command, all channels."""
        counts = Counter(entry.micro.op for entry in self.entries)
        return {op.name: counts[op] for op in sorted(counts)}


def run_trace(
    transport: RecordingTransport,
    config: Config,
    trace: TraceProgram,
    *,
    refresh: bool = True,
    capacity: int = MODEL_CAPACITY,
    cycles: int | None = None,
    report: Callable[[float], None] = lambda _: None,
) -> TraceRun:
    """Run a translated trace on a fresh device.

    Parameters
    ----------
    refresh : bool
        Whether the device refreshes.
    capacity : int
        Commands to record at most.
    cycles : int, optional
        Cycles that the trace may take, for ``report`` on a transport that does not know how far it is.
    report : callable
        Told which part of the trace is done.
    """
    driver = Driver(transport, config)
    driver.set_refresh(refresh)
    _load_tables(driver, config, trace)
    for fill in trace.contents:
        transport.write_memory(config.buffer_base + fill.offset, fill.data)
    runner = _Runner(driver, config, trace, cycles, report)
    transport.record(capacity)
    began = time.perf_counter()
    for phase in trace.phases(runner.limit):
        runner.run(phase)
    seconds = time.perf_counter() - began
    entries = transport.recorded()
    return TraceRun(
        entries=entries,
        starts=runner.starts,
        span=span(config, entries),
        macros=len(runner.starts),
        violations=driver.violations(),
        fetched=runner.fetched,
        contents=b"".join(
            transport.read_memory(config.buffer_base + offset, size)
            for offset, size in _contents(config, trace)
        ),
        memory=b"".join(transport.peek(address, size) for address, size in _written(config, trace)),
        seconds=seconds,
    )


class _Runner:
    """The PROGRAMs of a trace, one after the other, from behind the GPRs on."""

    def __init__(
        self,
        driver: Driver,
        config: Config,
        trace: TraceProgram,
        cycles: int | None,
        report: Callable[[float], None],
    ) -> None:
        self._driver = driver
        self._config = config
        self._cycles = cycles
        self._report = report
        self._offset = COLUMN_BYTES * trace.gprs
        self.limit = trace.room(config)
        self._total = max(1, len(trace.instructions))
        self._done = 0
        self.starts: list[int] = []
        self.fetched: list[tuple[int, bytes]] = []

    def run(self, phase: Phase) -> None:
        transport, base = self._driver.transport, self._config.buffer_base
        for step in phase.before:
            if isinstance(step, Fill):
                transport.write_memory(base + step.offset, step.data)
            else:
                self.fetched.append((step.line, transport.read_memory(base + step.offset, COLUMN_BYTES)))
        count = len(phase.instructions)
        if not count:
            return
        words = np.array([instruction.encode() for instruction in phase.instructions], "<u4")
        transport.write_memory(base + self._offset, words.tobytes())
        first, share = self._done / self._total, count / self._total
        assert isinstance(transport, RecordingTransport)
        transport.on_progress = lambda part: self._report(first + share * part)
        self.starts.append(self._driver.cycles())
        tag = self._driver.submit(Program(offset=self._offset, count=count))
        self._watch(first, share)
        self._driver.wait(tag)
        self._done += count
        self._report(self._done / self._total)

    def _watch(self, first: float, share: float) -> None:
        """Look now and then until the PROGRAM ends, or takes longer than it may: the driver's wait decides on that."""
        if self._cycles is None:
            return
        expected = max(1.0, self._cycles * share)
        for passed in range(0, int(2 * expected), _SLICE):
            self._report(first + share * min(1.0, passed / expected))
            if self._driver.transport.wait_interrupt(_SLICE):
                return


def _load_tables(driver: Driver, config: Config, trace: TraceProgram) -> None:
    """Put the tables of the functions that AF uses into their rows, where rows are long enough for a table."""
    if config.geometry.elements < TABLE_ENTRIES:
        return
    used = {each.function for each in trace.instructions if each.op is MacroOp.AF}
    pim = Pim(driver, config)
    for name, number in FUNCTIONS.items():
        if number in used:
            pim.load_table(name)


def _contents(config: Config, trace: TraceProgram) -> list[tuple[int, int]]:
    """Pieces of the buffer that the trace uses: offset and bytes."""
    own = COLUMN_BYTES * trace.gprs
    mem = COLUMN_BYTES * trace.mem_words(config)
    return [(0, own), (config.buffer_bytes - mem, mem)]


def _written(config: Config, trace: TraceProgram) -> list[tuple[int, int]]:
    """Pieces of the memory that instructions write: address and bytes, in ascending order."""
    geometry = config.geometry
    ranges: dict[tuple[int, int, int], tuple[int, int]] = {}
    for each in trace.instructions:
        for bank in _written_banks(each, config):
            for channel in each.channels:
                low, high = ranges.get((each.row, channel, bank), (geometry.columns, 0))
                end = each.column + each.size
                ranges[each.row, channel, bank] = (min(low, each.column), max(high, end))
    return [
        (geometry.address(row, channel, bank, low), COLUMN_BYTES * (high - low))
        for (row, channel, bank), (low, high) in sorted(ranges.items())
    ]


def _written_banks(instruction: Instruction, config: Config) -> range:
    geometry = config.geometry
    match instruction.op:
        case MacroOp.WR_ABK:
            return range(geometry.banks)
        case MacroOp.WR_SBK | MacroOp.COPY_GBBK:
            return range(instruction.bank, instruction.bank + 1)
        case MacroOp.EWMUL:
            end = geometry.banks_per_group if instruction.mode & Mode.LOCAL else geometry.banks
            return range(2, end, geometry.banks_per_group)
    return range(0)


def mismatches(run: TraceRun, golden: TraceRun) -> tuple[int, int]:
    """BF16 words that differ, and those compared: GPRs at the end and where R GPR read them, and memory written."""
    wrong = compared = 0
    pairs = [(run.contents, golden.contents), (run.memory, golden.memory)]
    pairs += [(mine[1], other[1]) for mine, other in zip(run.fetched, golden.fetched, strict=True)]
    for mine, other in pairs:
        a, b = np.frombuffer(mine, "<u2"), np.frombuffer(other, "<u2")
        wrong += int(np.count_nonzero(a != b))
        compared += a.size
    return wrong, compared


def replayed(config: Config, run: TraceRun) -> Replay:
    """The run's commands against their earliest form; what a channel waits for a PROGRAM's push is the host's."""
    return replay(config, run.entries, run.starts)


def same_order(run: TraceRun, golden: TraceRun) -> bool:
    """Whether each channel's commands up to its last own one are the golden ones, in their order and slots."""
    return _order(run) == _order(golden)


def _order(run: TraceRun) -> dict[int, list[tuple[int, Micro]]]:
    channels: defaultdict[int, list[tuple[int, Micro]]] = defaultdict(list)
    for _, channel, slot, micro in run.entries:
        channels[channel].append((slot, micro))
    for own in channels.values():
        while own and own[-1][1].op in AROUND:
            own.pop()
    return {channel: own for channel, own in channels.items() if own}
