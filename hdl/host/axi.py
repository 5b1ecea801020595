"""Signatures of the host's buses.

# Ref: AMBA AXI and ACE Protocol Specification (ARM IHI 0022), chapters A2 and B1
"""

from collections.abc import Iterator
from typing import NamedTuple

from amaranth import Cat, Signal
from amaranth.lib import enum, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["Axi4LiteSignature", "Axi4Signature", "Burst", "Channel", "Resp", "channels"]


class Resp(enum.Enum, shape=2):
    """Response codes."""

    OKAY = 0
    SLVERR = 2
    DECERR = 3


class Burst(enum.Enum, shape=2):
    """Burst types."""

    FIXED = 0
    INCR = 1
    WRAP = 2


class Axi4LiteSignature(wiring.Signature):
    """AXI4-Lite with 32 data bits; directions as the manager sees them: a subordinate has ``In(...)``."""

    def __init__(self, address_bits: int):
        super().__init__(
            {
                "awaddr": Out(address_bits),
                "awvalid": Out(1),
                "awready": In(1),
                "wdata": Out(32),
                "wstrb": Out(4),
                "wvalid": Out(1),
                "wready": In(1),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                "araddr": Out(address_bits),
                "arvalid": Out(1),
                "arready": In(1),
                "rdata": In(32),
                "rresp": In(2),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class Axi4Signature(wiring.Signature):
    """AXI4 with 256 data bits and 4 identifier bits; directions as in :class:`Axi4LiteSignature`."""

    def __init__(self, address_bits: int):
        address = {"id": Out(4), "addr": Out(address_bits), "len": Out(8), "size": Out(3), "burst": Out(2)}
        handshake = {"valid": Out(1), "ready": In(1)}
        super().__init__(
            {
                **{f"aw{name}": member for name, member in (address | handshake).items()},
                "wdata": Out(256),
                "wstrb": Out(32),
                "wlast": Out(1),
                "wvalid": Out(1),
                "wready": In(1),
                "bid": In(4),
                "bresp": In(2),
                "bvalid": In(1),
                "bready": Out(1),
                **{f"ar{name}": member for name, member in (address | handshake).items()},
                "rid": In(4),
                "rdata": In(256),
                "rresp": In(2),
                "rlast": In(1),
                "rvalid": In(1),
                "rready": Out(1),
            }
        )


class Channel(NamedTuple):
    """One end of a channel of a bus: payload and handshake."""

    payload: Cat
    valid: Signal
    ready: Signal


def channels(outer, inner) -> Iterator[tuple[str, Channel, Channel, bool]]:
    """Each channel of a bus from ``outer`` to ``inner``: name, source, sink, whether it goes back to ``outer``."""
    names = list(inner.signature.members)
    for name in ("aw", "w", "b", "ar", "r"):
        handshake = (f"{name}valid", f"{name}ready")
        fields = [each for each in names if each.startswith(name) and each not in handshake]
        first, second = (
            Channel(Cat(getattr(bus, field) for field in fields), *(getattr(bus, each) for each in handshake))
            for bus in (outer, inner)
        )
        back = name in ("b", "r")
        yield (name, second, first, True) if back else (name, first, second, False)
