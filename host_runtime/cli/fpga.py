"""`ianus fpga`: bitstreams."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from host_runtime.cli.fpga_simulated import serve, simulate, teller
from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output

if TYPE_CHECKING:
    from fpga.boards import Board
    from fpga.build import Build

__all__ = ["fpga"]

BOARDS = ("ulx3s",)


@click.group()
def fpga() -> None:
    """Build the prototype, with synthesisable AiM as its memory, for an FPGA board."""


@fpga.command()
@click.option("--board", "name", type=click.Choice(BOARDS), required=True, help="what the bitstream is for")
@json_option
def build(name: str, json_path: str | None) -> int:
    """Synthesise, place, route, judge and pack; a build of the same digest is there already.

    Tells each step with its time, then what the design takes of the device and how fast it is. Exit code 1 if a tool
    fails or the slowest path is too slow for the clock: there is no bitstream then.

    \b
    ianus fpga build --board ulx3s
    """
    output = Output(json_path)
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


fpga.add_command(simulate)
fpga.add_command(serve)
