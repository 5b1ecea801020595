# Ref: pim_model/spec/timing_rules.py
"""The RTL checker, every timing rule on its edge: refused at t - 1, accepted at t."""

from __future__ import annotations

from typing import Any

import cocotb

from pim_model.checker import describe
from pim_model.spec.config import Config
from sim.bench.checker_bench import CheckerBench, Timed
from sim.bench.checker_pairs import Pair, edge_of, legal_edge, pairs

START = 10  # cycles ahead, so that a sequence can be scheduled


def _rules(config: Config) -> set[int]:
    return {rule.index for rule in config.timing.rules if rule.cycles}


def _moved(commands: list[Timed], cycles: int) -> list[Timed]:
    return [command._replace(cycle=command.cycle + cycles) for command in commands]


@cocotb.test()
async def legal_edges(dut: Any) -> None:
    """Whole legal sequences: nothing is said on time; one cycle early, the rule, or one that binds as long."""
    bench = CheckerBench(dut)
    await bench.begin()
    shown: dict[int, Pair] = {}
    for pair in pairs(bench.config):
        legal = legal_edge(pair, bench.config, START)
        if legal is None:
            continue
        shown.setdefault(pair.rule.index, pair)
        sequence = _moved(legal.sequence, bench.cycle)
        assert await bench.compare(sequence, str(pair)) == []
        assert pair.rule.index in legal.early, f"{pair}: one cycle early breaks {legal.early}"
        sequence = _moved(legal.sequence, bench.cycle)
        last = sequence.pop()
        early = last._replace(cycle=last.cycle - 1)
        said = await bench.compare([*sequence, early], f"{pair}, one early")
        assert [cycle for cycle, _ in said] == [early.cycle]
        others = [describe(code) for code in legal.early if code != pair.rule.index]
        if others:
            cocotb.log.info("%s: %s binds as long", pair, ", ".join(others))
    missing = sorted(_rules(bench.config) - set(shown))
    cocotb.log.info("%d rules on a legal edge; %d have none, because others bind longer or nothing can fall short: %s",
                    len(shown), len(missing), ", ".join(map(describe, missing)))  # fmt: skip
    assert len(shown) > len(missing), "too few rules have a legal edge: are the sequences still right?"


@cocotb.test()
async def bare_edges(dut: Any) -> None:
    """The two commands of each pair alone, the state of the banks disregarded: every rule is seen and named."""
    bench = CheckerBench(dut)
    await bench.begin()
    seen, named = set(), set()
    for pair in pairs(bench.config):
        on_time, early = edge_of(pair, bench.cycle + START)
        said = await bench.compare(on_time, str(pair))
        assert (on_time[1].cycle, pair.rule.index) not in said
        _, early = edge_of(pair, bench.cycle + START)
        said = await bench.compare(early, f"{pair}, one early")
        codes = dict(said)
        assert early[1].cycle in codes, f"{pair}: one cycle early, and nothing is said"
        # Of several broken rules the one with the lowest number is reported.
        assert codes[early[1].cycle] <= pair.rule.index
        seen.add(pair.rule.index)
        if codes[early[1].cycle] == pair.rule.index:
            named.add(pair.rule.index)
    # One cycle between commands of one slot: nothing can come too early.
    trivial = {rule.index for rule in bench.config.timing.rules if rule.cycles == 1}
    assert seen | trivial >= _rules(bench.config), f"not driven: {_rules(bench.config) - seen - trivial}"
    hidden = seen - named
    cocotb.log.info(
        "named: %d of %d; always behind another: %s",
        len(named),
        len(seen),
        ", ".join(map(describe, sorted(hidden))),
    )
    assert len(named) > 0.7 * len(seen)
