"""``python -m sim.bench UNIT MODULE TEST``: run one cocotb test, as a failed one says it is repeated."""

from __future__ import annotations

import sys

import click

from pim_model.spec.config import CONFIGS, config
from pim_model.spec.timing import TIMINGS
from sim.bench.designs import UNITS, Design
from sim.bench.runner import CosimError, run
from sim.bench.stimulus import parse
from sim.toolchain import BuildError


@click.command()
@click.argument("unit", type=click.Choice(list(UNITS)))
@click.argument("module")
@click.argument("test")
@click.option("--config", "name", type=click.Choice(list(CONFIGS)), default="tiny", show_default=True)
@click.option("--timing", type=click.Choice(TIMINGS), default=TIMINGS[0], show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option(
    "--rounds", type=click.IntRange(1), default=1, show_default=True, help="length of the random tests"
)
@click.option(
    "--keep", default="", metavar="ITEMS", help="of the random stimulus, such as 'macros:0,3'  [default: all]"
)
@click.option("--waves", is_flag=True, help="record build/waves/<case>.vcd")
def main(
    unit: str, module: str, test: str, name: str, timing: str, seed: int, rounds: int, keep: str, waves: bool
) -> None:
    """Run TEST of sim.bench.cases.MODULE on UNIT."""
    try:
        parse(keep)
    except ValueError as error:
        raise click.UsageError(f"--keep {error}") from error
    try:
        result = run(
            Design(unit, config(name, timing)), module, test, seed=seed, rounds=rounds, keep=keep, waves=waves
        )
    except (BuildError, CosimError) as error:
        click.echo(error, err=True)
        sys.exit(1)
    click.echo(f"{result.name}: passed in {result.seconds:.1f} s, seed {seed}")


main()
