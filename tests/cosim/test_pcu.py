"""The PIM control unit between random macros and golden channels."""

from __future__ import annotations

import pytest

from tests.cosim.conftest import Bench

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize("test", ["macros", "each_status", "borders", "completions_wait"])
def test_pcu(test: str, bench: Bench) -> None:
    bench("pcu", "pcu", test)
