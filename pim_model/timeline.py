"""A command trace as a picture: SVG with a row for each channel, a line for each slot, colours by kind."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from pim_model.spec.micro import MicroOp as Op
from pim_model.trace import Entry

__all__ = ["render_svg", "write_svg"]

# Okabe and Ito's palette: told apart by colour-blind readers too.
_KINDS: tuple[tuple[str, str, tuple[Op, ...]], ...] = (
    ("open row", "#0072b2", (Op.ACT, Op.ACT4, Op.ACTAB, Op.ACTAF)),
    ("multiply-accumulate", "#e69f00", (Op.MACSB, Op.MAC4B, Op.MACAB)),
    ("close row", "#56b4e9", (Op.PRE, Op.PREA, Op.PREP)),
    ("activation", "#cc79a7", (Op.AF,)),
    ("write buffer", "#009e73", (Op.WRGB,)),
    ("write bias", "#00563f", (Op.WRBIAS,)),
    ("read results", "#d55e00", (Op.RDMAC, Op.RDAF)),
    ("refresh", "#888888", (Op.REFPB, Op.REFAB)),
    ("register mode", "#c9b400", (Op.TMOD_IN, Op.TMOD_OUT)),
    ("copy, element-wise", "#7a5195", (Op.EWMUL, Op.RDCP, Op.WRCP, Op.WRBK)),
    ("normal access", "#222222", (Op.RD, Op.WR)),
)
_KIND = {op: kind for kind, _, ops in _KINDS for op in ops}
_COLOUR = {kind: colour for kind, colour, _ in _KINDS}
_PALE = frozenset({"multiply-accumulate", "close row", "register mode"})  # dark letters on these
_OPENS = frozenset({Op.ACT, Op.ACT4, Op.ACTAB, Op.ACTAF})

_LEFT, _RIGHT, _TOP = 90, 20, 66
_LINE, _GAP = 15, 9  # height of a slot's line; space between channels
_THIN = 2.0  # a single command is drawn at least this wide
_STEPS_NS = (10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000, 20000, 50000, 100000)


@dataclass
class _Run:
    """Commands of one kind in cycles that follow each other."""

    op: Op
    first: int
    last: int
    count: int
    detail: str


def write_svg(
    path: Path, entries: Sequence[Entry], *, title: str, nanoseconds: float = 1000.0, cycle_ns: float = 1.0
) -> None:
    """Write :func:`render_svg` to a file."""
    picture = render_svg(entries, title=title, nanoseconds=nanoseconds, cycle_ns=cycle_ns)
    path.write_text(picture, encoding="utf-8")


def render_svg(
    entries: Sequence[Entry],
    *,
    title: str,
    nanoseconds: float = 1000.0,
    cycle_ns: float = 1.0,
    width: int = 1200,
) -> str:
    """Draw the first ``nanoseconds`` of a trace, counted from its first command; ``width`` in pixels."""
    if not entries:
        raise ValueError("entries must be a trace with at least one command, not empty")
    if nanoseconds <= 0 or width < 400:
        raise ValueError(
            f"nanoseconds must be positive and width 400 or more, not {nanoseconds!r} and {width!r}"
        )
    start = entries[0].cycle
    cycles = round(nanoseconds / cycle_ns)
    shown = [entry for entry in entries if entry.cycle < start + cycles]
    scale = (width - _LEFT - _RIGHT) / cycles
    channels = sorted({entry.channel for entry in entries})
    pitch = 2 * _LINE + _GAP
    bottom = _TOP + len(channels) * pitch
    kinds = [kind for kind, _, _ in _KINDS if any(_KIND.get(entry.micro.op) == kind for entry in shown)]
    height = bottom + 24 + 22 + 22
    size = f'width="{width}" height="{height}"'
    font = 'font-family="sans-serif" font-size="12" fill="#222222"'
    note = "upper line: row slot, shaded while a row is open; lower line: register slot"
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} viewBox="0 0 {width} {height}" {font}>',
        f'<rect {size} fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="16" font-weight="bold">{escape(title)}</text>',
        f'<text x="{_LEFT}" y="44" fill="#555555">{note}</text>',
    ]
    parts += _axis(cycles, cycle_ns, scale, bottom)
    for number, channel in enumerate(channels):
        parts += _channel(
            [entry for entry in shown if entry.channel == channel],
            f"channel {channel}",
            _TOP + number * pitch,
            start,
            cycles,
            scale,
        )
    parts += _legend(kinds, height - 14)
    parts.append("</svg>\n")
    return "\n".join(parts)


def _channel(
    entries: list[Entry], name: str, top: int, start: int, cycles: int, scale: float
) -> Iterator[str]:
    width = cycles * scale
    yield f'<text x="{_LEFT - 8}" y="{top + _LINE + 4}" text-anchor="end">{name}</text>'
    for slot in (0, 1):
        y = top + slot * _LINE
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.1f}" height="{_LINE - 1}" fill="#f4f4f4"/>'
    for first, last in _open_spans(entries, start + cycles):
        x, span = _LEFT + (first - start) * scale, (last - first) * scale
        yield f'<rect x="{x:.1f}" y="{top}" width="{span:.1f}" height="{_LINE - 1}" fill="#cfe3f1"/>'
    for slot in (0, 1):
        for run in _runs([entry for entry in entries if entry.slot == slot]):
            yield _block(run, top + slot * _LINE, start, scale)


def _block(run: _Run, y: int, start: int, scale: float) -> str:
    x = _LEFT + (run.first - start) * scale
    width = max(_THIN, (run.last + 1 - run.first) * scale)
    times = f" × {run.count}" if run.count > 1 else ""
    label = f"{run.op.name}{times}"
    until = f" to {run.last - start}" if run.count > 1 else ""
    tip = f"{label}, cycle {run.first - start}{until}{run.detail}"
    rect = (
        f'<rect x="{x:.1f}" y="{y}" width="{width:.1f}" height="{_LINE - 1}" fill="{_COLOUR[_KIND[run.op]]}">'
        f"<title>{escape(tip)}</title></rect>"
    )
    if width < 6.5 * len(label):
        return rect
    middle = x + width / 2
    ink = "#222222" if _KIND[run.op] in _PALE else "#ffffff"
    return rect + (
        f'<text x="{middle:.1f}" y="{y + _LINE - 4}" font-size="10" fill="{ink}" text-anchor="middle" '
        f'pointer-events="none">{escape(label)}</text>'
    )


def _runs(entries: list[Entry]) -> list[_Run]:
    runs: list[_Run] = []
    for entry in entries:
        op, cycle = entry.micro.op, entry.cycle
        if op not in _KIND:
            continue
        if runs and runs[-1].op is op and runs[-1].last + 1 == cycle:
            runs[-1].last = cycle
            runs[-1].count += 1
        else:
            detail = f", row {entry.micro.row}" if op in _OPENS else ""
            runs.append(_Run(op, cycle, cycle, 1, detail))
    return runs


def _open_spans(entries: list[Entry], end: int) -> list[tuple[int, int]]:
    """Cycles from an activation to the precharge after it."""
    spans: list[tuple[int, int]] = []
    opened: int | None = None
    for entry in entries:
        if entry.micro.op in _OPENS and opened is None:
            opened = entry.cycle
        elif entry.micro.op in (Op.PREA, Op.PREP) and opened is not None:
            spans.append((opened, entry.cycle))
            opened = None
    if opened is not None:
        spans.append((opened, end))
    return spans


def _axis(cycles: int, cycle_ns: float, scale: float, bottom: int) -> Iterator[str]:
    step = next((ns for ns in _STEPS_NS if cycles * cycle_ns / ns <= 12), _STEPS_NS[-1])
    ticks = int(cycles * cycle_ns / step)
    for tick in range(ticks + 1):
        ns = tick * step
        x = _LEFT + ns / cycle_ns * scale
        label = f"{ns / 1000:g} µs" if cycles * cycle_ns >= 2000 else f"{ns} ns"
        yield f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="#d0d0d0"/>'
        yield f'<text x="{x:.1f}" y="{bottom + 14}" text-anchor="middle" fill="#555555">{label}</text>'


def _legend(kinds: list[str], y: int) -> Iterator[str]:
    x = float(_LEFT)
    for kind in kinds:
        yield f'<rect x="{x:.0f}" y="{y - 10}" width="12" height="12" fill="{_COLOUR[kind]}"/>'
        yield f'<text x="{x + 17:.0f}" y="{y}">{kind}</text>'
        x += 17 + 6.6 * len(kind) + 22
