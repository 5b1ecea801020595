"""The program that is timed is the program that computes: logits to the bit, commands on the device where they
belong."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host_runtime import cli
from host_runtime.bits import from_bits, to_bits
from host_runtime.driver import Driver
from host_runtime.llm.checkpoint import Checkpoint, load_checkpoint
from host_runtime.llm.config import GPT2Config
from host_runtime.llm.gpt2 import GPT2, reference_linear
from host_runtime.llm.layers import Array, Rounding, attend, masked_softmax
from host_runtime.llm.synthetic import write_random_checkpoint
from host_runtime.npu.device_trace import device_events
from host_runtime.npu.lineup import Lineup, line_up
from host_runtime.npu.rtl_time import RtlTime
from host_runtime.npu.session import Dispatched, Session, Step
from host_runtime.ops import Pim, pim_linear
from host_runtime.reference import golden_linear
from host_runtime.transport import open_transport
from host_runtime.transport.verilated import VerilatedTransport
from pim_model.mapping.schedule import Mapping, schedule
from pim_model.npu.closed_form import ClosedForm
from pim_model.npu.command import Unit
from pim_model.npu.machine import Machine
from pim_model.paper import bench as paper
from pim_model.paper.cycles import fc_shapes
from pim_model.spec.config import Config, config
from pim_model.spec.micro import Micro, MicroOp
from pim_model.spec.timing import TIMINGS
from pim_model.trace import Entry
from tests.perfetto import events_of

SMALL = GPT2Config(61, 24, 64, 2, 4, 256)
"""Four heads, so that one, two and four cores share them."""
TINY = GPT2Config(29, 12, 32, 1, 2, 128)
"""Fits in the memory of the configuration `tiny`."""
PROMPT = [5, 3, 28, 0, 17, 3, 8]


def checkpoint(directory: Path, shape: GPT2Config) -> Checkpoint:
    write_random_checkpoint(directory, shape, seed=4, deviation=0.3)
    return load_checkpoint(directory)


def run(
    model: Checkpoint, backend: str, memory: Config, outputs: int, *, cores: int = 1, **settings: Any
) -> tuple[Session, list[Step], int]:
    with open_transport(backend, memory) as transport:
        pim = Pim(Driver(transport, memory), memory)
        session = Session(
            model,
            Machine(cores=cores),
            pim,
            len(PROMPT),
            outputs,
            measured=backend == "verilator",
            all_logits=True,
            recorded=min(1, outputs - 1),
            **settings,
        )
        return session, list(session.run(PROMPT)), pim.driver.violations()


def expected(model: Checkpoint, memory: Config, steps: list[Step]) -> list[np.ndarray]:
    """Logits of the model that `ianus ppl` runs, in the same order."""
    with open_transport("model", memory) as transport:
        gpt2 = GPT2(model, pim_linear(Pim(Driver(transport, memory), memory)))
        cache = gpt2.cache()
        found = [gpt2.forward(np.array(PROMPT), cache)]
        return found + [gpt2.forward(np.array([step.token]), cache) for step in steps[:-1]]


def assert_equal(steps: list[Step], others: list[np.ndarray]) -> None:
    for step, other in zip(steps, others, strict=True):
        assert step.logits.shape == other.shape
        assert np.array_equal(to_bits("ours", step.logits), to_bits("theirs", other))
        assert step.token == other[-1].argmax()


@pytest.mark.parametrize("cores", [1, 2, 4])
def test_logits_are_those_of_the_language_model(cores: int, tmp_path: Path) -> None:
    model, memory = checkpoint(tmp_path, SMALL), config("ianus")
    session, steps, violations = run(model, "model", memory, 4, cores=cores)
    assert_equal(steps, expected(model, memory, steps))
    assert violations == 0
    # Macros: three a head of a core and three layers in each of two blocks, and the head.
    macros = [each for each in session.dispatched if each.unit is Unit.PIM]
    assert len(macros) == 4 * (2 * (3 * 4 // cores + 3) + 1)


@pytest.mark.parametrize("cores", [1, 2])
def test_order_changes_no_logit(cores: int, tmp_path: Path) -> None:
    model, memory = checkpoint(tmp_path, SMALL), config("ianus")
    _, steps, _ = run(model, "model", memory, 3, cores=cores, chosen=schedule("naive"))
    assert_equal(steps, expected(model, memory, steps))


def attend_in_pim(query: Array, key: Array, value: Array, rounded: Rounding) -> Array:
    """The attention of one token by the golden kernels, head by head; that of a prompt as ever."""
    if query.shape[-2] > 1:
        return attend(query, key, value, rounded)
    mixed = np.empty_like(query)
    for head in np.ndindex(query.shape[:-2]):
        products = golden_linear("aligned", to_bits("keys", key[head]), to_bits("query", query[head]))
        probabilities = masked_softmax(from_bits(products), query.shape[-1], rounded)
        transposed = np.ascontiguousarray(value[head].T)
        mixed[head] = from_bits(
            golden_linear("aligned", to_bits("values", transposed), to_bits("probabilities", probabilities))
        )
    return mixed


def attend_to_all_alike(query: Array, key: Array, value: Array, rounded: Rounding) -> Array:
    """As :func:`attend_in_pim` if all scores were equal."""
    return attend_in_pim(np.zeros_like(query) if query.shape[-2] == 1 else query, key, value, rounded)


@pytest.mark.parametrize("name", ["pas-pim", "naive-pim"])
@pytest.mark.parametrize(
    ("backend", "memory", "shape"),
    [
        ("model", config("ianus"), SMALL),
        pytest.param("verilator", config("tiny"), TINY, marks=pytest.mark.verilator),
    ],
    ids=["golden", "rtl"],
)
def test_attention_in_pim_multiplies_by_the_caches(
    backend: str,
    memory: Config,
    shape: GPT2Config,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    model = checkpoint(tmp_path, shape)
    session, steps, violations = run(model, backend, memory, 4, chosen=schedule(name))
    assert violations == 0
    monkeypatch.setattr("host_runtime.llm.gpt2.attend", attend_in_pim)
    assert_equal(steps, expected(model, memory, steps))
    monkeypatch.setattr("host_runtime.llm.gpt2.attend", attend_to_all_alike)
    blind = expected(model, memory, steps)
    assert not np.array_equal(steps[1].logits, blind[1]), "else the scores would not matter"
    # A token's macros: query, key, value, scores and context of each head, three layers, the head.
    macros = [each for each in session.of_stage(1) if each.unit is Unit.PIM]
    assert len(macros) == shape.n_layer * (5 * shape.n_head + 3) + 1


def test_attention_in_pim_is_for_one_core(tmp_path: Path) -> None:
    model, memory = checkpoint(tmp_path, SMALL), config("ianus")
    with pytest.raises(ValueError, match="must be executed on one core, not 2"):
        run(model, "model", memory, 1, cores=2, chosen=schedule("pas-pim"))


def test_values_of_two_groups_and_two_rows_are_refused(tmp_path: Path) -> None:
    """Heads of 16 are two groups of outputs on `tiny`, and a context of 140 is two of its rows."""
    model, memory = checkpoint(tmp_path, replace(TINY, n_positions=140)), config("tiny")
    with pytest.raises(ValueError, match="at most 8 or a context of at most 128 tokens, not 16 and 140"):
        run(model, "model", memory, 1, chosen=schedule("pas-pim"))


def test_gelu_in_memory_is_another_arithmetic(tmp_path: Path) -> None:
    model, memory = checkpoint(tmp_path, SMALL), config("ianus")
    _, exact, _ = run(model, "model", memory, 1)
    _, table, _ = run(model, "model", memory, 1, gelu_in_pim=True)
    difference = np.abs(exact[0].logits - table[0].logits).max()
    assert 0 < difference < 0.1


@pytest.mark.parametrize("cores", [1, 2])
def test_matrix_unit_multiplies_by_the_same_bytes(cores: int, tmp_path: Path) -> None:
    """Weights read from PIM's tiles and multiplied in FP32: what numpy makes of the model, but for a last bit."""
    model, memory = checkpoint(tmp_path, SMALL), config("ianus")
    session, steps, _ = run(model, "model", memory, 2, cores=cores, mapping=Mapping.MATRIX)
    gpt2 = GPT2(model, reference_linear("bf16"))
    cache = gpt2.cache()
    for step, tokens in zip(steps, (PROMPT, [steps[0].token]), strict=True):
        expected = gpt2.forward(np.array(tokens), cache)
        assert np.abs(step.logits - expected).max() < 0.01 * np.abs(expected).max()
    assert not any(each.unit is Unit.PIM for each in session.dispatched)


def test_measured_cycles_are_the_time_of_macros(tmp_path: Path) -> None:
    """A token's macros take what the closed form says: the golden device and it are two ways to the same cycles."""
    model, memory = checkpoint(tmp_path, SMALL), config("ianus")
    session, steps, _ = run(model, "model", memory, 2)
    closed = ClosedForm(memory)
    core = steps[1].record.cores[0]
    compared = 0
    for each in session.of_stage(1):
        macro = core.program[each.command].macro
        if macro is not None:
            first = core.start[each.command] + core.program[each.command].ticks
            assert core.end[each.command] - first == 14 * closed.cycles(macro.rows, macro.columns)
            compared += 1
    assert compared == 2 * (3 * 4 + 3) + 1


def test_more_cores_than_heads_are_refused(tmp_path: Path) -> None:
    model, memory = checkpoint(tmp_path, TINY), config("ianus")
    with pytest.raises(ValueError, match="heads must divide among 4 cores"):
        run(model, "model", memory, 1, cores=4)


# -------------------------------------------------------------------------------------------------------------- the RTL


@pytest.mark.verilator
def test_rtl_computes_the_same_and_keeps_the_order(tmp_path: Path) -> None:
    model, memory = checkpoint(tmp_path, TINY), config("tiny")
    session, steps, violations = run(model, "verilator", memory, 3)
    assert_equal(steps, expected(model, memory, steps))
    assert violations == 0
    out = session.of_stage(1)
    found = line_up(out, session.entries)
    assert found.misplaced == 0
    assert found.silent == 0
    assert found.macros == sum(each.unit is Unit.PIM for each in out) == 2 * 3 + 3 + 1
    assert found.transfers == len(out) - found.macros == 1 + 2 * 4
    events = list(device_events(out, session.entries, 14))
    macs = [event for event in events if event["name"] == "MACAB"]
    placed = {event["args"]["command"] for event in macs}
    assert placed == {each.command for each in out if each.unit is Unit.PIM}
    core = steps[1].record.cores[0]
    for event in macs:
        index = event["args"]["command"]
        assert core.start[index] / 14e3 - 1e-6 <= event["ts"] < core.end[index] / 14e3


@pytest.mark.verilator
@pytest.mark.parametrize("timing", TIMINGS)
def test_rtl_takes_the_cycles_of_the_closed_form(timing: str, rng: np.random.Generator) -> None:
    """25 random shapes in each of four presets; rows of `tiny` are too short for activation tables."""
    memory = config("tiny", timing)
    with open_transport("verilator", memory) as transport:
        assert isinstance(transport, VerilatedTransport)
        rtl, closed = RtlTime(transport, memory), ClosedForm(memory)
        for _ in range(25):
            rows, columns = int(rng.integers(1, 90)), int(rng.integers(1, 500))
            assert rtl.cost(rows, columns, False, None) == closed.cost(rows, columns), (rows, columns)
        with pytest.raises(ValueError, match="refresh must be off"):
            rtl.cost(8, 8, False, 100)


@pytest.mark.verilator
@pytest.mark.slow
def test_rtl_takes_the_cycles_of_the_closed_form_on_every_fc_shape() -> None:
    """Of GPT-2 base to 2.5B, activation tables included."""
    memory = config("ianus")
    shapes = {shape for name in ("gpt2-base", *paper.GPT2) for shape in fc_shapes(name)}
    with open_transport("verilator", memory) as transport:
        assert isinstance(transport, VerilatedTransport)
        rtl, closed = RtlTime(transport, memory), ClosedForm(memory)
        assert len(shapes) > 20
        for shape in sorted(shapes):
            assert rtl.cost(*shape, None) == closed.cost(*shape), shape


# ------------------------------------------------------------------------------------------------------------- line-up


def entry(cycle: int, op: MicroOp, channel: int = 0) -> Entry:
    return Entry(cycle, channel, 0, Micro(op))


MACRO = Dispatched(0, 1, Unit.PIM, 0, (100, 200))
TRANSFER = Dispatched(0, 2, Unit.DMA_IN, 0, (200, 300))


@pytest.mark.parametrize(
    ("entries", "found"),
    [
        ([entry(110, MicroOp.MACAB), entry(190, MicroOp.MACAB), entry(210, MicroOp.RD)], Lineup(1, 1, 0, 0)),
        ([entry(110, MicroOp.MACAB), entry(150, MicroOp.RD), entry(190, MicroOp.MACAB)], Lineup(1, 0, 1, 1)),
        ([entry(110, MicroOp.MACAB), entry(250, MicroOp.MACAB), entry(251, MicroOp.WR)], Lineup(1, 1, 1, 0)),
        ([entry(50, MicroOp.MACAB)], Lineup(0, 0, 1, 2)),
        # On another channel a read is beside the macro's commands, not between them.
        (
            [entry(110, MicroOp.MACAB), entry(150, MicroOp.RD, 1), entry(190, MicroOp.MACAB)],
            Lineup(1, 0, 0, 1),
        ),
    ],
)
def test_lineup_sees(entries: list[Entry], found: Lineup) -> None:
    assert line_up([MACRO, TRANSFER], entries) == found


# ---------------------------------------------------------------------------------------------------------- the command


def test_wikitext_model_by_command(shared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The GPT-2 beside the repository on its test text, every logit against those of `ianus ppl`."""
    data, trace = shared / "data", tmp_path / "trace.json"
    model, text = data / "gpt2-wikitext-mini", tmp_path / "text"
    text.write_text(
        (data / "wikitext2" / "wiki.test.raw").read_text(encoding="utf-8")[:1000], encoding="utf-8"
    )
    arguments = ["npu", "run", "--model", str(model), "--text", str(text), "--input", "8", "--output", "2"]
    arguments += ["--cores", "1", "--all-logits", "--compare", "--trace", str(trace), "--json", "-"]
    assert cli.run(arguments) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["compared_logits"] == 9 * 4096
    assert result["mismatches"] == 0
    events = events_of(trace)
    assert {event["args"]["name"] for event in events if event["ph"] == "M"} >= {
        "core 0",
        "device, channel 7",
    }


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    checkpoint(tmp_path, SMALL)
    return tmp_path


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "--text must name the text that the model reads"),
        (
            ("--text", "x", "--schedule", "naive-pim", "--compare"),
            "--compare needs --schedule pas or naive",
        ),
        (("--text", "x", "--fc", "matrix", "--compare"), "--compare needs --fc pim"),
        (("--text", "x", "--head-dim", "8"), "--head-dim must be left out"),
        (("--text", "x", "--pim", "closed"), "--pim must be golden or rtl"),
        (("--text", "x", "--compare", "--gelu", "pim"), "--compare needs --gelu vector"),
    ],
)
def test_execution_refuses(
    arguments: tuple[str, ...], message: str, directory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["npu", "run", "--model", str(directory), "--input", "4", *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("Error:") == 1
