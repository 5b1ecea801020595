"""`ianus mutate`: the faults it makes, and what it says of them, on a small checkout of its own."""

from __future__ import annotations

import ast
import fcntl
import json
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from host_runtime import cli
from host_runtime.mutate import judges, trial
from host_runtime.mutate.mutants import Mutant, mutants_of, sample
from host_runtime.mutate.operators import KINDS
from host_runtime.mutate.source import Source, apply

ROOT = Path(__file__).resolve().parent.parent.parent


def faults(kind: str, text: str, *, rtl: bool) -> list[str]:
    """What is left of ``text``, one function or module, after each fault of a kind."""
    source = Source(PurePosixPath("hdl/x.py" if rtl else "pim_model/x.py"), text.encode())
    return [
        apply(source.raw, edits).decode() for place in source.places for edits in KINDS[kind](source, place)
    ]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("timing", "x = t.between(A, B) - 1", ["x = (t.between(A, B) + 1) - 1", "x = (t.between(A, B) - 1) - 1"]),
        ("timing", "x = self.faw_cycles", ["x = (self.faw_cycles + 1)", "x = (self.faw_cycles - 1)"]),
        ("constant", "x = a[0]", ["x = a[1]", "x = a[(-1)]"]),
        ("constant", "x = Signal(7, name='x')", []),
        ("constant", "x = True", []),
        ("comparison", "x = (a) < (b)", ["x = (a) <= (b)"]),
        ("comparison", "x = a != b", ["x = a == b"]),
        ("comparison", "x = a in b", []),
        ("guard", "x = a & (b | c)", ["x = (a)", "x = (b | c)", "x = a & ((b))", "x = a & ((c))"]),
        ("condition", "with m.Elif(a & b):\n    pass", ["with m.Elif((a & b) == 0):\n    pass"]),
        ("condition", "x = a if c else b", ["x = a if not (c) else b"]),
        ("address", "x = row.eq(a)", ["x = row.eq((a) + 1)", "x = row.eq((a) - 1)"]),
        ("refresh", "m.d.comb += self.due.eq(a)", ["m.d.comb += self.due.eq(0)"]),
        ("refresh", "issue(MicroOp.REFAB)", ["pass"]),
        ("swap", "x = Mux(c, a, b)", ["x = Mux(c, (b), (a))"]),
        ("swap", "x = a - b", ["x = (b) - (a)"]),
        ("arithmetic", "x = a + b", ["x = a - b"]),
        ("reset", "a = Signal()\nm.d.sync += a.eq(b)", ["a = Signal(init=1)\nm.d.sync += a.eq(b)"]),
        ("reset", "a = Signal(4, init=0)", ["a = Signal(4, init=1)"]),
        ("reset", "a = Signal()\nm.d.comb += a.eq(b)", []),
        ("statement", "m.d.comb += [a.eq(1), b.eq(2)]", ["m.d.comb += [ b.eq(2)]", "m.d.comb += [a.eq(1), ]"]),
        ("statement", "m.next = 'A'", ["pass"]),
    ],
)  # fmt: skip
def test_faults_of_the_rtl(kind: str, text: str, expected: list[str]) -> None:
    assert faults(kind, text, rtl=True) == expected


def test_an_event_is_lost_longer_or_late() -> None:
    text = "def f():\n    m.d.comb += [\n        done.eq(a & b),\n    ]"
    late = "def f():\n    late = Signal()\n    m.d.sync += late.eq(a & b)\n" + text.removeprefix("def f():\n")
    assert faults("completion", text, rtl=True) == [
        text.replace("a & b", "0"),
        late.replace("done.eq(a & b)", "done.eq((a & b) | late)"),
        late.replace("done.eq(a & b)", "done.eq(late)"),
    ]


@pytest.mark.parametrize(
    ("kind", "text", "expected"),
    [
        ("completion", "self.queue.append(x)", ["pass", "self.queue.append(x); self.queue.append(x)"]),
        ("guard", "x = a and b", ["x = ((b))", "x = ((a))"]),
        ("condition", "if a:\n    pass", ["if not (a):\n    pass"]),
        ("statement", "f(x)", ["pass"]),
        ("statement", '"""Docstring."""', []),
        ("constant", "def f(x: L[1] = 2) -> L[3]:\n    raise E(4)", ["def f(x: L[1] = 3) -> L[3]:\n    raise E(4)",
                                                                      "def f(x: L[1] = 1) -> L[3]:\n    raise E(4)"]),
        ("address", "start = a + b", ["start = (a + b) + 1", "start = (a + b) - 1"]),
    ],
)  # fmt: skip
def test_faults_of_the_model(kind: str, text: str, expected: list[str]) -> None:
    assert faults(kind, text, rtl=False) == expected


# ---------------------------------------------------------------------------------------------------- this project's


@pytest.fixture(scope="module")
def table() -> judges.Judges:
    return judges.load(ROOT / "tests" / "mutation.toml", ROOT / "tests" / "mutation_waivers.toml")


@pytest.fixture(scope="module")
def every(table: judges.Judges) -> list[Mutant]:
    return mutants_of(ROOT, table.files(ROOT))


def test_mutants_are_python_and_have_names_of_their_own(every: list[Mutant]) -> None:
    assert len({mutant.id for mutant in every}) == len(every) > 1000
    for mutant in every[::40]:
        ast.parse(mutant.mutated)
        assert mutant.mutated != mutant.original
        assert "\n".join(mutant.changed).strip()


def test_sample_takes_kinds_and_files_in_turn(every: list[Mutant]) -> None:
    chosen = sample(every, 240, 1)
    assert chosen == sample(list(every), 240, 1)
    assert chosen[:100] == sample(every, 100, 1)
    assert chosen != sample(every, 240, 2)
    kinds = Counter(mutant.kind for mutant in chosen)
    assert set(kinds) == set(KINDS)
    assert max(kinds.values()) - min(kinds.values()) <= 1
    assert len({mutant.path for mutant in chosen}) > 45
    assert len({mutant.id for mutant in chosen}) == 240


def test_every_target_has_judges_that_exist(table: judges.Judges) -> None:
    files = table.files(ROOT)
    assert PurePosixPath("hdl/controller/scheduler.py") in files
    assert PurePosixPath("pim_model/device.py") in files
    for path in files:
        assert table.of(path), path
    for stage in table.stages:
        assert all((ROOT / test.partition("::")[0]).exists() for test in stage.tests), stage.name
        assert any(stage in table.of(path) for path in files), f"{stage.name} judges nothing"
        assert not stage.circuit or stage.circuit in table.circuits


def test_every_waiver_is_about_a_mutant(table: judges.Judges, every: list[Mutant]) -> None:
    for waiver in table.waivers:
        assert waiver.reason
        assert any(waiver.holds(mutant) for mutant in every), (
            f"no mutant of {waiver.file} reads: {waiver.after}"
        )


# ------------------------------------------------------------------------------------------------- a small checkout

MODEL = """\"\"\"A model.\"\"\"
import time
def clamp(value, limit):
    if value < limit:
        return value
    return limit

def halve(value):
    while value > 9:
        value = value // 2; time.sleep(.01)
    return value

def untested(value):
    return value + 1
"""
TEST_MODEL = """
from pim_model.thing import clamp, halve

def test_clamp():
    assert [clamp(x, 5) for x in (4, 5, 6)] == [4, 5, 5]

def test_halve():
    assert halve(80) == 5
"""
RTL = """\"\"\"A circuit.\"\"\"

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

class Thing(wiring.Component):
    a: In(1)
    b: In(1)
    done: Out(1)

    def elaborate(self, platform):
        m = Module()
        never = 0
        if never > 0:
            m.d.comb += Signal().eq(1)
        m.d.comb += self.done.eq(self.a & self.b)
        return m
"""
TEST_RTL = """
from amaranth.sim import Simulator
from hdl.thing import Thing

def test_thing():
    dut = Thing()
    async def bench(ctx):
        for a, b in ((0, 1), (1, 0), (1, 1)):
            ctx.set(dut.a, a)
            ctx.set(dut.b, b)
            assert ctx.get(dut.done) == a & b
    simulator = Simulator(dut)
    simulator.add_testbench(bench)
    simulator.run()
"""
CIRCUIT = """
import sys
from amaranth.back import rtlil
from hdl.thing import Thing
from pim_model.buildcache import digest
for name in sys.argv[1:]:
    print(name, digest(rtlil.convert(Thing(), emit_src=False)))
"""
TABLE = """
targets = ["pim_model/thing.py", "hdl/thing.py"]
circuits = ["plain"]
[[stage]]
name = "model"
files = ["pim_model/*"]
tests = ["tests/test_model.py"]
[[stage]]
name = "circuit"
files = ["hdl/*"]
circuit = "plain"
tests = ["tests/test_rtl.py"]
"""
WAIVER = """
[[equivalent]]
file = "pim_model/thing.py"
function = "clamp"
before = "if value < limit:"
after = "if value <= limit:"
reason = "both are the limit then"
"""
CONFTEST = "def pytest_addoption(parser):\n    parser.addoption('--seed')\n"


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of two modules and their tests."""
    files = {
        "hdl/__init__.py": "",
        "hdl/thing.py": RTL,
        "pim_model/__init__.py": "",
        "pim_model/buildcache.py": (ROOT / "pim_model" / "buildcache.py").read_text(),
        "pim_model/thing.py": MODEL,
        "sim/__init__.py": "",
        "sim/circuit.py": CIRCUIT,
        "tests/__init__.py": "",
        "tests/conftest.py": CONFTEST,
        "tests/recorder.py": (ROOT / "tests" / "recorder.py").read_text(),
        "tests/test_model.py": TEST_MODEL,
        "tests/test_rtl.py": TEST_RTL,
        "tests/mutation.toml": TABLE,
        "tests/mutation_waivers.toml": WAIVER,
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr("host_runtime.cli.mutate.checkout", lambda: tmp_path)
    return tmp_path


@pytest.fixture
def mutate(small: Path) -> Iterator[Callable[..., tuple[int, Any]]]:
    """Run the command; its exit code and report."""
    handler = signal.getsignal(signal.SIGTERM)

    def run(*arguments: str) -> tuple[int, Any]:
        report = small / "report.json"
        report.unlink(missing_ok=True)
        code = cli.run(["mutate", "--output", str(small / "out"), "--json", str(report), *arguments])
        return code, json.loads(report.read_text()) if report.exists() else None

    yield run
    signal.signal(signal.SIGTERM, handler)


def results(report: Any) -> dict[str, str]:
    return {entry["id"]: entry["result"] for entry in report["details"]}


def test_verdicts(
    small: Path, mutate: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "_PATIENCE", 12.0)
    monkeypatch.setattr(trial, "_TIMES", 0.0)
    # < and <=; the opposite; a loop without end; a sum that nobody asks for; what is never elaborated; and a circuit's.
    names = [
        "pim_model.thing:4:comparison:1",
        "pim_model.thing:4:condition:1",
        "pim_model.thing:10:constant:2",
        "pim_model.thing:14:arithmetic:1",
        "hdl.thing:14:constant:2",
        "hdl.thing:17:guard:1",
        "hdl.thing:17:completion:1",
    ]
    code, report = mutate(*(word for name in names for word in ("--only", name)))
    found = {entry["id"]: (entry["result"], entry["by"]) for entry in report["details"]}
    assert found == {
        # Judged in spite of its waiver, since it was asked for by name.
        names[0]: ("survived", ""),
        names[1]: ("killed", "tests/test_model.py::test_clamp"),
        names[2]: ("killed", "time-out of model, at tests/test_model.py::test_halve"),
        names[3]: ("survived", ""),
        names[4]: ("equivalent", "the Verilog of 1 circuits is the original's"),
        names[5]: ("killed", "tests/test_rtl.py::test_thing"),
        names[6]: ("killed", "tests/test_rtl.py::test_thing"),
    }
    assert code == 1
    assert {key: report[key] for key in ("mutants", "killed", "survived", "equivalent", "rate", "timeouts")} == {
        "mutants": 7, "killed": 4, "survived": 2, "equivalent": 1, "rate": 4 / 6, "timeouts": 1
    }  # fmt: skip
    untested = next(entry for entry in report["details"] if entry["id"] == names[3])
    assert untested["reproduce"] == f"ianus mutate --only {names[3]}"
    assert "-    return value + 1\n+    return value - 1" in untested["diff"]
    assert (small / "pim_model" / "thing.py").read_text() == MODEL, "the sources themselves are left alone"


def test_a_campaign_goes_on(
    small: Path, mutate: Callable[..., tuple[int, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    (small / "tests" / "mutation.toml").write_text(TABLE.replace(', "hdl/thing.py"', ""))
    judged: list[str] = []
    true = trial.judge

    def counted(tree: Any, mutant: Mutant, *rest: Any) -> trial.Verdict:
        if len(judged) == 3:
            raise KeyboardInterrupt
        judged.append(mutant.id)
        return true(tree, mutant, *rest)

    monkeypatch.setattr("host_runtime.mutate.campaign.judge", counted)
    assert mutate("--count", "5", "--seed", "3")[0] == 130
    first = judged.copy()
    judged.clear()
    code, report = mutate("--count", "5", "--seed", "3")
    assert not set(judged) & set(first)
    waived = [entry["id"] for entry in report["details"] if entry["by"].startswith("waiver")]
    assert len(first) + len(judged) + len(waived) == report["mutants"] == 5
    survivors = [name for name, result in results(report).items() if result == "survived"]
    judged.clear()
    assert mutate("--count", "5", "--seed", "3") == (code, report)
    assert not judged
    (small / "tests" / "test_model.py").write_text(TEST_MODEL + "\n")
    mutate("--count", "5", "--seed", "3")
    assert judged == survivors, "other tests may kill them"


def test_sources_that_fail_are_refused(
    small: Path, mutate: Callable[..., tuple[int, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "tests" / "test_model.py").write_text(TEST_MODEL.replace("== 5\n", "== 6\n"))
    code, _ = mutate("--only", "pim_model.thing:4:*")
    assert code == 2
    assert "do not pass stage model: tests/test_model.py::test_halve" in capsys.readouterr().err


def test_one_campaign_at_a_time(
    small: Path, mutate: Callable[..., tuple[int, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "out").mkdir()
    with open(small / "out" / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert mutate("--only", "pim_model.thing:4:condition:1")[0] == 2
    assert f"another campaign is at work in {small / 'out'}" in capsys.readouterr().err.replace("\n", "")


def test_bad_input(
    small: Path, mutate: Callable[..., tuple[int, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert mutate("--only", "nothing")[0] == 2
    assert "ID must be that of a mutant, as --list gives them, not nothing" in capsys.readouterr().err
    (small / "tests" / "mutation.toml").write_text('targets = ["pim_model/thing.py"]\ncircuits = ["plain"]')
    assert mutate("--list")[0] == 2
    assert "it must have a [[stage]]" in capsys.readouterr().err
    (small / "tests" / "mutation.toml").write_text(TABLE)
    (small / "tests" / "mutation_waivers.toml").write_text("[[equivalent]]\nfile = 'x'")
    assert mutate("--list")[0] == 2
    assert "must have file, function, before, after, reason" in capsys.readouterr().err


def test_the_list(mutate: Callable[..., tuple[int, Any]], capsys: pytest.CaptureFixture[str]) -> None:
    assert mutate("--list", "--only", "pim_model.thing:14:*")[0] == 0
    shown = capsys.readouterr().out
    assert "pim_model.thing:14:arithmetic:1  untested" in shown
    assert "+    return value - 1" in shown


def test_a_stage_that_is_skipped_is_left_out(
    small: Path, mutate: Callable[..., tuple[int, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (small / "tests" / "test_model.py").write_text("import pytest\npytest.importorskip('no_solver')\n")
    code, report = mutate("--only", "pim_model.thing:4:condition:1")
    assert (code, report["survived"]) == (1, 1)
    assert "model is left out: all of its tests are skipped here" in capsys.readouterr().err
