"""`ianus exec`: a trace of AiM instructions in the public simulator's language, timed and compared."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from host_runtime.bench.trace_run import TraceRun, mismatches, replayed, run_trace, same_order
from host_runtime.cli.options import backend_option, device_options, json_option
from host_runtime.cli.output import Output
from host_runtime.transport import open_transport
from host_runtime.transport.base import RecordingTransport
from pim_model.isr_program import MASK_ORDERS, TraceProgram, translate
from pim_model.isr_trace import TraceError, read_trace
from pim_model.replay import Replay
from pim_model.spec.config import Config, config

__all__ = ["exec"]


@click.command()
@click.argument("trace_path", metavar="TRACE", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@backend_option
@device_options
@click.option(
    "--fold-channels",
    is_flag=True,
    help="drop channels that the device lacks from masks, and MEM statements on them, instead of refusing the trace",
)
@click.option(
    "--mask-order",
    type=click.Choice(MASK_ORDERS),
    default=MASK_ORDERS[0],
    show_default=True,
    help="bit i of a channel mask: channel i, or 31 - i as in the public simulator",
)
@click.option("--no-refresh", is_flag=True, help="leave refresh off, as the public simulator does")
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=1,
    show_default=True,
    help="seed of the data, which a trace lacks",
)
@click.option(
    "--vcd",
    "vcd_path",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True, path_type=Path),
    help="write the command buses as VCD",
)
@json_option
def exec(
    trace_path: Path,
    backend: str,
    config_name: str,
    timing_name: str,
    numerics: str,
    fold_channels: bool,
    mask_order: str,
    no_refresh: bool,
    seed: int,
    vcd_path: Path | None,
    json_path: str | None,
) -> int:
    """Run a trace of AiM instructions: how many CK it takes, what bounds it, and whether every bit is right.

    CK count from the first command on any channel to the end of the last that the trace asked for. On `verilator`,
    GPRs and written memory are compared with the golden model's. Exit code 1 if a bit differs or the checker saw a
    violation, 2 if the trace cannot be run as it stands: the sentence names line and column.

    \b
    ianus exec all_isr.trace --timing aim_simulator --no-refresh
    ianus exec micro_macab_1024_16banks.trace --fold-channels --backend verilator --json -
    """
    shape = config(config_name, timing_name)
    output = Output(json_path)
    trace = _read(trace_path, shape, fold_channels, mask_order, seed)
    refresh = not no_refresh
    golden = _run(output, "model", shape, numerics, trace, refresh, None)
    run = golden if backend == "model" else _run(output, backend, shape, numerics, trace, refresh, golden)
    wrong, compared = (0, 0) if run is golden else mismatches(run, golden)
    with output.live.status("what bounds the commands"):
        bounds = replayed(shape, run)
    if vcd_path is not None:
        from pim_model.trace import write_vcd  # as in the demonstration: not at every start

        with output.live.status(f"writing {vcd_path}"):
            write_vcd(vcd_path, run.entries, cycle_ns=shape.timing.cycle_ns)
    result: dict[str, Any] = {
        "trace": str(trace_path),
        "backend": backend,
        "config": config_name,
        "timing": timing_name,
        "numerics": numerics,
        "refresh": refresh,
        "fold_channels": fold_channels,
        "mask_order": mask_order,
        "seed": seed,
        "statements": trace.statements,
        "instructions": len(trace.instructions),
        "dropped": trace.dropped,
        "dropped_mask_bits": trace.dropped_bits,
        **_measured(shape, run),
        "refreshes": run.commands.get("REFAB", 0),
        "violations": run.violations,
        "mismatches": wrong,
        "compared": compared,
        "same_order": same_order(run, golden) if run is not golden and no_refresh else None,
        "golden": _measured(shape, golden) if run is not golden else None,
        "excess_cycles": bounds.excess_cycles,
        "excess_by_channel": bounds.excess_by_channel,
        "bound_by": {name: asdict(bound) for name, bound in bounds.bound_by.items()},
        "gprs_read": [{"line": line, "data": data.hex()} for line, data in run.fetched],
        "cfrs_read": [{"line": line, "cfr": cfr, "value": value} for line, cfr, value in trace.registers],
        "seconds": run.seconds,
    }
    _show(output, shape, result, bounds)
    output.write_json(result)
    return 1 if wrong or run.violations or result["same_order"] is False else 0


def _read(path: Path, shape: Config, fold: bool, mask_order: str, seed: int) -> TraceProgram:
    """The trace for this device; a mistake in it is the caller's."""
    text = path.read_text(encoding="utf-8", errors="replace")
    try:
        return translate(read_trace(text), shape, fold=fold, mask_order=mask_order, seed=seed)
    except TraceError as error:
        raise click.UsageError(f"{path}: {error}") from error


def _run(
    output: Output,
    backend: str,
    shape: Config,
    numerics: str,
    trace: TraceProgram,
    refresh: bool,
    golden: TraceRun | None,
) -> TraceRun:
    """Run on a fresh device; what the golden run took tells how much room and time to expect."""
    with output.building(f"{shape.name}/{shape.timing_name}") as progress:
        transport = open_transport(backend, shape, numerics, progress)
    with transport, output.working(f"{len(trace.instructions)} instructions on {backend}") as report:
        assert isinstance(transport, RecordingTransport)
        if golden is None:
            return run_trace(transport, shape, trace, refresh=refresh, report=report)
        capacity = 2 * len(golden.entries) + 100_000
        return run_trace(
            transport,
            shape,
            trace,
            refresh=refresh,
            capacity=capacity,
            cycles=golden.span.cycles,
            report=report,
        )


def _measured(shape: Config, run: TraceRun) -> dict[str, Any]:
    per_cycle = shape.timing.ck_per_cycle
    return {
        "macros": run.macros,
        "cycles": run.span.cycles,
        "ck": per_cycle * run.span.cycles,
        "closing_ck": per_cycle * run.span.closing,
        "ns": run.span.cycles * shape.timing.cycle_ns,
        "commands": run.commands,
    }


def _show(output: Output, shape: Config, result: dict[str, Any], bounds: Replay) -> None:
    folded = f", {result['dropped']} dropped by folding ({result['dropped_mask_bits']} mask bits)"
    rows = {
        "statements": f"{result['statements']}{folded if result['fold_channels'] else ''}",
        "macros": f"{result['macros']} PROGRAMs of {result['instructions']} instructions",
        "CK": f"{result['ck']}, and {result['closing_ck']} to close the channels",
        "cycles": f"{result['cycles']} of {shape.timing.ck_per_cycle} CK",
        "time": f"{result['ns'] / 1e3:.3f} {output.microseconds}",
        "commands": result["commands"] or "none",
        "violations": result["violations"],
        "later than the rules ask": f"{result['excess_cycles']} cycles",
        "wall time": f"{result['seconds']:.3f} s",
    }
    if result["golden"] is not None:
        rows["mismatches"] = f"{result['mismatches']} of {result['compared']} BF16 words"
        rows["golden model"] = f"{result['golden']['ck']} CK"
        if result["same_order"] is not None:
            rows["commands in the golden order"] = "yes" if result["same_order"] else "no"
    title = f"{result['trace']} on {result['backend']}, {result['config']}, {result['timing']}, {result['numerics']}"
    output.table(title, rows)
    output.table(
        "what bounds the commands",
        [(name, str(bound.commands), str(bound.cycles)) for name, bound in bounds.bound_by.items()],
        ("rule", "commands", "cycles waited"),
    )
    for read in result["gprs_read"]:
        output.print(f"line {read['line']}: {read['data']}")
