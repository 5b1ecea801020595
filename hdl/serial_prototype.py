"""The prototype with its memory and a serial line for a host: all of a small board but its pins and its clock."""

from amaranth import ClockDomain, ClockSignal, Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect

from pim_model.spec.config import Config
from pim_model.spec.link import GAP_CYCLES

from .host.serial_link import SerialLink
from .standalone import Standalone

__all__ = ["SerialPrototype"]


class SerialPrototype(wiring.Component):
    """:class:`~hdl.standalone.Standalone` behind a :class:`~hdl.host.serial_link.SerialLink`, without a reset.

    What configuration puts into the flip-flops is where it starts. A reset would reach most of them, each by wires
    that the router of an FPGA has not too many of; so the clock must stand until it is steady.

    Parameters
    ----------
    config : Config
    divisor, gap : int
        As in the link.
    build, checked
        As the prototype's.

    Members
    -------
    clk : In(1)
        Steady, from its first edge on.
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
        super().__init__({"clk": In(1), "rx": In(1), "tx": Out(1), "irq": Out(1), "alive": Out(1)})

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain(reset_less=True)
        m.d.comb += ClockSignal("sync").eq(self.clk)

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
