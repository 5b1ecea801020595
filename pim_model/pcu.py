# Ref: IANUS (ASPLOS 2024), sections 4.1 and 7.3; pim_model/spec/isr.py
"""The PIM control unit of the golden device: what each macro does, in how many cycles and commands."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from pim_model import matvec, schedule
from pim_model.program_unit import ProgramUnit
from pim_model.spec import registers
from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.isr import FIELDS, Program, decode_instruction, decode_program
from pim_model.spec.macro import MacroError, MacroOp, MatVec, decode
from pim_model.spec.micro import MicroOp
from pim_model.storage import Storage
from pim_model.trace import Entry, broadcast

__all__ = ["ControlUnit"]


class ControlUnit:
    """Runs macros one after the other. Its time moves in :meth:`run` alone, by what the golden schedules say.

    Parameters
    ----------
    config : Config
        The build.
    storage : Storage
        The memory.
    buffer : numpy.ndarray
        The activation buffer, ``uint8[buffer_bytes]``.
    numerics : str
        Name of the arithmetic profile.
    cache_bytes : int
        Bytes of prepared weight matrices to keep.
    """

    def __init__(
        self,
        config: Config,
        storage: Storage,
        buffer: npt.NDArray[np.uint8],
        numerics: str,
        cache_bytes: int = matvec.CACHE_BYTES,
    ) -> None:
        self._config = config
        self._storage = storage
        self._buffer = buffer
        self._numerics = numerics
        self._cache = matvec.MatrixCache(storage, cache_bytes)
        self._interval = config.timing.refresh_interval
        self._unit = ProgramUnit(config, storage, buffer, numerics, self._interval)
        self._controllers = self._unit.controllers
        self.cycles = 0
        self.commands: npt.NDArray[np.int64] = np.zeros(
            (config.geometry.channels, registers.COUNTER_STRIDE // 4), dtype=np.int64
        )
        """Commands issued, by channel and op."""
        self.recording: list[Entry] | None = None
        """All commands from now on, if it is a list."""
        self.on_progress: Callable[[float], None] | None = None
        """Told of each macro of a PROGRAM which part is done."""

    @property
    def refresh(self) -> bool:
        """Whether refresh is on. Turned on, the next one is due after a whole interval."""
        return self._controllers.due is not None

    @refresh.setter
    def refresh(self, enable: bool) -> None:
        if enable != self.refresh:
            self._controllers.set_refresh(self.cycles + self._interval if enable else None)

    def run(self, words: tuple[int, ...]) -> Status:
        """Execute an encoded macro to its end; how it ended."""
        self.cycles += schedule.PCU_LATENCY
        try:
            if words[0] & 0xFF == MacroOp.PROGRAM:
                self._program(decode_program(words, self._config))
            else:
                self._macro(words)
        except MacroError as error:
            return error.status
        finally:
            self._book()
            # Closing is not part of the macro: its completion does not wait for it, what comes next does.
            self._controllers.close(self.cycles)
            self._count()
        return Status.OK

    def _program(self, program: Program) -> None:
        """The macros of a PROGRAM, in order."""
        words = self._buffer.view("<u4").reshape(-1, COLUMN_BYTES // 4)
        first = program.offset // COLUMN_BYTES
        for place in range(first, first + program.count):
            self._macro(tuple(words[place].tolist()))
            if self.on_progress is not None:
                self.on_progress((place + 1 - first) / program.count)

    def _macro(self, words: tuple[int, ...]) -> None:
        """Anything but a PROGRAM, whose opcode is none of these."""
        if words[0] & 0xFF in FIELDS:
            instruction = decode_instruction(words, self._config)
            self._controllers.start(self.cycles)
            self._unit.run(instruction)
        else:
            self._matvec(decode(words, self._config))

    def _matvec(self, macro: MatVec) -> None:
        self.cycles = self._close()
        self._controllers.stop()
        matvec.execute(macro, self._storage, self._cache, self._buffer, self._numerics)
        due = self._controllers.due
        after = None if due is None else due - self.cycles
        cost = schedule.macro_cycles(self._config, macro, after)
        if self.recording is not None:
            placed = schedule.place(self._config, macro, after)
            self.recording += broadcast(placed, self._config.geometry.channels, self.cycles)
        for op, count in cost.commands.items():
            self.commands[:, op] += count
        self.cycles += cost.cycles
        if due is not None:
            self._controllers.set_refresh(due + cost.commands.get(MicroOp.REFAB, 0) * self._interval)

    def _close(self) -> int:
        """Take the channels from the ISR instructions; the first cycle that is free for a MATVEC."""
        free = self._controllers.close(self.cycles)
        self._book()
        return max(free, self.cycles)

    def _book(self) -> None:
        """The macro has ended: its time and its commands."""
        self.cycles = max(self.cycles, self._controllers.end)
        self._count()

    def _count(self) -> None:
        for channels, counts in self._controllers.counts():
            for op, count in counts.items():
                self.commands[channels, op] += count
        if self.recording is not None:
            self.recording += self._controllers.entries()
        self._controllers.forget()
