"""Shrinking a failure: fewer items, the same names back from their text, recordings cut to their end."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vcd import VCDWriter
from vcd.reader import TokenKind, tokenize

from sim.bench.shrink import shrink
from sim.bench.stimulus import parse, spell, told
from sim.bench.waves import keep_last


@given(st.integers(1, 60), st.sets(st.integers(0, 59), min_size=1, max_size=4))
def test_nothing_is_left_that_is_not_needed(count: int, needed: set[int]) -> None:
    needed = {each % count for each in needed}
    assert shrink(range(count), lambda some: needed <= set(some), 10_000) == sorted(needed)


def test_tries_are_bounded_and_what_is_kept_fails() -> None:
    asked: list[Sequence[int]] = []

    def fails(some: Sequence[int]) -> bool:
        asked.append(some)
        return {3, 70} <= set(some)

    kept = shrink(range(100), fails, 5)
    assert len(asked) == 5
    assert {3, 70} <= set(kept)
    assert len(kept) < 100


def test_nothing_and_one_are_as_small_as_can_be() -> None:
    def never(_: Sequence[int]) -> bool:
        raise AssertionError("there is nothing to try")

    assert shrink([], never, 10) == []
    assert shrink([5], never, 10) == [5]


def test_items_come_back_from_text(tmp_path: Path) -> None:
    items = [("macros", 0), ("requests", 17), ("macros", 3)]
    assert spell(items) == "macros:0,3 requests:17"
    assert parse(spell(items)) == {"macros": frozenset({0, 3}), "requests": frozenset({17})}
    assert parse("") == {}
    path = tmp_path / "stimulus.txt"
    assert told(path) == []
    path.write_text("".join(f"{name} {number}: {{'a': 1}}\n" for name, number in items))
    assert told(path) == items
    for wrong in ("macros", ":1", "macros:", "macros:1,,2", "macros:-1"):
        with pytest.raises(ValueError, match="must be like"):
            parse(wrong)


def _values(path: Path) -> dict[int, dict[str, int]]:
    """Values of the signals at each time told."""
    names: dict[str, str] = {}
    now: dict[str, int] = {}
    time, found = 0, {}
    with path.open("rb") as file:
        for token in tokenize(file):
            if token.kind is TokenKind.VAR:
                names[token.var.id_code] = token.var.reference
            elif token.kind is TokenKind.CHANGE_TIME:
                time = token.time_change
            elif token.kind in (TokenKind.CHANGE_SCALAR, TokenKind.CHANGE_VECTOR):
                change = token.scalar_change if token.kind is TokenKind.CHANGE_SCALAR else token.vector_change
                now[names[change.id_code]] = int(change.value)
            found[time] = dict(now)
    return found


@pytest.mark.parametrize("ticks", [0, 1, 250, 251, 995, 100_000])
def test_the_end_of_a_recording_keeps_all_values(tmp_path: Path, ticks: int) -> None:
    path = tmp_path / "dump.vcd"
    with path.open("w") as file, VCDWriter(file, timescale="1 ps", date="") as writer:
        clock, old, word = (
            writer.register_var("top", name, "wire", size=size, init=0)
            for name, size in (("clk", 1), ("old", 4), ("word", 12))
        )
        for time in range(0, 1000, 5):
            writer.change(clock, time, time // 5 % 2)
            if time == 50:
                writer.change(old, time, 9)
            writer.change(word, time, time)
    whole = _values(path)
    keep_last(path, ticks)
    short = _values(path)
    begin = max(0, 995 - ticks)
    assert min(time for time in short if short[time]) == begin
    for time, values in short.items():
        if time >= begin and time in whole:
            assert values == whole[time]
    assert set(short) - {0, begin} == {time for time in whole if time > begin}


def test_what_is_no_recording_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "dump.vcd"
    path.write_text("$version x $end\n")
    with pytest.raises(ValueError, match="is no VCD with a time in it"):
        keep_last(path, 10)
    assert path.read_text() == "$version x $end\n"
