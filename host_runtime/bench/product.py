"""One matrix product on a device, compared bit by bit and measured."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np

from host_runtime.bits import U16
from host_runtime.driver import Driver
from host_runtime.monitor import commands_since
from host_runtime.ops import Pim
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


def _commands(config: Config, operands: Operands) -> int:
    """No fewer commands than a product takes: a MACAB and a WRGB a column, the rest of a row, refreshes."""
    rows, columns = operands.weights.shape
    groups, tiles = tile_grid(rows, columns, config.geometry)
    group = 2 * (-(-columns // LANES)) + 8 * tiles + 16
    return 2 * len(operands.x) * groups * int(group) * config.geometry.channels + 100_000


def measure_product(
    transport: Transport,
    config: Config,
    numerics: str,
    operands: Operands,
    *,
    refresh: bool = True,
    excess: bool = False,
) -> Product:
    """Compute the product once on a fresh device and compare it with the golden arithmetic.

    ``excess``: record the commands, and replay them as early as the rules allow, on a transport that can record.
    """
    driver = Driver(transport, config)
    driver.set_refresh(refresh)
    pim = Pim(driver, config)
    matrix = pim.upload(operands.weights, operands.bias)
    if operands.activation is not None:
        pim.load_table(operands.activation)
    counts, events = driver.command_counts(), driver.events()
    recorder = transport if excess and isinstance(transport, RecordingTransport) else None
    if recorder is not None:
        recorder.record(_commands(config, operands))
    began, start = time.perf_counter(), driver.cycles()
    result = pim.linear(matrix, operands.x, operands.activation)
    cycles, seconds = driver.cycles() - start, time.perf_counter() - began
    commands = commands_since(counts, driver.command_counts())
    happened = {
        event.name: sum(
            after[event] - before[event] for before, after in zip(events, driver.events(), strict=True)
        )
        for event in Event
    }
    golden = golden_linear(numerics, operands.weights, operands.x, operands.bias, operands.activation)
    exact = fp32_linear(operands.weights, operands.x, operands.bias, operands.activation)
    ns = cycles * config.timing.cycle_ns
    return Product(
        mismatches=int(np.count_nonzero(result != golden)),
        max_ulp_vs_fp32=int(ulp_distance(result, exact).max()),
        violations=driver.violations(),
        cycles=cycles,
        macros=pim.macros,
        macro_cycles=pim.macro_cycles,
        ns=ns,
        bytes_per_second=operands.weights.nbytes * len(operands.x) / ns * 1e9 if ns else 0.0,
        commands=commands,
        events=happened,
        seconds=seconds,
        excess_cycles=None if recorder is None else replay(config, recorder.recorded()).excess_cycles,
    )
