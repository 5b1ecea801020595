"""A regression as one HTML file without scripts: the plan, what failed, what was skipped, the slowest, versions."""

from __future__ import annotations

from collections import defaultdict
from html import escape

from host_runtime.regress.coverage.page import coverage_parts
from host_runtime.regress.html import table
from host_runtime.regress.record import Outcome
from host_runtime.regress.summary import Summary, versions

__all__ = ["render"]

SLOWEST = 25
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 72em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25em .6em; vertical-align: top;
border-bottom: 1px solid #ddd } td.n, th.n { text-align: right; font-variant-numeric: tabular-nums }
.passed { color: #176d2c } .failed { color: #b3261e; font-weight: 600 } .not { color: #666 } h2 { margin-top: 2em }
pre { background: #f6f6f6; padding: .8em; overflow-x: auto; font-size: 13px } code { font-size: 13px }
"""


def render(summary: Summary) -> str:
    """The whole page."""
    failed, skipped = summary.of("failed"), summary.of("skipped")
    seeds = ", ".join(str(record.seed) for record in summary.records)
    verdict = "passed" if summary.good else "failed"
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>ianus regress</title>",
        f"<style>{_STYLE}</style><h1>Regression: <span class={verdict}>{verdict}</span></h1>",
        (
            f"<p>{len(summary.outcomes)} tests with seed {escape(seeds)}: {len(summary.of('passed'))} passed, "
            f"{len(failed)} failed, {len(skipped)} skipped, in {summary.seconds:.0f} s.</p>"
        ),
    ]
    if summary.alike:
        parts.append(
            "<p class=failed>The same random numbers with two seeds: "
            + escape(", ".join(summary.alike))
            + "</p>"
        )
    if failed:
        parts += ["<h2>Failures</h2>", *(_failure(outcome) for outcome in failed)]
    parts.append("<h2>Test plan</h2>" + _plan(summary))
    if summary.coverage is not None:
        parts += coverage_parts(summary.coverage, summary.short)
    if skipped:
        parts.append("<h2>Skipped, and why</h2>" + _skipped(skipped))
    parts.append(f"<h2>The {SLOWEST} slowest</h2>" + _slowest(summary.outcomes))
    parts.append(
        "<h2>Versions</h2>" + table(("", ""), [(escape(a), escape(b)) for a, b in versions().items()])
    )
    return "\n".join(parts) + "</html>\n"


def _plan(summary: Summary) -> str:
    rows = []
    for standing in summary.standings:
        counts = [str(standing.count(result)) for result in ("passed", "failed", "skipped")]
        result = f"<span class={standing.result.partition(' ')[0]}>{standing.result}</span>"
        rows.append((escape(standing.feature.name), escape(standing.feature.what), result, *counts))
    head = ("feature", "what is held", "result", "passed", "failed", "skipped")
    return table(head, rows, frozenset((3, 4, 5)))


def _failure(outcome: Outcome) -> str:
    again = f"; run again alone: {outcome.repeated}" if outcome.repeated else ""
    return (
        f"<h3 class=failed>{escape(outcome.id)}</h3><p>seed {outcome.seed}{escape(again)}</p>"
        f"<p><code>{escape(outcome.reproduce)}</code></p><pre>{escape(outcome.text)}</pre>"
    )


def _skipped(outcomes: list[Outcome]) -> str:
    reasons: dict[str, int] = defaultdict(int)
    for outcome in outcomes:
        reasons[outcome.reason] += 1
    rows = [(escape(reason), str(count)) for reason, count in sorted(reasons.items())]
    return table(("reason", "tests"), rows, frozenset((1,)))


def _slowest(outcomes: list[Outcome]) -> str:
    chosen = sorted(outcomes, key=lambda outcome: -outcome.seconds)[:SLOWEST]
    rows = [(escape(each.id), str(each.seed), f"{each.seconds:.1f} s") for each in chosen]
    return table(("test", "seed", "time"), rows, frozenset((1, 2)))
