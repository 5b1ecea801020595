"""Ways to a device, by name."""

from __future__ import annotations

from collections.abc import Callable

from host_runtime.transport.base import Transport
from pim_model.spec.config import Config

__all__ = ["DEVICES", "TRANSPORTS", "UART", "Progress", "Transport", "open_transport"]

TRANSPORTS = ("model", "verilator")
"""Names that :func:`open_transport` knows: devices in this process."""

UART = "uart"
"""Another one: a board."""

DEVICES = ("cpp", "rtl")
"""What stands behind the controllers' PHY in a simulation: the C++ model of AiM, or the synthesisable device."""

Progress = Callable[[str, float | None], None]
"""``progress(step, fraction)``: what a long start is doing, and how much of it is done (None if unknown)."""


def open_transport(
    name: str,
    config: Config,
    numerics: str = "aligned",
    progress: Progress | None = None,
    device: str = "cpp",
    port: str | None = None,
) -> Transport:
    """Open a way to a fresh device of shape ``config`` whose processing units compute as ``numerics`` says.

    ``ValueError`` for an unknown name. ``verilator`` needs the extra ``sim`` and a C++ compiler, and builds its library
    the first time it meets ``config``. ``device`` is for it alone, one of :data:`DEVICES`. ``uart`` is a board at the
    serial ``port``, whatever was done to it before; the driver tells whether it has the shape ``config``.
    """
    if name == "model":
        from host_runtime.transport.model import ModelTransport

        return ModelTransport(config, numerics)
    if name == "verilator":
        from host_runtime.transport.verilated import VerilatedTransport

        return VerilatedTransport(config, numerics, progress, device)
    if name == UART:
        from host_runtime.transport.uart import UartTransport

        if port is None:
            raise ValueError("port must be a serial port for a board")
        return UartTransport(port)
    raise ValueError(f"transport must be one of {', '.join((*TRANSPORTS, UART))}, not {name!r}")
