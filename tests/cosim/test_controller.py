"""One PIM memory controller before a golden channel."""

from __future__ import annotations

import pytest

from tests.cosim.bench import bench

pytestmark = pytest.mark.cosim


@pytest.mark.parametrize("timing", ["ianus_ck", "aim_simulator"])
@pytest.mark.parametrize("test", ["normal_traffic", "row_hits_stream", "macros", "abort"])
def test_controller(test: str, timing: str, seed: int) -> None:
    bench("controller", "controller", test, timing=timing, seed=seed)
