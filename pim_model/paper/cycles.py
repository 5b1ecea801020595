# Ref: IANUS (ASPLOS 2024), sections 4.1 and 5; GDDR6-AiM notes, "Timing"
"""Tier 1: cycles of the memory. The closed form that they come from equals the golden schedule, and that the RTL."""

from __future__ import annotations

from functools import cache

from pim_model.npu.closed_form import ClosedForm
from pim_model.npu.pim_time import GoldenTime
from pim_model.paper.bench import GPT2, IANUS, Bench
from pim_model.paper.claim import Claim
from pim_model.schedule import place
from pim_model.spec.config import config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp
from pim_model.spec.models import MODELS

__all__ = ["CLAIMS", "fc_shapes"]

PRINTED = "ianus_printed"


@cache
def _closed(timing: str) -> ClosedForm:
    return ClosedForm(config("ianus", timing))


def fc_shapes(name: str) -> list[tuple[int, int, bool]]:
    """(rows, columns, activation) of a model's macros: a head of four cores, three layers, the language model head."""
    model = MODELS[name]
    return [
        (4 * model.head_dim, model.width, False),
        (model.width, model.width, False),
        (model.inner, model.width, True),
        (model.width, model.inner, False),
        (model.vocabulary, model.width, False),
    ]


def _tile(timing: str) -> float:
    """Cycles from one full tile to the next."""
    closed = _closed(timing)
    return closed.cycles(128 * 9, 1024) - closed.cycles(128 * 8, 1024)


def _table_turn() -> float:
    """Cycles that activation adds to a pair of groups, a group."""
    closed = _closed(PRINTED)
    pairs = [closed.cycles(256 * n, 1024, True) - closed.cycles(256 * n, 1024) for n in (8, 9)]
    return (pairs[1] - pairs[0]) / 2


def _differing(bench: Bench) -> int:
    """FC shapes of the GPT-2s, with and without refresh, in which closed form and golden schedule differ."""
    del bench
    found = 0
    for timing in ("ianus_ck", PRINTED):
        golden = GoldenTime(config("ianus", timing))
        for name in ("gpt2-base", *GPT2):
            for shape in fc_shapes(name):
                for due in (None, 777):
                    found += _closed(timing).cost(*shape, due) != golden.cost(*shape, due)
    return found


def _block_cycles(name: str) -> int:
    """PIM cycles of a block's weights, without GELU, query, key and value of all heads as one product."""
    model, closed = MODELS[name], _closed("ianus_ck")
    layers = [(3 * model.width, model.width, False), *fc_shapes(name)[1:4]]
    return sum(closed.cycles(rows, columns) for rows, columns, _ in layers)


def _multiplied(rows: int, columns: int) -> int:
    """Cycles to the end of the last MACAB, Table 1 as printed."""
    macro = MatVec(tag=0, rows=rows, columns=columns, weight_row=0, input_offset=0, output_offset=0)
    placed = place(config("ianus", PRINTED), macro)
    return 1 + max(cycle for cycle, _, micro in placed if micro.op is MicroOp.MACAB)


def _rank(bench: Bench) -> str:
    """Models by PIM cycles for each weight of a block, the cheapest first."""
    del bench
    models = [MODELS[name] for name in GPT2]
    cost = {model.name: _block_cycles(model.name) / (model.block_weights / model.blocks) for model in models}
    return " < ".join(
        name.removeprefix("gpt2-").upper() for name in sorted(cost, key=lambda name: cost[name])
    )


def _violations(bench: Bench) -> int:
    """Rules of the command scheduler broken in the runs of this report."""
    bench.token_ms("gpt2-xl", IANUS, 64, 256)
    return bench.study.violations


CLAIMS: list[Claim] = [
    Claim(
        "T1-tile",
        "cycles from full tile to full tile, Table 1 as printed",
        1,
        130,
        lambda _: _tile(PRINTED),
        0.0,
    ),
    Claim(
        "T1-first",
        "cycles of a first tile to its last MACAB, as printed (133 less 33 of pipeline and read latency)",
        1,
        100,
        lambda _: _multiplied(128, 1024),
        0.0,
    ),
    Claim(
        "T1-head",
        "cycles of the query of a head of XL to its last MACAB, as printed (459 less the same 33)",
        1,
        426,
        lambda _: _multiplied(256, 1536),
        0.0,
        note="the paper gives neither latency; this project's are 10 + 6",
    ),
    Claim(
        "T1-table",
        "cycles that GELU adds to a group of outputs, as printed",
        4,
        66.9,
        lambda _: _table_turn(),
        None,
        note="derived with latencies of its own choice; two groups share a visit to the table here",
    ),
    Claim("T1-closed", "FC shapes in which closed form and golden schedule differ", 1, 0, _differing, 0.0),
    Claim(
        "T1-rules",
        "transfers inside a macro, commands lost, deadlocks, in all runs of this report",
        1,
        0,
        _violations,
        0.0,
    ),
    Claim("C48-rank", "PIM cycles for each weight of a block", 1, "M < 2.5B < XL < L", _rank, 0.0),
]
