"""Tables of the page."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["table"]


def table(
    head: tuple[str, ...], rows: Sequence[tuple[str, ...]], numbers: frozenset[int] = frozenset()
) -> str:
    """A table of cells that are HTML already; ``numbers``: columns that stand to the right."""

    def cells(kind: str, row: tuple[str, ...]) -> str:
        return "".join(
            f"<{kind}{' class=n' if place in numbers else ''}>{cell}</{kind}>"
            for place, cell in enumerate(row)
        )

    lines = [f"<tr>{cells('th', head)}</tr>", *(f"<tr>{cells('td', row)}</tr>" for row in rows)]
    return "<table>" + "\n".join(lines) + "</table>"
