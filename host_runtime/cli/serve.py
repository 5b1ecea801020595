"""`ianus serve`: the RTL as a card, on a local socket."""

from __future__ import annotations

import signal
import time
from pathlib import Path

import click

from host_runtime.cli.options import config_option, device_option, json_option, numerics_option, timing_option
from host_runtime.cli.output import Output

__all__ = ["serve"]


@click.command()
@click.option(
    "--socket",
    "path",
    type=click.Path(path_type=Path),
    required=True,
    help="where hosts find the card; only this user may connect",
)
@config_option
@timing_option
@numerics_option
@device_option
@json_option
def serve(
    path: Path, config_name: str, timing_name: str, numerics: str, device: str, json_path: str | None
) -> int:
    """Serve the Verilated RTL as a card behind the XDMA driver, until Ctrl-C: a host names its socket by --card.

    The simulated device files behave as the driver's: registers four bytes at a time, DMA, one interrupt, one process
    at a time. Memory keeps its contents from one host to the next, as on a card, whatever becomes of the host. Exit
    code 1 if a controller sent the memory a command without meaning.

    \b
    ianus serve --config tiny --socket card &
    ianus info --card card
    ianus matvec --rows 40 --cols 300 --config tiny --card card
    """
    from host_runtime.transport.verilated import VerilatedTransport
    from pim_model.spec.config import config
    from sim.card import Card
    from sim.card_server import CardServer
    from sim.native import DeviceFault

    output = Output(json_path)
    shape = config(config_name, timing_name)
    with output.building(f"{config_name}/{timing_name}") as progress:
        transport = VerilatedTransport(shape, numerics, progress, device)
    with transport:
        simulation = transport.simulation
        server = CardServer(Card(simulation), path)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda _number, _frame: server.stop())
        output.live.print(f"serving {config_name}, {timing_name}, at {path}; Ctrl-C ends it", soft_wrap=True)
        began = time.perf_counter()
        try:
            server.serve()
        finally:
            server.close()
        facts = {"cycles": simulation.cycles, "seconds": round(time.perf_counter() - began, 1)}
        output.table(f"served {config_name} at {path}", facts)
        output.write_json(facts)
        try:
            simulation.check_device()
        except DeviceFault as error:
            click.echo(f"Error: {error}", err=True)
            return 1
    return 0
