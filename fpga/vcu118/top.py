"""The top module in Verilog: pins and vendor's blocks around the prototype, with AiM devices or with a PHY.

# Ref: AMD PG195, DMA/Bridge Subsystem for PCI Express: ports; PG065, Clocking Wizard: ports; UG974: IBUFDS_GTE4, IBUF
"""

from __future__ import annotations

from enum import Enum

from amaranth import Shape
from amaranth.lib.wiring import Out

from fpga.vcu118.platform import LANES
from hdl.card_prototype import ADDRESS_BITS
from hdl.host.axi import Axi4LiteSignature, Axi4Signature
from hdl.phy.interface import PhySignature
from pim_model.spec.registers import REGISTER_BITS

__all__ = ["LEDS", "TOP", "Variant", "top_verilog"]

TOP = "vcu118"
LEDS = 4

_XDMA_ONLY = {"awprot": 3, "awlock": 1, "awcache": 4, "arprot": 3, "arlock": 1, "arcache": 4}
"""Signals of XDMA's that the prototype has no use for."""


class Variant(Enum):
    """What is behind the controllers."""

    SOFT = "soft"
    """``aim_device``, synthesisable AiM in UltraRAM."""
    FMC = "fmc"
    """``aim_phy``, the user's own, and AiM on the board's FMC+ connector."""


def top_verilog(variant: Variant, channels: int, identity: str) -> str:
    """Module :data:`TOP` as Verilog text, with the build's digest of 16 hexadecimal digits."""
    wires: list[str] = []
    lite = _bus("regs", "m_axil", Axi4LiteSignature(REGISTER_BITS), {"awaddr": 32, "araddr": 32}, wires)
    full = _bus("mem", "m_axi", Axi4Signature(ADDRESS_BITS), {}, wires)
    unused = [f".m_axi_{name}()" for name in _XDMA_ONLY] + [".m_axil_awprot()", ".m_axil_arprot()"]
    phy: list[str] = []
    memory: list[list[str]] = []
    for channel in range(channels):
        device = []
        for name, member in PhySignature().members.items():
            wire = f"phy{channel}_{name}"
            wires.append(_wire(wire, Shape.cast(member.shape).width))
            phy.append(f".phy__{channel}__{name}({wire})")
            prefix = "phy__" if variant is Variant.SOFT else f"phy{channel}_"
            device.append(f".{prefix}{name}({wire})")
        memory.append(device)
    clocked = [".clk(core_clk)", ".rst(core_reset)"]
    if variant is Variant.SOFT:
        instances = [_instance("aim_device", f"device{i}", clocked + each) for i, each in enumerate(memory)]
        ready = "1'b1"
    else:
        pins = [".locked(locked)", ".ready(ready)", ".fmc(fmc)"]
        instances = [_instance("aim_phy", "phy", clocked + pins + [port for each in memory for port in each])]
        ready = ""
    # Without its memory the card stays off the bus: a host would wait for answers.
    xdma = [
        ".sys_clk(pcie_clk)", ".sys_clk_gt(pcie_clk_gt)", ".sys_rst_n(pcie_perst_n_in & ready)",
        ".pci_exp_txp(pcie_tx_p)", ".pci_exp_txn(pcie_tx_n)", ".pci_exp_rxp(pcie_rx_p)", ".pci_exp_rxn(pcie_rx_n)",
        ".axi_aclk(host_clk)", ".axi_aresetn(host_reset_n)", ".user_lnk_up(link_up)",
        ".usr_irq_req(interrupt)", ".usr_irq_ack(interrupt_sent)",
        ".msi_enable()", ".msi_vector_width()",
    ]  # fmt: skip
    core = [
        ".clk(core_clk)", ".locked(locked)", ".host_clk(host_clk)", ".host_reset_n(host_reset_n)",
        ".interrupt(interrupt)", ".interrupt_sent(interrupt_sent)", ".reset(core_reset)", ".alive(alive)",
        f".build(64'h{identity})",
    ]  # fmt: skip
    fmc = ["    inout  wire [`AIM_PHY_PINS-1:0] fmc,"] if variant is Variant.FMC else []
    include = ['`include "aim_phy.vh"'] if variant is Variant.FMC else []
    return "\n".join(
        (
            *include,
            f"module {TOP} (",
            "    input  wire sysclk_250_p, sysclk_250_n,",
            "    input  wire pcie_refclk_p, pcie_refclk_n,",
            "    input  wire pcie_perst_n,",
            f"    input  wire [{LANES - 1}:0] pcie_rx_p, pcie_rx_n,",
            f"    output wire [{LANES - 1}:0] pcie_tx_p, pcie_tx_n,",
            *fmc,
            f"    output wire [{LEDS - 1}:0] led",
            ");",
            "wire core_clk, core_reset, locked, alive;",
            "wire host_clk, host_reset_n, link_up, interrupt, interrupt_sent;",
            "wire pcie_clk, pcie_clk_gt, pcie_perst_n_in;",
            f"wire ready{ready and f' = {ready}'};",
            *wires,
            "assign led = {ready, alive, link_up, locked};",
            _instance(
                "IBUFDS_GTE4 #(.REFCLK_HROW_CK_SEL(2'b00))",
                "refclk",
                [
                    ".I(pcie_refclk_p)",
                    ".IB(pcie_refclk_n)",
                    ".CEB(1'b0)",
                    ".O(pcie_clk_gt)",
                    ".ODIV2(pcie_clk)",
                ],
            ),
            _instance("IBUF", "perst", [".I(pcie_perst_n)", ".O(pcie_perst_n_in)"]),
            _instance(
                "board_clock",
                "board_clock",
                [
                    ".clk_in1_p(sysclk_250_p)",
                    ".clk_in1_n(sysclk_250_n)",
                    ".clk_out1(core_clk)",
                    ".locked(locked)",
                ],
            ),
            _instance("xdma", "xdma", xdma + [port for _, port in full + lite] + unused),
            _instance("ianus_core", "core", core + [port for port, _ in full + lite] + phy),
            *instances,
            "endmodule",
            "",
        )
    )


def _wire(name: str, width: int) -> str:
    return f"wire {f'[{width - 1}:0] ' if width > 1 else ''}{name};"


def _bus(
    mine: str,
    theirs: str,
    signature: Axi4Signature | Axi4LiteSignature,
    wider: dict[str, int],
    wires: list[str],
) -> list[tuple[str, str]]:
    """Declare a bus and give its ports, the core's and XDMA's, which may be ``wider``."""
    ports = []
    for name, member in signature.members.items():
        width, wire = Shape.cast(member.shape).width, f"{mine}_{name}"
        full = wider.get(name, width)
        wires.append(_wire(wire, full))
        part = f"{wire}[{width - 1}:0]" if full > width and member.flow is Out else wire
        ports.append((f".{mine}__{name}({part})", f".{theirs}_{name}({wire})"))
    return ports


def _instance(module: str, name: str, ports: list[str]) -> str:
    return f"{module} {name} (\n    {f',{chr(10)}    '.join(ports)}\n);"
