"""Parts of `ianus demo` that compute or draw."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from host_runtime.bench.product import Operands
from host_runtime.driver import Driver
from host_runtime.llm.embedded.grammar import negative_log_likelihoods
from host_runtime.ops import Pim
from host_runtime.transport.verilated import VerilatedTransport
from pim_model.numerics.activation import TABLE_ENTRIES
from pim_model.spec.config import Config

__all__ = ["draw", "source_perplexity"]

DRAWN = 1_000_000  # commands recorded at most
SHOWN_NS = 800.0


def source_perplexity(text: str, predictions: int) -> float:
    """The grammar's own perplexity over the first ``predictions`` tokens that a model predicts: all but the first."""
    losses = negative_log_likelihoods(text)
    return float(np.exp(losses[1 : predictions + 1].mean()))


def draw(shape: Config, numerics: str, directory: Path) -> tuple[Path, Path]:
    """Record a product of three output groups, bias and activation (where the rows hold tables) on the RTL.

    Writes ``commands.vcd`` (all of it) and ``commands.svg`` (its beginning) into ``directory``; returns
    their paths.
    """
    from pim_model.timeline import write_svg  # pictures are needed here alone: keep them out of every start
    from pim_model.trace import write_vcd

    geometry = shape.geometry
    activation = "gelu" if geometry.elements >= TABLE_ENTRIES else None
    rows, columns = 3 * geometry.outputs, geometry.elements
    operands = Operands.random(rows, columns, 1, 1, bias=True, activation=activation)
    with VerilatedTransport(shape, numerics) as transport:
        pim = Pim(Driver(transport, shape), shape)
        matrix = pim.upload(operands.weights, operands.bias)
        transport.record(DRAWN)
        pim.linear(matrix, operands.x, activation)
        entries = transport.recorded()
    directory.mkdir(parents=True, exist_ok=True)
    vcd, svg = directory / "commands.vcd", directory / "commands.svg"
    write_vcd(vcd, entries, cycle_ns=shape.timing.cycle_ns)
    title = (
        f"{rows} x {columns}, {'bias' if activation is None else f'bias, {activation}'}; {shape.timing_name}"
    )
    write_svg(svg, entries, title=title, nanoseconds=SHOWN_NS, cycle_ns=shape.timing.cycle_ns)
    return vcd, svg
