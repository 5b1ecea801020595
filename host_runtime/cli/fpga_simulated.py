"""`ianus fpga simulate` and `ianus fpga serve`: a board's design, as RTL or netlist, behind its serial line."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import click

from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output

if TYPE_CHECKING:
    from fpga.boards import Board
    from sim.serial_line import SerialBoard

__all__ = ["serve", "simulate", "teller"]

F = TypeVar("F", bound=Callable[..., Any])

BOARDS = ("ulx3s",)
_PATIENCE = 60.0
"""Seconds for an answer of a simulation, which takes some of them for a wait of 65,535 cycles."""


def _design_options(function: F) -> F:
    """``--board`` and ``--netlist``."""
    name = click.option("--board", "name", type=click.Choice(BOARDS), required=True, help="whose design")
    netlist = click.option(
        "--netlist", is_flag=True, help="what the router is given, instead of the RTL; synthesised if need be"
    )
    return name(netlist(function))


@click.command()
@_design_options
@click.option("--rows", type=click.IntRange(1), default=16, show_default=True, help="output rows")
@click.option("--cols", type=click.IntRange(1), default=64, show_default=True, help="input columns")
@json_option
def simulate(name: str, rows: int, cols: int, netlist: bool, json_path: str | None) -> int:
    """Multiply on the board's simulated RTL, by the driver, over its serial line; every bit is compared.

    Every bit on the line is simulated: a product takes minutes, and on the netlist a multiple of that.

    \b
    ianus fpga simulate --board ulx3s
    ianus fpga simulate --board ulx3s --netlist
    """
    from host_runtime.bench.product import Operands, measure_product
    from host_runtime.transport.uart import UartTransport
    from pim_model.spec.config import config
    from sim.serial_line import SerialLine

    output = Output(json_path)
    tell = teller(output)
    target, simulated = _simulated(name, netlist, tell)
    shape = config(target.config)
    tell("product", "")
    began = time.perf_counter()
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


@click.command()
@_design_options
@click.option(
    "--link",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="where hosts find the serial port: a symbolic link to its pseudo-terminal",
)
@json_option
def serve(name: str, netlist: bool, link: Path, json_path: str | None) -> int:
    """Serve the board's simulated RTL on a serial port, until Ctrl-C: a host names the link by --port.

    What a host does on a board it does here, every bit on the line simulated, at some thousand cycles a second; so give
    hosts patience. Memory keeps its contents from one host to the next. Exit code 1 if the simulation broke.

    \b
    ianus fpga serve --board ulx3s --netlist --link board &
    ianus matvec --rows 16 --cols 64 --config ulx3s --port board --patience 60
    ianus ppl --model tiny-gpt2/ --text text --tokens 32 --config ulx3s --port board --patience 60 --compare model
    """
    from sim.serial_line import SerialLine

    output = Output(json_path)
    target, simulated = _simulated(name, netlist, teller(output))
    stop = Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stop.set())
    began = time.perf_counter()
    with SerialLine(simulated) as line, _linked(link, line.path):
        output.live.print(f"serving {target.title} at {link}; Ctrl-C ends it", soft_wrap=True)
        while not stop.wait(0.2):
            line.check()
        facts = {"cycles": simulated.cycles, "seconds": round(time.perf_counter() - began, 1)}
    output.table(f"served {target.title} at {link}", facts)
    output.write_json(facts)
    return 0


@contextmanager
def _linked(link: Path, target: str) -> Iterator[None]:
    """A symbolic link while it lasts; one that a killed server left is replaced, anything else is refused."""
    if link.is_symlink():
        link.unlink()
    try:
        link.symlink_to(target)
    except FileExistsError:
        raise click.UsageError(f"--link: {link} is there, and no link") from None
    except OSError as error:
        raise click.UsageError(f"--link: {link}: {error.strerror}") from error
    try:
        yield
    finally:
        if link.is_symlink() and os.readlink(link) == target:
            link.unlink()


def _simulated(name: str, netlist: bool, tell: Callable[[str, str], None]) -> tuple[Board, SerialBoard]:
    """The board and its simulation, built if need be; exit code 1 once it has been told what failed."""
    from fpga.boards import board
    from fpga.build import netlist as synthesised
    from fpga.errors import BuildFailed, FpgaUnavailable
    from fpga.netlist import netlist_verilog
    from pim_model.spec.config import config
    from pim_model.spec.link import GAP_CYCLES
    from sim.build import serial_library, serial_verilog
    from sim.serial_line import SerialBoard

    def step(text: str, _fraction: float | None) -> None:
        tell(text, "")

    try:
        target = board(name)
        if netlist:
            text = netlist_verilog(synthesised(target, tell))
        else:
            text = serial_verilog(config(target.config), target.divisor, GAP_CYCLES, step)
    except FpgaUnavailable as error:
        raise click.UsageError(str(error)) from error
    except BuildFailed as error:
        raise click.ClickException(str(error)) from error
    return target, SerialBoard(serial_library(text, step), target.divisor)


def teller(output: Output) -> Callable[[str, str], None]:
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
