"""Programs of whole models: every core alike, the same each time, and the figures that can be worked out by hand."""

from __future__ import annotations

import dataclasses

import pytest

from pim_model.inference.run import Inference
from pim_model.mapping.compiler import Compiler
from pim_model.mapping.emitter import Emitter
from pim_model.mapping.schedule import SCHEDULES, Mapping, schedule
from pim_model.npu.command import Command, Op, Part, Unit
from pim_model.npu.invariants import check
from pim_model.npu.kernel import simulate
from pim_model.npu.machine import Machine, System
from pim_model.npu.memory import Memory
from pim_model.npu.pim_time import source
from pim_model.spec.models import MODELS, transformer
from pim_model.spec.npu import CALIBRATED, TICKS_PER_NS, WEIGHT_BYTES, describe

SMALL = "gpt2-base"


def compiler(name: str = SMALL, machine: Machine | None = None, **settings: object) -> Compiler:
    machine = machine or Machine()
    return Compiler(transformer(name), machine, source("closed", machine.memory), 600, **settings)  # type: ignore[arg-type]


def inference(machine: Machine, tokens_in: int = 20, tokens_out: int = 3, **settings: object) -> Inference:
    time = source("closed", machine.memory)
    return Inference(transformer(SMALL), machine, time, tokens_in, tokens_out, **settings)  # type: ignore[arg-type]


@pytest.mark.parametrize("stage", ["summarization", "generation"])
@pytest.mark.parametrize("system", System)
def test_one_core_stands_for_all(system: System, stage: str) -> None:
    """Shares are equal, so four schedulers do what one does; refresh is one clock for all channels."""
    machine = Machine(system=system)
    program = getattr(compiler(machine=machine, layers=3), stage)(130)
    time = source("closed", machine.memory)
    single, four = (
        simulate([program] * cores, Memory(machine.memory, time, False), exclusive=machine.exclusive)
        for cores in (1, 4)
    )
    assert check(four, exclusive=machine.exclusive, issue_slots=4, pending_slots=256) > 0
    assert {tuple(core.start) for core in four.cores} == {tuple(single.cores[0].start)}


@pytest.mark.parametrize("name", list(SCHEDULES))
@pytest.mark.parametrize("refresh", [False, True])
def test_two_runs_are_equal(name: str, refresh: bool) -> None:
    first, second = (inference(Machine(refresh=refresh), chosen=schedule(name)).run() for _ in range(2))
    assert repr(first) == repr(second)
    assert first.ns > 0


def test_closed_form_and_golden_schedule_give_the_same_run() -> None:
    machine = Machine(refresh=True)
    results = [
        Inference(transformer(SMALL), machine, source(name, machine.memory), 9, 3).run()
        for name in ("closed", "golden")
    ]
    assert repr(results[0]) == repr(results[1])


def test_booked_time_adds_up() -> None:
    result = inference(Machine()).run()
    for stage in result.stages:
        assert sum(stage.parts.values()) == pytest.approx(stage.ns), "something runs at every moment"
        assert all(busy <= stage.ns for busy in stage.busy.values())


def of(program: list[Command], *ops: Op) -> list[Command]:
    return [command for command in program if command.op in ops]


def test_every_weight_is_used_once() -> None:
    """Products of a token, on either side: each weight of the blocks and of the head once, and attention besides."""
    model = transformer("gpt2-xl")
    fc = (Op.QUERY, Op.KEY, Op.VALUE, Op.PROJECTION, Op.EXPAND, Op.CONTRACT, Op.HEAD)
    expected = model.block_weights + model.vocabulary * model.width
    in_pim = compiler("gpt2-xl").generation(65)
    assert sum(command.size for command in of(in_pim, *fc)) == expected
    plain = compiler("gpt2-xl", Machine(system=System.NPU_MEM)).generation(65)
    # The vocabulary does not divide by four: cores take 12565 of it each.
    extra = (4 * 12565 - model.vocabulary) * model.width
    assert 4 * sum(command.size for command in of(plain, *fc)) == expected + extra
    loaded = 4 * sum(command.size for command in of(plain, Op.LOAD_WEIGHTS))
    assert loaded == 2 * (expected + extra)
    assert sum(command.size for command in of(in_pim, Op.SCORES)) * 4 == 65 * model.width * model.blocks


def test_cache_traffic_of_a_token() -> None:
    """Old keys and all values in, one key and one value out: of every head of every block."""
    model = transformer(SMALL)
    program = compiler().generation(50)
    vector = 2 * model.width * model.blocks // 4
    assert sum(command.size for command in of(program, Op.LOAD_KEYS)) == 49 * vector
    assert sum(command.size for command in of(program, Op.LOAD_VALUES)) == 50 * vector
    assert sum(command.size for command in of(program, Op.STORE_KEY, Op.STORE_VALUE)) == 2 * vector


def test_npu_mem_is_bound_by_its_bandwidth() -> None:
    """All weights through 256 GB/s is the least that a token can take; the rest of it is attention and norms."""
    model = transformer("gpt2-xl")
    machine = Machine(system=System.NPU_MEM)
    program = compiler("gpt2-xl", machine).generation(192)
    record = simulate([program], Memory(machine.memory, source("closed", machine.memory), False))
    floor = 2 * (model.block_weights + model.vocabulary * model.width) / 256
    assert floor < record.ticks / TICKS_PER_NS < 1.6 * floor


def test_a_full_matrix_unit_is_46_teraflops() -> None:
    """128 x 64 elements of four products at 700 MHz [paper, Table 1]: a large product takes its operations over
    that."""
    units = compiler().units
    operations = 2 * 128 * 4096 * 4096
    seconds = units.matrix(128, 4096, 4096, first=False) / TICKS_PER_NS * 1e-9
    assert operations / seconds == pytest.approx(45.8752e12)


@pytest.mark.parametrize(
    ("faster", "slower"),
    [
        ({}, {"cores": 2}),
        ({"cores": 2}, {"cores": 1}),
        ({}, {"chips": 2}),
        ({"chips": 2}, {"chips": 1}),
        ({"dual_row_buffer": True}, {}),
        ({}, {"refresh": True}),
        ({}, {"system": System.NPU_MEM}),
        ({}, {"system": System.PARTITIONED}),
    ],
)
def test_what_should_help_helps(faster: dict[str, object], slower: dict[str, object]) -> None:
    times = [
        inference(Machine(**settings)).run().token_ns  # type: ignore[arg-type]
        for settings in (faster, slower)
    ]
    assert times[0] < times[1]


@pytest.mark.parametrize("stage", ["summarization", "generation"])
def test_overlap_helps(stage: str) -> None:
    machine = Machine()
    time = source("closed", machine.memory)
    ticks = [
        simulate(
            [getattr(compiler(chosen=schedule(name), layers=2), stage)(128)],
            Memory(machine.memory, time, False),
        ).ticks
        for name in ("pas", "naive")
    ]
    assert ticks[0] < ticks[1]


def test_devices_share_a_model_too_large_for_one() -> None:
    one, two = Machine(), Machine(devices=2)
    with pytest.raises(ValueError, match=r"gpt-6.7b needs 12\.\d\d GiB of PIM memory a device .* 8\.00 GiB"):
        compiler("gpt-6.7b", one)
    program = compiler("gpt-6.7b", two, layers=1).generation(300)
    assert len(of(program, Op.GATHER)) == 5


def test_what_does_not_fit_in_half_the_memory_runs_on_the_matrix_unit() -> None:
    machine = Machine(system=System.PARTITIONED)
    built, ample = (compiler("gpt2-2.5b", machine, capacity=capacity) for capacity in (True, False))
    assert ample.placement.pim_blocks == 54
    assert 0 < built.placement.pim_blocks < 54
    assert built.placement.copies == 0 or built.placement.pim_blocks < 54


def test_encoder_neither_generates_nor_stores() -> None:
    machine = Machine()
    run = Inference(transformer("bert-b"), machine, source("closed", machine.memory), 64, 0)
    program = run.compiler.summarization(64)
    assert not of(program, Op.HEAD, Op.STORE_KEY, Op.STORE_VALUE)
    assert run.run().tokens == ()


def test_gelu_follows_its_layer() -> None:
    """In PIM, if the layer before it ran there (Algorithm 1)."""
    for mapping, gelus in ((Mapping.PIM, 0), (Mapping.MATRIX, 12)):
        program = compiler(mapping=mapping).summarization(16)
        assert len(of(program, Op.GELU)) == gelus
        macros = [command.macro for command in of(program, Op.EXPAND) if command.unit is Unit.PIM]
        assert all(macro is not None and macro.activation for macro in macros)
        assert len(macros) == 12 - gelus


# -------------------------------------------------------------------------------------------------------- bad requests


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cores": 3}, "cores must be one of 1, 2, 4, not 3"),
        ({"chips": 8}, "chips must be one of 1, 2, 4, not 8"),
        ({"devices": 0}, "devices must be one of 1, 2, 4, 8, not 0"),
        ({"issue_slots": 0}, "issue_slots must be at least 1, not 0"),
        ({"system": System.NPU_MEM, "dual_row_buffer": True}, "dual row buffers need the system ianus"),
        ({"system": System.PARTITIONED, "chips": 1}, "chips must be 2 or 4 in a partitioned system"),
    ],
)
def test_machine_refuses(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Machine(**settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "tokens", "message"),
    [
        (SMALL, (0, 1), "input must be at least one token"),
        (SMALL, (1, 0), "output must be at least one token"),
        (SMALL, (1000, 26), "must fit in the context of 1024 tokens of gpt2-base, not need 1025"),
        ("bert-b", (10, 1), "output must be 0 for bert-b, an encoder"),
    ],
)
def test_inference_refuses(name: str, tokens: tuple[int, int], message: str) -> None:
    machine = Machine()
    with pytest.raises(ValueError, match=message):
        Inference(transformer(name), machine, source("closed", machine.memory), *tokens)


def test_heads_must_divide() -> None:
    with pytest.raises(
        ValueError, match="heads must divide among 4 cores of 2 devices, and gpt2-base has 12"
    ):
        compiler(machine=Machine(devices=2))
    with pytest.raises(ValueError, match="head dimension must divide the width 768, not be 100"):
        transformer(SMALL).with_head_dim(100)


def test_operand_larger_than_the_scratchpad_is_refused() -> None:
    emitter = Emitter()
    place = emitter.add(Unit.DMA_IN, Op.LOAD_WEIGHTS, Part.FFN, 1)
    with pytest.raises(ValueError, match="must fit in the weight scratch-pad"):
        emitter.claim(place, WEIGHT_BYTES + 1)


# ------------------------------------------------------------------------------------------------------------ the table


def test_constants_say_what_they_are() -> None:
    table = describe()
    assert len([entry for entry in table if entry.calibrated]) <= 12
    for entry in table:
        assert entry.unit
        assert entry.meaning
        assert entry.source == CALIBRATED or entry.source[:2] in ("P,", "D:"), entry


def test_models_are_the_papers() -> None:
    """Retyped from Tables 3 and 4 of the paper: embedding, head dimension, heads, blocks."""
    typed = {
        "bert-b": (768, 64, 12, 12),
        "bert-l": (1024, 64, 16, 24),
        "bert-1.3b": (2048, 64, 32, 24),
        "bert-3.9b": (2560, 64, 40, 48),
        "gpt2-base": (768, 64, 12, 12),
        "gpt2-m": (1024, 64, 16, 24),
        "gpt2-l": (1280, 64, 20, 36),
        "gpt2-xl": (1536, 64, 24, 48),
        "gpt2-2.5b": (1920, 96, 20, 54),
        "gpt-6.7b": (4096, 128, 32, 32),
        "gpt-13b": (5120, 128, 40, 40),
        "gpt-30b": (7168, 128, 56, 48),
    }
    assert {n: (m.width, m.head_dim, m.heads, m.blocks) for n, m in MODELS.items()} == typed
    with pytest.raises(ValueError, match="heads of 64 elements must make up the width 768"):
        dataclasses.replace(MODELS[SMALL], heads=13)
