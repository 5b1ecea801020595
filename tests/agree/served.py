"""The RTL behind a card's device files, on a local socket."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from pim_model.spec.config import Config
from sim.build import library
from sim.card import Card
from sim.card_server import CardServer
from sim.native import NativeSimulation

STALL = 1_000_000


@contextmanager
def served(
    shape: Config, numerics: str = "aligned", received: Callable[[int], None] | None = None
) -> Iterator[Path]:
    """The socket of a fresh simulation, served from a thread until the block ends; it must have obeyed the rules."""
    with (
        NativeSimulation(library(shape), shape, numerics) as simulation,
        tempfile.TemporaryDirectory(
            prefix="ianus-"
        ) as folder,  # short: a socket's name may have 107 characters
    ):
        simulation.set_timeout(STALL)
        with CardServer(Card(simulation), Path(folder) / "card", received) as server:
            yield server.path
        simulation.check_device()
