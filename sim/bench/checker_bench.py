"""The RTL checker alone, driven with scheduled commands and compared with the golden checker."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import cocotb

from pim_model.checker import Checker, describe
from pim_model.spec.micro import REGISTER_OPS, Micro
from pim_model.spec.micro import MicroOp as Op
from sim.bench import covered
from sim.bench.harness import Harness

__all__ = ["QUIET", "CheckerBench", "Report", "Timed", "slot_of"]

QUIET = 300
"""Idle cycles after which no timing rule of any preset remembers anything."""


class Timed(NamedTuple):
    """A command to be put on the bus."""

    cycle: int
    slot: int
    micro: Micro


class Report(NamedTuple):
    """What the checker said of one cycle."""

    cycle: int
    code: int
    op: int

    def __str__(self) -> str:
        return f"cycle {self.cycle}: {describe(self.code)}"


def slot_of(micro: Micro) -> int:
    """The slot that a controller would issue a command in."""
    return int(micro.op in REGISTER_OPS)


class CheckerBench(Harness):
    """Drives the command bus; collects what the RTL checker reports."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.reports: list[Report] = []

    async def begin(self, *, refresh: bool = False) -> None:
        """Reset, start to listen. ``refresh``: whether a missing refresh is a violation."""
        await self.start()
        self.dut.refresh.value = int(refresh)
        cocotb.start_soon(self._listen())
        while self.cycle < 0:  # the design is reset up to here
            await self.edge()

    async def _listen(self) -> None:
        """A report comes in the cycle after its commands. Python wakes only where there is one."""
        violation = self.dut.violation
        while True:
            await violation.rising_edge if not int(violation.value) else self.edge()
            while True:
                await self.edge()
                if not int(violation.value):
                    break
                self.reports.append(Report(self.cycle - 1, int(self.dut.code.value), int(self.dut.op.value)))
                covered.report(self.config, self.reports[-1].code)

    async def drive(self, commands: Iterable[Timed]) -> None:
        """Put commands on the bus in their cycles, which must lie ahead; returns at the end of the last one."""
        by_cycle: dict[int, dict[int, Micro]] = defaultdict(dict)
        for command in commands:
            by_cycle[command.cycle][command.slot] = command.micro
        for cycle in sorted(by_cycle):
            await self.idle(cycle - 1 - self.cycle)
            assert self.cycle == cycle - 1, f"cycle {cycle} is past"
            self._show(by_cycle[cycle])
            await self.edge()
            self._show({})

    def take(self) -> list[Report]:
        """The reports since the last call."""
        reports, self.reports = self.reports, []
        return reports

    async def clear(self) -> None:
        """Close all banks, leave register mode, let everything be forgotten, whatever state a test left."""
        for micro in (Micro(Op.PREA), Micro(Op.TMOD_OUT)):
            await self.idle(QUIET)
            await self.drive([Timed(self.cycle + 1, 0, micro)])
        await self.idle(QUIET)
        self.take()

    def expected(self, commands: Sequence[Timed]) -> list[tuple[int, int]]:
        """What the golden checker says of a sequence from a quiet state: (cycle, lowest code) where it objects."""
        checker = Checker(self.config, refresh=False)
        found: dict[int, list[int]] = {}
        for cycle, slot, micro in commands:
            if findings := checker.issue(cycle, slot, micro):
                found.setdefault(cycle, []).extend(findings)
        return [(cycle, min(codes)) for cycle, codes in found.items()]

    async def compare(self, commands: Sequence[Timed], what: str) -> list[tuple[int, int]]:
        """Drive a sequence, hold RTL and golden checker together; returns what both said, and clears up."""
        expected = self.expected(commands)
        await self.drive(commands)
        await self.idle(2)
        actual = [(report.cycle, report.code) for report in self.take()]
        shown = ", ".join(f"{micro.op.name} at {cycle - commands[0].cycle}" for cycle, _, micro in commands)
        assert actual == expected, f"{what}: RTL {_names(actual)}, golden {_names(expected)}; {shown}"
        if not actual:
            covered.sequence(self.config, commands)
        await self.clear()
        return actual

    def _show(self, commands: dict[int, Micro]) -> None:
        dut = self.dut
        first, second = commands.get(0), commands.get(1)
        dut.op0.value = first.op if first else 0
        if first:
            dut.bank0.value, dut.row0.value, dut.column0.value = first.bank, first.row, first.column
            dut.mode0.value = first.mode
        dut.op1.value = second.op if second else 0
        if second:
            dut.column1.value, dut.mode1.value = second.column, second.mode


def _names(reports: list[tuple[int, int]]) -> str:
    return ", ".join(f"{describe(code)} in cycle {cycle}" for cycle, code in reports) or "nothing"
