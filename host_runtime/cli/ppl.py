"""`ianus ppl`: a GPT-2's perplexity on a text, every linear layer in PIM memory."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from host_runtime.bench.language import NUMPY, LogitComparison, Machine, golden_logits
from host_runtime.cli.hardware import chosen_backend, hardware_options
from host_runtime.cli.options import device_option, device_options, json_option, require_simulation
from host_runtime.cli.output import Output
from host_runtime.llm.checkpoint import Checkpoint, load_checkpoint
from host_runtime.llm.gpt2 import Tokens
from host_runtime.llm.perplexity import Perplexity, Progress
from host_runtime.llm.tokenizer import encode_file, load_tokenizer
from host_runtime.transport import TRANSPORTS, open_transport
from pim_model.buildcache import build_root, digest
from pim_model.spec.config import config

__all__ = ["ppl"]

COMPARED = ("compared_predictions", "compared_logits", "mismatches")
COMMAND = "command "
"""Head of a command's name among the counts of an evaluation."""


@click.command()
@click.option(
    "--model",
    "model_dir",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    required=True,
    help="directory of a GPT-2 as published: config.json, model.safetensors, tokenizer",
)
@click.option("--text", "text_path", type=click.Path(path_type=Path), required=True, help="UTF-8 text file")
@click.option("--tokens", type=click.IntRange(1), default=None, help="predictions to make  [default: all]")
@click.option(
    "--backend",
    type=click.Choice([*TRANSPORTS, NUMPY]),
    default="model",
    show_default=True,
    help="where linear layers run: golden model, Verilated RTL, or numpy without PIM",
)
@device_option
@hardware_options
@device_options
@click.option(
    "--precision",
    type=click.Choice(["bf16", "fp32"]),
    default="bf16",
    show_default=True,
    help="fp32 rounds nowhere and needs --backend numpy",
)
@click.option("--batch", type=click.IntRange(1), default=1, show_default=True, help="windows a step")
@click.option(
    "--compare",
    type=click.Choice(["model"]),
    default=None,
    help="compare logits bit by bit with another backend",
)
@click.option(
    "--compare-first", type=click.IntRange(1), default=256, show_default=True, help="predictions compared"
)
@click.option(
    "--state", type=click.Path(dir_okay=False, path_type=Path), help="where an interrupted run is kept"
)
@click.option("--no-resume", is_flag=True, help="start anew even if an interrupted run was kept")
@json_option
def ppl(
    model_dir: Path,
    text_path: Path,
    tokens: int | None,
    backend: str,
    device: str,
    port: str | None,
    patience: float,
    card: str | None,
    build: int | None,
    config_name: str,
    timing_name: str,
    numerics: str,
    precision: str,
    batch: int,
    compare: str | None,
    compare_first: int,
    state: Path | None,
    no_resume: bool,
    json_path: str | None,
) -> int:
    """Measure a GPT-2's perplexity on a text, its linear layers and its head computed in PIM memory.

    The text is cut into windows of the model's context; each window's tokens are predicted from those before them.
    Interrupt it at any time: the same command goes on where it was.

    \b
    ianus ppl --model gpt2/ --text wiki.test.raw
    ianus ppl --model gpt2/ --text wiki.test.raw --tokens 4096 --backend verilator --compare model
    ianus ppl --model gpt2/ --text wiki.test.raw --card /dev/xdma0 --expect-build 0123456789abcdef --compare model
    """
    backend = chosen_backend(backend, port, card)
    if precision == "fp32" and backend != NUMPY:
        raise click.UsageError("--precision fp32 needs --backend numpy: PIM memory computes in BF16")
    if precision == "fp32" and compare is not None:
        raise click.UsageError(
            f"--compare {compare} needs --precision bf16: it compares the bits of BF16 logits"
        )
    if compare is not None and backend == compare:
        raise click.UsageError(f"--compare {compare} needs another --backend than {compare}")
    require_simulation(backend, device)
    output = Output(json_path)
    shape = config(config_name, timing_name)
    checkpoint = load_checkpoint(model_dir)
    ids = encode_file(load_tokenizer(model_dir), text_path)
    _check_vocabulary(ids, checkpoint, text_path)
    settings = {
        "checkpoint": checkpoint.digest(),
        "backend": backend,
        "device": device,
        "precision": precision,
        "config": config_name,
        "timing": timing_name,
        "numerics": numerics,
        "compare": "nothing" if compare is None else f"{compare}, {compare_first} predictions",
    }
    with ExitStack() as stack:
        transport = None
        if backend != NUMPY:
            with output.building(f"{config_name}/{timing_name}") as progress:
                opened = open_transport(backend, shape, numerics, progress, device, port, card, patience)
            transport = stack.enter_context(opened)
        machine = Machine.on(transport, shape, checkpoint, precision, build)
        run = Perplexity(machine.model, ids, limit=tokens, batch=batch, settings=settings)
        run.state = state or build_root() / "ppl" / f"{digest(repr(sorted(run.identity().items())))}.json"
        stack.enter_context(run.locked())
        if no_resume:
            run.discard()
        comparison = None
        if compare is not None:
            with Machine.open(compare, shape, numerics, checkpoint, precision) as golden:
                expected = golden_logits(golden.model, run, min(compare_first, run.total))
            comparison = LogitComparison(expected)
            run.on_logits = comparison
        run.counts = lambda: _counts(machine, comparison)
        began = time.perf_counter()
        last, done_before = _evaluate(output, run)
        seconds = time.perf_counter() - began
        totals = run.totals()
        counters: dict[str, Any] = {name: totals[name] for name in machine.counters() if name != "commands"}
        counters["commands"] = {
            name.removeprefix(COMMAND): count for name, count in totals.items() if name.startswith(COMMAND)
        }
    result: dict[str, Any] = {
        "backend": backend,
        "device": device,
        "model": str(model_dir),
        "text": str(text_path),
        "config": config_name,
        "timing": timing_name,
        "numerics": numerics,
        "precision": precision,
        "predictions": last.predictions,
        "resumed_from": done_before,
        "perplexity": last.perplexity,
        "seconds": seconds,
        "predictions_per_second": (last.predictions - done_before) / seconds,
    } | counters
    if comparison is not None:
        result["compared_with"] = compare
        result |= {name: totals[name] for name in COMPARED}
    output.table(
        f"{model_dir} on {text_path}", {name.replace("_", " "): value for name, value in result.items()}
    )
    output.write_json(result)
    wrong = counters["violations"] or (comparison is not None and totals["mismatches"])
    return 1 if wrong else 0


def _check_vocabulary(ids: Tokens, checkpoint: Checkpoint, text_path: Path) -> None:
    largest = int(max(ids))
    if largest >= checkpoint.config.vocab_size:
        raise click.UsageError(
            f"{text_path}: token {largest} is outside the model's vocabulary of {checkpoint.config.vocab_size}: "
            "tokenizer and weights are not of one model"
        )


def _counts(machine: Machine, comparison: LogitComparison | None) -> dict[str, int]:
    """What this process has counted, by flat names: an interrupted run's counts are added to these."""
    counts = machine.counters()
    commands = counts.pop("commands")
    counts |= {f"{COMMAND}{name}": count for name, count in commands.items()}
    if comparison is not None:
        found = (comparison.predictions, comparison.logits, comparison.mismatches)
        counts |= dict(zip(COMPARED, found, strict=True))
    return {name: int(count) for name, count in counts.items()}


def _evaluate(output: Output, run: Perplexity) -> tuple[Progress, int]:
    """Run to the end with a bar; (last progress, predictions that an interrupted run had made)."""
    bar = Bar(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=output.live,
        transient=True,
    )
    before = _saved(run.state)
    done, last = before, None
    with bar:
        task = bar.add_task("perplexity ...", total=run.total, completed=before)
        try:
            for last in run:
                done = last.predictions
                bar.update(task, completed=done, description=f"perplexity {last.perplexity:.3f}")
        except KeyboardInterrupt:
            output.live.print(
                f"interrupted after {done} of {run.total} predictions; the same command goes on there"
            )
            raise
    assert last is not None
    return last, before


def _saved(state: Path | None) -> int:
    """Predictions in a saved state; what is wrong with it, the evaluation will say."""
    try:
        return int(json.loads(state.read_text(encoding="utf-8"))["predictions"]) if state is not None else 0
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return 0
