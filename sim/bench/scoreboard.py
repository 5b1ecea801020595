"""In-order comparison of what should come with what came."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

__all__ = ["Scoreboard"]


class Scoreboard:
    """Expected items in order; an actual one that differs, or that nobody expects, is an error at once."""

    def __init__(self, name: str, show: Callable[[Any], str] = repr) -> None:
        self.name = name
        self.matched = 0
        self._show = show
        self._expected: deque[Any] = deque()

    def expect(self, *items: Any) -> None:
        """Add what has to come next."""
        self._expected.extend(items)

    def check(self, item: Any) -> None:
        """Compare what came."""
        place = f"{self.name}, item {self.matched}"
        assert self._expected, f"{place}: {self._show(item)} was not expected"
        wanted = self._expected.popleft()
        assert item == wanted, f"{place}: {self._show(item)}, expected {self._show(wanted)}"
        self.matched += 1

    def clear(self) -> None:
        """Expect nothing more."""
        self._expected.clear()

    @property
    def head(self) -> Any:
        """What has to come next; there must be something pending."""
        return self._expected[0]

    @property
    def pending(self) -> int:
        """Items that have not come yet."""
        return len(self._expected)

    def finish(self, at_least: int = 1) -> None:
        """All came, and there were some."""
        assert not self._expected, (
            f"{self.name}: {len(self._expected)} did not come, first {self._show(self._expected[0])}"
        )
        assert self.matched >= at_least, f"{self.name}: {self.matched} items compared, fewer than {at_least}"
