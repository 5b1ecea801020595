"""The prototype with its memory, a serial line for a host, clock and reset: all of a small board but its pins."""

from amaranth import ClockDomain, ClockSignal, Module, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out, connect

from pim_model.spec.config import Config
from pim_model.spec.link import GAP_CYCLES

from .host.serial_link import SerialLink
from .standalone import Standalone

__all__ = ["SerialPrototype"]

_RESET_CYCLES = 15
"""Cycles of a steady clock before anything runs: block RAM and clock tree have come up."""


class SerialPrototype(wiring.Component):
    """:class:`~hdl.standalone.Standalone` behind a :class:`~hdl.host.serial_link.SerialLink`.

    Parameters
    ----------
    config : Config
    divisor, gap : int
        As in the link.
    build, checked
        As the prototype's.

    Members
    -------
    clk : In(1), locked : In(1)
        While the clock is not locked everything is held in reset.
    rx : In(1), tx : Out(1)
        8N1, ``divisor`` cycles a bit.
    irq : Out(1)
    alive : Out(1)
        Changes every 2 ** 23 cycles.
    """

    def __init__(
        self, config: Config, divisor: int, gap: int = GAP_CYCLES, build: int = 0, *, checked: bool = True
    ):
        self._standalone = Standalone(config, build, checked=checked)
        self._link = SerialLink(config.window_bits, divisor, gap)
        super().__init__(
            {"clk": In(1), "locked": In(1), "rx": In(1), "tx": Out(1), "irq": Out(1), "alive": Out(1)}
        )

    def elaborate(self, platform):
        m = Module()
        # Both on the one clock: `start` runs from configuration on, `sync` is everything else.
        m.domains.start = ClockDomain(reset_less=True)
        m.domains.sync = ClockDomain()
        left, reset = Signal(range(_RESET_CYCLES + 1), init=_RESET_CYCLES), Signal(init=1)
        locked = Signal()
        m.submodules.locked = FFSynchronizer(self.locked, locked, o_domain="start")
        m.d.start += reset.eq(left != 0)
        with m.If(~locked):
            m.d.start += left.eq(_RESET_CYCLES)
        with m.Elif(left != 0):
            m.d.start += left.eq(left - 1)
        m.d.comb += [
            ClockSignal("start").eq(self.clk),
            ClockSignal("sync").eq(self.clk),
            ResetSignal("sync").eq(reset),
        ]

        m.submodules.standalone = standalone = self._standalone
        m.submodules.link = link = self._link
        connect(m, link.regs, standalone.regs)
        connect(m, link.mem, standalone.mem)
        beat = Signal(24)
        m.d.sync += beat.eq(beat + 1)
        m.d.comb += [
            link.rx.eq(self.rx),
            link.irq.eq(standalone.irq),
            self.tx.eq(link.tx),
            self.irq.eq(standalone.irq),
            self.alive.eq(beat[-1]),
        ]
        return m
