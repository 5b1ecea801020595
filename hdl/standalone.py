"""The prototype with a synthesisable AiM device on each channel: complete on any FPGA."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from pim_model.spec.config import Config
from pim_model.spec.registers import REGISTER_BITS

from .host.axi import Axi4LiteSignature, Axi4Signature
from .phy.aim_device import AimDevice
from .phy.interface import PhySignature
from .top import Prototype

__all__ = ["Standalone"]


class Standalone(wiring.Component):
    """:class:`~hdl.top.Prototype` and its memory.

    ``ValueError`` for a configuration that :class:`~hdl.phy.aim_device.AimDevice` does not serve.

    Parameters
    ----------
    config : Config
    build, checked
        As the prototype's.

    Members
    -------
    regs : In(AXI4-Lite), mem : In(AXI4), irq : Out(1)
        As the prototype's.
    phy : Out, for each channel
        All members of :class:`~hdl.phy.interface.PhySignature`, both directions, to be watched.
    """

    def __init__(self, config: Config, build: int = 0, *, checked: bool = True):
        self._config, self._build, self._checked = config, build, checked
        self._devices = [AimDevice(config) for _ in range(config.geometry.channels)]
        watched = wiring.Signature(
            {name: Out(member.shape) for name, member in PhySignature().members.items()}
        )
        super().__init__(
            {
                "regs": In(Axi4LiteSignature(REGISTER_BITS)),
                "mem": In(Axi4Signature(config.window_bits)),
                "irq": Out(1),
                "phy": Out(watched).array(config.geometry.channels),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.prototype = prototype = Prototype(self._config, self._build, checked=self._checked)
        connect(m, flipped(self.regs), prototype.regs)
        connect(m, flipped(self.mem), prototype.mem)
        m.d.comb += self.irq.eq(prototype.irq)
        for i, device in enumerate(self._devices):
            m.submodules[f"device{i}"] = device
            connect(m, prototype.phy[i], device.phy)
            m.d.comb += [
                getattr(self.phy[i], name).eq(getattr(device.phy, name)) for name in PhySignature().members
            ]
        return m
