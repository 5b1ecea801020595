"""`ianus npu`: a whole inference on the modelled NPU, its commands ordered by the command scheduler."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from host_runtime.cli.options import json_option, timing_option
from host_runtime.cli.output import Output
from pim_model.inference.account import ORDER
from pim_model.inference.run import Inference, Result, Stage
from pim_model.mapping.schedule import SCHEDULES, Mapping, schedule
from pim_model.npu.command import Unit
from pim_model.npu.machine import Machine, System
from pim_model.npu.pim_time import source
from pim_model.npu.trace import write_perfetto, write_vcd
from pim_model.spec.models import MODELS, transformer
from pim_model.spec.npu import CHANNELS, CONSTANTS, CORES, ISSUE_SLOTS, PENDING_SLOTS, describe

__all__ = ["npu"]


@click.group()
def npu() -> None:
    """Model the NPU of the prototype: four cores, command schedulers, and PIM memory they share."""


@npu.command()
@click.option(
    "--model", "model_name", type=click.Choice(list(MODELS)), required=True, help="transformer to run"
)
@click.option("--input", "tokens_in", type=click.IntRange(1), required=True, help="tokens of the prompt")
@click.option(
    "--output",
    "tokens_out",
    type=click.IntRange(0),
    default=None,
    help="tokens generated, the first by the summarization  [default: 1; 0 for BERT]",
)
@click.option(
    "--system",
    type=click.Choice([system.value for system in System]),
    default=System.IANUS.value,
    show_default=True,
    help="unified PIM memory; the same NPU with plain memory; half of the chips plain and half PIM",
)
@click.option(
    "--schedule",
    "schedule_name",
    type=click.Choice(list(SCHEDULES)),
    default="pas",
    show_default=True,
    help="; ".join(f"{entry.name}: {entry.meaning}" for entry in SCHEDULES.values()),
)
@click.option(
    "--fc",
    "mapping_name",
    type=click.Choice([mapping.value for mapping in Mapping]),
    default=Mapping.ALGORITHM.value,
    show_default=True,
    help="where the fully connected layers of the prompt run: by Algorithm 1, as printed, or all on one side",
)
@click.option(
    "--pim",
    "pim_name",
    type=click.Choice(["closed", "golden"]),
    default="closed",
    show_default=True,
    help="where the cycles of macros come from: closed form, or golden schedule of every micro command",
)
@click.option("--cores", type=int, default=CORES, show_default=True, help="NPU cores: 1, 2 or 4")
@click.option("--chips", type=int, default=4, show_default=True, help="chips with PIM, of four: 1, 2 or 4")
@click.option("--devices", type=int, default=1, show_default=True, help="devices on PCIe: 1, 2, 4 or 8")
@click.option("--head-dim", type=int, default=None, help="cut the model's width into heads of this size")
@timing_option
@click.option(
    "--dual-row-buffer", is_flag=True, help="let macros and transfers of memory run at the same time"
)
@click.option(
    "--refresh", is_flag=True, help="refresh the memory; off as in the paper, whose table has no tREFI"
)
@click.option(
    "--issue-slots", type=int, default=ISSUE_SLOTS, show_default=True, help="places of an issue queue"
)
@click.option(
    "--pending-slots", type=int, default=PENDING_SLOTS, show_default=True, help="places of the pending queue"
)
@click.option(
    "--trace",
    "trace_path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="write a stage as JSON for ui.perfetto.dev: units, queues, PCU, channels, and why each command waited",
)
@click.option(
    "--vcd", "vcd_path", type=click.Path(dir_okay=False, path_type=Path), help="write the same stage as VCD"
)
@click.option(
    "--trace-stage",
    type=click.IntRange(0),
    default=None,
    help="stage to write: 0 the prompt, n the n-th token after it  [default: 1, or 0 if there is none]",
)
@json_option
def run(
    model_name: str,
    tokens_in: int,
    tokens_out: int | None,
    system: str,
    schedule_name: str,
    mapping_name: str,
    pim_name: str,
    cores: int,
    chips: int,
    devices: int,
    head_dim: int | None,
    timing_name: str,
    dual_row_buffer: bool,
    refresh: bool,
    issue_slots: int,
    pending_slots: int,
    trace_path: Path | None,
    vcd_path: Path | None,
    trace_stage: int | None,
    json_path: str | None,
) -> int:
    """Simulate a prompt and the tokens after it, command by command, and say what a token costs.

    Every command goes through the command scheduler of its core: issue queues, pending queue, and macros and
    transfers of memory that take turns. Each run is checked against the scheduler's rules, and two runs are equal to
    the byte.

    Time is booked once: to a fully connected layer while its weights move, from memory or past the PUs, else to
    attention, else to layer norm. Constants that the paper leaves open are calibrated to it (`ianus paper` prints
    them), so absolute times are no evidence; what changes with the options is.

    \b
    ianus npu run --model gpt2-xl --input 64 --output 256
    ianus npu run --model gpt2-xl --input 64 --output 256 --system npu-mem
    ianus npu run --model gpt2-2.5b --input 128 --output 64 --schedule naive-pim --json -
    ianus npu run --model gpt2-m --input 64 --output 2 --trace token.json
    ianus npu run --model gpt2-l --input 256 --output 512 --cores 2 --chips 2 --dual-row-buffer
    """
    try:
        model = transformer(model_name)
        if head_dim is not None:
            model = model.with_head_dim(head_dim)
        machine = Machine(
            system=System(system),
            cores=cores,
            chips=chips,
            devices=devices,
            timing_name=timing_name,
            dual_row_buffer=dual_row_buffer,
            refresh=refresh,
            issue_slots=issue_slots,
            pending_slots=pending_slots,
        )
        inference = Inference(
            model,
            machine,
            source(pim_name, machine.memory),
            tokens_in,
            int(model.decoder) if tokens_out is None else tokens_out,
            chosen=schedule(schedule_name),
            mapping=Mapping(mapping_name),
        )
        stage = _traced(trace_stage, inference) if trace_path or vcd_path else None
        output = Output(json_path)
        with output.working(f"{model_name} on {system}") as progress:
            result = inference.run(progress, stage)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    request = {
        "model": model_name,
        "input": tokens_in,
        "output": len(result.tokens) + int(model.decoder),
        "system": system,
        "schedule": schedule_name,
        "fc": mapping_name,
        "pim": pim_name,
        "cores": cores,
        "chips": chips,
        "devices": devices,
        "head_dim": model.head_dim,
        "timing": timing_name,
        "dual_row_buffer": dual_row_buffer,
        "refresh": refresh,
        "issue_slots": issue_slots,
        "pending_slots": pending_slots,
    }
    if result.traced is not None:
        if trace_path is not None:
            write_perfetto(trace_path, result.traced, CHANNELS)
        if vcd_path is not None:
            write_vcd(vcd_path, result.traced)
    _print(output, f"{model_name} ({tokens_in}, {request['output']}) on {system}, {schedule_name}", result)
    output.write_json(request | _report(result))
    return 0


def _traced(stage: int | None, inference: Inference) -> int:
    """The stage to write."""
    last = inference.stages - 1
    if stage is None:
        return min(1, last)
    if stage > last:
        raise ValueError(f"--trace-stage must be at most {last}, the last stage of this run, not {stage}")
    return stage


def _print(output: Output, title: str, result: Result) -> None:
    first, tokens = result.summarization, result.tokens
    rows: dict[str, Any] = {"prompt": _ms(first.ns)}
    if tokens:
        rows["a token"] = f"{_ms(result.token_ns)} in the mean, " + " to ".join(
            _ms(stage.ns) for stage in (tokens[0], tokens[-1])
        )
    rows |= {
        "all": _ms(result.ns),
        "energy": ", ".join(
            f"{name} {value / result.energy.total:.1%}" for name, value in _energy(result).items()
        ),
        "commands": sum(stage.commands for stage in result.stages),
        "rules checked": f"{sum(stage.facts for stage in result.stages)}, none broken",
    }
    output.table(title, rows)
    columns = [("prompt", (first,)), *([("a token", tokens)] if tokens else [])]
    booked = [
        (result.booked(stages), sum(stage.ns for stage in stages), len(stages)) for _, stages in columns
    ]
    output.table(
        "where the time goes",
        [
            (
                part.value,
                *(f"{_ms(at[part] / count)} ({at[part] / whole:.1%})" for at, whole, count in booked),
            )
            for part in ORDER
        ],
        ("", *(name for name, _ in columns)),
    )
    used = [result.utilization(stages) for _, stages in columns]
    output.table(
        "units at work",
        [(unit.name.lower().replace("_", " "), *(f"{each[unit]:.1%}" for each in used)) for unit in Unit],
        ("", *(name for name, _ in columns)),
    )


def _ms(ns: float) -> str:
    return f"{ns / 1e6:.4g} ms"


def _energy(result: Result) -> dict[str, float]:
    return {
        "normal memory": result.energy.memory,
        "PIM": result.energy.pim,
        "NPU cores": result.energy.core,
    }


def _report(result: Result) -> dict[str, Any]:
    def stages(chosen: tuple[Stage, ...]) -> dict[str, Any]:
        count = len(chosen)
        return {
            "ns": sum(stage.ns for stage in chosen) / count,
            "parts_ns": {part.name.lower(): ns / count for part, ns in result.booked(chosen).items()},
            "utilization": {unit.name.lower(): used for unit, used in result.utilization(chosen).items()},
        }

    return {
        "total_ns": result.ns,
        "prompt": stages((result.summarization,)),
        "token": stages(result.tokens) if result.tokens else None,
        "tokens_ns": [stage.ns for stage in result.tokens],
        "energy_bytes_read": _energy(result) | {"all": result.energy.total},
        "activity": vars(result.activity),
        "commands": sum(stage.commands for stage in result.stages),
        "invariants_checked": sum(stage.facts for stage in result.stages),
        "constants": {entry.name: entry.value for entry in describe(CONSTANTS)},
    }
