"""The RTL decoder gives the same status as the golden decoders, and the units of its job are right."""

import itertools
import random

import pytest

from hdl.layouts import Fetched
from hdl.pcu.decoder import Decoder
from pim_model.spec.config import CONFIGS, config
from pim_model.spec.errors import MALFORMED, Status
from pim_model.spec.isr import FIELDS, Instruction
from pim_model.spec.macro import MacroOp, MatVec
from sim.bench.words import job_of, random_instruction, random_words, status_of

from .simulate import run


def rtl_jobs(preset, macros):
    """The job for each macro, as dictionaries of field values."""
    dut = Decoder(preset)
    jobs = []

    async def testbench(ctx):
        for words in macros:
            tag = words[0] >> 8 & 0xFFFF
            ctx.set(dut.macros.p, Fetched.const({"words": list(words), "tag": tag, "pushed": 77, "last": 1}))
            ctx.set(dut.macros.valid, 1)
            while not ctx.get(dut.macros.ready):
                await ctx.tick()
            await ctx.tick()
            ctx.set(dut.macros.valid, 0)
            while not ctx.get(dut.jobs.valid):
                await ctx.tick()
            jobs.append(ctx.get(dut.jobs.p))
            ctx.set(dut.jobs.ready, 1)
            await ctx.tick()
            ctx.set(dut.jobs.ready, 0)

    run(dut, testbench)
    return jobs


@pytest.mark.parametrize("name", CONFIGS)
def test_random_macros_get_the_golden_status(name, seed):
    rng = random.Random(f"{seed}/{name}")
    preset = config(name)
    macros = [random_words(rng, preset) for _ in range(800)]
    reached = {Status.OK} | MALFORMED - {Status.CHANNEL_MASK, Status.ADDRESS_RANGE}
    missing = {
        (op, status) for op in (MacroOp.MATVEC, MacroOp.QKV) for status in reached - {Status.BAD_OPCODE}
    } - {(words[0] & 0xFF, status_of(words, preset)) for words in macros}
    while missing:  # some are rare where buffer and memory have odd sizes
        words = random_words(rng, preset)
        found = words[0] & 0xFF, status_of(words, preset)
        if found in missing:
            missing.remove(found)
            macros.append(words)
    jobs = rtl_jobs(preset, macros)
    expected = [status_of(words, preset) for words in macros]
    for words, job, status in zip(macros, jobs, expected, strict=True):
        assert Status(job.status) is status, [hex(word) for word in words]
        assert (job.tag, job.pushed) == (words[0] >> 8 & 0xFFFF, 77)
        fields = job_of(words, preset) if status is Status.OK else {}
        assert {name: getattr(job, name) for name in fields} == fields, [hex(word) for word in words]
    opcode = [words[0] & 0xFF for words in macros]
    for op in (MacroOp.MATVEC, MacroOp.QKV):
        of_op = {status for each, status in zip(opcode, expected, strict=True) if each == op}
        assert of_op == reached - {Status.BAD_OPCODE}, f"every status of a {op.name} was reached"
    assert set(expected) == reached


@pytest.mark.parametrize("name", CONFIGS)
def test_random_instructions_get_the_golden_status(name, seed):
    rng = random.Random(f"{seed}/{name}/instructions")
    preset = config(name)
    macros = [random_instruction(rng, preset) for _ in range(1500)]
    expected = [status_of(words, preset) for words in macros]
    for words, job, status in zip(macros, rtl_jobs(preset, macros), expected, strict=True):
        assert Status(job.status) is status, [hex(word) for word in words]
        if status is Status.OK:
            fields = job_of(words, preset)
            assert {name: getattr(job, name) for name in fields} == fields, [hex(word) for word in words]
    reached = {Status.OK} | MALFORMED - {Status.WEIGHT_RANGE, Status.OVERLAP}
    assert set(expected) >= reached, "every status of an instruction was reached"
    assert {
        words[0] & 0xFF for words, status in zip(macros, expected, strict=True) if status is Status.OK
    } >= set(FIELDS)


def test_a_malformed_macro_ends_its_program():
    """What follows it is dropped; one job with its status is the program's last."""
    preset = config("tiny")
    good = Instruction(op=MacroOp.SYNC).encode()
    bad = (0xFF, *[0] * 7)
    dut, jobs = Decoder(preset), []

    async def testbench(ctx):
        ctx.set(dut.jobs.ready, 1)
        for words, last in ((good, 0), (bad, 0), (good, 0), (bad, 1), (good, 1)):
            ctx.set(dut.macros.p, Fetched.const({"words": list(words), "tag": 9, "last": last}))
            ctx.set(dut.macros.valid, 1)
            while True:
                if ctx.get(dut.jobs.valid):
                    jobs.append((ctx.get(dut.jobs.p.status), ctx.get(dut.jobs.p.last)))
                taken = ctx.get(dut.macros.ready)
                await ctx.tick()
                if taken:
                    break
            ctx.set(dut.macros.valid, 0)
        jobs.append((ctx.get(dut.jobs.p.status), ctx.get(dut.jobs.p.last)))
        assert ctx.get(dut.jobs.valid)

    run(dut, testbench)
    assert jobs == [(Status.OK, 0), (Status.BAD_OPCODE, 1), (Status.OK, 1)]


@pytest.mark.parametrize("kv_rows", [None, (4000, 17)])
def test_units_of_the_job(kv_rows):
    preset = config("ianus")
    matrices = 1 if kv_rows is None else 3
    shapes = list(itertools.product((1, 127, 128, 129, 1000), (1, 16, 17, 1023, 1024, 1025, 2500)))
    macros = [
        MatVec(
            tag=5,
            rows=rows,
            columns=columns,
            tokens=3,
            weight_row=9,
            input_offset=64,
            output_offset=160000,
            bias_offset=32,
            function=3,
            kv_rows=kv_rows,
        )
        for rows, columns in shapes
    ]
    jobs = rtl_jobs(preset, [macro.encode() for macro in macros])
    for (rows, columns), macro, job in zip(shapes, macros, jobs, strict=True):
        assert job.status == Status.OK
        assert (job.weight_row, job.tokens, job.function) == (9, 3, 3)
        assert (job.input, job.output, job.bias) == (2, 5000, 1)
        assert (job.input_stride * 32, job.output_stride * 32) == (macro.input_stride, macro.output_stride)
        assert job.part_stride * 32 * matrices == macro.output_stride
        assert job.qkv == (kv_rows is not None)
        assert (job.second_row, job.third_row) == (kv_rows or (0, 0))
        assert job.groups == macro.groups(preset)
        assert job.all_groups == matrices * job.groups
        assert (job.groups - 1) * 128 + job.last_rows == rows
        assert job.tiles == macro.tiles(preset)
        assert ((job.tiles - 1) * 64 + job.last_columns - 1) * 16 + job.last_lanes == columns
