# Ref: NeuPIMs (ASPLOS 2024), dual row buffers
"""A MATVEC beside a DMA stream, with one row buffer a bank and with two: what each costs the other, on the RTL."""

from __future__ import annotations

from collections.abc import Callable
from itertools import cycle
from typing import Any

from host_runtime.bench.product import Operands
from host_runtime.driver import Driver
from host_runtime.ops import Pim
from host_runtime.reference import golden_linear
from host_runtime.transport import Progress, Transport, open_transport
from pim_model.mapping.layout import tile_grid
from pim_model.spec.config import config
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import COMPLETION_VALID, Reg

__all__ = ["sharing_rates"]

CONFIGS = ("ianus", "ianus_dual")
PRODUCT = (4096, 4096)
CHUNK = 8 * 1024
"""Bytes of one transfer; the next one begins when the host has all of it."""


def sharing_rates(progress: Progress | None = None) -> dict[str, Any]:
    """For each configuration the cycles of a macro alone, beside reads and beside writes.

    ``…_bytes_per_second``: what each DMA stream moved while the macro ran. Refresh is on. ``mismatches``: runs whose
    results are not the golden model's.
    """
    return {name: _rates(name, progress) for name in CONFIGS}


def _rates(name: str, progress: Progress | None) -> dict[str, Any]:
    shape = config(name)
    geometry = shape.geometry
    operands = Operands.random(*PRODUCT, 1, 1)
    golden = golden_linear("aligned", operands.weights, operands.x)[0]
    with open_transport("verilator", shape, "aligned", progress) as transport:
        driver = Driver(transport, shape)
        row = Pim(driver, shape).upload(operands.weights).place.start
        rows, columns = PRODUCT
        output = shape.buffer_bytes // 2
        macro = MatVec(
            tag=0, rows=rows, columns=columns, weight_row=row, input_offset=0, output_offset=output
        )
        transport.write_memory(shape.buffer_base, operands.x.tobytes())
        groups, tiles = tile_grid(rows, columns, geometry)
        free = range(geometry.address(row + groups * tiles), geometry.address(geometry.weight_rows), CHUNK)
        data = bytes(CHUNK)
        streams: dict[str, Callable[[int], object] | None] = {
            "alone": None,
            "reads": lambda address: transport.read_memory(address, CHUNK),
            "writes": lambda address: transport.write_memory(address, data),
        }
        result: dict[str, Any] = {"mismatches": 0}
        for kind, stream in streams.items():
            cycles, moved = _beside(driver, transport, macro, stream, free)
            found = transport.read_memory(shape.buffer_base + output, 2 * rows)
            result["mismatches"] += int(found != golden.astype("<u2").tobytes())
            result[f"{kind}_cycles"] = cycles
            if stream is not None:
                result[f"{kind}_bytes_per_second"] = moved / (cycles * shape.timing.cycle_ns) * 1e9
        return {**result, "violations": driver.violations()}


def _beside(
    driver: Driver,
    transport: Transport,
    macro: MatVec,
    stream: Callable[[int], object] | None,
    free: range,
) -> tuple[int, int]:
    """Cycles of the macro, and the bytes of the transfers, to the places of ``free``, that ended before it did."""
    tag, moved = driver.submit(macro), 0
    if stream is not None:
        for address in cycle(free):
            stream(address)
            if transport.read_register(Reg.COMPLETION) & COMPLETION_VALID:
                break
            moved += CHUNK
    return driver.wait(tag).cycles, moved
