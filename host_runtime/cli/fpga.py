"""`ianus fpga`: bitstreams."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

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
    built = _build(name, _teller(output))
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


@fpga.command()
@click.option("--board", "name", type=click.Choice(BOARDS), required=True, help="whose design")
@click.option("--rows", type=click.IntRange(1), default=16, show_default=True, help="output rows")
@click.option("--cols", type=click.IntRange(1), default=64, show_default=True, help="input columns")
@click.option(
    "--netlist", is_flag=True, help="what the router is given, instead of the RTL; synthesised if need be"
)
@json_option
def simulate(name: str, rows: int, cols: int, netlist: bool, json_path: str | None) -> int:
    """Multiply on the board's simulated RTL, by the driver, over its serial line; every bit is compared.

    Every bit on the line is simulated: a product takes minutes, and on the netlist a multiple of that.

    \b
    ianus fpga simulate --board ulx3s
    ianus fpga simulate --board ulx3s --netlist
    """
    from fpga.boards import board
    from fpga.build import netlist as synthesised
    from fpga.errors import BuildFailed, FpgaUnavailable
    from fpga.netlist import netlist_verilog
    from host_runtime.bench.product import Operands, measure_product
    from host_runtime.transport.uart import UartTransport
    from pim_model.spec.config import config
    from pim_model.spec.link import GAP_CYCLES
    from sim.build import serial_library, serial_verilog
    from sim.serial_line import SerialBoard, SerialLine

    output = Output(json_path)
    tell = _teller(output)
    try:
        target = board(name)
        shape = config(target.config)
        if netlist:
            text = netlist_verilog(synthesised(target, tell))
        else:
            text = serial_verilog(shape, target.divisor, GAP_CYCLES, lambda step, _fraction: tell(step, ""))
    except FpgaUnavailable as error:
        raise click.UsageError(str(error)) from error
    except BuildFailed as error:
        click.echo(f"Error: {error}", err=True)
        return 1
    library = serial_library(text, lambda step, _fraction: tell(step, ""))
    tell("product", "")
    began = time.perf_counter()
    simulated = SerialBoard(library, target.divisor)
    with SerialLine(simulated) as line, UartTransport(line.path, timeout=_PATIENCE) as transport:
        product = measure_product(transport, shape, "aligned", Operands.random(rows, cols, 1, 1))
        seconds, cycles, repeated = time.perf_counter() - began, simulated.cycles, transport.repeated
    facts = {
        "mismatches": product.mismatches,
        "results": rows,
        "violations": product.violations,
        "cycles": cycles,
        "requests repeated": repeated,
        "seconds": round(seconds, 1),
    }
    what = "netlist" if netlist else "RTL"
    output.table(f"{rows} x {cols} on the {what} of {target.title}, over its serial line", facts)
    output.write_json(facts)
    return 1 if product.mismatches or product.violations else 0


_PATIENCE = 60.0
"""Seconds for an answer of a simulation, which takes some of them for a wait of 65,535 cycles."""


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


def _teller(output: Output) -> Callable[[str, str], None]:
    """Tells each step once with its time, and on a terminal what the tool says."""
    began, last = time.perf_counter(), ""

    def tell(step: str, line: str) -> None:
        nonlocal last
        if step != last:
            output.live.print(f"{time.perf_counter() - began:6.0f} s  {step}")
            last = step
        if output.live.is_terminal and line:
            output.live.print(f"          {line[:90]:90}", end="\r", soft_wrap=True)

    return tell
