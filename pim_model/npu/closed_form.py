# Ref: IANUS (ASPLOS 2024), section 5.2; GDDR6-AiM notes, "Timing"
"""PIM time in closed form: cycles of a macro of one token, from a dozen distances between commands.

A macro is a chain of *spans*. Each begins with a command that opens something: a weight row (ACTAB), an activation
table (ACTAF) or register mode (TMOD_IN). What a span takes depends on its kind and on what opens next, and on nothing
before it, so the time of a macro is a sum of few distinct terms::

    direct    groups x sum over tiles of row(tile) + table rows + tail
    mode      the same, and a visit to register mode before each row that wants registers

A refresh that is due when a span could open goes before it; the chain then moves by a constant. ``tests/pim_model``
holds this to the golden schedule cycle for cycle; it shares the timing rules with it, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import pairwise

from pim_model.mapping.layout import padded_columns, tile_grid
from pim_model.spec.config import Config
from pim_model.spec.geometry import LANES
from pim_model.spec.micro import MicroOp
from pim_model.spec.order import best_order
from pim_model.spec.timing_rules import Scope

__all__ = ["ClosedForm", "Span"]


@dataclass(frozen=True)
class Span:
    """What begins with one opening command."""

    opener: MicroOp
    """ACTAB, ACTAF or TMOD_IN."""
    columns: int = 0
    """MACABs of a weight row; columns of the buffer to load in a visit."""
    lanes: int = 0
    """Activations on a table row; biases to write in a visit."""
    results: tuple[MicroOp, ...] = ()
    """Result reads of a visit, each RDMAC or RDAF."""


class ClosedForm:
    """Cycles of MATVEC macros with one token on one configuration."""

    def __init__(self, config: Config):
        self.config = config
        timing = config.timing
        self._direct = timing.direct
        scopes = (Scope.BANK, Scope.GROUP, Scope.CHANNEL)
        self._distance = {
            (before, after): max(timing.between(before, after, scope) for scope in scopes)
            for before in MicroOp
            for after in MicroOp
        }
        self._close = config.row_closer
        self._result = max(1, timing.cycles("RLREG + BL"))
        self._interval = timing.refresh_interval

    def cycles(
        self, rows: int, columns: int, activation: bool = False, refresh_due: int | None = None
    ) -> int:
        """Cycles of ``rows`` x ``columns``, as ``pim_model.schedule.macro_cycles`` for one token.

        ``refresh_due``: cycle in which the next refresh falls due, counted from the macro's first; None for none.
        """
        return self.cost(rows, columns, activation, refresh_due)[0]

    @lru_cache(maxsize=1 << 16)  # noqa: B019 - one instance a configuration; a refresh has two thousand phases
    def cost(
        self, rows: int, columns: int, activation: bool = False, refresh_due: int | None = None
    ) -> tuple[int, int]:
        """(cycles, refreshes that the macro makes way for), as :meth:`cycles`."""
        due = refresh_due
        chain = list(self._spans(rows, columns, activation))
        start, taken = 0, 0
        if due is not None and due <= 0:
            start, taken, due = self._refreshed(0, 0, due, MicroOp.REFAB, chain[0].opener)
        for span, after in pairwise(chain):
            gate = start + self._advance(span, after.opener)
            if due is None or due > gate:
                start = gate
                continue
            earliest = start + self._advance(span, MicroOp.REFAB)
            start, more, due = self._refreshed(earliest, gate, due, MicroOp.REFAB, after.opener)
            taken += more
        return start + self._tail(chain[-1], activation), taken

    def _refreshed(
        self, first: int, gate: int, due: int, refresh: MicroOp, opener: MicroOp
    ) -> tuple[int, int, int]:
        """(cycle of the opener after the refreshes that are due, their number, when the next is due)."""
        taken = 0
        while due <= gate:
            gate = first + self._distance[refresh, opener]
            first += self._distance[refresh, refresh]
            due += self._interval
            taken += 1
        return gate, taken, due

    # ---------------------------------------------------------------------------------------------------- spans

    def _spans(self, rows: int, columns: int, activation: bool) -> Iterator[Span]:
        """The spans of a macro, in order."""
        geometry = self.config.geometry
        groups, tiles = tile_grid(rows, columns, geometry)
        total = padded_columns(columns) // LANES
        widths = [min(geometry.columns, total - tile * geometry.columns) for tile in range(tiles)]
        pair = 2 if best_order(self._direct, groups, tiles, int(activation)).groups else 1
        results: tuple[MicroOp, ...] = ()
        for first in range(0, groups, pair):
            lanes = min(pair, groups - first)
            for tile, width in enumerate(widths):
                load = width if tiles > 1 or first == 0 else 0
                if not self._direct and (load or tile == 0 or results):
                    yield Span(MicroOp.TMOD_IN, load, lanes if tile == 0 else 0, results)
                results = ()
                for _ in range(lanes):
                    yield Span(MicroOp.ACTAB, width)
            if activation and self._direct:
                yield Span(MicroOp.ACTAF, lanes=lanes)
            elif activation:
                for lane in range(lanes):
                    if lane:
                        yield Span(MicroOp.TMOD_IN, results=(MicroOp.RDAF,))
                    yield Span(MicroOp.ACTAF, lanes=1)
                results = (MicroOp.RDAF,)
            else:
                results = (MicroOp.RDMAC,) * lanes
        if not self._direct:
            yield Span(MicroOp.TMOD_IN, results=results)

    @lru_cache(maxsize=4096)  # noqa: B019
    def _advance(self, span: Span, opener: MicroOp) -> int:
        """Cycles from a span's opening command to the earliest cycle of ``opener`` after it."""
        distance = self._distance
        if span.opener is MicroOp.TMOD_IN:
            leave = self._leave(span)
            return leave + distance[MicroOp.TMOD_OUT, opener]
        closed = self._closed(span)
        return max(closed + distance[self._close, opener], distance[span.opener, opener])

    def _closed(self, span: Span) -> int:
        """Cycles from opening a row to closing it."""
        after = MicroOp.MACAB if span.opener is MicroOp.ACTAB else MicroOp.AF
        last = self._last(span) + self._distance[after, self._close]
        return max(last, self._distance[span.opener, self._close])

    def _last(self, span: Span) -> int:
        """Cycles from opening a row to its last MACAB or AF."""
        distance = self._distance
        if span.opener is MicroOp.ACTAB:
            return distance[MicroOp.ACTAB, MicroOp.MACAB] + (span.columns - 1) * self._mac_spacing
        # There is one result register: an AF waits until the result before it has been read.
        again = max(
            distance[MicroOp.AF, MicroOp.AF],
            distance[MicroOp.AF, MicroOp.RDAF] + distance[MicroOp.RDAF, MicroOp.AF],
        )
        return distance[MicroOp.ACTAF, MicroOp.AF] + (span.lanes - 1) * again

    @cached_property
    def _mac_spacing(self) -> int:
        return self._distance[MicroOp.MACAB, MicroOp.MACAB]

    def _leave(self, span: Span) -> int:
        """Cycles from TMOD_IN to TMOD_OUT of a visit."""
        distance = self._distance
        last: dict[MicroOp, int] = {MicroOp.TMOD_IN: 0}
        steps = ((op, 1) for op in span.results)
        for op, count in (*steps, (MicroOp.WRBIAS, span.lanes), (MicroOp.WRGB, span.columns)):
            if count:
                first = max(cycle + distance[before, op] for before, cycle in last.items())
                last[op] = first + (count - 1) * distance[op, op]
        return max(cycle + max(1, distance[before, MicroOp.TMOD_OUT]) for before, cycle in last.items())

    def _tail(self, span: Span, activation: bool) -> int:
        """Cycles from the last span's opening command to the macro's end."""
        distance = self._distance
        if span.opener is MicroOp.TMOD_IN:
            first = distance[MicroOp.TMOD_IN, span.results[0]]
            read = first + (len(span.results) - 1) * distance[span.results[0], span.results[0]]
            return max(self._leave(span), read + self._result) + 1
        before, read_op = (MicroOp.AF, MicroOp.RDAF) if activation else (MicroOp.MACAB, MicroOp.RDMAC)
        read = self._last(span) + distance[before, read_op]
        return max(self._closed(span), read + self._result) + 1
