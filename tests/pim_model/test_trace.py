"""Traces: VCD and Perfetto read back command by command, the first difference in words, the picture."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from vcd.reader import TokenKind, tokenize

from pim_model.schedule import place
from pim_model.spec.config import config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import Micro
from pim_model.spec.micro import MicroOp as Op
from pim_model.timeline import render_svg, write_svg
from pim_model.trace import Entry, broadcast, diff, write_perfetto, write_vcd

MACRO = MatVec(
    tag=0, rows=20, columns=200, tokens=2, weight_row=9, input_offset=0, output_offset=0, function=1
)

OPERANDS = ("bank", "row", "column", "mode")


@pytest.fixture
def entries() -> list[Entry]:
    """A macro, and after it commands with mode bits."""
    placed = broadcast(place(config("tiny", "aim_simulator"), MACRO, 100), channels=2, start=50)
    end = placed[-1].cycle
    modes = [Entry(end + 9 * mode, 0, 0, Micro(Op.MACSB, bank=2, column=1, mode=mode)) for mode in (1, 2, 3)]
    return placed + modes


def test_broadcast_puts_each_command_on_each_channel() -> None:
    placed = place(config("tiny", "aim_simulator"), MACRO, 100)
    entries = broadcast(placed, channels=2, start=50)
    assert len(entries) == 2 * len(placed)
    assert entries == sorted(entries, key=lambda entry: entry[:3])
    for channel in (0, 1):
        mine = [(entry.cycle - 50, entry.slot, entry.micro) for entry in entries if entry.channel == channel]
        assert mine == placed


def read_vcd(path: Path, units: int) -> list[Entry]:
    """Every command in a VCD file: each lane is sampled in every cycle of ``units`` of its time."""
    names: dict[str, tuple[int, int, str]] = {}
    scopes: list[str] = []
    now: dict[tuple[int, int, str], object] = {}
    samples: dict[int, dict[tuple[int, int, str], object]] = {}
    time = 0
    with open(path, "rb") as stream:
        for token in tokenize(stream):
            if token.kind is TokenKind.SCOPE:
                scopes.append(token.scope.ident)
            elif token.kind is TokenKind.UPSCOPE:
                scopes.pop()
            elif token.kind is TokenKind.VAR:
                channel, slot = (int(re.sub(r"\D", "", scope)) for scope in scopes)
                names[token.var.id_code] = (channel, slot, token.var.reference)
            elif token.kind is TokenKind.CHANGE_TIME:
                time, rest = divmod(token.time_change, units)
                assert not rest, "a change inside a cycle"
            elif token.kind is TokenKind.CHANGE_STRING:
                now[names[token.string_change.id_code]] = token.string_change.value
            elif token.kind is TokenKind.CHANGE_VECTOR:
                now[names[token.vector_change.id_code]] = token.vector_change.value
            samples[time] = dict(now)
    found = []
    last: dict[tuple[int, int, str], object] = {}
    for cycle in range(max(samples) + 1):
        last = samples.get(cycle, last)
        for channel, slot, field in sorted(last):
            if field == "command" and last[channel, slot, field] != "NOP":
                operands = {name: int(str(last[channel, slot, name])) for name in OPERANDS}
                op = Op[str(last[channel, slot, field])]
                found.append(Entry(cycle, channel, slot, Micro(op, **operands)))
    return found


@pytest.mark.parametrize(("cycle_ns", "units"), [(1.0, 10), (0.5, 5)])
def test_vcd_holds_every_command(entries: list[Entry], cycle_ns: float, units: int, tmp_path: Path) -> None:
    write_vcd(tmp_path / "trace.vcd", entries, cycle_ns=cycle_ns)
    assert "$timescale 100 ps $end" in (tmp_path / "trace.vcd").read_text()
    assert read_vcd(tmp_path / "trace.vcd", units) == sorted(entries, key=lambda entry: entry[:3])


def test_perfetto_holds_every_command(entries: list[Entry], tmp_path: Path) -> None:
    write_perfetto(tmp_path / "trace.json", entries)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    commands = [event for event in events if event["ph"] == "X"]
    read = [
        Entry(
            round(event["ts"] * 1000),
            event["pid"],
            event["tid"],
            Micro(Op[event["name"]], *(event["args"][name] for name in OPERANDS)),
        )
        for event in commands
    ]
    assert read == entries
    assert {event["args"]["name"] for event in events if event["name"] == "process_name"} == {
        "channel 0",
        "channel 1",
    }


def test_equal_traces_do_not_differ(entries: list[Entry]) -> None:
    assert diff(entries, list(entries)) is None
    later = [entry._replace(cycle=entry.cycle + 12) for entry in entries]
    assert diff(entries, later, align=True) is None
    assert diff([], []) is None


def test_first_difference_is_explained(entries: list[Entry]) -> None:
    def changed(position: int, entry: Entry) -> list[Entry]:
        copy = list(entries)
        copy[position] = entry
        return copy

    found = diff(entries, changed(40, entries[40]._replace(cycle=entries[40].cycle + 3)))
    assert found is not None
    assert (found.position, found.before) == (40, entries[39])
    assert found.reason == "the same command 3 cycles later on the right"
    assert str(entries[40]) in str(found)
    micro = entries[0].micro
    other = diff(entries, changed(0, entries[0]._replace(micro=Micro(micro.op, bank=3))))
    assert other is not None
    assert other.reason == "operands of TMOD_IN differ: bank 0 and 3"
    assert "at the start" in str(other)
    kind = diff(entries, changed(0, entries[0]._replace(micro=Micro(Op.REFAB))))
    assert kind is not None
    assert kind.reason == "TMOD_IN on the left, REFAB on the right"
    short = diff(entries, entries[:-1])
    assert short is not None
    assert short.right is None
    assert short.reason == "the right trace has ended, the left one goes on"
    missing = diff(entries, entries[1:])
    assert missing is not None
    assert missing.reason == "another channel or slot comes first: a command is missing, or moved"


def test_picture_shows_what_the_trace_holds(entries: list[Entry], tmp_path: Path) -> None:
    write_svg(tmp_path / "t.svg", entries, title="a < b", nanoseconds=600)
    root = ET.parse(tmp_path / "t.svg").getroot()
    space = "{http://www.w3.org/2000/svg}"
    texts = [element.text or "" for element in root.iter(f"{space}text")]
    assert "a < b" in texts
    for label in ("channel 0", "channel 1", "open row", "multiply-accumulate", "register mode"):
        assert label in texts, label
    assert "normal access" not in texts, "the legend names only what is shown"
    # Each tooltip stands for a run of commands; together they are the commands of the first 600 cycles.
    tips = [element.text or "" for element in root.iter(f"{space}title")]
    drawn: dict[str, int] = {}
    for tip in tips:
        match = re.match(r"(\w+)(?: × (\d+))?, cycle", tip)
        assert match, tip
        drawn[match[1]] = drawn.get(match[1], 0) + int(match[2] or 1)
    shown = [entry for entry in entries if entry.cycle < entries[0].cycle + 600]
    assert drawn == {op.name: count for op in Op if (count := sum(entry.micro.op is op for entry in shown))}
    width = float(root.get("width", "0"))
    for rect in root.iter(f"{space}rect"):
        assert float(rect.get("x", "0")) + float(rect.get("width", "0")) <= width + 0.1


def test_picture_of_nothing_is_refused(entries: list[Entry]) -> None:
    with pytest.raises(ValueError, match=r"^entries must be a trace with at least one command, not empty$"):
        render_svg([], title="")
    with pytest.raises(ValueError, match=r"^nanoseconds must be positive and width .*, not 0 and 1200$"):
        render_svg(entries, title="", nanoseconds=0)
