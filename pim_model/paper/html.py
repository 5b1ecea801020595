"""The report as one HTML file without scripts: charts in the order of the paper's figures, then every claim."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pim_model.paper.claim import Outcome
from pim_model.paper.report import Sensitivity, summary
from pim_model.spec.npu import Constant

__all__ = ["render"]

FIGURES = {
    "8": "GPT-2 against an A100",
    "9": "GPT-2 XL against NPU-MEM and DFX",
    "10": "Parts of a decoder",
    "11": "Dynamic energy",
    "12": "Algorithm 1",
    "13": "Memory organisation and scheduling",
    "15": "Cores and PIM chips",
    "17": "Bandwidth and larger models",
    "18": "Strong scaling",
}
_STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 68em; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; width: 100% } th, td { text-align: left; padding: .25em .6em; vertical-align: top;
border-bottom: 1px solid #ddd } td.n { text-align: right; font-variant-numeric: tabular-nums } .pass { color: #176d2c }
.fail { color: #b3261e; font-weight: 600 } .report { color: #666 } small { color: #666 } h2 { margin-top: 2em }
"""
_BAR, _GAP, _LEFT, _WIDTH = 11, 10, 330, 380


def render(
    outcomes: Sequence[Outcome], table: Sequence[Constant], moved: Sequence[Sensitivity], calibrated: set[str]
) -> str:
    """The whole page."""
    near = summary(outcomes)
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>IANUS, recomputed</title>",
        f"<style>{_STYLE}</style><h1>The claims of IANUS, recomputed</h1>",
        (
            f"<p>Of {near.numbers} numbers in tiers 2 and 3, {near.within_tenth} are within 10 % of the paper's and "
            f"{near.within_quarter} within 25 %. Failed: {escape(', '.join(near.failed)) or 'none'}.</p>"
        ),
    ]
    for figure, title in FIGURES.items():
        chosen = [o for o in outcomes if o.figure == figure and o.deviation is not None]
        if chosen:
            parts.append(f"<h2>Fig. {figure}: {escape(title)}</h2>{_chart(chosen)}")
    parts.append("<h2>Every claim</h2>" + _claims(outcomes, calibrated))
    parts.append("<h2>Constants</h2>" + _constants(table, moved))
    return "\n".join(parts) + "</html>\n"


def _chart(outcomes: Sequence[Outcome]) -> str:
    """Two bars a claim, the paper's and ours, each pair to its own larger value."""
    height = len(outcomes) * (2 * _BAR + _GAP) + 22
    lines = [
        f'<svg viewBox="0 0 {_LEFT + _WIDTH + 110} {height}" width="100%" role="img">',
        f'<text x="{_LEFT}" y="12" font-size="11" fill="#666">grey: the paper; blue: ours</text>',
    ]
    for index, o in enumerate(outcomes):
        assert isinstance(o.ours, int | float)
        assert isinstance(o.paper, int | float)
        top = 20 + index * (2 * _BAR + _GAP)
        scale = _WIDTH / max(o.ours, o.paper)
        lines.append(
            f'<text x="{_LEFT - 8}" y="{top + _BAR + 3}" font-size="11" text-anchor="end">{escape(_short(o))}</text>'
        )
        for value, offset, colour in ((o.paper, 0, "#b0b0b0"), (o.ours, _BAR, "#3465a4")):
            y = top + offset
            lines.append(
                f'<rect x="{_LEFT}" y="{y}" width="{value * scale:.1f}" height="{_BAR - 1}" fill="{colour}"/>'
                f'<text x="{_LEFT + value * scale + 5:.1f}" y="{y + 9}" font-size="10">{_text(value)}</text>'
            )
    return "\n".join([*lines, "</svg>"])


def _short(o: Outcome) -> str:
    text = f"{o.id}  {o.statement}"
    return text if len(text) <= 58 else text[:57] + "…"


def _claims(outcomes: Sequence[Outcome], calibrated: set[str]) -> str:
    head = "<tr><th>claim<th>statement<th>paper<th>ours<th>deviation<th>tolerance<th>verdict"
    rows = []
    tier = None
    for o in outcomes:
        if o.tier != tier:
            tier = o.tier
            rows.append(f"<tr><th colspan=7>Tier {tier}")
        note = f"<br><small>{escape(o.note)}</small>" if o.note else ""
        verdict = o.verdict + (" (by calibration)" if o.id in calibrated else "")
        deviation = "" if o.deviation is None else f"{o.deviation:+.1%}"
        rows.append(
            f"<tr><td>{escape(o.id)}<td>{escape(o.statement)}{note}<td class=n>{_text(o.paper)}"
            f"<td class=n>{'' if o.ours is None else _text(o.ours)}<td class=n>{deviation}"
            f"<td class=n>{_tolerance(o)}<td class={o.verdict}>{verdict}"
        )
    return f"<table>{head}{''.join(rows)}</table>"


def _tolerance(o: Outcome) -> str:
    if o.accept is not None:
        return f"{o.accept[0]:g} to {o.accept[1]:g}"
    return "" if o.tolerance is None else f"{o.tolerance:.0%}" if o.tolerance else "equal"


def _constants(table: Sequence[Constant], moved: Sequence[Sensitivity]) -> str:
    found = {entry.constant.name: entry for entry in moved}
    rows = []
    for entry in table:
        effect = found.get(entry.name)
        text = ""
        if effect is not None:
            flips = ", ".join(effect.flips) or "no verdict"
            text = f"largest change {effect.largest:.1%} ({effect.moved}); changes {flips}"
        meaning, source = escape(entry.meaning), escape(entry.source)
        rows.append(
            f"<tr><td>{escape(entry.name)}<td class=n>{entry.value:g}<td>{escape(entry.unit)}<td>{meaning}"
            f"<td>{source}<td>{escape(text)}"
        )
    head = "<tr><th>constant<th>value<th>unit<th>meaning<th>source<th>moved by a fifth, both ways"
    return f"<table>{head}{''.join(rows)}</table>"


def _text(value: float | str | bool) -> str:
    if isinstance(value, bool | str):
        return escape(str(value))
    return f"{value:.4g}"
