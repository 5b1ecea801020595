"""Where the top's ports are, what their clocks are, and how long a path between two clocks may take.

# Ref: AMD UG912, Vivado Properties Reference; UG903, Using Constraints
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from fpga.vcu118.platform import LANES, Vcu118Platform
from fpga.vcu118.top import LEDS

__all__ = ["pins_xdc", "timing_xdc"]

HOST_PERIOD = 4.0
"""Nanoseconds of XDMA's clock."""


def pins_xdc() -> str:
    """Pins, their electrical attributes, and clocks that no IP declares; read before anything else."""
    platform = Vcu118Platform()
    clock, pcie = platform.lookup("sysclk_250"), platform.lookup("pcie")
    leds = [platform.lookup("led", number) for number in range(LEDS)]
    sub = {each.name: each for each in pcie.ios}
    lines = ["# Ref: AMD UG1224, VCU118 Evaluation Board User Guide"]
    lines += _pair("sysclk_250", clock.ios[0], clock.attrs)
    lines += _pair("pcie_refclk", sub["refclk"].ios[0], {})
    lines += _pin("pcie_perst_n", sub["perst"].ios[0].names[0], sub["perst"].attrs)
    for name in ("rx", "tx"):
        for half, names in (("p", sub[name].ios[0].p.names), ("n", sub[name].ios[0].n.names)):
            for lane in range(LANES):
                lines += _pin(f"{{pcie_{name}_{half}[{lane}]}}", names[lane], {})
    for number, led in enumerate(leds):
        lines += _pin(f"{{led[{number}]}}", led.ios[0].names[0], led.attrs)
    period = 1e9 / sub["refclk"].clock.frequency
    lines += [
        f"create_clock -name pcie_refclk -period {period:.3f} [get_ports pcie_refclk_p]",
        "# Asynchronous by nature: a reset from the slot, lamps.",
        "set_false_path -from [get_ports pcie_perst_n]",
        "set_input_delay 0 [get_ports pcie_perst_n]",
        "set_false_path -to [get_ports {led[*]}]",
        "set_output_delay 0 [get_ports {led[*]}]",
        "set_property CFGBVS GND [current_design]",
        "set_property CONFIG_VOLTAGE 1.8 [current_design]",
        "set_property BITSTREAM.GENERAL.COMPRESS true [current_design]",
        "set_property BITSTREAM.CONFIG.SPI_BUSWIDTH 8 [current_design]",
        "set_property BITSTREAM.CONFIG.SPI_32BIT_ADDR YES [current_design]",
        "set_property BITSTREAM.CONFIG.SPI_FALL_EDGE YES [current_design]",
        "set_property BITSTREAM.CONFIG.EXTMASTERCCLK_EN DIV-1 [current_design]",
        "set_property BITSTREAM.CONFIG.OVERTEMPSHUTDOWN ENABLE [current_design]",
    ]
    return "\n".join((*lines, ""))


def timing_xdc() -> str:
    """What lies between XDMA's clock and the prototype's, which only synthesis gives; read last.

    The queues' pointers are Gray-coded and their data at rest, so each path may take the shorter period (`hdl/host/
    crossing.py`). A bound, where a false path would let the bits of one pointer drift apart.
    """
    return f"""\
set host_clock [get_clocks -of_objects [get_pins xdma/axi_aclk]]
set core_clock [get_clocks -of_objects [get_pins board_clock/clk_out1]]
set_max_delay -datapath_only -from $host_clock -to $core_clock {HOST_PERIOD:.3f}
set_max_delay -datapath_only -from $core_clock -to $host_clock {HOST_PERIOD:.3f}
"""


def _pair(port: str, pair: Any, attributes: dict[str, str]) -> Iterator[str]:
    yield from _pin(f"{port}_p", pair.p.names[0], attributes)
    yield from _pin(f"{port}_n", pair.n.names[0], attributes)


def _pin(port: str, pin: str, attributes: dict[str, str]) -> Iterator[str]:
    yield f"set_property PACKAGE_PIN {pin} [get_ports {port}]"
    for name, value in attributes.items():
        yield f"set_property {name} {value} [get_ports {port}]"
