"""The build of a bitstream around its tools: what is built when, what counts as good, what a failed tool leaves."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth_boards", reason="the extra `fpga` is not installed (no amaranth-boards)")

import fpga.build
import fpga.tools
from fpga.boards import Board, board
from fpga.errors import BuildFailed, FpgaUnavailable, TimingNotMet
from fpga.report import read_report
from host_runtime.cli import run
from pim_model.spec.config import config

BOARD = board("ulx3s")


def report(achieved: float = 30.0, **changes: Any) -> dict[str, Any]:
    """As nextpnr-ecp5 writes it."""
    used = {"TRELLIS_COMB": 60000, "TRELLIS_FF": 20000, "DP16KD": 168, "MULT18X18D": 68, "TRELLIS_IO": 5}
    return {
        "fmax": {"$glbnet$clk": {"achieved": achieved, "constraint": 25.0}},
        "utilization": {name: {"used": count, "available": 10 * count} for name, count in used.items()},
    } | changes


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Stand-ins for the tools: each writes what it is asked for; ``report`` is what the router reports."""
    told: dict[str, Any] = {"ran": [], "report": report(), "fails": None}

    def run(
        tool: str, arguments: Sequence[str], work: Path, outputs: Sequence[str], tick: Callable[[str], None]
    ) -> None:
        told["ran"].append(tool)
        tick(f"{tool} at work")
        (work / f"{tool}.log").write_text("log")
        if told["fails"] == tool:
            raise BuildFailed(f"{tool} ended with exit code 1", work / f"{tool}.log")
        for output in outputs:
            content = json.dumps(told["report"]) if output == "report.json" else " ".join(arguments)
            (work / output).write_text(content)

    monkeypatch.setenv("IANUS_BUILD", str(tmp_path))
    monkeypatch.setattr(fpga.build, "run", run)
    monkeypatch.setattr(fpga.build, "versions", lambda: "tools 1")
    monkeypatch.setattr(fpga.build, "design", lambda _board, identity="0": f"design {identity}")
    return told


def quiet(_step: str, _line: str) -> None:
    pass


def test_a_good_build_is_made_once(tools: dict[str, Any]) -> None:
    steps: list[str] = []
    first = fpga.build.build(BOARD, lambda step, _line: steps.append(step))
    assert tools["ran"] == ["yosys", "nextpnr-ecp5", "ecppack"]
    assert steps == ["elaborate", "synthesise", "place and route", "pack"]
    assert first.bitstream.is_file()
    assert first.report.slack_ns == pytest.approx(40 - 100 / 3)
    synthesised = first.directory.with_name(f"netlist-ulx3s-{first.identity}")
    assert (synthesised / "top.il").read_text() == f"design {first.identity}"
    assert fpga.build.netlist(BOARD, quiet) == synthesised / "top.json"
    assert (first.directory / "top.lpf").read_text() == BOARD.constraints()
    assert json.loads((first.directory / "build.json").read_text())["digest"] == first.identity
    second = fpga.build.build(BOARD, quiet)
    assert (second.identity, second.directory, second.report) == (
        first.identity,
        first.directory,
        first.report,
    )
    assert len(tools["ran"]) == 3


def test_negative_slack_makes_no_bitstream(tools: dict[str, Any]) -> None:
    tools["report"] = report(achieved=24.99)
    with pytest.raises(
        TimingNotMet, match=r"reaches 24\.99 MHz, not 25\.00: slack -0\.02 ns; see "
    ) as caught:
        fpga.build.build(BOARD, quiet)
    assert caught.value.log.is_file()
    assert "ecppack" not in tools["ran"]
    assert not list(caught.value.log.parent.parent.rglob("top.bit"))
    assert tools["ran"] == ["yosys", "nextpnr-ecp5"]
    tools["report"] = report()  # and the next attempt is one
    assert fpga.build.build(BOARD, quiet).bitstream.is_file()
    assert tools["ran"].count("yosys") == 1  # what was synthesised stays


def test_the_command_tells_of_negative_slack(
    tools: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    tools["report"] = report(achieved=20.0)
    assert run(["fpga", "build", "--board", "ulx3s"]) == 1
    said = capsys.readouterr()
    assert "reaches 20.00 MHz, not 25.00: slack -10.00 ns" in said.err
    assert "bitstream" not in said.out


def test_the_command_reports(tools: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fpga", "build", "--board", "ulx3s", "--json", "-"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["luts"], said["block_rams"], said["multipliers"]) == (60000, 168, 68)
    assert said["fmax_mhz"] == 30.0
    assert Path(said["bitstream"]).is_file()
    assert said["digest"] in said["bitstream"]


@pytest.mark.parametrize("tool", ["yosys", "nextpnr-ecp5", "ecppack"])
def test_a_failed_tool_leaves_its_log(tools: dict[str, Any], tool: str) -> None:
    tools["fails"] = tool
    with pytest.raises(BuildFailed, match=rf"^{tool} ended with exit code 1; see ") as caught:
        fpga.build.build(BOARD, quiet)
    assert caught.value.log.is_file()


def test_the_digest_is_of_all_that_decides_the_bits(
    tools: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = {fpga.build.identity(BOARD, "design")}
    assert seen == {fpga.build.identity(replace(BOARD), "design")}
    changed: list[tuple[Board, str]] = [
        (BOARD, "another design"),
        (replace(BOARD, config="tiny"), "design"),
        (replace(BOARD, oscillator_hz=12_500_000), "design"),
        (replace(BOARD, pins=BOARD.pins | {"rx": ("M2", {})}), "design"),
        (replace(BOARD, speed="7"), "design"),
    ]
    for target, text in changed:
        seen.add(fpga.build.identity(target, text))
    monkeypatch.setattr(fpga.build, "SYNTHESIS", "another script")
    seen.add(fpga.build.identity(BOARD, "design"))
    monkeypatch.setattr(fpga.build, "versions", lambda: "tools 2")
    seen.add(fpga.build.identity(BOARD, "design"))
    assert len(seen) == 3 + len(changed)
    assert all(len(each) == 16 and int(each, 16) for each in seen)


def test_the_design_holds_its_digest() -> None:
    text = fpga.build.design(replace(BOARD, config="tiny"), "123456789abcdef0")
    for word in (0x12345678, 0x9ABCDEF0):
        assert f"32'{word:032b}" in text, f"{word:#x} is not in the design"


def test_constraints_are_those_of_the_board() -> None:
    # Ref: ULX3S schematic v3.0.8: oscillator G2, FTDI's TXD to M1, L4 to its RXD, LEDs B2 and C2
    text = BOARD.constraints()
    for port, pin in {"clk": "G2", "rx": "M1", "tx": "L4", "irq": "B2", "alive": "C2"}.items():
        assert f'LOCATE COMP "{port}" SITE "{pin}";' in text
    assert 'FREQUENCY PORT "clk" 25000000 HZ;' in text
    assert text.count("IO_TYPE=LVCMOS33") == 5
    assert BOARD.baud == 1_000_000
    assert (BOARD.clock_hz, BOARD.clock_hz % BOARD.baud) == (10_000_000, 0)
    # Ref: FPGA-DS-02012, sysCLOCK PLL timing: phase detector from 3.125 MHz on, oscillator 400 to 800 MHz
    assert BOARD.oscillator_hz / BOARD.pll.input >= 3.125e6
    assert 400e6 <= BOARD.clock_hz * BOARD.pll.output <= 800e6
    assert (BOARD.device, BOARD.package, BOARD.speed) == ("85k", "CABGA381", "6")


def test_the_configuration_fits_the_multipliers_and_memory() -> None:
    geometry = config(BOARD.config).geometry
    assert 16 * geometry.outputs <= BOARD.multipliers
    assert 8 * geometry.memory_bytes <= BOARD.block_rams * 16 * 1024


def test_of_several_clocks_the_one_with_least_to_spare_counts(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    spare = {"achieved": 400.0, "constraint": 10.0}
    for name, achieved, good in (("fast", 101.0, True), ("slow", 99.0, False)):
        clocks = {"other": spare, name: {"achieved": achieved, "constraint": 100.0}}
        path.write_text(json.dumps(report(fmax=clocks)))
        found = read_report(path)
        assert (found.clock_mhz, found.fmax_mhz, found.good) == (100.0, achieved, good)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (report(fmax={}), r"must report a clock$"),
        (report(utilization={"TRELLIS_COMB": {"used": 1}}), r"must report TRELLIS_FF, DP16KD, MULT18X18D$"),
    ],
)
def test_a_report_that_says_too_little_is_refused(
    tmp_path: Path, content: dict[str, Any], message: str
) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message):
        read_report(path)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit(3)", r"^yosys ended with exit code 3; see .*yosys\.log$"),
        ("pass", r"^yosys ended without writing out; see .*yosys\.log$"),
    ],
)
def test_a_tool_that_ends_half_way_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, message: str
) -> None:
    monkeypatch.setitem(fpga.tools._ENTRY, "yosys", code)
    (tmp_path / "out").write_text("of an earlier run")
    with pytest.raises(BuildFailed, match=message):
        fpga.tools.run("yosys", [], tmp_path, ["out"], lambda _line: None)


def test_a_missing_tool_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fpga.tools, "PACKAGES", ("no-such-package",))
    with pytest.raises(FpgaUnavailable, match=r"^no-such-package is not installed: install the fpga extra"):
        fpga.tools.versions()
    with pytest.raises(ValueError, match=r"^board must be one of ulx3s, not 'none'$"):
        board("none")
