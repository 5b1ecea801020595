"""Timing gates with the bank states, refresh timer and decoder, each alone."""

from __future__ import annotations

import pytest

from tests.cosim.conftest import Bench

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize(
    ("name", "timing"),
    [
        ("tiny_refpb", "ianus_ck"),
        ("tiny_refpb", "aim_simulator"),
        ("tiny_dual", "ianus_ck"),
        *(
            pytest.param(name, timing, marks=pytest.mark.long)
            for name, timing in (
                ("tiny_refpb", "ianus_printed"),
                ("tiny_refpb", "fpga_controller"),
                ("ianus_refpb", "ianus_ck"),
                ("ianus_dual", "ianus_printed"),
            )
        ),
    ],
)
def test_gates(name: str, timing: str, bench: Bench) -> None:
    bench("gates", "gates", "open_exactly_when_allowed", name=name, timing=timing)


@pytest.mark.parametrize("name", ["tiny_refpb", "tiny_dual"])
def test_rows_of_banks(name: str, bench: Bench) -> None:
    bench("gates", "gates", "rows", name=name)


@pytest.mark.parametrize("name", ["tiny", "tiny_refpb", pytest.param("ianus_refpb", marks=pytest.mark.long)])
def test_refresh_timer(name: str, bench: Bench) -> None:
    bench("refresh", "refresh", "balances", name=name)


@pytest.mark.parametrize(
    "name", ["tiny", *(pytest.param(name, marks=pytest.mark.long) for name in ("ianus", "ulx3s"))]
)
def test_decoder(name: str, bench: Bench) -> None:
    bench("decoder", "decoder", "macros", name=name)
