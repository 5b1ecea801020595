"""`ianus bench`: how fast the simulation, the golden kernels and a whole token are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import click

from host_runtime.bench import layers, sharing, speed
from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output, quantity
from host_runtime.errors import TransportError
from pim_model.spec.config import config

__all__ = ["bench"]

PARTS = ("kernels", "rtl", "cocotb", "token", "layers", "sharing")


def _finite(_ctx: click.Context, _option: click.Parameter, value: float) -> float:
    if not math.isfinite(value):
        raise click.BadParameter(f"must be a finite number, not {value}")
    return value


@click.command()
@click.option(
    "--part",
    "parts",
    type=click.Choice(PARTS),
    multiple=True,
    help="measure this alone (may be given several times)  [default: all]",
)
@click.option(
    "--seconds",
    type=click.FloatRange(0.1),
    callback=_finite,
    default=5.0,
    show_default=True,
    help="wall time of each rate",
)
@json_option
def bench(parts: tuple[str, ...], seconds: float, json_path: str | None) -> int:
    """Measure speed on this machine: controller cycles a second, multiply-accumulates a second, one GPT-2 token.

    \b
    rtl      eight-channel simulation with its checker on, busy with products
    cocotb   the same RTL under cocotb
    kernels  golden arithmetic beside numpy's FP32 product of the same shape
    layers   cycles, bandwidth and excess over the timing rules of a block's products, for each size of GPT-2
    sharing  a product beside DMA, with one row buffer a bank and with two (builds a second simulation)
    token    one token of GPT-2 base (12 blocks of 768, vocabulary 50257, random weights) through the RTL

    \b
    ianus bench --part kernels
    ianus bench --json bench.json
    """
    output = Output(json_path)
    chosen = parts or PARTS
    result: dict[str, Any] = {}
    with output.building() as progress:  # of several configurations
        measures: dict[str, Callable[[], dict[str, Any]]] = {
            "kernels": speed.kernel_rates,
            "rtl": lambda: speed.simulation_rate(seconds, progress),
            "cocotb": cocotb_rate,
            "token": lambda: speed.token_time(progress),
            "layers": lambda: layers.layer_rates(progress),
            "sharing": lambda: sharing.sharing_rates(progress),
        }
        for part in PARTS:
            if part in chosen:
                try:
                    result[part] = measures[part]()
                except TransportError as error:
                    result[part] = {"unavailable": str(error)}
    if "cycles_per_second" in result.get("rtl", {}) and "cycles_per_second" in result.get("cocotb", {}):
        result["rtl_over_cocotb"] = result["rtl"]["cycles_per_second"] / result["cocotb"]["cycles_per_second"]
    output.table("speed", _rows(result), ("what", "value"))
    output.write_json(result)
    return 1 if _wrong(result) else 0


def _wrong(result: dict[str, Any]) -> bool:
    """Whether anything was computed wrongly or broke a rule."""
    return any(
        bool(value) if name in ("violations", "mismatches") else isinstance(value, dict) and _wrong(value)
        for name, value in result.items()
    )


def cocotb_rate() -> dict[str, Any]:
    """The same RTL under cocotb; needs the extra ``cosim``."""
    try:
        from sim.bench.speed import cocotb_cycles_per_second
    except ImportError as error:
        return {"unavailable": f"not installed ({error.name}): the extra `cosim` brings it"}
    from sim.toolchain import BuildError

    try:
        return {"cycles_per_second": cocotb_cycles_per_second(config("ianus"))}
    except BuildError as error:
        return {"unavailable": str(error)}


def _rows(result: dict[str, Any]) -> list[tuple[str, ...]]:
    rows: list[tuple[str, ...]] = []
    for part, values in result.items():
        if not isinstance(values, dict):
            rows.append((part.replace("_", " "), f"{values:.3g}"))
            continue
        for name, value in values.items():
            if isinstance(value, dict):
                texts = (f"{key.replace('_', ' ')} {_text(key, number)}" for key, number in value.items())
                rows.append((f"{part}: {name}", ", ".join(texts)))
                continue
            rows.append((f"{part}: {name.replace('_', ' ')}", _text(name, value)))
    return rows


def _text(name: str, value: Any) -> str:
    if name.endswith("_mac_per_second"):
        return quantity(value, "MAC/s")
    if name.endswith("cycles_per_second"):
        return quantity(value, "cycles/s")
    if name.endswith("bytes_per_second"):
        return quantity(value, "B/s")
    return (
        f"{value:.3g}"
        if name == "cycles_per_byte"
        else f"{value:.3f}"
        if isinstance(value, float)
        else str(value)
    )
