"""`ianus demo`: the embedded GPT-2 on golden model and RTL, side by side, and a picture of the command bus."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import click
import numpy as np

from host_runtime.bench.demo import draw, source_perplexity
from host_runtime.bench.language import LogitComparison, Machine
from host_runtime.bench.product import Operands, Product, measure_product
from host_runtime.bits import U16, to_bits
from host_runtime.cli.options import device_options, json_option
from host_runtime.cli.output import Output, quantity
from host_runtime.llm.checkpoint import Checkpoint, load_checkpoint
from host_runtime.llm.embedded import MODEL, evaluation_text
from host_runtime.llm.layers import Array
from host_runtime.llm.perplexity import Perplexity
from host_runtime.llm.tokenizer import load_tokenizer
from host_runtime.transport import open_transport
from pim_model.buildcache import build_root
from pim_model.mapping.layout import rows_needed
from pim_model.spec.config import Config, config

__all__ = ["demo"]

PREDICTIONS = 512  # four windows of the embedded model
PRODUCT = (4096, 4096)
T = TypeVar("T")


@dataclass(frozen=True)
class Evaluation:
    """One backend's result over the same predictions."""

    perplexity: float
    seconds: float
    counters: dict[str, Any]


@click.command()
@click.option(
    "--tokens", type=click.IntRange(1), default=PREDICTIONS, show_default=True, help="predictions to make"
)
@device_options
@json_option
def demo(tokens: int, config_name: str, timing_name: str, numerics: str, json_path: str | None) -> int:
    """Show the whole of it: a small GPT-2 predicts a text, every linear layer in memory, golden model against RTL.

    Prints perplexities, bits compared, commands, violations and bandwidth, and draws the command bus of a first
    product. The first time builds the simulation, about a minute. Exit code 1 if a bit differs or the checker
    saw a violation.

    \b
    ianus demo
    ianus demo --tokens 127 --numerics fp32_tree --json -
    """
    output = Output(json_path)
    shape = config(config_name, timing_name)
    began = time.perf_counter()
    text = evaluation_text()
    ids = load_tokenizer(MODEL).encode(text)
    checkpoint = load_checkpoint(MODEL)
    most = Perplexity(_Shape(checkpoint), ids).total
    if tokens > most:
        raise click.UsageError(
            f"--tokens must be at most {most}, the predictions of the embedded text, not {tokens}"
        )
    _require_room(checkpoint, shape)
    with output.building(f"{config_name}/{timing_name}") as progress:
        _, building = _timed(lambda: open_transport("verilator", shape, numerics, progress).close())

    def evaluate(
        backend: str, precision: str, on_logits: Callable[[int, Array], None] | None = None
    ) -> Evaluation:
        with (
            output.live.status(f"{tokens} predictions on {backend}, {precision}"),
            Machine.open(backend, shape, numerics, checkpoint, precision) as machine,
        ):
            run = Perplexity(machine.model, ids, limit=tokens, on_logits=on_logits)
            last, seconds = _timed(run.run)
            return Evaluation(last.perplexity, seconds, machine.counters())

    fp32 = evaluate("numpy", "fp32")
    logits: list[U16] = []
    golden = evaluate("model", "bf16", lambda _first, rows: logits.append(to_bits("logits", rows)))
    comparison = LogitComparison(np.concatenate(logits))
    rtl = evaluate("verilator", "bf16", comparison)
    source = source_perplexity(text, tokens)
    with output.live.status("one large product, and the picture"):
        with open_transport("verilator", shape, numerics) as transport:
            product = measure_product(transport, shape, numerics, Operands.random(*PRODUCT, 1, 1))
        files = draw(shape, numerics, build_root() / "demo")
    result: dict[str, Any] = {
        "predictions": tokens,
        "config": config_name,
        "timing": timing_name,
        "numerics": numerics,
        "perplexity": {
            "fp32": fp32.perplexity,
            "model": golden.perplexity,
            "verilator": rtl.perplexity,
            "source": source,
        },
        "bits_compared": 16 * comparison.logits,
        "mismatches": comparison.mismatches,
        **rtl.counters,
        "bytes_per_second": _bandwidth(checkpoint, tokens, rtl, shape),
        "product": {"rows": PRODUCT[0], "cols": PRODUCT[1], **asdict(product)},
        "files": [str(path) for path in files],
        "seconds": {
            "opening": building,
            "fp32": fp32.seconds,
            "model": golden.seconds,
            "verilator": rtl.seconds,
            "total": time.perf_counter() - began,
        },
    }
    _show(output, result, product)
    output.write_json(result)
    wrong = comparison.mismatches or rtl.counters["violations"] or product.mismatches or product.violations
    return 1 if wrong else 0


class _Shape:
    """A model's shape without the model, to count predictions."""

    def __init__(self, checkpoint: Checkpoint):
        self.config = checkpoint.config

    def forward(self, tokens: Any, /) -> Array:
        raise NotImplementedError("only the shape is asked for")


def _require_room(checkpoint: Checkpoint, shape: Config) -> None:
    """Refuse a configuration that cannot hold the model or the large product, before it is built."""
    shapes = checkpoint.config.tensor_shapes()
    layers = [s[::-1] for name, s in shapes.items() if ".c_" in name and name.endswith("weight")]
    layers.append((checkpoint.config.vocab_size, checkpoint.config.n_embd))
    model = sum(rows_needed(s[0], s[1], shape.geometry) for s in layers)
    needed = max(model, rows_needed(*PRODUCT, shape.geometry))
    if needed > shape.geometry.weight_rows:
        raise click.UsageError(
            f"--config {shape.name} is too small for the demonstration: its memory has "
            f"{shape.geometry.weight_rows} DRAM rows for weights, and {needed} are needed"
        )


def _timed(call: Callable[[], T]) -> tuple[T, float]:
    began = time.perf_counter()
    value = call()
    return value, time.perf_counter() - began


def _bandwidth(checkpoint: Checkpoint, tokens: int, rtl: Evaluation, shape: Config) -> float:
    """Weight bytes of all linear layers, once a prediction, over the simulated time of everything."""
    shapes = checkpoint.config.tensor_shapes()
    weights = sum(int(np.prod(s)) for name, s in shapes.items() if ".c_" in name and name.endswith("weight"))
    head = checkpoint.config.vocab_size * checkpoint.config.n_embd
    return 2e9 * (weights + head) * tokens / (int(rtl.counters["cycles"]) * shape.timing.cycle_ns)


def _show(output: Output, result: dict[str, Any], product: Product) -> None:
    perplexity, seconds = result["perplexity"], result["seconds"]
    output.table(
        f"GPT-2 of 3 blocks, {result['predictions']} predictions; {result['config']}, {result['timing']}, "
        f"{result['numerics']}",
        [
            ("numpy, FP32", f"{perplexity['fp32']:.6f}", f"{seconds['fp32']:.1f} s"),
            ("golden model, BF16", f"{perplexity['model']:.6f}", f"{seconds['model']:.1f} s"),
            ("RTL, BF16", f"{perplexity['verilator']:.6f}", f"{seconds['verilator']:.1f} s"),
            ("the text's source itself", f"{perplexity['source']:.6f}", ""),
        ],
        ("computed by", "perplexity", "time"),
    )
    output.table(
        "RTL against golden model",
        {
            "logit bits compared": result["bits_compared"],
            "mismatches": result["mismatches"],
            "timing violations": result["violations"],
            "macros": result["macros"],
            "cycles": result["cycles"],
            "commands": ", ".join(f"{name} {count}" for name, count in result["commands"].items()),
            "effective bandwidth, these small layers": quantity(result["bytes_per_second"], "B/s"),
            f"effective bandwidth, {PRODUCT[0]} x {PRODUCT[1]}": f"{quantity(product.bytes_per_second, 'B/s')} "
            f"({product.cycles} cycles, {product.mismatches} mismatches, {product.violations} violations)",
        },
    )
    for path in result["files"]:
        output.print(f"command bus of a first product: {path}")
    output.print(
        f"opened the simulation in {seconds['opening']:.1f} s; everything in {seconds['total']:.1f} s"
    )
