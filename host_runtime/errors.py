"""What can go wrong between a program and the device, as one hierarchy.

A mistake of the caller (a wrong shape, a value that does not fit) is a ``ValueError`` or ``TypeError`` as everywhere in
Python; everything that the device or the way to it does is an :class:`IanusError`.
"""

from __future__ import annotations

from pim_model.spec.errors import STATUS_TEXT, Status

__all__ = [
    "AbiMismatch",
    "AccessError",
    "BuildMismatch",
    "CheckerViolation",
    "CompletionError",
    "ConfigMismatch",
    "DeviceError",
    "DeviceTimeout",
    "DeviceUnusable",
    "IanusError",
    "LinkDown",
    "OutOfMemory",
    "QueueFull",
    "TransportError",
]


class IanusError(Exception):
    """Anything that the device, or the way to it, does wrong."""


class TransportError(IanusError):
    """The way to the device failed: nothing is known of what the device did."""


class LinkDown(TransportError):
    """Every register reads as all ones: the card is off the bus, or holds no bitstream."""


class AccessError(TransportError):
    """The device refused one access (an error response on the bus); it is usable afterwards."""

    def __init__(self, action: str, address: int):
        super().__init__(f"the device refused to {action} at {address:#x}: nothing is there")
        self.action = action
        self.address = address


class AbiMismatch(IanusError):
    """What answers is not an IANUS device, or one with a register map that this driver does not know."""


class BuildMismatch(IanusError):
    """The device holds another bitstream than the one expected."""

    def __init__(self, expected: int, found: int):
        what = f"build {found:016x}" if found else "no build digest (a simulation)"
        super().__init__(
            f"the device must be of build {expected:016x}, and has {what}: program that bitstream"
        )
        self.expected = expected
        self.found = found


class ConfigMismatch(IanusError):
    """The device has another shape than the program was told."""


class DeviceError(IanusError):
    """A macro completed with an error status; what was malformed issued no DRAM command."""

    def __init__(self, status: int, tag: int):
        try:
            known = Status(status)
            text = f"{known.name}: {STATUS_TEXT[known]}"
        except ValueError:
            text = f"unknown status {status}"
        super().__init__(f"macro {tag:#06x} failed, {text}")
        self.status = status
        self.tag = tag


class DeviceTimeout(IanusError):
    """A macro or a reset did not end in time. The driver refuses further work until :meth:`Driver.soft_reset`."""


class CompletionError(IanusError):
    """A completion arrived that no outstanding macro asked for. The driver refuses work until a soft reset."""


class DeviceUnusable(IanusError):
    """The driver lost track of the device earlier and has not been reset since."""


class QueueFull(IanusError):
    """The macro queue has no free place, and the caller asked not to wait."""


class OutOfMemory(IanusError):
    """Device memory (DRAM rows or the activation buffer) has no free piece of the size."""

    def __init__(self, what: str, needed: int, largest: int, unit: str):
        super().__init__(f"{what} has no free piece of {needed} {unit}; the largest is {largest} {unit}")
        self.needed = needed
        self.largest = largest


class CheckerViolation(IanusError):
    """The device's checker saw a command that breaks a timing rule or a state rule."""

    def __init__(self, count: int, code: int, rule: str, channel: int, command: str):
        super().__init__(
            f"{count} violations; the first: {command} on channel {channel} breaks {rule} (code {code})"
        )
        self.count = count
        self.code = code
        self.rule = rule
        self.channel = channel
        self.command = command
