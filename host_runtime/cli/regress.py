"""`ianus regress`: the project's tests, with seeds, a test plan and one page of results."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from rich.markup import escape

from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output
from host_runtime.regress import plan
from host_runtime.regress.coverage.result import Covered
from host_runtime.regress.coverage.total import Coverage, prepare, take
from host_runtime.regress.page import render
from host_runtime.regress.record import Outcome, Record
from host_runtime.regress.runs import Selection, checkout, repeat, run_seed
from host_runtime.regress.summary import Summary
from pim_model.buildcache import build_root

__all__ = ["regress"]

SMOKE = "not slow and not long and not cosim"
SMOKE_PATHS = ("tests/agree", "tests/sim", "tests/typed_twice")
_FILE = click.Path(dir_okay=False, path_type=Path)


@click.command()
@click.argument("paths", metavar="[PATH|TEST]...", nargs=-1)
@click.option("-k", "keyword", default="", metavar="EXPR", help="tests whose names match, as pytest's -k")
@click.option("-m", "marker", default="", metavar="EXPR", help="tests with these markers, as pytest's -m")
@click.option(
    "--smoke",
    is_flag=True,
    help="the quick tests of model, native model and RTL against each other, in a minute or two",
)
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
@click.option(
    "--coverage", is_flag=True, help="measure bins, RTL and Python; slower by a factor of two to three"
)
@click.option("--append", is_flag=True, help="add to the coverage of the runs before, in the same --output")
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
    coverage: bool,
    append: bool,
    json_path: str | None,
) -> int:
    """Run the tests of this checkout, and say which features of the test plan they hold.

    A test that fails is run once more, alone and with its seed: one that passes then is called flaky, and has failed
    all the same. A cocotb bench leaves its waves. Each failure prints the line that repeats it. With several seeds no
    test may draw the same random numbers twice. A run that selects nothing is an error.

    --coverage says what the tests reached: bins of tests/coverage/groups that monitors heard, lines, branches and ports
    of the RTL, and Python. Each bin that was missed is named, as is each waiver of tests/coverage/waivers.toml. An
    illegal bin fails the run; so does a goal that is not reached, where no test was left out. Simulations are
    built for it anew.

    \b
    ianus regress --smoke
    ianus regress --smoke --seeds 20
    ianus regress tests/cosim -k refresh --seed 7
    ianus regress -m "cosim and not slow" --json result.json
    ianus regress --coverage tests/agree
    ianus regress --coverage --append tests/cosim
    """
    if smoke and marker:
        raise click.UsageError("--smoke is a choice of markers: give it or -m, not both")
    if append and not coverage:
        raise click.UsageError("--append adds to coverage: give it with --coverage")
    output = Output(json_path)
    selection = Selection(paths, keyword, marker)
    if smoke:
        selection = Selection(paths or SMOKE_PATHS, keyword, SMOKE)
    try:
        root = checkout()
        features = plan.load(plan_path or root / "tests" / "testplan.toml")
        place = (directory or build_root() / "regress").resolve()
        place.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        found = place / "coverage"
        environment = prepare(found, root, append=append) if coverage else {}
        records = [
            _run(output, selection, each, jobs, place, environment) for each in range(seed, seed + seeds)
        ]
        reached = take(found, root) if coverage else None
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    outcomes = [outcome for record in records for outcome in record.outcomes.values()]
    standings = plan.standings(features, outcomes)
    whole = not (paths or keyword or selection.marker)
    summary = Summary(tuple(records), tuple(standings), time.monotonic() - began, reached, whole)
    page = place / "report.html"
    page.write_text(render(summary), encoding="utf-8")
    _print(output, summary, page)
    output.write_json(summary.report())
    return 0 if summary.good else 1


def _run(
    output: Output,
    selection: Selection,
    seed: int,
    jobs: int,
    place: Path,
    environment: Mapping[str, str],
) -> Record:
    with output.working(f"seed {seed}") as progress:

        def report(record: Record, failed: Sequence[Outcome]) -> None:
            if record.collected:
                progress(record.ended / record.collected)
            for outcome in failed:
                output.print(escape(f"failed: {outcome.reproduce or outcome.id}"))
                for line in outcome.message.splitlines()[:_TOLD]:
                    output.print(escape(f"  {line}"))

        record = run_seed(selection, seed, jobs, place, report, environment)
    for outcome in record.outcomes.values():
        if outcome.result == "failed":
            repeat(outcome, place, environment)
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
        if summary.whole or standing.outcomes
    ]
    output.table("test plan", rows, ("feature", "result", "passed", "failed", "skipped"))
    if len(rows) < len(summary.standings):
        output.print(f"{len(summary.standings) - len(rows)} features more, whose tests were not chosen")
    if summary.coverage is not None:
        _print_coverage(output, summary.coverage)
    for text in summary.short:
        output.print(escape(text))
    for name in summary.alike:
        output.print(escape(f"the same random numbers with two seeds: {name}"))
    seeds = ", ".join(str(record.seed) for record in summary.records)
    output.print(
        f"seed {seeds}: {len(summary.of('passed'))} passed, {len(summary.of('failed'))} failed, "
        f"{len(summary.of('skipped'))} skipped in {summary.seconds:.0f} s; {page}"
    )


_TOLD = 6
"""Lines of a failure's message; the page has all."""
_SHOWN = 40
"""Missed bins."""


def _print_coverage(output: Output, coverage: Coverage) -> None:
    rows = []
    for kind in coverage.kinds:
        rows.append((kind.name, *_figures(kind.whole), f"{kind.goal:.0f} %"))
        rows += [(f"  {part.name}", *_figures(part), "") for part in kind.parts]
    output.table("coverage", rows, ("", "reached", "covered", "of", "waived", "goal"))
    missed = [f"{part.name}: {name}" for part in coverage.kinds[0].parts for name in part.missed]
    for name in missed[:_SHOWN]:
        output.print(escape(f"not covered: {name}"))
    if len(missed) > _SHOWN:
        output.print(f"and {len(missed) - _SHOWN} bins more, on the page and in the JSON")
    for text in coverage.idle:
        output.print(escape(f"a waiver of what was reached, or is not there: {text}"))


def _figures(part: Covered) -> tuple[str, ...]:
    return f"{part.percent:.1f} %", str(part.covered), str(part.total), str(len(part.waived))
