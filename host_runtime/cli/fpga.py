"""`ianus fpga`: bitstreams."""

from __future__ import annotations

import time
from typing import Any

import click

from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output

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
    from fpga.boards import board
    from fpga.build import build as run
    from fpga.errors import BuildFailed, FpgaUnavailable

    output = Output(json_path)
    began, last = time.perf_counter(), ""

    def tell(step: str, line: str) -> None:
        nonlocal last
        if step != last:
            output.live.print(f"{time.perf_counter() - began:6.0f} s  {step}")
            last = step
        if output.live.is_terminal and line:
            output.live.print(f"          {line[:90]:90}", end="\r", soft_wrap=True)

    try:
        target = board(name)
        result = run(target, tell)
    except FpgaUnavailable as error:
        raise click.UsageError(str(error)) from error
    except BuildFailed as error:
        click.echo(f"Error: {error}", err=True)
        return 1
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
