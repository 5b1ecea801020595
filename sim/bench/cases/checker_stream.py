"""The RTL checker against the golden one, cycle by cycle, on random streams of commands."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import cocotb

from pim_model.checker import Checker, describe
from pim_model.checker_dual import DualState
from pim_model.spec.errors import Violation
from pim_model.spec.geometry import TABLE_ROWS
from pim_model.spec.micro import FOUR_BANKS, ONE_BANK, REGISTER_OPS, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from sim.bench.checker_bench import CheckerBench, Timed

COMMANDS = 2500

_OPS = [op for op in Op if op is not Op.NOP and op not in FOUR_BANKS]


class RandomStream:
    """Random commands, each as early as the golden checker allows, a cycle before that, or at any time.

    Most follow from the state, so that legal sequences get long; some are drawn from all there are.
    """

    def __init__(self, bench: CheckerBench, rng: random.Random) -> None:
        self._rng = rng
        self._geometry = bench.config.geometry
        self._direct = bench.config.timing.direct
        self.checker = Checker(bench.config, refresh=False)
        self.codes: Counter[int] = Counter()
        self.local_macs = 0
        #: Legal accesses of either kind while both buffers hold rows.
        self.beside: Counter[str] = Counter(normal=0, pim=0)

    def make(self, start: int, count: int) -> list[Timed]:
        """Commands from cycle ``start`` on."""
        rng, place = self._rng, (start, 0)
        commands: list[Timed] = []
        for _ in range(count):
            micro = self._command()
            slot = int(micro.op in REGISTER_OPS)
            cycle = self._moment(micro, slot, place)
            findings = self.checker.issue(cycle, slot, micro)
            self.codes.update(findings)
            commands.append(Timed(cycle, slot, micro))
            self.local_macs += bool(
                micro.op in (Op.MACSB, Op.MACAB) and micro.mode & Mode.LOCAL and not findings
            )
            state = self.checker._state
            if isinstance(state, DualState) and not findings and state.openers > {Op.ACT}:
                self.beside["normal"] += micro.op in (Op.RD, Op.WR)
                self.beside["pim"] += micro.op in (Op.MACAB, Op.AF, Op.EWMUL, Op.WRBK)
            place = (cycle + slot, 1 - slot)
            if rng.random() < 0.01:
                place = (place[0] + rng.randrange(1, 200), 0)
        return commands

    def _moment(self, micro: Micro, slot: int, place: tuple[int, int]) -> int:
        """A cycle from ``place`` (cycle, first free slot) on."""
        first = place[0] + (slot < place[1])
        kind = self._rng.random()
        if kind < 0.15:
            return first + self._rng.randrange(12)
        legal = first
        while self.checker.probe(legal, slot, micro) and legal < first + 150:
            legal += 1
        if legal == first + 150:  # waiting does not help
            return first + self._rng.randrange(4)
        return max(first, legal - (kind < 0.3))

    def _command(self) -> Micro:
        rng, geometry = self._rng, self._geometry
        op = rng.choice(_OPS) if rng.random() < 0.1 else self._likely()
        return Micro(
            op,
            bank=rng.randrange(min(geometry.banks, 6)) if op in ONE_BANK else 0,
            row=rng.randrange(TABLE_ROWS if op is Op.ACTAF else 4)
            if op in (Op.ACT, Op.ACTAB, Op.ACTAF)
            else 0,
            column=rng.randrange(3) if op not in (Op.WRBIAS, Op.RDMAC, Op.RDAF) else 0,
            mode=rng.choice((0, Mode.SET1, Mode.LOCAL, Mode.SET1 | Mode.LOCAL)),
        )

    def _likely(self) -> Op:
        """A command that the state may well allow."""
        state = self.checker._state  # what the golden checker takes the banks for
        rng = self._rng
        if isinstance(state, DualState):
            return rng.choice(_likely_dual(state))
        if state._register_mode:
            return rng.choice((Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF, Op.TMOD_OUT))
        openers = {by for by in state._opened_by if by}
        register = [Op.WRGB, Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF] if self._direct else []
        if not openers:
            return rng.choice(
                (Op.ACT, Op.ACT, Op.ACTAB, Op.ACTAF, Op.REFAB, Op.REFPB, Op.TMOD_IN, Op.PRE, *register)
            )
        if openers == {Op.ACTAF}:
            return rng.choice((Op.AF, Op.WRBK, Op.PREA, *register))
        if Op.ACTAB in openers:
            return rng.choice(
                (Op.MACAB, Op.MACAB, Op.MACSB, Op.EWMUL, Op.RDCP, Op.WRCP, Op.WRBK, Op.PREA, *register)
            )
        return rng.choice(
            (Op.ACT, Op.ACT, Op.RD, Op.RD, Op.WR, Op.PRE, Op.PREA, Op.MACSB, Op.REFPB, *register)
        )


def _likely_dual(state: DualState) -> list[Op]:
    """The same with dual row buffers, whose two sides are independent."""
    if state.register_mode:
        return [Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF, Op.TMOD_OUT]
    openers = state.openers
    likely = [Op.ACT, Op.WRGB, Op.WRBIAS, Op.RDMAC, Op.RDAF]
    if not openers:
        likely += [Op.REFAB, Op.REFPB, Op.TMOD_IN, Op.PREP]
    if Op.ACT in openers:
        likely += [Op.RD, Op.RD, Op.WR, Op.WR, Op.PRE, Op.PREA, Op.RDCP]
    if Op.ACTAB in openers:
        likely += [Op.MACAB, Op.MACAB, Op.MACSB, Op.EWMUL, Op.RDCP, Op.WRCP, Op.WRBK, Op.PREP, Op.PREA]
    elif Op.ACTAF in openers:
        likely += [Op.AF, Op.WRBK, Op.PREP]
    else:
        likely += [Op.ACTAB, Op.ACTAB, Op.ACTAF, Op.MACSB]
    return likely


@cocotb.test()
async def random_stream(dut: Any) -> None:
    """The same verdict in every cycle; where it is a violation, one that the golden checker finds too, the lowest."""
    bench = CheckerBench(dut)
    await bench.begin()
    stream, golden = RandomStream(bench, bench.rng("stream")), Checker(bench.config, refresh=False)
    clean, start = 0, bench.cycle + 10
    for turn in range(bench.rounds):
        commands: list[Timed] = []
        found: dict[int, set[int]] = {}
        for number, command in enumerate(stream.make(start, COMMANDS), turn * COMMANDS):
            start = command.cycle + 20
            if bench.keeps("commands", number):
                bench.tell("commands", number, command)
                commands.append(command)
                if findings := golden.issue(*command):
                    found.setdefault(command.cycle, set()).update(findings)
        await bench.drive(commands)
        await bench.idle(2)
        said = {report.cycle: report.code for report in bench.take()}
        for cycle in sorted(found.keys() | said.keys()):
            wanted = sorted(found.get(cycle, ()))
            near = [command for command in commands if cycle - 40 <= command.cycle <= cycle]
            history = ", ".join(f"{c.cycle}.{c.slot} {c.micro}" for c in near)
            shown = f"cycle {cycle}: golden {[describe(code) for code in wanted]}, after {history}"
            assert cycle in said, f"the RTL checker misses a violation; {shown}"
            assert wanted, f"the RTL checker reports {describe(said[cycle])} where there is none; {shown}"
            assert said[cycle] == wanted[0], f"the RTL checker reports {describe(said[cycle])}; {shown}"
        clean += len({command.cycle for command in commands} - found.keys())
    if not bench.whole:
        return
    cocotb.log.info("%d cycles with legal commands; findings: %s", clean,
                    {describe(code): count for code, count in sorted(stream.codes.items())})  # fmt: skip
    assert clean > 0.4 * COMMANDS * bench.rounds, "hardly a command was legal"
    assert len(stream.codes) > 20, f"few rules were broken: {stream.codes}"
    assert stream.local_macs > 20, "hardly a MAC on neighbour banks was legal"
    if bench.config.dual_row_buffer:
        assert stream.codes[Violation.SHARED_ROW] > 20, "hardly a row was opened twice"
        assert min(stream.beside.values()) > 20, f"hardly anything beside the other buffer: {stream.beside}"
