"""Random QKVs on the RTL: the golden device's bits, three MATVECs' bits, the golden schedule's cycles."""

import random
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

from pim_model.device import Device
from pim_model.schedule import place
from pim_model.spec.config import config
from pim_model.spec.geometry import TABLE_ROWS
from pim_model.spec.macro import MatVec
from pim_model.spec.registers import Reg, macro_word
from pim_model.spec.timing import TIMINGS
from sim.build import library
from sim.native import NativeSimulation
from tests.sim.test_schedule_agreement import commands, run, shifted

pytestmark = pytest.mark.verilator

MACROS = 25
_OUTPUT, _BIAS, _ALONE = 4096, 8192, 12288


@pytest.fixture(params=TIMINGS)
def simulation(request: pytest.FixtureRequest) -> Iterator[NativeSimulation]:
    preset = config("tiny", request.param)
    with NativeSimulation(library(preset), preset) as opened:
        opened.write_register(Reg.IRQ_ENABLE, 1)
        opened.write_register(Reg.CONTROL, 0)
        yield opened


def random_qkv(rng: random.Random, weight_rows: int) -> MatVec:
    """Of `tiny`: less than a group of 8 rows to four, one tile of 128 columns to four, matrices anywhere."""
    while True:
        rows = rng.choice((rng.randint(1, 8), rng.randint(1, 32), 8 * rng.randint(1, 4)))
        columns = rng.choice((rng.randint(1, 128), rng.randint(1, 512), 128 * rng.randint(1, 4)))
        taken = -(-rows // 8) * -(-columns // 128)
        tokens = rng.choice((1, 1, 2, 3, 4))
        if tokens * taken <= 16:
            query, key, value = (rng.randint(0, weight_rows - taken) for _ in range(3))
            return MatVec(
                tag=1,
                rows=rows,
                columns=columns,
                tokens=tokens,
                weight_row=query,
                input_offset=0,
                output_offset=_OUTPUT,
                bias_offset=_BIAS if rng.random() < 0.5 else None,
                function=rng.randrange(TABLE_ROWS) if rng.random() < 0.3 else None,
                kv_rows=(key, value),
            )


def push(golden: Device, macro: MatVec) -> None:
    for index, word in enumerate(macro.encode()):
        golden.write_register(macro_word(index), word)
    golden.write_register(Reg.MACRO_PUSH, 1)
    assert golden.step()
    assert golden.read_register(Reg.COMPLETION) >> 16 & 0xFF == 0
    golden.write_register(Reg.COMPLETION_POP, 1)


def finite(rng: np.random.Generator, count: int) -> bytes:
    """BF16 of magnitudes around one."""
    values = rng.standard_normal(count, np.float32)
    return (values.view(np.uint32) >> 16).astype("<u2").tobytes()


def test_random_qkvs(simulation: NativeSimulation, rng: np.random.Generator, seed: int) -> None:
    preset = simulation.config
    golden = Device(preset, "aligned")
    contents = finite(rng, preset.geometry.memory_bytes // 2)
    simulation.preload(0, contents)
    golden.write_memory(0, contents)
    choose = random.Random(f"{seed}/{preset.timing_name}")
    borders = 0
    for _ in range(MACROS):
        macro = random_qkv(choose, preset.geometry.weight_rows)
        buffer = finite(rng, preset.buffer_bytes // 2)
        simulation.write(preset.buffer_base, buffer)
        golden.write_memory(preset.buffer_base, buffer)
        simulation.idle(300)
        simulation.record(20_000)
        run(simulation, macro)
        simulation.idle(300)
        recorded = commands(simulation)
        simulation.record(0)
        push(golden, macro)
        found = simulation.read(preset.buffer_base, preset.buffer_bytes)
        assert found == golden.read_memory(preset.buffer_base, preset.buffer_bytes), macro
        check_cycles(simulation, macro, recorded)
        check_alone(simulation, macro, buffer, found)
        borders += macro.groups(preset) % 2
    assert simulation.read_register(Reg.VIOLATIONS) == 0
    assert 0 < borders < MACROS, "some pairs of groups went across a border, and some macros had none"


def check_cycles(simulation: NativeSimulation, macro: MatVec, recorded) -> None:
    """The row stream stands where the golden schedule has it, and without a bias all else does too."""
    schedule = place(simulation.config, macro)
    slots = (0,) if macro.bias_offset is not None else (0, 1)
    for channel, got in enumerate(recorded):
        expected = [entry for entry in shifted(schedule, got) if entry[1] in slots]
        assert [entry for entry in got if entry[1] in slots] == expected, f"channel {channel}: {macro}"


def check_alone(simulation: NativeSimulation, macro: MatVec, buffer: bytes, found: bytes) -> None:
    """Each part of each token is what a MATVEC with that matrix, and that part of the bias, gives."""
    base, part = simulation.config.buffer_base, macro.part_stride
    simulation.write(base, buffer)
    for matrix, weight_row in enumerate(macro.weight_rows):
        bias = None if macro.bias_offset is None else macro.bias_offset + matrix * part
        alone = replace(macro, weight_row=weight_row, kv_rows=None, output_offset=_ALONE, bias_offset=bias)
        run(simulation, alone)
        result = simulation.read(base + _ALONE, macro.tokens * part)
        for token in range(macro.tokens):
            where = macro.output_offset + (3 * token + matrix) * part
            size = 2 * macro.rows
            assert result[token * part :][:size] == found[where:][:size], (macro, matrix, token)
