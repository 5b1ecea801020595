"""`ianus prove`: what is proved about the RTL, without bound."""

from __future__ import annotations

import time

import click
from rich.markup import escape

from host_runtime.cli.options import json_option
from host_runtime.cli.output import Output

__all__ = ["prove"]


@click.command()
@click.argument("name", required=False)
@click.option("--quick", is_flag=True, help="One or two proofs of each kind, in under five minutes.")
@json_option
def prove(name: str | None, quick: bool, json_path: str | None) -> int:
    """Prove properties of the RTL by induction: all proofs, or those whose name begins with NAME.

    streams: buffers lose, double and reorder nothing. registers: what the host reads, and what its writes change.
    decoder: no malformed macro runs. completions: one for each macro. refresh: no deadline passes. scheduler: legal
    commands, no gate ignored, macros atomic. timing: no gate opens too early.

    Exit code 1 if a claim is not proved or a cover is not reached. Needs the extra `prove`.

    \b
    ianus prove
    ianus prove --quick
    ianus prove timing/tiny
    """
    from sim.prove.catalog import PROOFS, QUICK, chosen
    from sim.prove.engine import prove as run
    from sim.prove.errors import ProofsUnavailable, ProofToolError

    output = Output(json_path)
    names = chosen(name, quick=quick)
    if not names:
        raise click.UsageError(
            f"NAME must begin one of {', '.join(QUICK if quick else PROOFS)}, not {name!r}"
        )
    began = time.perf_counter()
    results = []
    for proof in names:
        output.live.print(f"{time.perf_counter() - began:6.0f} s  {proof}")
        try:
            results.append(run(proof, PROOFS[proof]()))
        except ProofsUnavailable as error:
            raise click.UsageError(str(error)) from error
        except ProofToolError as error:
            click.echo(f"Error: {proof}: {error}", err=True)
            return 1
    for result in results:
        for claim in result.claims:
            if claim.verdict != "proved":
                output.print(escape(f"{result.name}, {claim.verdict}: {claim.message} {claim.waves}"))
        for message in result.messages:
            output.print(escape(f"{result.name}: {message}"))
        for cover in result.uncovered:
            output.print(escape(f"{result.name}: not reached: {cover}"))
    columns = ("proof", "properties", "proved", "failed", "unknown", "covers", "covered", "seconds")
    facts = [
        (
            result.name,
            len(result.claims),
            result.count("proved"),
            result.count("failed"),
            result.count("unknown"),
            result.covers,
            result.covers - len(result.uncovered),
            round(result.seconds, 1),
        )
        for result in results
    ]
    output.table("proofs", [tuple(str(each) for each in row) for row in facts], columns)
    totals = {
        key: sum(int(row[i]) for row in facts)
        for i, key in enumerate(columns)
        if key not in ("proof", "seconds")
    }
    output.write_json(
        {
            **totals,
            "bounded": 0,
            "seconds": round(time.perf_counter() - began, 1),
            "proofs": [dict(zip(columns, row, strict=True)) for row in facts],
        }
    )
    return 0 if all(result.passed for result in results) else 1
