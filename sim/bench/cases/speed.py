"""How fast cocotb runs the prototype while it multiplies; see ``sim/bench/speed.py``."""

from __future__ import annotations

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import cocotb
from cocotbext.axi import AxiLiteBus, AxiLiteMaster

from pim_model.channel import Channel
from pim_model.schedule import macro_cycles
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.registers import Reg, macro_word
from pim_model.storage import Storage
from sim.bench.harness import Harness
from sim.bench.responder import AimResponder, respond

WARM_UP = 200  # cycles from the push until all channels multiply


@cocotb.test()
async def matvec(dut: Any) -> None:
    """One long macro; the time of the cycles in its middle, and that they were busy."""
    bench = Harness(dut)
    config = bench.config
    geometry = config.geometry
    cycles = int(os.environ["IANUS_BENCH_CYCLES"])
    storage = Storage(geometry)
    channels = [
        AimResponder(
            dut, f"phy__{index}__", Channel(storage, index, dual=config.dual_row_buffer), config, judge=False
        )
        for index in range(geometry.channels)
    ]
    await bench.start()
    regs = AxiLiteMaster(AxiLiteBus.from_prefix(dut, "regs_"), dut.clk, dut.rst)
    respond(bench, *channels)
    await bench.idle(10)
    one = MatVec(
        tag=1,
        rows=min(16, geometry.weight_rows) * geometry.outputs,
        columns=geometry.elements,
        weight_row=0,
        input_offset=0,
        output_offset=0,
    )
    # Long enough to be still running when the measurement ends.
    pair = macro_cycles(config, replace(one, tokens=2)).cycles
    tokens = 2 * ((cycles + WARM_UP) // pair + 1)
    inputs, outputs = tokens * one.input_stride, tokens * one.output_stride
    assert inputs + outputs <= config.buffer_bytes, (
        f"{cycles} cycles need more than the activation buffer holds"
    )
    words = replace(one, tokens=tokens, output_offset=inputs).encode()
    for index, word in enumerate(words):
        await regs.write_dword(macro_word(index), word)
    await regs.write_dword(Reg.MACRO_PUSH, 1)
    await bench.idle(WARM_UP)
    first, before = bench.cycle, channels[-1].counts[Op.MACAB]
    began = time.perf_counter()
    await bench.idle(cycles)
    seconds = time.perf_counter() - began
    assert bench.cycle - first == cycles
    busy = (channels[-1].counts[Op.MACAB] - before) / cycles
    columns = geometry.columns
    assert busy > columns / (columns + 120), (
        f"MACABs in {busy:.0%} of the cycles: the channels were not multiplying"
    )
    assert await regs.read_dword(Reg.VIOLATIONS) == 0
    report = {"cycles": cycles, "seconds": seconds}
    Path(os.environ["IANUS_BENCH_REPORT"]).write_text(json.dumps(report), encoding="utf-8")
