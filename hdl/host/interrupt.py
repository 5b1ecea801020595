"""A level as a user interrupt of Xilinx's DMA subsystem for PCI Express.

# Ref: AMD PG195, DMA/Bridge Subsystem for PCI Express: user interrupts (usr_irq_req, usr_irq_ack)
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.cdc import FFSynchronizer
from amaranth.lib.wiring import In, Out

__all__ = ["UserInterrupt"]


class UserInterrupt(wiring.Component):
    """Holds a request until it has been sent and its cause has gone.

    The subsystem sends a message when ``request`` rises, and says so by ``acknowledge``; a request that falls before is
    lost, or worse. Software that polls may clear the cause at any time. So one message is sent for each rise of the
    cause, however short it is, and the next not before the cause has been seen low.

    Parameters
    ----------
    domain : str
        Of ``request`` and ``acknowledge``. The cause may change at any time.

    Members
    -------
    cause : In(1)
        A level, high for some cycles of ``domain`` at least.
    request : Out(1), acknowledge : In(1)
        ``acknowledge`` is high for one cycle or more, or for two pulses with legacy interrupts.
    """

    def __init__(self, domain: str):
        self._domain = domain
        super().__init__({"cause": In(1), "request": Out(1), "acknowledge": In(1)})

    def elaborate(self, platform):
        m = Module()
        cause, sent = Signal(), Signal()
        m.submodules.cause = FFSynchronizer(self.cause, cause, o_domain=self._domain)
        with m.If(~self.request):
            m.d[self._domain] += [self.request.eq(cause), sent.eq(0)]
        with m.Else():
            m.d[self._domain] += [
                sent.eq(sent | self.acknowledge),
                self.request.eq(cause | ~(sent | self.acknowledge)),
            ]
        return m
