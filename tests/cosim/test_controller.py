"""One PIM memory controller before a golden channel."""

from __future__ import annotations

import pytest

from tests.cosim.conftest import Bench

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize("timing", ["ianus_ck", "aim_simulator"])
@pytest.mark.parametrize("test", ["normal_traffic", "row_hits_stream", "macros", "abort"])
def test_controller(test: str, timing: str, bench: Bench) -> None:
    bench("controller", "controller", test, timing=timing)


@pytest.mark.parametrize("test", ["normal_traffic", "macros_beside_traffic", "abort"])
def test_dual_row_buffers(test: str, bench: Bench) -> None:
    bench("controller", "controller", test, name="tiny_dual")


@pytest.mark.long
@pytest.mark.parametrize("timing", ["ianus_ck", "aim_simulator"])
def test_groups_of_banks(timing: str, bench: Bench) -> None:
    """Four, with distances of their own between them."""
    bench("controller", "controller_refresh", "mixture", timing=timing, name="ianus_refpb")


@pytest.mark.long
def test_groups_of_banks_with_dual_row_buffers(bench: Bench) -> None:
    bench("controller", "controller", "macros_beside_traffic", name="ianus_dual")


@pytest.mark.parametrize("timing", ["ianus_ck", "aim_simulator"])
@pytest.mark.parametrize(
    "test", ["write_behind_writes", "read_behind_writes", "write_behind_reads", "write_beside_reads"]
)
def test_age(test: str, timing: str, bench: Bench) -> None:
    bench("controller", "controller_age", test, timing=timing)


@pytest.mark.parametrize(
    ("module", "test"),
    [
        ("controller", "macros"),
        ("controller", "abort"),
        ("controller", "row_hits_stream"),
        ("controller_age", "write_beside_reads"),
    ],
)
def test_short_queue(module: str, test: str, bench: Bench) -> None:
    bench("controller", module, test, name="ulx3s")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tiny_refpb"])
@pytest.mark.parametrize("test", ["postponed_under_load", "pulled_in_at_rest", "mixture"])
def test_refresh(test: str, name: str, bench: Bench) -> None:
    bench("controller", "controller_refresh", test, name=name)


@pytest.mark.parametrize("name", ["tiny", "tiny_refpb", "tiny_dual"])
def test_refresh_turned_on_late(name: str, bench: Bench) -> None:
    bench("controller", "controller_refresh", "turned_on_late", name=name)


@pytest.mark.slow
def test_refresh_of_banks_in_register_mode(bench: Bench) -> None:
    bench("controller", "controller_refresh", "mixture", timing="aim_simulator", name="tiny_refpb")


@pytest.mark.parametrize("name", ["tiny", "tiny_refpb", "tiny_dual"])
@pytest.mark.parametrize("test", ["owed_when_a_macro_begins", "pulled_in_before_macros"])
def test_refresh_before_macros(test: str, name: str, bench: Bench) -> None:
    bench("controller", "controller_refresh_macros", test, name=name)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["owed_when_a_macro_begins", "pulled_in_before_macros"])
def test_refresh_before_macros_in_register_mode(test: str, bench: Bench) -> None:
    bench("controller", "controller_refresh_macros", test, timing="aim_simulator", name="tiny_refpb")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["tiny", "tiny_refpb"])
def test_refresh_in_macros(name: str, bench: Bench) -> None:
    bench("controller", "controller_refresh_macros", "one_an_interval_in_macros", name=name)


@pytest.mark.slow
def test_other_banks_go_on(bench: Bench) -> None:
    bench("controller", "controller_refresh", "other_banks_go_on", name="tiny_refpb")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ianus", "ianus_refpb"])
def test_rate_with_refresh(name: str, bench: Bench) -> None:
    bench("controller", "controller_refresh", "streaming_reads", name=name)


@pytest.mark.slow
@pytest.mark.parametrize("test", ["streaming_reads", "streaming_writes", "random_reads", "mixed_hits"])
def test_rate(test: str, bench: Bench) -> None:
    bench("controller", "controller_rate", test, name="ianus")
