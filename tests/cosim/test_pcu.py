"""The PIM control unit between random macros and golden channels."""

from __future__ import annotations

import pytest

from tests.cosim.bench import bench

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize("test", ["macros", "each_status", "completions_wait"])
def test_pcu(test: str, seed: int) -> None:
    bench("pcu", "pcu", test, timing="ianus_ck", seed=seed)
