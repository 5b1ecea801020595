"""`ianus matvec`: one matrix product, compared with the golden arithmetic and measured."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path

import click

from host_runtime.bench.product import Operands, measure_product
from host_runtime.cli.hardware import chosen_backend, hardware_options, replayed, transcript_options
from host_runtime.cli.options import (
    activation_option,
    backend_option,
    device_option,
    device_options,
    json_option,
    require_simulation,
)
from host_runtime.cli.output import Output, quantity
from host_runtime.identity import identify
from host_runtime.plan import Plan
from host_runtime.tensor import weight_rows
from host_runtime.transport import TRANSPORTS, open_transport
from host_runtime.transport.transcript import Recorded, Replayed
from pim_model.mapping.layout import rows_needed
from pim_model.numerics.activation import TABLE_ENTRIES
from pim_model.spec.config import Config, config
from pim_model.spec.macro import COLUMNS_BITS, ROWS_BITS
from pim_model.spec.registers import Event

__all__ = ["matvec"]


@click.command()
@click.option("--rows", type=click.IntRange(1, (1 << ROWS_BITS) - 1), required=True, help="output rows")
@click.option("--cols", type=click.IntRange(1, (1 << COLUMNS_BITS) - 1), required=True, help="input columns")
@click.option("--bias", is_flag=True, help="add a bias in memory")
@activation_option
@click.option(
    "--qkv",
    is_flag=True,
    help="three matrices of --rows each, query, key and value, by the macro QKV, and what they take one by one",
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="input vectors")
@click.option(
    "--seed", type=click.IntRange(0), default=1, show_default=True, help="seed of the random operands"
)
@backend_option
@device_option
@hardware_options
@transcript_options
@device_options
@click.option("--no-refresh", is_flag=True, help="leave refresh off: what it costs, not what a memory allows")
@click.option(
    "--excess", is_flag=True, help="say how much later the commands stand than the timing rules ask"
)
@json_option
def matvec(
    rows: int,
    cols: int,
    bias: bool,
    activation: str | None,
    qkv: bool,
    batch: int,
    seed: int,
    backend: str,
    device: str,
    port: str | None,
    patience: float,
    card: str | None,
    build: int | None,
    record: Path | None,
    replay: Path | None,
    config_name: str,
    timing_name: str,
    numerics: str,
    no_refresh: bool,
    excess: bool,
    json_path: str | None,
) -> int:
    """Multiply random vectors by a random matrix in memory; every bit is compared with the golden arithmetic.

    With --qkv by three matrices of one shape, as the query, key and value of a decoder layer: the macro QKV loads the
    input once for all of them. One macro with --bias, without it several where that is shorter. Then each is multiplied
    by itself, and both times are told; compare them on the RTL, since on the golden device staging takes no cycles.

    Cycles count from the first byte of input staged to the last byte of results read. Exit code 1 if a bit differs or
    the checker saw a timing violation.

    \b
    ianus matvec --rows 4096 --cols 4096 --backend verilator
    ianus matvec --rows 3072 --cols 768 --bias --activation gelu --numerics fp32_tree --json -
    ianus matvec --rows 768 --cols 768 --qkv --timing aim_simulator --backend verilator
    ianus matvec --rows 768 --cols 768 --card /dev/xdma0 --expect-build 0123456789abcdef --record run.jsonl
    ianus matvec --rows 768 --cols 768 --replay run.jsonl
    """
    backend = chosen_backend(backend, port, card) if replay is None else Replayed.name
    if excess and (record or backend not in TRANSPORTS):
        raise click.UsageError(
            "--excess needs the commands of a simulation in this process, without --record"
        )
    require_simulation(backend, device)
    shape = config(config_name, timing_name)
    matrices = 3 if qkv else 1
    if qkv and activation is not None:
        raise click.UsageError(
            "--activation must be left out with --qkv: nothing follows query, key and value"
        )
    if activation is not None and shape.geometry.elements < TABLE_ENTRIES:
        raise click.UsageError(
            f"--activation needs rows of {2 * TABLE_ENTRIES} bytes; {config_name} has shorter ones"
        )
    output = Output(json_path)
    _require_room(shape, rows, cols, batch, matrices)
    operands = Operands.random(matrices * rows, cols, batch, seed, bias=bias, activation=activation)
    with output.building(f"{config_name}/{timing_name}") as progress:
        if replay is None:
            transport = open_transport(backend, shape, numerics, progress, device, port, card, patience)
        else:
            transport = replayed(replay)
    with Recorded(transport, record) if record else transport as transport:
        if build is not None:
            identify(transport, build)
        product = measure_product(
            transport, shape, numerics, operands, refresh=not no_refresh, excess=excess, qkv=qkv
        )
    request = {
        "rows": rows,
        "cols": cols,
        "batch": batch,
        "backend": backend,
        "device": device,
        "config": config_name,
        "timing": timing_name,
        "numerics": numerics,
        "bias": bias,
        "activation": activation,
        "qkv": qkv,
        "seed": seed,
        "refresh": not no_refresh,
    }
    microseconds = f"{product.ns / 1e3:.3f} {output.microseconds}"
    duration = quantity(product.ns * 1e-9, "s") if product.ns >= 1e9 else microseconds
    output.table(
        f"{'3 x ' if qkv else ''}{rows} x {cols} on {backend}, {config_name}, {timing_name}, {numerics}",
        {
            "mismatches": f"{product.mismatches} of {matrices * rows * batch} results",
            "largest distance to FP32": f"{product.max_ulp_vs_fp32} BF16 ulp",
            "violations": product.violations,
            "cycles": f"{product.cycles} ({product.macro_cycles} in {product.macros} macros)",
            **({"cycles of the three apart": product.separate_cycles} if qkv else {}),
            "time": duration,
            "effective bandwidth": quantity(product.bytes_per_second, "B/s"),
            "commands": ", ".join(f"{name} {count}" for name, count in product.commands.items())
            or "none counted",
            "channels' cycles": _cycles(product.events),
            **({"later than the rules ask": f"{product.excess_cycles} cycles"} if excess else {}),
            "wall time": f"{product.seconds:.3f} s",
        },
    )
    output.write_json(request | asdict(product))
    return 1 if product.mismatches or product.violations else 0


def _cycles(events: dict[str, int]) -> str:
    """What the channels did with their cycles, in parts of all."""
    texts = {
        Event.PIM_CYCLES: "macros",
        Event.REFRESH_CYCLES: "refresh",
        Event.BUSY_CYCLES: "normal traffic",
        Event.IDLE_CYCLES: "idle",
    }
    total = sum(events[event.name] for event in texts) or 1
    return ", ".join(f"{text} {events[event.name] / total:.1%}" for event, text in texts.items())


HOST_BYTES = 10
"""This machine's memory for each number at the peak: random float32, scaled float32, BF16."""


def _require_room(shape: Config, rows: int, cols: int, batch: int, matrices: int) -> None:
    """Refuse what neither the device nor this machine can hold, before anything is allocated."""
    memory = weight_rows(shape)
    for _ in range(matrices):
        memory.allocate(rows_needed(rows, cols, shape.geometry))
    Plan.make(rows, cols, batch, shape.buffer_bytes, shape, matrices=matrices)
    needed = HOST_BYTES * max(matrices * rows * cols, batch * cols, batch * matrices * rows)
    installed = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > installed:
        raise click.UsageError(
            f"{matrices * rows} x {cols} by {batch} vectors takes {quantity(needed, 'B')} of this machine's memory to "
            f"compare; it has {quantity(installed, 'B')}"
        )
