"""What coverage is made of: places of branches in Verilog, Verilator's counts, monitors of commands and of a host."""

import inspect
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from host_runtime.regress.coverage import bins
from pim_model.device import Device
from pim_model.spec.config import Config, config
from pim_model.spec.errors import Status
from pim_model.spec.isr import Instruction, Program
from pim_model.spec.macro import MacroOp, MatVec
from pim_model.spec.micro import FOUR_BANKS, ONE_BANK, MicroOp
from pim_model.spec.registers import Reg, macro_word
from sim.bench.checker_pairs import edge_between, one
from sim.build import monitor_library
from sim.coverage import code, files
from sim.coverage.commands import SCOPES, CommandMonitor, minimum, preset
from sim.coverage.host import HostMonitor
from sim.coverage.requests import RequestMonitor
from sim.coverage.verilog import branches, convert, ports, toggles_off
from sim.native import TRACE

GROUPS = Path(__file__).resolve().parents[1] / "coverage" / "groups"
TINY = config("tiny")


class Unit(wiring.Component):
    """A few branches, each statement on a line of its own."""

    a: In(2)
    y: Out(2)

    def elaborate(self, platform):
        m = Module()
        count = Signal(2)
        with m.If(self.a == 3):
            m.d.sync += count.eq(1)
        with m.Elif(self.a == 2):
            m.d.sync += count.eq(2)
        with m.Else():
            m.d.sync += count.eq(3)
        with m.Switch(self.a):
            with m.Case(1):
                m.d.comb += self.y.eq(count)
        return m


def line(text: str) -> str:
    """``file:line`` of a line of :class:`Unit`."""
    source, first = inspect.getsourcelines(Unit)
    (found,) = [first + place for place, each in enumerate(source) if text in each]
    return f"tests/sim/test_coverage.py:{found}"


@pytest.fixture(scope="module")
def verilog() -> str:
    return convert(Unit(), "unit")


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Counter[str]]]:
    """What monitors hit in this test, kept from the files of a run that measures."""
    found: dict[str, Counter[str]] = {}
    monkeypatch.setattr(files, "_bins", found)
    monkeypatch.setattr(files, "_code", found)
    monkeypatch.setattr(files, "save", lambda: None)
    yield found
    found.clear()


def test_branches_know_their_lines(verilog: str) -> None:
    found = {(each.condition, each.arm): each.statements for each in branches(verilog).values()}
    assert found[line("self.a == 3"), "taken"] == (line("count.eq(1)"),)
    assert found[line("self.a == 2"), "taken"] == (line("count.eq(2)"),)
    assert found[f"{line('self.a == 3')} else", "taken"] == (line("count.eq(3)"),)
    assert (line("self.y.eq"),) in found.values()


def test_only_ports_toggle(verilog: str) -> None:
    assert ports(verilog, "unit") == {"a", "y", "clk", "rst"}
    off = {int(each.rpartition(" ")[2]) for each in toggles_off(verilog, "unit", "unit.v").splitlines()[1:]}
    text = dict(enumerate(verilog.splitlines(), start=1))
    assert any("count" in text[number] for number in off)
    kept = [text[number].split()[-1].rstrip(";") for number in text.keys() - off if " wire " in text[number]]
    assert set(kept) <= ports(verilog, "unit")


def test_counts_become_lines_and_branches(
    verilog: str, tmp_path: Path, heard: dict[str, Counter[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Verilator's format, written here by hand: a branch by its line, an absent Else by that of its If, a port."""
    monkeypatch.setattr(code, "_OURS", re.compile("tests/"))
    place = tmp_path / "top.v"
    place.write_text(verilog)
    arms = {each.condition: number for number, each in branches(verilog).items()}

    def point(number: int, page: str, what: str, count: int) -> str:
        fields = {"f": "top.v", "l": number, "n": 1, "t": "x", "page": f"{page}/unit", "o": what, "h": "unit"}
        return "C '" + "".join(f"\x01{name}\x02{value}" for name, value in fields.items()) + f"' {count}\n"

    first = arms[line("self.a == 3")]
    second = arms[line("self.a == 2")]
    text = point(first, "v_line", "elsif", 5) + point(second, "v_line", "if", 0)
    text += point(arms[line("Case(1)")], "v_branch", "else", 7) + point(99, "v_line", "block", 1)
    data = tmp_path / "counts"
    data.write_text("# SystemC::Coverage-3\n" + text + point(1, "v_toggle", "phy___05F3___05Fop0[0]:0->1", 2))
    code.collect_file(data, place, "unit")
    code.collect_file(data, place, "unit")
    assert heard["branches"] == {
        f"{line('self.a == 3')} taken": 10,
        f"{line('self.a == 2')} taken": 0,
        f"{line('Case(1)')} not taken": 14,
    }
    assert heard["lines"] == {line("count.eq(1)"): 10, line("count.eq(2)"): 0}
    assert heard["toggles"] == {"unit phy__op0[0]:0->1": 4}


# --- commands


def legal_pairs(shape: Config) -> Iterator[tuple[str, str, str]]:
    """Pairs that rules hold apart, and that some legal sequence brings to that distance."""
    ops = [op for op in MicroOp if op not in FOUR_BANKS and op is not MicroOp.NOP]
    for before in ops:
        for after in ops:
            single = before in ONE_BANK and after in ONE_BANK
            for scope, bank in zip(SCOPES, (1, 2, 5, 1, 1), strict=True):
                if (scope == "channel" and single) or (
                    scope.startswith(("same-b", "same-g", "o")) and not single
                ):
                    continue
                if MicroOp.PREP in (before, after) and not shape.dual_row_buffer:
                    continue
                cycles = minimum(shape, before, after, scope)
                if cycles and edge_between(one(before), one(after, bank), cycles, shape, 10):
                    yield before.name, after.name, scope


def test_the_declared_pairs_are_those_of_the_rules() -> None:
    """A rule that is added or changed is a bin that is added or changed."""
    (group,) = [each for each in bins.load(GROUPS) if each.name == "commands"]
    wanted = {
        f"{preset(shape)} {before} {after} {scope} {distance}"
        for shape in (config("ianus"), config("ianus", "aim_simulator"), config("ianus_dual"))
        for before, after, scope in legal_pairs(shape)
        for distance in ("minimum", "above")
    }
    assert wanted == set(group.bins)


def hear(shape: Config, *commands: tuple[int, MicroOp, dict[str, int]]) -> None:
    trace = np.zeros(len(commands), TRACE)
    for place, (cycle, op, fields) in enumerate(commands):
        trace[place]["cycle"], trace[place]["op"] = cycle, op
        for name, value in fields.items():
            trace[place][name] = value
    monitor = CommandMonitor(monitor_library(shape), shape)
    monitor.take(trace)
    monitor.close()


@pytest.mark.verilator
def test_distances_are_sorted(heard: dict[str, Counter[str]]) -> None:
    """At, above and below the minimum, by scope; another channel's commands do not count."""
    shape = config("ianus")
    wanted = minimum(shape, MicroOp.ACT, MicroOp.RD, "same-bank")
    group = minimum(shape, MicroOp.ACT, MicroOp.ACT, "same-group")
    hear(
        shape,
        (100, MicroOp.ACT, {"bank": 1}),
        (100 + wanted, MicroOp.RD, {"bank": 1}),
        (100 + wanted + 1, MicroOp.RD, {"bank": 1}),
        (100 + wanted + 1, MicroOp.RD, {"bank": 1, "channel": 1}),
        (300, MicroOp.ACT, {"bank": 2}),
        (300 + group, MicroOp.ACT, {"bank": 3}),
        (300 + wanted - 1, MicroOp.RD, {"bank": 2}),
    )
    found = heard["commands"]
    assert found["ianus_ck ACT RD same-bank minimum"] == 1
    assert found["ianus_ck ACT RD same-bank early"] == 1
    assert found["ianus_ck ACT RD same-bank above"] == 1
    assert found["ianus_ck ACT ACT same-group minimum"] == 1
    assert found["ianus_ck ACT ACT same-group above"] == 1
    assert not any(name.startswith("ianus_ck ACT ACT other-group") for name in found)


@pytest.mark.verilator
def test_columns_of_the_buffer(heard: dict[str, Counter[str]]) -> None:
    gap = minimum(TINY, MicroOp.WRGB, MicroOp.MACAB, "same-column")
    hear(
        TINY,
        (10, MicroOp.WRGB, {"column": 1}),
        (11, MicroOp.WRGB, {"column": 2}),
        (10 + gap, MicroOp.MACAB, {"column": 1}),
        (10 + gap + 5, MicroOp.MACAB, {"column": 2}),
        (10 + gap + 6, MicroOp.MACAB, {"column": 3}),
    )
    found = {name: n for name, n in heard["commands"].items() if "WRGB MACAB same-column" in name}
    assert found == {
        "ianus_ck WRGB MACAB same-column minimum": 1,
        "ianus_ck WRGB MACAB same-column above": 1,
    }


@pytest.mark.verilator
def test_rows_refreshes_and_traffic(heard: dict[str, Counter[str]]) -> None:
    interval = TINY.timing.refresh_interval
    bank = {"bank": 2}
    hear(
        TINY,
        (0, MicroOp.REFAB, {}),
        (200, MicroOp.ACT, bank),
        (220, MicroOp.RD, bank),
        (222, MicroOp.RD, bank),
        (250, MicroOp.PRE, bank),
        (270, MicroOp.ACT, bank),
        (290, MicroOp.WR, bank),
        (350, MicroOp.PREA, {}),
        (interval, MicroOp.REFAB, {}),
        (interval + 300, MicroOp.MACAB, {}),
        (interval + 400, MicroOp.REFAB, {}),
        (interval + 400 + 8 * interval, MicroOp.REFAB, {}),
    )
    assert heard["accesses"] == {
        "all-bank RD miss": 1,
        "all-bank RD hit": 1,
        "all-bank WR conflict": 1,
    }
    assert heard["refresh"] == {
        "all-bank REFAB rest on-time": 1,
        "all-bank REFAB PIM sooner": 1,
        "all-bank REFAB rest forced": 1,
    }


# --- host


def test_a_hosts_accesses(heard: dict[str, Counter[str]]) -> None:
    """Registers, a well-formed product, a PROGRAM whose second macro is malformed, transfers: on the golden device."""
    device, monitor = Device(TINY), HostMonitor(TINY)

    def write(offset: int, value: int) -> None:
        device.write_register(offset, value)
        monitor.register_write(offset, value)

    def read(offset: int) -> int:
        value = device.read_register(offset)
        monitor.register_read(offset, value)
        return value

    def run(words: tuple[int, ...]) -> None:
        for index, word in enumerate(words):
            write(macro_word(index), word)
        write(Reg.MACRO_PUSH, 1)
        assert device.step()
        read(Reg.COMPLETION)
        write(Reg.COMPLETION_POP, 1)

    run(MatVec(tag=1, rows=9, columns=16, weight_row=0, input_offset=0, output_offset=64).encode())
    bad = Instruction(op=MacroOp.MAC_ABK, size=0, mask=3).encode()
    image = np.array([Instruction(op=MacroOp.SYNC).encode(), bad], "<u4").tobytes()
    device.write_memory(TINY.buffer_base + 1024, image)
    monitor.transfer(TINY.buffer_base + 1024, image, len(image))
    run(Program(tag=2, offset=1024, count=2).encode())
    monitor.register_read(0xFF0, None)

    assert heard["shapes"] == {"MATVEC groups-and-a-part part-of-a-row": 1}
    assert heard["status"] == {"MATVEC alone OK": 1, f"MAC_ABK in-PROGRAM {Status.BAD_SHAPE.name}": 1}
    assert heard["instructions"] == {"SYNC in-PROGRAM": 1}
    assert heard["window"] == {"write buffer page aligned": 1}
    assert heard["registers"]["absent read refused"] == 1
    assert heard["registers"]["MACRO_PUSH write okay"] == 2
    assert heard["queue"] == {"empty": 2}


def test_normal_requests(heard: dict[str, Counter[str]]) -> None:
    """What a request found queued, which bytes it writes, how long it waited for its column command."""
    monitor = RequestMonitor(TINY)

    def ask(cycle: int, *, write: bool, column: int, mask: int = 0) -> None:
        monitor.requested(cycle, write=write, bank=1, row=3, column=column, mask=mask)

    ask(0, write=True, column=0, mask=0xFF)
    ask(1, write=False, column=0)
    ask(2, write=True, column=0, mask=0xFFFFFFFF)
    ask(3, write=False, column=0)
    ask(4, write=False, column=5)
    monitor.command(10, MicroOp.ACT, 1, 3, 0)
    monitor.answered()
    monitor.command(300, MicroOp.RD, 1, 0, 5)
    monitor.command(600, MicroOp.WR, 1, 0, 0)
    assert heard["behind"] == {
        "write nothing": 1,
        "write write-of-it": 1,
        "read write-of-some": 1,
        "read write-of-all": 1,
        "read nothing": 1,
    }
    assert heard["byte-enables"] == {"some": 1, "all": 1}
    assert heard["waits"] == {"RD within-two": 1, "WR longer": 1}
    assert heard["queue-levels"] == {
        "all-bank write empty": 1,
        "all-bank write some": 1,
        "all-bank read some": 3,
    }
