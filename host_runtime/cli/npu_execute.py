"""`ianus npu run --model DIR`: the commands executed on a device, and compared with `ianus ppl`."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from host_runtime.bench.language import Machine as LanguageMachine
from host_runtime.bits import to_bits
from host_runtime.cli.npu_report import print_result, report, traced_stage
from host_runtime.cli.output import Output
from host_runtime.driver import Driver
from host_runtime.llm.checkpoint import Checkpoint, load_checkpoint
from host_runtime.llm.tokenizer import encode_file, load_tokenizer
from host_runtime.npu.device_trace import device_events
from host_runtime.npu.lineup import line_up
from host_runtime.npu.session import Session, Step
from host_runtime.ops import Pim
from host_runtime.transport import open_transport
from pim_model.mapping.schedule import Mapping, Schedule, schedule
from pim_model.npu.command import Unit
from pim_model.npu.machine import Machine
from pim_model.npu.trace import write_perfetto, write_vcd
from pim_model.spec.npu import CHANNELS, TICKS_PER_NS

__all__ = ["Request", "execute", "request_of"]


@dataclass(frozen=True, kw_only=True)
class Request:
    """What is asked for. ``backend`` is a transport; ``stage`` the one whose device commands are looked at."""

    directory: Path
    text: Path
    tokens_in: int
    tokens_out: int
    machine: Machine
    backend: str
    numerics: str
    schedule: Schedule
    mapping: Mapping
    gelu_in_pim: bool
    all_logits: bool
    compare: bool
    json_path: str | None
    stage: int | None = None
    trace_path: Path | None = None
    vcd_path: Path | None = None


def request_of(machine: Machine, options: dict[str, Any]) -> Request:
    """What is to be executed; ``ValueError`` for an option that execution does not know."""
    if options["text_path"] is None:
        raise ValueError("--text must name the text that the model reads")
    if options["head_dim"] is not None:
        raise ValueError("--head-dim must be left out for a model that is executed: its weights decide")
    if options["pim_name"] == "closed":
        raise ValueError(
            "--pim must be golden or rtl for a model that is executed: a closed form has no data"
        )
    tokens_out = 1 if options["tokens_out"] is None else options["tokens_out"]
    asked = Request(
        directory=Path(options["model_name"]),
        text=options["text_path"],
        tokens_in=options["tokens_in"],
        tokens_out=tokens_out,
        machine=machine,
        backend="verilator" if options["pim_name"] == "rtl" else "model",
        numerics=options["numerics"],
        schedule=schedule(options["schedule_name"]),
        mapping=Mapping(options["mapping_name"] or Mapping.PIM.value),
        gelu_in_pim=options["gelu"] == "pim",
        all_logits=options["all_logits"],
        compare=options["compare"],
        json_path=options["json_path"],
    )
    if asked.compare and asked.gelu_in_pim:
        raise ValueError("--compare needs --gelu vector: `ianus ppl` computes GELU exactly")
    if asked.compare and asked.schedule.attention_in_pim:
        raise ValueError("--compare needs --schedule pas or naive: `ianus ppl` has no attention in PIM")
    if asked.compare and asked.mapping is not Mapping.PIM:
        raise ValueError("--compare needs --fc pim: `ianus ppl` has every layer in PIM")
    if options["trace_path"] or options["vcd_path"]:
        stage = traced_stage(options["trace_stage"], max(1, tokens_out))
        return replace(asked, stage=stage, trace_path=options["trace_path"], vcd_path=options["vcd_path"])
    return asked


def execute(request: Request) -> int:
    """Run, print and write; 1 if a logit differs, the device's commands are out of place, or its checker complains.

    ``ValueError`` for what the model or the machine does not allow.
    """
    checkpoint = load_checkpoint(request.directory)
    tokenizer = load_tokenizer(request.directory)
    ids = [int(token) for token in encode_file(tokenizer, request.text)]
    prompt = ids[: request.tokens_in]
    if len(prompt) < request.tokens_in:
        raise ValueError(f"--input must be at most the text's {len(prompt)} tokens, not {request.tokens_in}")
    output, machine = Output(request.json_path), request.machine
    stage = min(1, request.tokens_out - 1) if request.stage is None else request.stage
    began = time.perf_counter()
    with output.building(f"{machine.memory.name}/{machine.timing_name}") as progress:
        transport = open_transport(request.backend, machine.memory, request.numerics, progress)
    with transport:
        pim = Pim(Driver(transport, machine.memory), machine.memory)
        session = Session(
            checkpoint,
            machine,
            pim,
            len(prompt),
            request.tokens_out,
            measured=request.backend == "verilator",
            chosen=request.schedule,
            mapping=request.mapping,
            gelu_in_pim=request.gelu_in_pim,
            all_logits=request.all_logits,
            recorded=stage,
        )
        steps: list[Step] = []
        with output.working(f"{request.directory} on {request.backend}") as working:
            for step in session.run(prompt):
                steps.append(step)
                working(len(steps) / request.tokens_out)
        violations = pim.driver.violations()
    seconds = time.perf_counter() - began
    lineup = line_up(session.of_stage(stage), session.entries)
    _write(request, session, steps[stage], stage)
    mismatches = _mismatches(request, checkpoint, prompt, steps) if request.compare else None
    sent = Counter(each.unit for each in session.dispatched)
    found: dict[str, Any] = {
        "continuation": tokenizer.decode([step.token for step in steps]),
        "macros": sent[Unit.PIM],
        "transfers": len(session.dispatched) - sent[Unit.PIM],
        "violations": violations,
        "stage_looked_at": stage,
        # Normal traffic takes no time on the golden device, and leaves nothing on its buses.
        "lineup": asdict(lineup) if request.backend == "verilator" else None,
    }
    if mismatches is not None:
        found["compared_logits"] = sum(step.logits.size for step in steps)
        found["mismatches"] = mismatches
    output.table(
        f"{request.directory} on {request.backend}",
        {name.replace("_", " "): value for name, value in found.items() if value is not None}
        | {"wall time": f"{seconds:.1f} s"},
    )
    result = session.result(steps)
    print_result(output, f"its commands ({request.tokens_in}, {request.tokens_out})", result)
    output.write_json(
        {
            "model": str(request.directory),
            "text": str(request.text),
            "input": request.tokens_in,
            "output": request.tokens_out,
            "backend": request.backend,
            "numerics": request.numerics,
        }
        | found
        | report(result)
    )
    return 1 if mismatches or lineup.misplaced or violations else 0


def _write(request: Request, session: Session, step: Step, stage: int) -> None:
    """The traces that were asked for."""
    if request.trace_path is not None:
        cycle = round(request.machine.memory.timing.cycle_ns * TICKS_PER_NS)
        events = device_events(session.of_stage(stage), session.entries, cycle)
        write_perfetto(request.trace_path, step.record, CHANNELS, events)
    if request.vcd_path is not None:
        write_vcd(request.vcd_path, step.record)


def _mismatches(request: Request, checkpoint: Checkpoint, prompt: list[int], steps: list[Step]) -> int:
    """Logits that differ from those of the model of `ianus ppl`, on the golden device."""
    memory = request.machine.memory
    with LanguageMachine.open("model", memory, request.numerics, checkpoint) as other:
        model = other.model
        cache = model.cache(len(prompt) + len(steps))
        expected = [model.forward(np.array(prompt), cache, last_only=not request.all_logits)]
        expected += [model.forward(np.array([step.token]), cache) for step in steps[:-1]]
    return sum(
        int(np.count_nonzero(to_bits("logits", ours.logits) != to_bits("logits", theirs)))
        for ours, theirs in zip(steps, expected, strict=True)
    )
