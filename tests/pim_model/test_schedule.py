"""The golden schedule: legal, earliest, and with the published row periods."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest

from pim_model.checker import Checker
from pim_model.schedule import macro_cycles, place
from pim_model.spec.config import Config, config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.timing import TIMINGS
from tests.pim_model.streams import place_by_checker


def matvec(
    rows: int,
    columns: int,
    tokens: int = 1,
    function: int | None = None,
    kv_rows: tuple[int, int] | None = None,
) -> MatVec:
    return MatVec(
        tag=0,
        rows=rows,
        columns=columns,
        tokens=tokens,
        weight_row=1,
        input_offset=0,
        output_offset=0,
        function=function,
        kv_rows=kv_rows,
    )


SHAPES = [
    ("tiny", 1, 1, 1, None),
    ("tiny", 30, 128, 2, None),
    ("tiny", 20, 300, 2, None),
    ("tiny", 20, 300, 3, 1),
    ("tiny", 17, 20, 3, 0),
    ("tiny", 200, 128, 2, None),
    ("ianus", 300, 1024, 2, 0),
    ("ianus", 140, 1100, 2, None),
    ("ianus", 128, 2500, 1, 2),
    ("tiny", 1, 1, 4, None),
    ("tiny", 8, 128, 5, None),
    ("tiny", 8, 300, 3, None),
    ("tiny", 24, 128, 5, 2),
    ("tiny", 40, 17, 1, 2),
    ("tiny", 33, 513, 4, None),
    ("ianus", 400, 1300, 3, None),
    ("ianus", 400, 1300, 3, 4),
]


@pytest.mark.parametrize("refresh_due", [None, 0, 37, 400])
@pytest.mark.parametrize(("name", "rows", "columns", "tokens", "function"), SHAPES)
@pytest.mark.parametrize("timing_name", TIMINGS)
def test_each_command_stands_at_its_earliest_cycle(
    timing_name: str,
    name: str,
    rows: int,
    columns: int,
    tokens: int,
    function: int | None,
    refresh_due: int | None,
) -> None:
    preset = config(name, timing_name)
    check_earliest(preset, matvec(rows, columns, tokens, function), refresh_due)


def check_earliest(preset: Config, macro: MatVec, refresh_due: int | None) -> None:
    expected = place_by_checker(preset, macro, refresh_due)
    placed = place(preset, macro, refresh_due)
    assert placed == expected
    cost = macro_cycles(preset, macro, refresh_due)
    assert cost.commands == Counter(micro.op for _, _, micro in expected)
    latency = max(1, preset.timing.cycles("RLREG + BL"))
    ends = [cycle + (latency if micro.op in (Op.RDMAC, Op.RDAF) else 0) for cycle, _, micro in expected]
    assert cost.cycles == 1 + max(ends)


@pytest.mark.parametrize("refresh_due", [None, 37])
@pytest.mark.parametrize(
    ("rows", "columns", "tokens", "function"),
    [(1, 1, 1, None), (8, 128, 2, None), (13, 300, 1, 1), (20, 100, 3, None), (20, 300, 3, 0)],
)
@pytest.mark.parametrize("timing_name", TIMINGS)
def test_each_command_of_a_qkv_too(
    timing_name: str, rows: int, columns: int, tokens: int, function: int | None, refresh_due: int | None
) -> None:
    macro = matvec(rows, columns, tokens, function, kv_rows=(40, 20))
    check_earliest(config("tiny", timing_name), macro, refresh_due)


@pytest.mark.parametrize("tiles", [1, 4])
@pytest.mark.parametrize(("timing_name", "period"), [("ianus_ck", 113), ("ianus_printed", 130)])
def test_row_period_of_a_full_row_stream(timing_name: str, period: int, tiles: int) -> None:
    preset = config("ianus", timing_name)
    opened = [c for c, _, micro in place(preset, matvec(128 * 12, 1024 * tiles)) if micro.op is Op.ACTAB]
    assert {b - a for a, b in pairwise(opened)} == {period}
    # The paper's "approximately 2.4 TB/s" is for eight channels of 16 banks: 128 x 2 KB a period.
    bandwidth = 128 * 2048 / (period * preset.timing.cycle_ns)
    assert bandwidth == pytest.approx({113: 2320, 130: 2016}[period], abs=1)


@pytest.mark.parametrize(
    ("timing_name", "row", "reload", "results"),
    [
        # In cycles of one CK: ACTAB to MACAB 56 + 63 more, 2 each, + to PREA 12, then + to ACTAB 32, or + TMOD_IN 2
        # + to WRGB 32 + 63 more, 2 each, + to TMOD_OUT 3 + to ACTAB 32; between pairs of groups RDMAC, 2 to another,
        # 5 to WRBIAS, 2 to another, 2 to WRGB.
        ("aim_simulator", 226, 389, 2 + 5 + 2 + 2),
        # In cycles of two: 18 + 63 + 17, then 15, or 1 + 17 + 63 + 4 + 4; between pairs RDMAC, 1 to another, 5 to
        # WRBIAS, 1 to another, 1 to WRGB.
        ("fpga_controller", 113, 187, 1 + 5 + 1 + 1),
    ],
)
def test_reloading_the_buffer_in_register_mode_costs_bandwidth(
    timing_name: str, row: int, reload: int, results: int
) -> None:
    preset = config("ianus", timing_name)
    opened = [c for c, _, micro in place(preset, matvec(128 * 6, 4096)) if micro.op is Op.ACTAB]
    gaps = [b - a for a, b in pairwise(opened)]
    assert gaps == [*([row, reload] * 3), row, reload + results] * 2 + [*([row, reload] * 3), row]


def test_schedule_is_legal_with_refreshes_over_a_long_macro() -> None:
    for timing_name in TIMINGS:
        preset = config("ianus", timing_name)
        checker = Checker(preset, strict=True)
        refreshes = []
        for cycle, slot, micro in place(preset, matvec(50257, 768), 1000):
            checker.issue(cycle, slot, micro)
            if micro.op is Op.REFAB:
                refreshes.append(cycle)
        interval = {"aim_simulator": 3800}.get(timing_name, 1900)
        due = [1000 + interval * number for number in range(len(refreshes))]
        late = [cycle - at for cycle, at in zip(refreshes, due, strict=True)]
        assert min(late) >= 0
        assert max(late) * preset.timing.cycle_ns < 200, "a refresh waited for longer than one row"


def test_a_cycle_of_one_ck_takes_one_command() -> None:
    preset = config("ianus", "aim_simulator")
    for shape in ((300, 2500, 2, 0), (300, 1024, 3, None)):
        cycles = [cycle for cycle, _, _ in place(preset, matvec(*shape), 500)]
        assert len(set(cycles)) == len(cycles) > 500


def test_cost_without_a_due_refresh_is_the_plain_one() -> None:
    preset = config("ianus")
    macro = matvec(128, 1024)
    plain = macro_cycles(preset, macro)
    assert macro_cycles(preset, macro, plain.cycles) == plain
    assert macro_cycles(preset, macro, 0).cycles == plain.cycles + 120
    assert plain.commands == {Op.ACTAB: 1, Op.MACAB: 64, Op.PREA: 1, Op.WRBIAS: 1, Op.WRGB: 64, Op.RDMAC: 1}


def test_cost_of_a_macro_with_several_refreshes_is_that_of_its_commands() -> None:
    """Where the last refresh just goes before the last row, and just does not: elsewhere its place costs nothing."""
    preset = config("tiny")
    macro = matvec(40, 256, 20)
    arrival = max(1, preset.timing.cycles("RLREG + BL"))
    refreshes = [macro_cycles(preset, macro, phase).commands[Op.REFAB] for phase in range(1900)]
    edges = [phase for phase in range(1, 1900) if refreshes[phase] != refreshes[phase - 1]]
    assert edges
    assert min(refreshes) >= 2
    for phase in {phase for edge in edges for phase in (edge - 1, edge)}:
        placed, cost = place(preset, macro, phase), macro_cycles(preset, macro, phase)
        ends = [c + 1 + (arrival if micro.op is Op.RDMAC else 0) for c, _, micro in placed]
        assert cost.cycles == max(ends)
        assert cost.commands[Op.REFAB] == sum(micro.op is Op.REFAB for _, _, micro in placed)
