"""The plan's Tcl and XDC on a stand-in for Vivado: every command exists, and no bad build gets a bitstream."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

import fpga.vcu118.plan
from fpga.vcu118.plan import Plan, make_plan
from fpga.vcu118.top import Variant
from pim_model.spec.config import Config, config
from tests.fpga.vivado import CHECKS, Fate, Session, interpreter, run_plan

pytestmark = pytest.mark.skipif(
    interpreter() is None, reason="there is no Tcl here: neither tclsh nor tkinter"
)

GOOD = Fate()
BITSTREAM = "vcu118.bit"


def _design(_config: Config, variant: Variant, _progress: object) -> dict[str, str]:
    """Files of the design's names: the scripts do not look into them."""
    files = {"ianus_core.v": "module ianus_core; endmodule\n"}
    return files | ({"aim_device.v": "", "ultra_ram.v": ""} if variant is Variant.SOFT else {})


def _plan(path: Path, monkeypatch: pytest.MonkeyPatch, variant: Variant, phy: Path | None = None) -> Plan:
    monkeypatch.setenv("IANUS_BUILD", str(path / "plans"))
    monkeypatch.setattr(fpga.vcu118.plan, "rtl", _design)
    return make_plan(config("tiny"), variant, lambda _step, _line: None, phy=phy)


@pytest.fixture
def soft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    return _plan(tmp_path, monkeypatch, Variant.SOFT)


def _run(plan: Plan, tmp_path: Path, fate: Fate) -> Session:
    session = run_plan(plan.directory, tmp_path, fate)
    assert (tmp_path / BITSTREAM).is_file() == (not session.error), session.error
    return session


def test_a_good_design_gets_a_bitstream(soft: Plan, tmp_path: Path) -> None:
    session = _run(soft, tmp_path, GOOD)
    assert session.error == ""
    order = [
        event for event in session.events if event.split()[0] in ("launch", "read", "write", "report_drc")
    ]
    assert order == [
        "launch xdma_synth_1", "launch board_clock_synth_1", "launch synth_1", "launch impl_1",
        "read pins.xdc", "read timing.xdc", "report_drc", f"write {BITSTREAM}",
    ]  # fmt: skip
    added = {event.removeprefix("add ") for event in session.events if event.startswith("add ")}
    assert added == {
        "aim_device.v", "ianus_core.v", "ultra_ram.v", "vcu118.v", "pins.xdc", "timing.xdc",
    }  # fmt: skip


def test_every_port_has_its_pin(soft: Plan, tmp_path: Path) -> None:
    placed = _run(soft, tmp_path, GOOD).placed
    assert len(placed) == 2 + 2 + 1 + 4 * 8 + 4
    assert all("PACKAGE_PIN" in each for each in placed.values())
    pins = [each["PACKAGE_PIN"] for each in placed.values()]
    assert len(set(pins)) == len(pins)
    # Transceivers and their clock have no IOSTANDARD; Vivado makes no bitstream if another port lacks one.
    without = {name for name, each in placed.items() if "IOSTANDARD" not in each}
    assert without == {name for name in placed if re.match(r"pcie_(rx|tx|refclk)_", name)}
    # Ref: AMD UG1224: 250 MHz oscillator, PCI Express endpoint connectivity, user LEDs
    for name, pin in {
        "sysclk_250_p": "E12", "pcie_refclk_p": "AC9", "pcie_perst_n": "AM17", "led[0]": "AT32", "led[3]": "BB32",
        "pcie_rx_p[0]": "AA4", "pcie_tx_p[0]": "Y7", "pcie_rx_n[7]": "AH1", "pcie_tx_n[7]": "AN4",
    }.items():  # fmt: skip
        assert placed[name]["PACKAGE_PIN"] == pin


def test_crossings_are_bounded_both_ways(soft: Plan, tmp_path: Path) -> None:
    bounds = [event for event in _run(soft, tmp_path, GOOD).events if event.startswith("bound")]
    host, core = "clock:xdma/axi_aclk", "clock:board_clock/clk_out1"
    assert bounds == [f"bound {host} {core}", f"bound {core} {host}"]


@pytest.mark.parametrize(
    ("fate", "message"),
    [
        (replace(GOOD, setup="-0.001"), "the worst setup slack is -0.001 ns"),
        (replace(GOOD, hold="-0.2"), "the worst hold slack is -0.2 ns"),
        (replace(GOOD, pulses="-0.4"), "pulse widths are violated"),
        (replace(GOOD, failed_nets="3"), "3 nets are not routed"),
        (replace(GOOD, setup="none"), "unconstrained paths: there is no path with a setup requirement"),
        (replace(GOOD, hold="none"), "unconstrained paths: there is no path with a hold requirement"),
        (replace(GOOD, setup="inf?"), r"unconstrained paths: the worst setup slack is 'inf\?'"),
        (replace(GOOD, catalogue=("clk_wiz",)), "No IP matching VLNV 'xilinx.com:ip:xdma"),
        (replace(GOOD, catalogue=("xdma",)), "No IP matching VLNV 'xilinx.com:ip:clk_wiz"),
        (replace(GOOD, locked=("xdma",)), "IP xdma is locked"),
        (replace(GOOD, empty=("device0",)), "nothing is in device0"),
        (replace(GOOD, xdma_synth_1="40%"), "xdma_synth_1 ended with xdma_synth_1 ERROR"),
        (replace(GOOD, synth_1="40%"), "synth_1 ended with synth_1 ERROR"),
        (replace(GOOD, impl_1="40%"), "impl_1 ended with impl_1 ERROR"),
        (replace(GOOD, release="2023.1"), r"the plan is for Vivado 2024\.2, not 2023\.1"),
        (replace(GOOD, checks={}), "check_timing does not tell of no_clock"),
    ],
)
def test_a_bad_design_gets_none(soft: Plan, tmp_path: Path, fate: Fate, message: str) -> None:
    (tmp_path / BITSTREAM).touch()  # of an earlier build
    if fate.release != GOOD.release:
        (tmp_path / BITSTREAM).unlink()
    assert re.search(message, _run(soft, tmp_path, fate).error)


@pytest.mark.parametrize(
    "check",
    [
        "no_clock",
        "unconstrained_internal_endpoints",
        "no_input_delay",
        "no_output_delay",
        "loops",
        "latch_loops",
    ],
)
def test_unconstrained_paths_get_none(soft: Plan, tmp_path: Path, check: str) -> None:
    fate = replace(GOOD, checks=dict.fromkeys(CHECKS, 0) | {check: 2})
    assert f"unconstrained paths: check_timing finds 2 of {check}" in _run(soft, tmp_path, fate).error


def test_an_ip_that_is_not_made_is_missing(soft: Plan, tmp_path: Path) -> None:
    script = soft.directory / "ip.tcl"
    script.write_text(script.read_text().partition("create_ip -name clk_wiz")[0])
    assert "no bitstream: IP board_clock is missing" in _run(soft, tmp_path, GOOD).error


def test_aim_on_fmc_needs_the_phy_of_its_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without = _plan(tmp_path, monkeypatch, Variant.FMC)
    error = _run(without, tmp_path, GOOD).error
    assert (
        "phy/aim_phy.v is missing: the variant fmc needs the PHY of your AiM card; see phy/CONTRACT.md"
        in error
    )

    phy = tmp_path / "card"
    phy.mkdir()
    for name, text in {"aim_phy.v": "", "aim_phy.vh": "`define AIM_PHY_PINS 2\n", "card.xdc": ""}.items():
        (phy / name).write_text(text)
    plan = _plan(tmp_path, monkeypatch, Variant.FMC, phy)
    assert plan.identity != without.identity
    session = _run(plan, tmp_path, GOOD)
    assert session.error == ""
    assert {"add aim_phy.v", "add aim_phy.vh", "add card.xdc"} <= set(session.events)


@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("get_paths", "unknown command get_paths"),
        ("report_timing_summary -fiel timing.rpt", "report_timing_summary has no option -fiel"),
        ("report_drc -file", "report_drc: -file has no value"),
        ("generate_target all", "generate_target takes 2 to 2 arguments, not 1"),
        ("get_property SLAK [get_runs impl_1]", "a run has no property SLAK"),
        ("set_property SLEW FASTER [get_ports {led[0]}]", r"SLEW of port:led\[0\] may not be FASTER"),
        ("get_ports {led[8]}", r"no port matches .*led\[8\]"),
        ("get_pins xdma/aclk", "no pin matches xdma/aclk"),
        ("get_clocks -of_objects [get_pins xdma/axi_aresetn]", "no clock is on xdma/axi_aresetn"),
        ("set_property CONFIG.axi_width 256_bit [get_ips xdma]", "IP xdma has no parameter axi_width"),
    ],
)
def test_the_stand_in_knows_no_other_command(soft: Plan, tmp_path: Path, script: str, message: str) -> None:
    with (soft.directory / "build.tcl").open("a") as stream:
        stream.write(f"file delete {BITSTREAM}\n{script}\n")
    assert re.search(message, _run(soft, tmp_path, GOOD).error)
