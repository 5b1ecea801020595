"""`ianus npu`: a whole inference on the modelled NPU, its commands ordered by the command scheduler."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from host_runtime.cli.npu_report import print_result, report, traced_stage
from host_runtime.cli.options import json_option, numerics_option, timing_option
from host_runtime.cli.output import Output
from host_runtime.npu.rtl_time import RtlTime
from host_runtime.transport import open_transport
from host_runtime.transport.verilated import VerilatedTransport
from pim_model.inference.run import Inference
from pim_model.mapping.schedule import SCHEDULES, Mapping, schedule
from pim_model.npu.machine import Machine, System
from pim_model.npu.pim_time import PimTime, source
from pim_model.npu.trace import write_perfetto, write_vcd
from pim_model.numerics.profiles import PROFILES
from pim_model.spec.models import MODELS, Transformer, transformer
from pim_model.spec.npu import CHANNELS, CORES, ISSUE_SLOTS, PENDING_SLOTS

__all__ = ["npu"]


@click.group()
def npu() -> None:
    """Model the NPU of the prototype: four cores, command schedulers, and PIM memory they share."""


DEFAULT_NUMERICS = next(iter(PROFILES))
_FILE = click.Path(dir_okay=False, path_type=Path)


@npu.command()
@click.option(
    "--model",
    "model_name",
    metavar="NAME|DIR",
    required=True,
    help=f"shape to time ({', '.join(MODELS)}), or directory of a GPT-2 as published, which is executed",
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
    "--text", "text_path", type=_FILE, default=None, help="UTF-8 text whose first tokens are the prompt (DIR)"
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
    default=None,
    help="where the fully connected layers of the prompt run: by Algorithm 1, as printed, or all on one side  "
    "[default: algorithm1; pim for DIR]",
)
@click.option(
    "--gelu",
    type=click.Choice(["pim", "vector"]),
    default=None,
    help="where GELU runs after a layer in PIM: by the table there, or exactly on the vector unit  "
    "[default: pim; vector for DIR, as in `ianus ppl`]",
)
@click.option(
    "--pim",
    "pim_name",
    type=click.Choice(["closed", "golden", "rtl"]),
    default=None,
    help="cycles of macros: in closed form, by the golden schedule, or measured on the Verilated RTL; with DIR the "
    "device that executes, golden or rtl  [default: closed; golden for DIR]",
)
@click.option("--cores", type=int, default=CORES, show_default=True, help="NPU cores: 1, 2 or 4")
@click.option("--chips", type=int, default=4, show_default=True, help="chips with PIM, of four: 1, 2 or 4")
@click.option("--devices", type=int, default=1, show_default=True, help="devices on PCIe: 1, 2, 4 or 8")
@click.option("--head-dim", type=int, default=None, help="cut the width of NAME into heads of this size")
@timing_option
@numerics_option
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
    "--all-logits", is_flag=True, help="compute the head for every token of the prompt, as perplexity needs"
)
@click.option(
    "--compare", is_flag=True, help="compare every logit, bit by bit, with those of `ianus ppl` (DIR)"
)
@click.option(
    "--trace",
    "trace_path",
    type=_FILE,
    help="write a stage as JSON for ui.perfetto.dev: units, queues, PCU, channels, and why each command waited; "
    "with DIR also the device's commands",
)
@click.option("--vcd", "vcd_path", type=_FILE, help="write the same stage as VCD")
@click.option(
    "--trace-stage",
    type=click.IntRange(0),
    default=None,
    help="stage to write: 0 the prompt, n the n-th token after it  [default: 1, or 0 if there is none]",
)
@json_option
def run(**options: Any) -> int:
    """Simulate a prompt and the tokens after it, command by command, and say what a token costs.

    Every command goes through the command scheduler of its core: issue queues, pending queue, and macros and
    transfers of memory that take turns. Each run is checked against the scheduler's rules, and two runs are equal to
    the byte.

    With the directory of a model the same commands are also executed: macros and transfers of memory on the golden
    device or the RTL, through the driver, the rest in BF16 beside them. The text is continued by the likeliest tokens.

    Time is booked once: to a fully connected layer while its weights move, from memory or past the PUs, else to
    attention, else to layer norm. Constants that the paper leaves open are calibrated to it (`ianus paper` prints
    them), so absolute times are no evidence; what changes with the options is.

    \b
    ianus npu run --model gpt2-xl --input 64 --output 256
    ianus npu run --model gpt2-xl --input 64 --output 256 --system npu-mem
    ianus npu run --model gpt2-2.5b --input 128 --output 64 --schedule naive-pim --json -
    ianus npu run --model gpt2-m --input 64 --output 2 --trace token.json
    ianus npu run --model gpt2-l --input 256 --output 512 --cores 2 --chips 2 --dual-row-buffer
    ianus npu run --model gpt2/ --text wiki.test.raw --input 32 --output 8 --pim rtl --compare
    """
    name = options["model_name"]
    try:
        machine = Machine(
            system=System(options["system"]),
            cores=options["cores"],
            chips=options["chips"],
            devices=options["devices"],
            timing_name=options["timing_name"],
            dual_row_buffer=options["dual_row_buffer"],
            refresh=options["refresh"],
            issue_slots=options["issue_slots"],
            pending_slots=options["pending_slots"],
        )
        if name in MODELS:
            return _time(transformer(name), machine, options)
        if not Path(name).is_dir():
            raise ValueError(f"--model must be one of {', '.join(MODELS)}, or a directory, not {name!r}")
        # Not needed, and thus not loaded, where a shape is timed.
        from host_runtime.cli.npu_execute import execute, request_of

        return execute(request_of(machine, options))
    except ValueError as error:
        raise click.UsageError(str(error)) from error


def _time(model: Transformer, machine: Machine, options: dict[str, Any]) -> int:
    """Time a model by its shape."""
    for option in ("text_path", "compare"):
        if options[option]:
            raise ValueError(
                f"--{option.removesuffix('_path')} needs a model that can be executed: --model DIR"
            )
    if options["numerics"] != DEFAULT_NUMERICS:
        raise ValueError("--numerics changes nothing where a shape is timed: it needs --model DIR")
    written = options["trace_path"] or options["vcd_path"]
    if options["trace_stage"] is not None and not written:
        raise ValueError("--trace-stage needs --trace or --vcd")
    if options["head_dim"] is not None:
        model = model.with_head_dim(options["head_dim"])
    output = Output(options["json_path"])
    tokens_out = options["tokens_out"]
    with ExitStack() as stack:
        name = options["pim_name"] or "closed"
        inference = Inference(
            model,
            machine,
            _source(name, machine, options, output, stack),
            options["tokens_in"],
            int(model.decoder) if tokens_out is None else tokens_out,
            chosen=schedule(options["schedule_name"]),
            mapping=Mapping(options["mapping_name"] or Mapping.ALGORITHM.value),
            gelu_in_pim=options["gelu"] != "vector",
            all_logits=options["all_logits"],
        )
        stage = traced_stage(options["trace_stage"], inference.stages) if written else None
        with output.working(f"{model.name} on {options['system']}") as progress:
            result = inference.run(progress, stage)
    if result.traced is not None:
        if options["trace_path"] is not None:
            write_perfetto(options["trace_path"], result.traced, CHANNELS)
        if options["vcd_path"] is not None:
            write_vcd(options["vcd_path"], result.traced)
    request = {
        "model": model.name,
        "input": options["tokens_in"],
        "output": len(result.tokens) + int(model.decoder),
        "system": options["system"],
        "schedule": options["schedule_name"],
        "fc": options["mapping_name"] or Mapping.ALGORITHM.value,
        "gelu": options["gelu"] or "pim",
        "pim": name,
        "cores": machine.cores,
        "chips": machine.chips,
        "devices": machine.devices,
        "head_dim": model.head_dim,
        "timing": machine.timing_name,
        "dual_row_buffer": machine.dual_row_buffer,
        "refresh": machine.refresh,
        "issue_slots": machine.issue_slots,
        "pending_slots": machine.pending_slots,
    }
    title = f"{model.name} ({options['tokens_in']}, {request['output']}) on {options['system']}"
    print_result(output, f"{title}, {options['schedule_name']}", result)
    output.write_json(request | report(result))
    return 0


def _source(
    name: str, machine: Machine, options: dict[str, Any], output: Output, stack: ExitStack
) -> PimTime:
    """Where the cycles of macros come from."""
    if name != "rtl":
        return source(name, machine.memory)
    if machine.refresh:
        raise ValueError("--refresh must be left out where the RTL gives the time of macros: --pim rtl")
    with output.building(f"{machine.memory.name}/{machine.timing_name}") as progress:
        transport = open_transport("verilator", machine.memory, options["numerics"], progress)
    assert isinstance(transport, VerilatedTransport)
    return RtlTime(stack.enter_context(transport), machine.memory)
