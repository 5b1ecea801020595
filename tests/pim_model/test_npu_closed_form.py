"""The closed form of PIM time is the golden schedule, cycle for cycle."""

from __future__ import annotations

import numpy as np
import pytest

from pim_model.npu.closed_form import ClosedForm
from pim_model.npu.pim_time import GoldenTime
from pim_model.spec.config import config
from pim_model.spec.models import MODELS
from pim_model.spec.timing import TIMINGS

GPT2 = [name for name in MODELS if name.startswith("gpt2")]


def shapes(name: str) -> set[tuple[int, int, bool]]:
    """(rows, columns, activation) of every macro that a token of a model needs on four cores."""
    model = MODELS[name]
    found = {(4 * model.head_dim, model.width, False), (model.vocabulary, model.width, False)}
    for layer, (rows, columns) in model.fully_connected.items():
        found |= {(rows, columns, layer == "expand")}
    for length in (65, 192, 320, 512):
        found |= {(4 * length, model.head_dim, False), (4 * model.head_dim, length, False)}
    return found


def agree(name: str, timing: str, cases: list[tuple[int, int, bool, int | None]]) -> None:
    closed, golden = ClosedForm(config(name, timing)), GoldenTime(config(name, timing))
    assert cases
    for case in cases:
        assert closed.cost(*case) == golden.cost(*case), f"rows, columns, activation, refresh due: {case}"


@pytest.mark.parametrize("timing", TIMINGS)
@pytest.mark.parametrize("model", GPT2)
def test_every_fc_shape(model: str, timing: str, rng: np.random.Generator) -> None:
    cases: list[tuple[int, int, bool, int | None]] = []
    for rows, columns, activation in sorted(shapes(model)):
        dues = [None, *(int(due) for due in rng.integers(-200, 2000, 2))]
        cases += [(rows, columns, activation, due) for due in dues]
    agree("ianus", timing, cases)


@pytest.mark.parametrize("timing", TIMINGS)
@pytest.mark.parametrize(("name", "largest"), [("ianus", (2000, 4000)), ("tiny", (90, 900))])
def test_random_shapes(name: str, largest: tuple[int, int], timing: str, rng: np.random.Generator) -> None:
    cases: list[tuple[int, int, bool, int | None]] = []
    for _ in range(100):
        rows, columns = (int(rng.integers(1, limit)) for limit in largest)
        activation = bool(rng.integers(2))
        cases.append((rows, columns, activation, None))
        cases.append((rows, columns, activation, int(rng.integers(-300, 5000))))
    agree(name, timing, cases)


def test_dual_row_buffers(rng: np.random.Generator) -> None:
    cases: list[tuple[int, int, bool, int | None]] = []
    for _ in range(50):
        rows, columns = int(rng.integers(1, 2000)), int(rng.integers(1, 4000))
        cases.append((rows, columns, bool(rng.integers(2)), int(rng.integers(0, 5000))))
    agree("ianus_dual", "ianus_ck", cases)


def test_figures_worked_out_by_hand() -> None:
    """113 cycles a full row: 18 to the first MACAB, 63 to the last, 17 to the precharge, 15 to the next row."""
    closed = ClosedForm(config("ianus", "ianus_ck"))
    row = 18 + 63 + 17 + 15
    # After the last MACAB: ten stages, then six cycles of read latency and burst, and the cycle itself.
    tail = 18 + 63 + max(10 + 6, 17) + 1
    assert closed.cycles(1280, 1024) == 9 * row + tail
    assert closed.cycles(128, 1024, False, 0) == 120 + tail, "a refresh goes first"
