"""The rule for the order of a MATVEC chooses what the golden schedule finds shortest, and no order changes a bit."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import product

import pytest

from pim_model.lowering import Lowering
from pim_model.schedule import macro_cycles
from pim_model.spec.config import Config, config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.order import Order, best_order
from pim_model.spec.timing import TIMINGS

ORDERS = [Order(tokens, groups) for tokens, groups in product((0, 1), (0, 1))]
STAYING = [Order(tokens, 0, 1) for tokens in (0, 1)]
GROUPS = (1, 2, 3, 5)
TOKENS = (1, 2, 3, 4, 7)


def widths(preset: Config) -> tuple[int, ...]:
    """Columns of one tile and of several: hardly any, a lane more, half a row, nearly all, all."""
    row = preset.geometry.elements
    return 1, 16, 17, row // 2, row - 16, row, row + 1, 2 * row, 2 * row + 40, 3 * row, 4 * row + row // 2


def matvec(
    preset: Config, groups: int, columns: int, tokens: int, function: int | None, qkv: bool = False
) -> MatVec:
    return MatVec(
        tag=0,
        rows=groups * preset.geometry.outputs,
        columns=columns,
        tokens=tokens,
        weight_row=0,
        input_offset=0,
        output_offset=0,
        function=function,
        kv_rows=(0, 0) if qkv else None,
    )


@pytest.mark.parametrize("name", ["tiny", "ianus"])
@pytest.mark.parametrize("timing_name", TIMINGS)
@pytest.mark.parametrize("qkv", [False, True], ids=["matvec", "qkv"])
def test_the_rule_is_the_minimum_of_the_golden_schedule(timing_name: str, name: str, qkv: bool) -> None:
    preset = config(name, timing_name)
    chosen: Counter[Order] = Counter()
    for groups, columns, tokens, function in product(GROUPS, widths(preset), TOKENS, (None, 0)):
        macro = matvec(preset, groups, columns, tokens, function, qkv)
        stays = preset.timing.direct and function is None and macro.tiles(preset) == 1
        orders = [*ORDERS, *STAYING] if stays else ORDERS
        cycles = {order: macro_cycles(preset, macro, order=order).cycles for order in orders}
        tiles, activate = macro.tiles(preset), int(function is not None)
        rule = best_order(preset.timing.direct, 3 * groups if qkv else groups, tiles, activate)
        assert macro_cycles(preset, macro).cycles == cycles[rule] == min(cycles.values()), (macro, cycles)
        if len(set(cycles.values())) > 1:
            chosen[rule] += 1
    # Register mode: a QKV never has a single group. Direct: with activation, of one tile without, of several.
    cases = 3 if preset.timing.direct else 1 if qkv else 2
    assert len(chosen) == cases, "each case of the rule makes a difference somewhere"


@pytest.mark.parametrize("timing_name", TIMINGS)
def test_three_matrices_cost_what_one_of_three_times_the_groups_does(timing_name: str) -> None:
    """No cycle for the border of two matrices; in register mode fewer visits than the three apart."""
    preset = config("ianus", timing_name)
    for groups, columns, tokens, function in product(GROUPS, widths(preset), TOKENS[:3], (None, 0)):
        qkv = macro_cycles(preset, matvec(preset, groups, columns, tokens, function, True))
        assert qkv == macro_cycles(preset, matvec(preset, 3 * groups, columns, tokens, function))
        alone = macro_cycles(preset, matvec(preset, groups, columns, tokens, function))
        if not preset.timing.direct:
            assert qkv.cycles < 3 * alone.cycles
            assert qkv.commands[Op.TMOD_IN] < 3 * alone.commands[Op.TMOD_IN]


@pytest.mark.parametrize("timing_name", ["ianus_ck", "ianus_printed"])
def test_direct_access_gains_by_pairs_for_every_shape(timing_name: str) -> None:
    preset = config("ianus", timing_name)
    for groups, columns, tokens, function in product(GROUPS, widths(preset), TOKENS[1:], (None, 0)):
        macro = matvec(preset, groups, columns, tokens, function)
        alone = macro_cycles(preset, macro, order=Order(0, 0)).cycles
        assert macro_cycles(preset, macro).cycles < alone, macro


@pytest.mark.parametrize("timing_name", ["aim_simulator", "fpga_controller"])
def test_register_mode_gains_by_pairs_of_groups(timing_name: str) -> None:
    preset = config("ianus", timing_name)
    for groups, columns, function in product(GROUPS[1:], widths(preset), (None, 0)):
        macro = matvec(preset, groups, columns, 1, function)
        alone = macro_cycles(preset, macro, order=Order(0, 0))
        best = macro_cycles(preset, macro)
        assert best.cycles < alone.cycles, macro
        saved = groups // 2 * (macro.tiles(preset) - (function is not None))
        assert alone.commands[Op.TMOD_IN] - best.commands[Op.TMOD_IN] == saved


@pytest.mark.parametrize(("timing_name", "period"), [("ianus_ck", 177), ("ianus_printed", 194)])
def test_a_pair_of_tokens_costs_a_row_and_its_macs(timing_name: str, period: int) -> None:
    """Each full row is opened once, with 64 MACABs more for the second token: 113 + 64, 130 + 64."""
    preset = config("ianus", timing_name)
    macro = matvec(preset, 12, 3 * 1024, 3, None)
    cycles = [macro_cycles(preset, replace(macro, tokens=tokens)).cycles for tokens in (3, 5)]
    assert cycles[1] - cycles[0] == 12 * 3 * period


@pytest.mark.parametrize(("timing_name", "period"), [("ianus_ck", 147), ("ianus_printed", 147)])
def test_a_row_that_stays_open_costs_the_way_from_sums_to_biases(timing_name: str, period: int) -> None:
    """The 128 MACABs of two tokens take 127 cycles; then to RDMAC 10, 1 to another, to WRBIAS 5, 1 to another, 1 to
    WRGB, to MACAB 2: no row is closed."""
    preset = config("ianus", timing_name)
    macro = matvec(preset, 12, 1024, 3, None)
    costs = [macro_cycles(preset, replace(macro, tokens=tokens)) for tokens in (4, 20)]
    assert costs[1].cycles - costs[0].cycles == 12 * 8 * period
    assert [cost.commands[Op.ACTAB] for cost in costs] == [12, 12]
    refreshed = macro_cycles(preset, replace(macro, tokens=20), 500).commands
    assert 12 < refreshed[Op.ACTAB] == refreshed[Op.PREA] <= 12 + refreshed[Op.REFAB]


def test_passes_of_known_macros() -> None:
    tiny = config("tiny")
    macro = matvec(tiny, 3, 100, 3, None)
    assert [[tuple(lane) for lane in lanes] for lanes in Lowering(tiny, macro).passes()] == [
        lanes for group in range(3) for lanes in ([(0, group), (1, group)], [(2, group)])
    ]
    several = replace(macro, columns=200)
    assert [[tuple(lane) for lane in lanes] for lanes in Lowering(tiny, several).passes()] == [
        *([(0, group), (1, group)] for group in range(3)),
        *([(2, group)] for group in range(3)),
    ]
    qkv = Lowering(tiny, replace(macro, tokens=1, function=1, kv_rows=(20, 40)))
    lanes = [[(0, 0), (0, 1)], [(0, 2), (0, 3)], [(0, 4), (0, 5)], [(0, 6), (0, 7)], [(0, 8)]]
    assert [[tuple(lane) for lane in each] for each in qkv.passes()] == lanes
    rows = [qkv.row(run) for each in qkv.passes() for run in qkv.runs(each) if run.columns]
    assert rows == [0, 1, 2, 20, 21, 22, 40, 41, 42], "the second pair goes across a border"
    activated = Lowering(tiny, replace(macro, function=1, tokens=1))
    assert [[tuple(lane) for lane in lanes] for lanes in activated.passes()] == [[(0, 0), (0, 1)], [(0, 2)]]
    mode = Lowering(config("tiny", "aim_simulator"), replace(macro, tokens=2))
    assert [[tuple(lane) for lane in lanes] for lanes in mode.passes()] == [
        pass_ for token in range(2) for pass_ in ([(token, 0), (token, 1)], [(token, 2)])
    ]
