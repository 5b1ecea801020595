"""`ianus paper`: the claims of the paper, recomputed, with verdicts."""

from __future__ import annotations

from pathlib import Path

import click

from host_runtime.cli.output import Output
from pim_model.npu.closed_form import ClosedForm
from pim_model.paper.bench import GPT2, Bench
from pim_model.paper.claim import Claim, Outcome, outcome
from pim_model.paper.cycles import fc_shapes
from pim_model.paper.html import render
from pim_model.paper.report import (
    Sensitivity,
    by_calibration,
    recompute,
    sensitivity,
    summary,
)
from pim_model.spec.config import config
from pim_model.spec.npu import CONSTANTS, describe

__all__ = ["paper"]


@click.command()
@click.option(
    "--json",
    "json_path",
    metavar="[FILE|-]",
    is_flag=False,
    flag_value="-",
    type=click.Path(dir_okay=False, allow_dash=True),
    help="write the claims as a JSON list, to standard output if no file is named",
)
@click.option(
    "--html", "html_path", type=click.Path(dir_okay=False, path_type=Path), help="write a page with plots"
)
@click.option(
    "--sensitivity/--no-sensitivity",
    "moved",
    default=True,
    show_default=True,
    help="move each calibrated constant by a fifth, and say which verdicts change (the longest part)",
)
@click.option(
    "--rtl",
    is_flag=True,
    help="run the macro of every FC shape on the Verilated RTL too (built at the first use), and compare its cycles",
)
def paper(json_path: str | None, html_path: Path | None, moved: bool, rtl: bool) -> int:
    """Recompute every claim of the IANUS paper that can be checked, and say what holds.

    Tier 0 is arithmetic on the specification, tier 1 cycles of the memory, tier 2 ratios of two simulated systems,
    tier 3 absolute times. Tier 4 has no verdict: the paper says too little, or one needs hardware that is not here.

    One set of constants serves all claims. A claim that passes only because constants were fitted, or that changes its
    verdict when one of them moves by a fifth, is marked. Exit code 1 if a claim fails.

    \b
    ianus paper
    ianus paper --json claims.json --html claims.html
    ianus paper --json --no-sensitivity --rtl
    """
    output = Output(json_path)
    with output.working("claims") as progress:
        outcomes = recompute(progress=progress)
    if rtl:
        outcomes = sorted([*outcomes, _rtl(output)], key=lambda each: each.tier)
    effects: list[Sensitivity] = []
    if moved:
        with output.working("sensitivity") as progress:
            effects = sensitivity(outcomes, progress=progress)
    calibrated = by_calibration(outcomes, effects)
    _print(output, outcomes, effects, calibrated)
    output.write_json([o.as_dict() | {"by_calibration": o.id in calibrated} for o in outcomes])
    if html_path is not None:
        html_path.write_text(render(outcomes, describe(CONSTANTS), effects, calibrated), encoding="utf-8")
    return 1 if summary(outcomes).failed else 0


def _rtl(output: Output) -> Outcome:
    """The macros of all fully connected layers on the RTL."""
    # Not needed, and thus not loaded, without --rtl.
    from host_runtime.npu.rtl_time import RtlTime
    from host_runtime.transport.verilated import VerilatedTransport

    memory = config("ianus")
    shapes = {shape for name in ("gpt2-base", *GPT2) for shape in fc_shapes(name)}
    with output.building(memory.name) as progress:
        transport = VerilatedTransport(memory, progress=progress)
    with transport, output.working("RTL") as working:
        measured, closed = RtlTime(transport, memory), ClosedForm(memory)
        differing = 0
        for index, shape in enumerate(sorted(shapes)):
            differing += measured.cost(*shape, None) != closed.cost(*shape)
            working((index + 1) / len(shapes))
    statement = f"of {len(shapes)} FC shapes, those in which the RTL differs from the closed form"
    return outcome(Claim("T1-rtl", statement, 1, 0, lambda _: differing, 0.0), Bench())


def _print(output: Output, outcomes: list[Outcome], effects: list[Sensitivity], calibrated: set[str]) -> None:
    for tier, title in enumerate(
        (
            "tier 0: arithmetic",
            "tier 1: cycles of the memory",
            "tier 2: ratios of simulated systems",
            "tier 3: absolute times, calibrated and thus no evidence",
            "tier 4: no verdict",
        )
    ):
        rows = [_row(o, calibrated) for o in outcomes if o.tier == tier]
        output.table(title, rows, ("claim", "statement", "paper", "ours", "deviation", "allowed", "verdict"))
    rows = [
        (
            entry.name,
            f"{entry.value:g} {entry.unit}",
            entry.meaning,
            entry.source,
            next((_effect(each) for each in effects if each.constant.name == entry.name), ""),
        )
        for entry in describe(CONSTANTS)
    ]
    output.table("constants", rows, ("name", "value", "meaning", "source", "moved by a fifth"))
    near = summary(outcomes)
    output.print(
        f"tiers 2 and 3: {near.within_tenth} of {near.numbers} within 10 %, {near.within_quarter} within 25 %; "
        f"failed: {', '.join(near.failed) or 'none'}"
    )


def _row(o: Outcome, calibrated: set[str]) -> tuple[str, ...]:
    allowed = "" if o.tolerance is None else f"{o.tolerance:.0%}" if o.tolerance else "equal"
    if o.accept is not None:
        allowed = f"{o.accept[0]:g}..{o.accept[1]:g}"
    return (
        o.id,
        o.statement,
        _text(o.paper),
        "" if o.ours is None else _text(o.ours),
        "" if o.deviation is None else f"{o.deviation:+.1%}",
        allowed,
        o.verdict + (", by calibration" if o.id in calibrated else ""),
    )


def _text(value: float | str | bool) -> str:
    return str(value) if isinstance(value, bool | str) else f"{value:.4g}"


def _effect(entry: Sensitivity) -> str:
    flips = ", ".join(entry.flips)
    return f"{entry.largest:.1%} at most ({entry.moved})" + (f"; changes {flips}" if flips else "")
