"""One matrix product on a device, compared bit by bit and measured."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from host_runtime.bits import U16
from host_runtime.driver import Driver
from host_runtime.monitor import commands_since
from host_runtime.ops import Matrix, Pim
from host_runtime.reference import fp32_linear, golden_linear, ulp_distance
from host_runtime.transport.base import RecordingTransport, Transport
from pim_model.mapping.layout import tile_grid
from pim_model.numerics.bf16 import f32_to_bf16
from pim_model.replay import replay
from pim_model.spec.config import Config
from pim_model.spec.geometry import LANES
from pim_model.spec.registers import Event

__all__ = ["Operands", "Product", "measure_product"]


@dataclass(frozen=True, eq=False)
class Operands:
    """BF16 bits: weights [rows, cols], x [batch, cols], bias [rows] or None; an activation's name or None."""

    weights: U16
    x: U16
    bias: U16 | None = None
    activation: str | None = None

    @classmethod
    def random(
        cls, rows: int, cols: int, batch: int, seed: int, *, bias: bool = False, activation: str | None = None
    ) -> Operands:
        """Normal numbers; the weights so scaled that results are of the inputs' size."""
        rng = np.random.default_rng(seed)

        def normal(scale: float, *shape: int) -> U16:
            return f32_to_bf16(rng.standard_normal(shape, np.float32) * np.float32(scale))

        weights, x = normal(cols**-0.5, rows, cols), normal(1.0, batch, cols)
        return cls(weights, x, normal(0.5, rows) if bias else None, activation)


@dataclass(frozen=True, kw_only=True)
class Product:
    """What was seen. Cycles count from the first byte of input staged to the last byte of results read."""

    mismatches: int
    max_ulp_vs_fp32: int
    violations: int
    cycles: int
    macros: int
    macro_cycles: int
    ns: float
    bytes_per_second: float
    commands: dict[str, int]
    events: dict[str, int]
    """Of :class:`~pim_model.spec.registers.Event`, summed over the channels."""
    seconds: float
    excess_cycles: int | None
    """How much later the last command stands than the timing rules ask, in the same order; None if not asked for."""
    separate_cycles: int | None
    """Of a QKV: cycles of its three products one after the other; None for one matrix."""


def _commands(config: Config, operands: Operands, matrices: int) -> int:
    """No fewer commands than a product takes: a MACAB and a WRGB a column, the rest of a row, refreshes."""
    rows, columns = operands.weights.shape
    groups, tiles = tile_grid(rows // matrices, columns, config.geometry)
    group = 2 * (-(-columns // LANES)) + 8 * tiles + 16
    return 2 * len(operands.x) * matrices * groups * int(group) * config.geometry.channels + 100_000


def measure_product(
    transport: Transport,
    config: Config,
    numerics: str,
    operands: Operands,
    *,
    refresh: bool = True,
    excess: bool = False,
    qkv: bool = False,
) -> Product:
    """Compute the product once on a fresh device and compare it with the golden arithmetic.

    ``excess``: record the commands, and replay them as early as the rules allow, on a transport that can record.
    ``qkv``: the operands' rows are those of three matrices, one after the other, and a QKV computes them; then the
    three are multiplied one by one, for ``separate_cycles``.
    """
    driver = Driver(transport, config)
    driver.set_refresh(refresh)
    pim = Pim(driver, config)
    parts = np.split(np.arange(len(operands.weights)), 3 if qkv else 1)
    matrices = [
        pim.upload(operands.weights[part], None if operands.bias is None else operands.bias[part])
        for part in parts
    ]
    if operands.activation is not None:
        pim.load_table(operands.activation)
    counts, events = driver.command_counts(), driver.events()
    recorder = transport if excess and isinstance(transport, RecordingTransport) else None
    if recorder is not None:
        recorder.record(_commands(config, operands, len(parts)))
    began, start = time.perf_counter(), driver.cycles()
    if qkv:
        query, key, value = matrices
        result = np.concatenate(pim.qkv(query, key, value, operands.x), axis=1)
    else:
        result = pim.linear(matrices[0], operands.x, operands.activation)
    cycles, seconds = driver.cycles() - start, time.perf_counter() - began
    macros, macro_cycles = pim.macros, pim.macro_cycles
    commands = commands_since(counts, driver.command_counts())
    happened = {
        event.name: sum(
            after[event] - before[event] for before, after in zip(events, driver.events(), strict=True)
        )
        for event in Event
    }
    late = None if recorder is None else replay(config, recorder.recorded()).excess_cycles
    separate = _separate_cycles(pim, matrices, operands.x) if qkv else None
    golden = golden_linear(numerics, operands.weights, operands.x, operands.bias, operands.activation)
    exact = fp32_linear(operands.weights, operands.x, operands.bias, operands.activation)
    ns = cycles * config.timing.cycle_ns
    return Product(
        mismatches=int(np.count_nonzero(result != golden)),
        max_ulp_vs_fp32=int(ulp_distance(result, exact).max()),
        violations=driver.violations(),
        cycles=cycles,
        macros=macros,
        macro_cycles=macro_cycles,
        ns=ns,
        bytes_per_second=operands.weights.nbytes * len(operands.x) / ns * 1e9 if ns else 0.0,
        commands=commands,
        events=happened,
        seconds=seconds,
        excess_cycles=late,
        separate_cycles=separate,
    )


def _separate_cycles(pim: Pim, matrices: Sequence[Matrix], x: U16) -> int:
    """Cycles of a product with each matrix, one after the other, each staging the input and reading its results."""
    start = pim.driver.cycles()
    for matrix in matrices:
        pim.linear(matrix, x)
    return pim.driver.cycles() - start
