"""`ianus regress`: the project's tests, with seeds, a test plan and one page of results."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import click
from rich.markup import escape

from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output
from host_runtime.regress import plan
from host_runtime.regress.page import render
from host_runtime.regress.record import Outcome, Record
from host_runtime.regress.runs import Selection, checkout, repeat, run_seed
from host_runtime.regress.summary import Summary
from pim_model.buildcache import build_root

__all__ = ["regress"]

SMOKE = "not slow and not cosim"
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", metavar="[PATH|TEST]...", nargs=-1)
@click.option("-k", "keyword", default="", metavar="EXPR", help="tests whose names match, as pytest's -k")
@click.option("-m", "marker", default="", metavar="EXPR", help="tests with these markers, as pytest's -m")
@click.option("--smoke", is_flag=True, help=f"the quick tests: -m '{SMOKE}'")
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="seed of the first run")
@click.option(
    "--seeds", type=click.IntRange(1), default=1, show_default=True, help="runs, each with the next seed"
)
@click.option(
    "-j",
    "--jobs",
    type=click.IntRange(1),
    default=os.cpu_count() or 1,
    show_default="cores",
    help="tests at once",
)
@click.option(
    "--plan",
    "plan_path",
    type=_FILE,
    default=None,
    help="TOML of features and their tests  [default: tests/testplan.toml]",
)
@click.option(
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="where the page, JUnit XML and logs go  [default: build/regress]",
)
@json_option
def regress(
    paths: tuple[str, ...],
    keyword: str,
    marker: str,
    smoke: bool,
    seed: int,
    seeds: int,
    jobs: int,
    plan_path: Path | None,
    directory: Path | None,
    json_path: str | None,
) -> int:
    """Run the tests of this checkout, and say which features of the test plan they hold.

    A test that fails is run once more, alone and with its seed: one that passes then is called flaky, and has failed
    all the same. A cocotb bench leaves its waves. Each failure prints the line that repeats it. With several seeds no
    test may draw the same random numbers twice. A run that selects nothing is an error.

    \b
    ianus regress --smoke
    ianus regress --smoke --seeds 20
    ianus regress tests/cosim -k refresh --seed 7
    ianus regress -m "cosim and not slow" --json result.json
    """
    if smoke and marker:
        raise click.UsageError("--smoke is a choice of markers: give it or -m, not both")
    output = Output(json_path)
    selection = Selection(paths, keyword, SMOKE if smoke else marker)
    try:
        root = checkout()
        features = plan.load(plan_path or root / "tests" / "testplan.toml")
        place = (directory or build_root() / "regress").resolve()
        place.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        records = [_run(output, selection, each, jobs, place) for each in range(seed, seed + seeds)]
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    outcomes = [outcome for record in records for outcome in record.outcomes.values()]
    standings = plan.standings(features, outcomes)
    summary = Summary(tuple(records), tuple(standings), time.monotonic() - began)
    page = place / "report.html"
    page.write_text(render(summary), encoding="utf-8")
    _print(output, summary, page)
    output.write_json(summary.report())
    return 0 if summary.good else 1


def _run(output: Output, selection: Selection, seed: int, jobs: int, place: Path) -> Record:
    with output.working(f"seed {seed}") as progress:

        def report(record: Record, failed: Sequence[Outcome]) -> None:
            if record.collected:
                progress(record.ended / record.collected)
            for outcome in failed:
                output.print(escape(f"failed: {outcome.reproduce or outcome.id}"))

        record = run_seed(selection, seed, jobs, place, report)
    for outcome in record.outcomes.values():
        if outcome.result == "failed":
            repeat(outcome, place)
            output.print(escape(f"again, alone: {outcome.repeated}: {outcome.id}"))
    return record


def _print(output: Output, summary: Summary, page: Path) -> None:
    rows = [
        (
            standing.feature.name,
            standing.result,
            *(str(standing.count(result)) for result in ("passed", "failed", "skipped")),
        )
        for standing in summary.standings
    ]
    output.table("test plan", rows, ("feature", "result", "passed", "failed", "skipped"))
    for name in summary.alike:
        output.print(escape(f"the same random numbers with two seeds: {name}"))
    seeds = ", ".join(str(record.seed) for record in summary.records)
    output.print(
        f"seed {seeds}: {len(summary.of('passed'))} passed, {len(summary.of('failed'))} failed, "
        f"{len(summary.of('skipped'))} skipped in {summary.seconds:.0f} s; {page}"
    )
