"""`ianus fpga` for the VCU118: a plan for Vivado, and what it takes of the device."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_runtime.cli.fpga_simulated import teller
from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output

if TYPE_CHECKING:
    from pim_model.spec.config import Config

__all__ = ["build_vcu118", "config_option", "estimate", "variant_option"]

VARIANTS = ("soft", "fmc")

variant_option = click.option(
    "--variant",
    type=click.Choice(VARIANTS),
    default="soft",
    show_default=True,
    help="vcu118: AiM in UltraRAM, or your AiM card on the FMC+ connector",
)
config_option = click.option(
    "--config", "config_name", help="vcu118: configuration [default: vcu118, with --variant fmc ianus]"
)


@click.command()
@click.option("--board", "name", type=click.Choice(("vcu118",)), required=True, help="whose design")
@variant_option
@config_option
@json_option
def estimate(name: str, variant: str, config_name: str | None, json_path: str | None) -> int:
    """Count what the design takes of the device, as Yosys maps it; nothing is placed or timed.

    Takes some minutes once, needs the extra fpga, and no Vivado. Exit code 1 if the design does not fit. With AiM in
    UltraRAM it also finds the largest geometry that fits: as many channels as may be, then rows. So it may be asked for
    one that is too large, as the paper's.

    \b
    ianus fpga estimate --board vcu118
    ianus fpga estimate --board vcu118 --config ianus
    """
    from fpga.errors import BuildFailed, FpgaUnavailable
    from fpga.vcu118.estimate import estimate as measure
    from fpga.vcu118.estimate import largest
    from fpga.vcu118.platform import DEVICE, PART
    from fpga.vcu118.top import Variant

    output = Output(json_path)
    which = Variant(variant)
    try:
        found = measure(_configuration(config_name, variant), which, teller(output))
    except FpgaUnavailable as error:
        raise click.UsageError(str(error)) from error
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--config") from error
    except BuildFailed as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    used, has = vars(found.total), vars(DEVICE)
    rows: list[tuple[str, ...]] = [
        (_RESOURCES[key], f"{used[key]:,.0f}", f"{has[key]:,}", f"{used[key] / has[key]:.1%}") for key in used
    ]
    title = f"{name}, {variant}, {found.config.name}, {PART}: by Yosys, not placed, not timed; without XDMA"
    output.table(title, rows, ("resource", "used", "of", ""))
    fits = found.total.fits()
    shape = largest(found) if which is Variant.SOFT else None
    if shape is not None:
        size = (
            f"{shape.channels} channels x {shape.banks} banks x {shape.rows} rows of {shape.row_bytes} bytes"
        )
        output.print(f"largest that fits: {size}, {shape.memory_bytes >> 10} KB")
    if not fits:
        output.print(f"{found.config.name} does not fit")
    output.write_json(
        {
            "board": name,
            "variant": variant,
            "config": found.config.name,
            "part": PART,
            "timed": False,
            "used": used,
            "device": has,
            "fits": fits,
            "largest": None if shape is None else vars(shape),
        }
    )
    return 0 if fits else 1


_RESOURCES = {
    "luts": "LUT",
    "flip_flops": "flip-flop",
    "block_rams": "block RAM (36 kbit)",
    "ultra_rams": "UltraRAM (288 kbit)",
    "dsps": "DSP",
}


def _configuration(name: str | None, variant: str) -> Config:
    """``ValueError`` lists the names there are."""
    from pim_model.spec.config import config

    return config(name or ("vcu118" if variant == "soft" else "ianus"))


def build_vcu118(
    output: Output, variant: str, config_name: str | None, release: str, phy: Path | None, plan_only: bool
) -> int:
    """`ianus fpga build --board vcu118`: the plan, and Vivado on it where there is one; the exit code."""
    from fpga.errors import BuildFailed
    from fpga.vcu118.plan import CORE_MHZ, make_plan
    from fpga.vcu118.platform import PART
    from fpga.vcu118.top import Variant
    from fpga.vcu118.vivado import installed, run_vivado

    which = Variant(variant)
    if phy is not None and which is not Variant.FMC:
        raise click.UsageError("--phy is of --variant fmc")
    began = time.perf_counter()
    tell = teller(output)
    try:
        shape = _configuration(config_name, variant)
        plan = make_plan(shape, which, tell, release=release, phy=phy)
    except ValueError as error:
        raise click.BadParameter(str(error), param_hint="--config") from error
    facts: dict[str, Any] = {
        "board": "vcu118",
        "variant": variant,
        "part": PART,
        "config": shape.name,
        "digest": plan.identity,
        "vivado": release,
        "core_mhz": CORE_MHZ,
        "plan": str(plan.directory),
        "bitstream": None,
    }
    failed = ""
    if not plan_only and not installed():
        command = f"vivado -mode batch -source {plan.directory / 'build.tcl'}"
        failed = (
            f"vivado is not on PATH, so there is a plan and no bitstream; with Vivado {release}: {command}"
        )
    elif not plan_only:
        try:
            facts["bitstream"] = str(run_vivado(plan, tell).path)
        except BuildFailed as error:
            failed = str(error)
    told = {name: value for name, value in facts.items() if value is not None}
    output.table("VCU118 with XCVU9P", told | {"time": f"{time.perf_counter() - began:.0f} s"})
    output.write_json(facts | {"seconds": time.perf_counter() - began})
    if failed:
        click.echo(f"Error: {failed}", err=True)
    return 1 if failed else 0
