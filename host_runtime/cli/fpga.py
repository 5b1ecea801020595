"""`ianus fpga`: bitstreams."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from host_runtime.cli.fpga_simulated import serve, simulate, teller
from host_runtime.cli.fpga_vcu118 import build_vcu118, config_option, estimate, variant_option
from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output

if TYPE_CHECKING:
    from fpga.boards import Board
    from fpga.build import Build

__all__ = ["fpga"]

BOARDS = ("ulx3s", "vcu118")


@click.group()
def fpga() -> None:
    """Build the prototype, with synthesisable AiM as its memory or with AiM itself, for an FPGA board."""


@fpga.command()
@click.option("--board", "name", type=click.Choice(BOARDS), required=True, help="what the bitstream is for")
@variant_option
@config_option
@click.option("--plan-only", is_flag=True, help="vcu118: write what Vivado needs, and do not run it")
@click.option(
    "--vivado", "release", default="2024.2", show_default=True, help="vcu118: the release of Vivado"
)
@click.option(
    "--phy",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="vcu118, fmc: directory with the PHY of your card: aim_phy.v, aim_phy.vh, pins",
)
@json_option
def build(
    name: str,
    variant: str,
    config_name: str | None,
    plan_only: bool,
    release: str,
    phy: Path | None,
    json_path: str | None,
) -> int:
    """Build a bitstream; one of the same digest is there already.

    ulx3s: open tools synthesise, place, route, judge and pack. Tells each step with its time, then what the design
    takes of the device and how fast it is. Exit code 1 if a tool fails or the slowest path is too slow for the clock:
    there is no bitstream then.

    vcu118: writes a plan (Verilog, pins, Tcl, and a manifest with the SHA-256 of each file), and runs Vivado on it.
    Without Vivado on PATH it says so, names the plan and ends with exit code 1; --plan-only ends with 0. The plan
    builds on any machine with that release of Vivado: vivado -mode batch -source PLAN/build.tcl. Its scripts make no
    bitstream with negative slack, unconstrained paths or missing IP. The variant fmc has a PHY of your own between the
    controllers and AiM: its plan holds phy/CONTRACT.md, with signals and timing.

    The digest is of design, configuration, constraints, scripts and tools. The design holds it in the registers
    BUILD_LOW and BUILD_HIGH: ianus info --expect-build compares them.

    \b
    ianus fpga build --board ulx3s
    ianus fpga build --board vcu118 --plan-only
    ianus fpga build --board vcu118 --variant fmc --phy my-card/
    """
    output = Output(json_path)
    if name == "vcu118":
        return build_vcu118(output, variant, config_name, release, phy, plan_only)
    if config_name or phy or plan_only or variant != "soft":
        raise click.UsageError(f"--variant, --config, --plan-only and --phy are of vcu118, not {name}")
    began = time.perf_counter()
    built = _build(name, teller(output))
    if built is None:
        return 1
    target, result = built
    seconds = time.perf_counter() - began
    rows: dict[str, Any] = {
        "digest": result.identity,
        "configuration": target.config,
        **result.report.rows(target),
        "serial line": f"{target.baud} bits a second",
        "bitstream": str(result.bitstream),
        "time": f"{seconds:.0f} s",
    }
    output.table(target.title, rows)
    output.write_json(
        {
            "board": name,
            "config": target.config,
            "digest": result.identity,
            **result.report.as_json(),
            "bitstream": str(result.bitstream),
            "seconds": seconds,
        }
    )
    return 0


def _build(name: str, tell: Callable[[str, str], None]) -> tuple[Board, Build] | None:
    """The board and its build; None once it has been told what failed."""
    from fpga.boards import board
    from fpga.build import build as run
    from fpga.errors import BuildFailed, FpgaUnavailable

    try:
        target = board(name)
        return target, run(target, tell)
    except FpgaUnavailable as error:
        raise click.UsageError(str(error)) from error
    except BuildFailed as error:
        click.echo(f"Error: {error}", err=True)
        return None


fpga.add_command(estimate)
fpga.add_command(simulate)
fpga.add_command(serve)
