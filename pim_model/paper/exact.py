# Ref: IANUS (ASPLOS 2024), Tables 1 to 3, sections 3.1, 4, 5.1, 5.2, 6.2, 7.1, 8
"""Tier 0: what follows from the specification by arithmetic, computed from the data that RTL and model are built
from."""

from __future__ import annotations

from pim_model.inference.energy import activity
from pim_model.mapping.compiler import Compiler
from pim_model.mapping.layout import rows_needed
from pim_model.npu.command import Command, Op
from pim_model.npu.machine import Machine
from pim_model.npu.pim_time import source
from pim_model.paper.bench import GPT2, Bench
from pim_model.paper.claim import Claim
from pim_model.spec import npu
from pim_model.spec.config import config
from pim_model.spec.geometry import LANES
from pim_model.spec.models import MODELS, Transformer

__all__ = ["CLAIMS"]

_MEMORY = config("ianus").geometry
_CORE_HZ = 1e9 * npu.TICKS_PER_NS / npu.CORE_TICKS


def _teraflops() -> float:
    products = npu.ARRAY_ROWS * npu.ARRAY_COLUMNS * npu.ARRAY_MACS
    return 2 * products * _CORE_HZ / 1e12


def _rows_a_layer(name: str) -> int:
    """All-bank activations of a layer's fully connected layers."""
    return sum(rows_needed(rows, columns, _MEMORY) for rows, columns in MODELS[name].fully_connected.values())


def _names(model: Transformer) -> str:
    return f"{model.width} {model.head_dim} {model.heads} {model.blocks}"


def _overflowing() -> str:
    """GPT-2s whose weights exceed half the memory."""
    half = 4 << 30
    return ", ".join(
        name
        for name in GPT2
        if 2 * (MODELS[name].block_weights + MODELS[name].vocabulary * MODELS[name].width) > half
    )


def _fc_share(bench: Bench) -> float:
    """Part of a model's parameters in fully connected layers, mean."""
    del bench
    shares = []
    for name in GPT2:
        model = MODELS[name]
        other = (model.vocabulary + model.context) * model.width
        shares.append(model.block_weights / (model.block_weights + other))
    return sum(shares) / len(shares)


def _pim_energy_a_byte() -> float:
    """Of a MACAB against a read, through the energy model."""
    machine = Machine()
    program: list[Command] = Compiler(
        MODELS["gpt2-m"], machine, source("closed", machine.memory), 8, layers=1
    ).generation(8)
    macros = [command for command in program if command.macro is not None and command.op is Op.PROJECTION]
    done = activity(macros, machine)
    weights = 2 * MODELS["gpt2-m"].width ** 2
    return machine.constants.pim_energy * 32 * done.multiplications / weights


def _exact(id: str, statement: str, paper: float | str, ours: float | str) -> Claim:
    return Claim(id, statement, 0, paper, lambda _: ours, 0.0)


_IMPLIED = {2: 3.9, 4: 2.7, 8: 2.1}

CLAIMS: list[Claim] = [
    _exact("C11", "a core's matrix unit, TFLOPS (46 in the paper's rounding)", 46, round(_teraflops())),
    _exact("C11-all", "four cores, TFLOPS (rounded)", 184, round(npu.CORES * _teraflops())),
    _exact(
        "C13",
        "slots of an issue queue, of the pending queue",
        "4 256",
        f"{npu.ISSUE_SLOTS} {npu.PENDING_SLOTS}",
    ),
    _exact(
        "C14",
        "scratch-pads of all cores, MB: activation, weight",
        "48 16",
        f"{npu.CORES * npu.ACTIVATION_BYTES >> 20} {npu.CORES * npu.WEIGHT_BYTES >> 20}",
    ),
    _exact("C15", "external bandwidth, GB/s", 256, npu.CHANNELS * npu.CHANNEL_BYTES_PER_NS),
    _exact("C15-capacity", "capacity, GiB", 8, _MEMORY.memory_bytes >> 30),
    _exact("C17", "a processing unit at 1 GHz, GFLOPS", 32, 2 * LANES),
    _exact("C18", "internal bandwidth, GB/s", 4096, _MEMORY.outputs * 32),
    _exact("C18-chip", "a chip's, GB/s", 1024, npu.CHANNELS_PER_CHIP * _MEMORY.banks * 32),
    _exact("C20", "a tile: output rows x most columns", "128 1024", f"{_MEMORY.outputs} {_MEMORY.elements}"),
    _exact(
        "C21",
        "address bits: row, channel, bank, column of bytes",
        "15 3 4 11",
        f"{_MEMORY.row_bits} {_MEMORY.channel_bits} {_MEMORY.bank_bits} {_MEMORY.column_bits + 5}",
    ),
    _exact("C22", "an activation entry over a weight entry", 2, npu.ARRAY_ROWS // npu.ARRAY_COLUMNS),
    _exact("C23", "columns of a row that a head of 64 uses", 0.0625, 64 / _MEMORY.elements),
    _exact(
        "C25",
        "energy a byte, multiplied in PIM over read: 3 reads for 16 banks",
        3 / 16,
        _pim_energy_a_byte(),
    ),
    *(
        _exact(f"C26-{name}", "width, head dimension, heads, blocks", paper, _names(MODELS[name]))
        for name, paper in (
            ("gpt2-m", "1024 64 16 24"),
            ("gpt2-l", "1280 64 20 36"),
            ("gpt2-xl", "1536 64 24 48"),
            ("gpt2-2.5b", "1920 96 20 54"),
        )
    ),
    _exact(
        "C45",
        "row activations of a width of 1280 over one of 1024, a group of outputs",
        2,
        rows_needed(128, 1280, _MEMORY) / rows_needed(128, 1024, _MEMORY),
    ),
    _exact(
        "C52-capacity", "of the GPT-2s, whose weights exceed half the memory", "gpt2-2.5b", _overflowing()
    ),
    _exact(
        "C59", "peak of A100 over IANUS (255 TFLOPS, one decimal)", 1.4, round(255 / (4 * _teraflops()), 1)
    ),
    _exact(
        "C64", "2.4 TB/s of two devices over an A100's 2039 GB/s (one decimal)", 2.4, round(4800 / 2039, 1)
    ),
    *(
        _exact(
            f"C67-{count}",
            f"speed-up behind the cost efficiency of {count} devices, at 120 and 400 W",
            paper,
            round(_IMPLIED[count] * count * npu.TDP_WATTS / npu.A100_WATTS, 2),
        )
        for count, paper in ((2, 2.34), (4, 3.24), (8, 5.04))
    ),
    *(
        _exact(f"counts-{name}", "all-bank activations of a block's weights", paper, _rows_a_layer(name))
        for name, paper in (("gpt2-m", 96), ("gpt2-l", 210), ("gpt2-xl", 264), ("gpt2-2.5b", 360))
    ),
    Claim(
        "C09",
        "part of the parameters that NPU and PIM share: fully connected layers, mean of four models",
        4,
        0.91,
        _fc_share,
        note="about 90 % and 91 % in the paper, which does not say over which models",
    ),
]
