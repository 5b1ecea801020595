"""Ways to a device, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from host_runtime.transport.base import Transport
from pim_model.spec.config import Config

__all__ = ["DEVICES", "PATIENCE", "TRANSPORTS", "UART", "XDMA", "Progress", "Transport", "open_transport"]

TRANSPORTS = ("model", "verilator")
"""Names that :func:`open_transport` knows: devices in this process."""

UART = "uart"
"""Another one: a board at a serial port."""

XDMA = "xdma"
"""And a card behind the XDMA driver, or a simulated one on a socket."""

DEVICES = ("cpp", "rtl")
"""What stands behind the controllers' PHY in a simulation: the C++ model of AiM, or the synthesisable device."""

PATIENCE = 0.5
"""Seconds that a board's serial line may take for an answer; a simulated one takes longer."""

Progress = Callable[[str, float | None], None]
"""``progress(step, fraction)``: what a long start is doing, and how much of it is done (None if unknown)."""


def open_transport(
    name: str,
    config: Config,
    numerics: str = "aligned",
    progress: Progress | None = None,
    device: str = "cpp",
    port: str | None = None,
    card: str | None = None,
    patience: float = PATIENCE,
) -> Transport:
    """Open a way to a fresh device of shape ``config`` whose processing units compute as ``numerics`` says.

    ``ValueError`` for an unknown name. ``verilator`` needs the extra ``sim`` and a C++ compiler, and builds its library
    the first time it meets ``config``. ``device`` is for it alone, one of :data:`DEVICES`. ``uart`` is a board at the
    serial ``port``, where a request without an answer is sent again after ``patience`` seconds; ``xdma`` the ``card``
    whose device files begin so (``/dev/xdma0``), or a simulated one whose socket that is. They are opened whatever was
    done to them before, and the driver tells whether they have the shape ``config``.
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
        return UartTransport(port, timeout=patience)
    if name == XDMA:
        from host_runtime.transport.card_socket import CardSocket
        from host_runtime.transport.xdma import XdmaTransport

        if card is None:
            raise ValueError("card must be the beginning of a card's device files")
        return XdmaTransport(card, CardSocket(card) if Path(card).is_socket() else None)
    raise ValueError(f"transport must be one of {', '.join((*TRANSPORTS, UART, XDMA))}, not {name!r}")
