"""Coverage on the page: goals, cover groups, files, and every point that was missed or waived."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from html import escape

from host_runtime.regress.coverage.result import Covered
from host_runtime.regress.coverage.total import Coverage
from host_runtime.regress.html import table

__all__ = ["coverage_parts"]

_NUMBERS = frozenset((1, 2, 3, 4))


def coverage_parts(coverage: Coverage, short: Sequence[str]) -> list[str]:
    """The section's HTML."""
    parts = ["<h2>Coverage</h2>", *(f"<p class=failed>{escape(text)}</p>" for text in short)]
    goals = [
        (
            escape(kind.name),
            f"<span class={'passed' if kind.reached else 'failed'}>{kind.whole.percent:.1f} %</span>",
            f"{kind.goal:.0f} %",
            *_counts(kind.whole),
        )
        for kind in coverage.kinds
    ]
    head = ("", "reached", "goal", "covered", "of", "waived")
    parts.append(table(head, goals, frozenset((1, 2, 3, 4, 5))))
    for kind in coverage.kinds:
        parts.append(f"<h3>{escape(kind.name)}</h3>")
        rows = [(_named(part), f"{part.percent:.1f} %", *_counts(part)) for part in kind.parts]
        parts.append(table(("", "reached", "covered", "of", "waived"), rows, _NUMBERS))
        parts += [_points(part) for part in kind.parts]
    for what, sums in coverage.sums.items():
        files = [
            (escape(file), f"{100 * covered / total:.0f} %", str(covered), str(total))
            for file, (covered, total) in sums.items()
        ]
        body = table(("file", "reached", "covered", "of"), files, _NUMBERS)
        parts.append(f"<details><summary>{what} by file</summary>{body}</details>")
    if coverage.idle:
        idle = "".join(f"<li>{escape(text)}" for text in coverage.idle)
        parts.append(f"<p>Waivers of what was reached, or is not there:</p><ul>{idle}</ul>")
    return parts


def _named(part: Covered) -> str:
    return f"{escape(part.name)} <span class=not>{escape(part.what)}</span>"


def _counts(part: Covered) -> tuple[str, str, str]:
    return str(part.covered), str(part.total), str(len(part.waived))


def _points(part: Covered) -> str:
    """What was missed, what is waived and why, and what nobody declared; folded, since it may be long."""
    blocks = []
    if part.missed:
        blocks.append(f"<p>missed</p><pre>{escape(chr(10).join(_short(part.missed)))}</pre>")
    reasons: dict[str, list[str]] = defaultdict(list)
    for name, reason in part.waived.items():
        reasons[reason].append(name)
    blocks += [
        f"<p>waived: {escape(reason)}</p><pre>{escape(chr(10).join(_short(names)))}</pre>"
        for reason, names in reasons.items()
    ]
    if part.undeclared:
        blocks.append(
            f"<p>heard, and not declared</p><pre>{escape(chr(10).join(sorted(part.undeclared)))}</pre>"
        )
    if not blocks:
        return ""
    return f"<details><summary>{escape(part.name)}: missed and waived</summary>{''.join(blocks)}</details>"


def _short(names: Sequence[str]) -> list[str]:
    """Lines of one file together."""
    files: dict[str, list[str]] = defaultdict(list)
    plain = []
    for name in names:
        file, colon, line = name.partition(":")
        if colon and line.isdigit():
            files[file].append(line)
        else:
            plain.append(name)
    return [*plain, *(f"{file}: {', '.join(lines)}" for file, lines in files.items())]
