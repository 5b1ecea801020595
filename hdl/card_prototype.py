"""The prototype between a PCIe card's DMA engine and its memory: all of a card but its vendor's blocks."""

from amaranth import Cat, ClockDomain, ClockSignal, Const, Module, Mux, ResetSignal, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import ResetSynchronizer
from amaranth.lib.wiring import In, Out, connect, flipped

from pim_model.spec.config import Config
from pim_model.spec.registers import REGISTER_BITS

from .host.axi import Axi4LiteSignature, Axi4Signature
from .host.crossing import BusCrossing
from .host.interrupt import UserInterrupt
from .phy.interface import PhySignature
from .top import Prototype

__all__ = ["ADDRESS_BITS", "CardPrototype"]

ADDRESS_BITS = 64
"""Of the DMA engine's addresses."""

_PAGE_BITS = 12
_HEARTBEAT = 24


class CardPrototype(wiring.Component):
    """:class:`~hdl.top.Prototype` on a clock of its own, its host side on that of a DMA engine.

    An address outside the data window is answered like one of its last 4 KB, where there is neither memory nor buffer:
    it is refused, and nothing is written.

    ``ValueError`` for an activation buffer that fills its half of the window.

    Parameters
    ----------
    config : Config
    checked : bool
        As the prototype's.

    Members
    -------
    clk : In(1), locked : In(1)
        The prototype's clock; while it is not locked everything is held in reset.
    build : In(64)
        A constant that tells this build from all others; outside, so that the text of the design does not depend on its
        own digest.
    host_clk : In(1), host_reset_n : In(1)
        The DMA engine's clock, and its reset, which resets everything.
    regs : In(AXI4-Lite), mem : In(AXI4), interrupt : Out(1), interrupt_sent : In(1)
        On ``host_clk``. The last two as in :class:`~hdl.host.interrupt.UserInterrupt`.
    phy : Out(PhySignature), for each channel
        On ``clk``.
    reset : Out(1)
        On ``clk``, for what is on ``phy``.
    alive : Out(1)
        Changes every 2 ** 23 cycles of ``clk``.
    """

    def __init__(self, config: Config, *, checked: bool = True):
        if config.buffer_bytes == config.buffer_base:
            raise ValueError(
                f"buffer_bytes must be less than half of the data window on a card, not {config.buffer_bytes!r} "
                f"({config.name})"
            )
        self._config, self._checked = config, checked
        super().__init__(
            {
                "clk": In(1),
                "locked": In(1),
                "build": In(64),
                "host_clk": In(1),
                "host_reset_n": In(1),
                "regs": In(Axi4LiteSignature(REGISTER_BITS)),
                "mem": In(Axi4Signature(ADDRESS_BITS)),
                "interrupt": Out(1),
                "interrupt_sent": In(1),
                "phy": Out(PhySignature()).array(config.geometry.channels),
                "reset": Out(1),
                "alive": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.domains.sync = ClockDomain()
        m.domains.host = ClockDomain()
        m.d.comb += [ClockSignal("sync").eq(self.clk), ClockSignal("host").eq(self.host_clk)]
        for domain in ("sync", "host"):
            m.submodules[f"reset_{domain}"] = ResetSynchronizer(
                ~(self.locked & self.host_reset_n), domain=domain, stages=4
            )

        m.submodules.prototype = prototype = Prototype(self._config, self.build, checked=self._checked)
        for i in range(self._config.geometry.channels):
            connect(m, flipped(self.phy[i]), prototype.phy[i])
        m.submodules.regs = regs = BusCrossing(Axi4LiteSignature(REGISTER_BITS), outer="host")
        connect(m, flipped(self.regs), regs.outer)
        connect(m, regs.inner, prototype.regs)

        m.submodules.mem = mem = BusCrossing(Axi4Signature(self._config.window_bits), outer="host")
        for name, member in Axi4Signature(ADDRESS_BITS).members.items():
            mine, inner = getattr(self.mem, name), getattr(mem.outer, name)
            if member.flow is In:
                m.d.comb += mine.eq(inner)
            else:
                m.d.comb += inner.eq(self._inside(mine) if name in ("awaddr", "araddr") else mine)
        connect(m, mem.inner, prototype.mem)

        m.submodules.interrupt = interrupt = UserInterrupt("host")
        beat = Signal(_HEARTBEAT)
        m.d.sync += beat.eq(beat + 1)
        m.d.comb += [
            interrupt.cause.eq(prototype.irq),
            self.interrupt.eq(interrupt.request),
            interrupt.acknowledge.eq(self.interrupt_sent),
            self.reset.eq(ResetSignal()),
            self.alive.eq(beat[-1]),
        ]
        return m

    def _inside(self, address):
        """``address`` in the window; of one outside of it the place in the window's last page."""
        bits = self._config.window_bits
        page = Cat(address[:_PAGE_BITS], Const(-1, bits - _PAGE_BITS))
        return Mux(address[bits:].any(), page, address[:bits])
