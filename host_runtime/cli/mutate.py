"""`ianus mutate`: faults put into RTL and golden model, and whether the tests notice."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

import click
from rich.text import Text

from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output
from host_runtime.mutate import judges as table
from host_runtime.mutate.campaign import Campaign, totals
from host_runtime.mutate.mutants import Mutant, mutants_of, sample
from host_runtime.mutate.trial import Verdict
from host_runtime.regress.runs import checkout
from pim_model.buildcache import build_root

__all__ = ["mutate"]


@click.command()
@click.option(
    "--count", type=click.IntRange(1), default=240, show_default=True, help="mutants, kinds and files in turn"
)
@click.option("--seed", type=click.IntRange(0), default=1, show_default=True, help="which ones")
@click.option(
    "--only",
    multiple=True,
    metavar="ID",
    help="these instead of a sample, with * and ? as in the shell; they are judged again, and in spite of a waiver",
)
@click.option("--list", "listing", is_flag=True, help="print the mutants and their diffs, and judge none")
@click.option("-j", "--jobs", type=click.IntRange(1), default=1, show_default=True, help="mutants at once")
@click.option("--fresh", is_flag=True, help="forget the verdicts of earlier runs")
@click.option(
    "--output",
    "directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=None,
    help="where verdicts and builds are kept  [default: build/mutate]",
)
@json_option
def mutate(
    count: int,
    seed: int,
    only: tuple[str, ...],
    listing: bool,
    jobs: int,
    fresh: bool,
    directory: Path | None,
    json_path: str | None,
) -> int:
    """Put faults into the RTL and the golden model of this checkout, one at a time, and see whether the tests notice.

    Each mutant lives in a private copy of the sources and goes through the stages of tests/mutation.toml that
    concern its file, quickest first, until a test fails: it is killed. So is one for which a stage takes five times
    as long and half a minute, and one that cannot be loaded. Equivalent is one of the same bytecode, of the same
    Verilog in every circuit, or with a waiver in tests/mutation_waivers.toml. First the sources as they are must
    pass the same stages.

    Verdicts are kept: a campaign that was interrupted goes on where it was, and after a change of the tests the
    survivors are judged again; a change of the sources starts anew. Exit code 1 if a mutant survives.

    \b
    ianus mutate                                            a campaign of 240
    ianus mutate --only 'hdl.controller.gates:75:timing:1'  one of them, again
    ianus mutate --only 'hdl.pcu.fetch:*' --list            what there is in one file
    """
    output = Output(json_path)
    signal.signal(
        signal.SIGTERM, signal.default_int_handler
    )  # what runs for a mutant must not outlive this process
    try:
        root = checkout()
        judges = table.load(root / "tests" / "mutation.toml", root / "tests" / "mutation_waivers.toml")
        every = mutants_of(root, judges.files(root))
        chosen = _chosen(every, count, seed, only)
        if listing:
            for mutant in chosen:
                output.print(Text(f"{mutant.id}  {mutant.function}\n{mutant.diff}\n"))
            return 0
        place = (directory or build_root() / "mutate").resolve()
        campaign = Campaign(root, place, judges, seed)
        if fresh:
            shutil.rmtree(place, ignore_errors=True)
        verdicts = {} if only else _settled(campaign, judges, chosen)
        _judge(output, campaign, chosen, verdicts, jobs)
    except (ValueError, OSError) as error:
        raise click.UsageError(str(error)) from error
    return _report(output, chosen, verdicts)


def _chosen(every: Sequence[Mutant], count: int, seed: int, only: tuple[str, ...]) -> list[Mutant]:
    if not only:
        return sample(every, count, seed)
    found = [mutant for mutant in every if any(fnmatchcase(mutant.id, pattern) for pattern in only)]
    if not found:
        raise ValueError(f"ID must be that of a mutant, as --list gives them, not {', '.join(only)}")
    return found


def _settled(campaign: Campaign, judges: table.Judges, chosen: Sequence[Mutant]) -> dict[str, Verdict]:
    """Verdicts of earlier runs and of waivers."""
    verdicts = campaign.known(chosen)
    for mutant in chosen:
        waiver = judges.waiver(mutant)
        if waiver is not None:
            verdicts[mutant.id] = Verdict("equivalent", f"waiver: {waiver.reason}", 0.0)
    return verdicts


def _judge(
    output: Output, campaign: Campaign, chosen: Sequence[Mutant], verdicts: dict[str, Verdict], jobs: int
) -> None:
    todo = [mutant for mutant in chosen if mutant.id not in verdicts]
    if len(todo) < len(chosen):
        _say(output, f"{len(chosen) - len(todo)} of {len(chosen)} verdicts are there already")

    with output.working("mutants") as progress:

        def preparing(stage: str) -> None:
            _say(output, f"the sources as they are: {stage}")

        def report(mutant: Mutant, verdict: Verdict) -> None:
            verdicts[mutant.id] = verdict
            progress(len(verdicts) / len(chosen))
            if verdict.result == "survived":
                _say(output, f"survived: {mutant.id}\n{mutant.diff}")
            else:
                _say(output, f"{verdict.result}, {verdict.seconds:.0f} s: {mutant.id}: {verdict.by}")

        campaign.run(todo, jobs, preparing, report)


def _say(output: Output, text: str) -> None:
    output.live.print(Text(text), soft_wrap=True)  # an id may read like an emoji


def _report(output: Output, chosen: Sequence[Mutant], verdicts: dict[str, Verdict]) -> int:
    results = [verdicts[mutant.id] for mutant in chosen]
    rows = []
    for kind in sorted({mutant.kind for mutant in chosen}):
        of_kind = [verdicts[mutant.id].result for mutant in chosen if mutant.kind == kind]
        rows.append((kind, *(str(of_kind.count(each)) for each in ("killed", "survived", "equivalent"))))
    output.table("mutants", rows, ("kind", "killed", "survived", "equivalent"))
    total = totals(results)
    for mutant in chosen:
        if verdicts[mutant.id].result == "survived":
            output.print(Text(f"survived: ianus mutate --only {mutant.id}\n{mutant.diff}"))
    late = sum(verdict.timeout for verdict in results)
    output.print(
        f"{total['mutants']} mutants: {total['killed']} killed ({late} by a time-out), {total['survived']} survived, "
        f"{total['equivalent']} equivalent; killed of those that are not equivalent: {100 * total['rate']:.2f} %"
    )
    output.write_json(
        {
            **total,
            "timeouts": late,
            "seconds": round(sum(verdict.seconds for verdict in results), 1),
            "details": [
                {
                    "id": mutant.id,
                    "kind": mutant.kind,
                    "file": str(mutant.path),
                    "function": mutant.function,
                    "result": verdicts[mutant.id].result,
                    "by": verdicts[mutant.id].by,
                    "seconds": verdicts[mutant.id].seconds,
                    "diff": mutant.diff,
                    "reproduce": f"ianus mutate --only {mutant.id}",
                }
                for mutant in chosen
            ],
        }
    )
    return 1 if total["survived"] else 0
