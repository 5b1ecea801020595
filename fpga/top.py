"""The prototype behind a serial line, on a clock that a PLL of the ECP5 makes from the board's oscillator."""

from amaranth import ClockDomain, ClockSignal, Const, Instance, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

from hdl.serial_prototype import SerialPrototype

__all__ = ["BoardTop"]

_START_CYCLES = 15
"""Cycles that the PLL says it is locked before its clock goes to the design."""


class BoardTop(wiring.Component):
    """The pins of a board, and its clock, which stands until the PLL has locked: the design has no reset.

    Parameters
    ----------
    prototype : SerialPrototype
    pll : fpga.boards.Pll

    Members
    -------
    clk : In(1)
        The oscillator.
    rx : In(1), tx : Out(1), irq : Out(1), alive : Out(1)
        As :class:`~hdl.serial_prototype.SerialPrototype`'s.
    """

    def __init__(self, prototype: SerialPrototype, pll):
        self._prototype, self._pll = prototype, pll
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1), "irq": Out(1), "alive": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.submodules.prototype = prototype = self._prototype
        pll, clock, locked = self._pll, Signal(), Signal()
        # Ref: ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide (FPGA-TN-02200); the output feeds back, so
        # it is the input times feedback over input divider.
        m.submodules.pll = Instance(
            "EHXPLLL",
            p_CLKI_DIV=pll.input,
            p_CLKFB_DIV=pll.feedback,
            p_CLKOP_DIV=pll.output,
            p_CLKOP_ENABLE="ENABLED",
            p_CLKOP_CPHASE=pll.output - 1,
            p_CLKOP_FPHASE=0,
            p_FEEDBK_PATH="CLKOP",
            p_PLLRST_ENA="DISABLED",
            p_INTFB_WAKE="DISABLED",
            p_STDBY_ENABLE="DISABLED",
            p_DPHASE_SOURCE="DISABLED",
            p_OUTDIVIDER_MUXA="DIVA",
            a_ICP_CURRENT="12",
            a_LPF_RESISTOR="8",
            a_MFG_ENABLE_FILTEROPAMP="1",
            a_MFG_GMCREF_SEL="2",
            i_CLKI=self.clk,
            i_CLKFB=clock,
            i_RST=Const(0),
            i_STDBY=Const(0),
            i_PHASESEL0=Const(0),
            i_PHASESEL1=Const(0),
            i_PHASEDIR=Const(0),
            i_PHASESTEP=Const(0),
            i_PHASELOADREG=Const(0),
            i_PLLWAKESYNC=Const(0),
            i_ENCLKOP=Const(0),
            o_CLKOP=clock,
            o_LOCK=locked,
        )
        m.domains.start = ClockDomain(reset_less=True)
        left, run, steady = Signal(range(_START_CYCLES + 1), init=_START_CYCLES), Signal(), Signal()
        m.submodules.locked = FFSynchronizer(locked, steady, o_domain="start")
        with m.If(~steady):
            m.d.start += left.eq(_START_CYCLES)
        with m.Elif(left != 0):
            m.d.start += left.eq(left - 1)
        m.d.start += run.eq(steady & (left == 0))
        # Ref: ECP5 and ECP5-5G sysCLOCK PLL/DLL Design and Usage Guide (FPGA-TN-02200), Dynamic Clock Control: the
        # enable takes effect between two edges.
        gated = Signal()
        m.submodules.gate = Instance("DCCA", i_CLKI=clock, i_CE=run, o_CLKO=gated)
        m.d.comb += [
            ClockSignal("start").eq(clock),
            prototype.clk.eq(gated),
            prototype.rx.eq(self.rx),
            self.tx.eq(prototype.tx),
            self.irq.eq(prototype.irq),
            self.alive.eq(prototype.alive),
        ]
        return m
