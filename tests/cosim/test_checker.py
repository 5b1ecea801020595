"""The RTL checker: every rule on its edge, every state code, random streams against the golden checker."""

from __future__ import annotations

import pytest

from tests.cosim.conftest import Bench

pytestmark = pytest.mark.cosim

TIMINGS = pytest.mark.parametrize("timing", ["ianus_ck", "aim_simulator"])

# Four bank groups and full rows: with one group, tWTRL hides tWTRS and tRRDL tRRDS.
CONFIG = "ianus"


@TIMINGS
@pytest.mark.parametrize("test", ["legal_edges", "bare_edges"])
def test_rules(test: str, timing: str, bench: Bench) -> None:
    bench("checker", "checker_rules", test, timing=timing, name=CONFIG)


@TIMINGS
@pytest.mark.parametrize(
    "test",
    [
        "forbidden_sequences",
        "allowed_sequences",
        "neighbour_edges",
        "mixed_rows",
        "activation_window",
        "command_bus",
        "operands",
        "refresh_deadline",
        "refresh_window",
        "register_command_in_slot_0",
        "judges_after_reset",
    ],
)
def test_states(test: str, timing: str, bench: Bench) -> None:
    bench("checker", "checker_states", test, timing=timing, name=CONFIG)


@pytest.mark.parametrize("test", ["legal_edges", "bare_edges"])
def test_rules_of_dual_row_buffers(test: str, bench: Bench) -> None:
    bench("checker", "checker_rules", test, name="ianus_dual")


@pytest.mark.parametrize(
    "test",
    [
        "forbidden_sequences",
        "allowed_sequences",
        "neighbour_edges",
        "operands",
        "activation_window",
        "refresh_deadline",
    ],
)
def test_states_of_dual_row_buffers(test: str, bench: Bench) -> None:
    bench("checker", "checker_states", test, name="ianus_dual")


def test_random_stream_with_dual_row_buffers(bench: Bench) -> None:
    bench("checker", "checker_stream", "random_stream", name="ianus_dual")


def test_refresh_window_of_each_bank(bench: Bench) -> None:
    bench("checker", "checker_states", "refresh_window", name="ianus_refpb")


@TIMINGS
def test_random_stream(timing: str, bench: Bench) -> None:
    bench("checker", "checker_stream", "random_stream", timing=timing, name=CONFIG)
