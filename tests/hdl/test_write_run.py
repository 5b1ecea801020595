"""A run of writes begins and ends at the numbers of queued writes that ``write_run`` says, not at their neighbours."""

import pytest

from hdl.controller.normal import NormalTraffic, write_run
from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp

from .simulate import run

GAP = 4
"""Cycles between two grants: the direction is chosen anew in between."""


def column_commands(preset, writes):
    """The order in which a queue full of row hits is served, ``writes`` of them writes, younger than the reads."""
    dut = NormalTraffic(preset)
    geometry, entries = preset.geometry, preset.normal_queue
    places = [(bank, column) for bank in range(geometry.banks) for column in range(geometry.columns)][
        :entries
    ]
    assert len(places) == entries
    found = []

    async def testbench(ctx):
        proposal, requests = dut.proposal, dut.requests
        for flags in (proposal.opened, proposal.rd_ready, proposal.wr_ready):
            ctx.set(flags, -1)
        ctx.set(proposal.hit, 1)
        for number, (bank, column) in enumerate(places):
            request = {
                "write": number >= entries - writes,
                "bank": bank,
                "row": 3,
                "column": column,
                "mask": -1,
            }
            ctx.set(requests.p, request)
            ctx.set(requests.valid, 1)
            await ctx.tick().until(requests.ready)
        ctx.set(requests.valid, 0)
        await ctx.tick().until(dut.queued == entries)
        while ctx.get(dut.queued):
            await ctx.tick().repeat(GAP)
            op = MicroOp(ctx.get(proposal.op))
            found.append(op)
            ctx.set(proposal.granted, 1)
            ctx.set(proposal.op0, op)
            ctx.set(proposal.bank0, ctx.get(proposal.bank))
            await ctx.tick()
            ctx.set(proposal.granted, 0)
            ctx.set(proposal.op0, MicroOp.NOP)

    run(dut, testbench, limit=2000)
    return found


@pytest.mark.parametrize("name", ["tiny", "tiny_dual"])
def test_one_write_fewer_and_reads_go_first(name):
    preset = config(name)
    high, _ = write_run(preset.normal_queue)
    reads = preset.normal_queue - (high - 1)
    assert column_commands(preset, high - 1) == [MicroOp.RD] * reads + [MicroOp.WR] * (high - 1)


@pytest.mark.parametrize("name", ["tiny", "tiny_dual"])
def test_a_run_leaves_as_many_writes_as_it_may(name):
    preset = config(name)
    high, low = write_run(preset.normal_queue)
    assert 0 < low < high < preset.normal_queue
    reads = preset.normal_queue - high
    expected = [MicroOp.WR] * (high - low) + [MicroOp.RD] * reads + [MicroOp.WR] * low
    assert column_commands(preset, high) == expected
