"""The plan's Verilog, simulated: crossings, prototype and AiM devices in UltraRAM give the golden model's bits."""

from __future__ import annotations

from pathlib import Path

import pytest
from amaranth.lib.wiring import Out

import sim.build
from fpga.vcu118.plan import rtl
from fpga.vcu118.top import Variant
from hdl.card_prototype import ADDRESS_BITS
from hdl.standalone import Standalone
from host_runtime.bench.product import Operands, measure_product
from host_runtime.identity import read_info
from host_runtime.transport.verilated import VerilatedTransport
from pim_model.spec.config import Config
from pim_model.spec.geometry import Geometry

pytestmark = [pytest.mark.slow, pytest.mark.verilator]

BUILD = 0x0123456789ABCDEF
# Rows as long as on the board, so that its cells are UltraRAM.
SHAPE = Config(
    name="small-ultra",
    geometry=Geometry(channels=1, banks=4, rows=64),
    buffer_bytes=16 * 1024,
    macro_queue=2,
    completion_queue=2,
    normal_queue=8,
)

# Ref: AMD UG974, UltraScale Architecture Libraries Guide: FDPE
# A reset is both, since the prototype takes it from a register: no mistake here.
_FDPE = """
/* verilator lint_off SYNCASYNCNET */
module FDPE #(parameter INIT = 1'b1) (input C, input CE, input PRE, input D, output reg Q = INIT);
    always @(posedge C or posedge PRE) if (PRE) Q <= 1'b1; else if (CE) Q <= D;
endmodule
"""


def _top() -> str:
    """The core and its devices behind the ports of ``Standalone``, both clocks the same one."""
    ports, core = ["input clk", "input rst"], []
    for path, member, value in Standalone(SHAPE).signature.flatten(Standalone(SHAPE)):
        name = "__".join(map(str, path))
        width = len(value)
        ports.append(f"{'output' if member.flow is Out else 'input'} [{width - 1}:0] {name}")
        wider = ADDRESS_BITS - width if name in ("mem__awaddr", "mem__araddr") else 0
        if name != "irq":
            core.append(f".{name}({f'{{{wider}{chr(39)}d0, {name}}}' if wider else name})")
    phy = [port for port in core if port.startswith(".phy__0__")]
    # The harness watches `phy`; the device drives two of its members.
    device = [port.replace(".phy__0__", ".phy__", 1) for port in phy]
    return f"""
/* verilator lint_off UNUSEDSIGNAL */
module top({", ".join(ports)});
wire reset, alive;
ianus_core core (.clk(clk), .host_clk(clk), .locked(1'b1), .host_reset_n(~rst), .build(64'h{BUILD:016x}),
    .interrupt(irq), .interrupt_sent(1'b1), .reset(reset), .alive(alive), {", ".join(core)});
aim_device device0 (.clk(clk), .rst(reset), {", ".join(device)});
endmodule
"""


def test_a_product_through_the_plans_verilog(monkeypatch: pytest.MonkeyPatch) -> None:
    files = rtl(SHAPE, Variant.SOFT, lambda _step, _line: None)
    assert "ultra_ram" in files["aim_device.v"]
    text = "".join((*files.values(), _FDPE, _top()))

    def library(*_arguments: object) -> Path:
        return sim.build.library_of(text, SHAPE, device="rtl")

    monkeypatch.setattr(sim.build, "library", library)
    with VerilatedTransport(SHAPE, device="rtl") as transport:
        assert read_info(transport).build == BUILD
        product = measure_product(transport, SHAPE, "aligned", Operands.random(12, 100, 1, 1))
    assert product.mismatches == 0
    assert product.violations == 0
