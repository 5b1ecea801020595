"""What `ianus npu run` prints and writes of a result."""

from __future__ import annotations

from typing import Any

from host_runtime.cli.output import Output
from pim_model.inference.account import ORDER
from pim_model.inference.run import Result, Stage
from pim_model.npu.command import Unit
from pim_model.spec.npu import CONSTANTS, describe

__all__ = ["milliseconds", "print_result", "report", "traced_stage"]


def print_result(output: Output, title: str, result: Result) -> None:
    first, tokens = result.summarization, result.tokens
    rows: dict[str, Any] = {"prompt": milliseconds(first.ns)}
    if tokens:
        rows["a token"] = f"{milliseconds(result.token_ns)} in the mean, " + " to ".join(
            milliseconds(stage.ns) for stage in (tokens[0], tokens[-1])
        )
    rows |= {
        "all": milliseconds(result.ns),
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
                *(
                    f"{milliseconds(at[part] / count)} ({at[part] / whole:.1%})"
                    for at, whole, count in booked
                ),
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


def milliseconds(ns: float) -> str:
    return f"{ns / 1e6:.4g} ms"


def _energy(result: Result) -> dict[str, float]:
    return {
        "normal memory": result.energy.memory,
        "PIM": result.energy.pim,
        "NPU cores": result.energy.core,
    }


def report(result: Result) -> dict[str, Any]:
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


def traced_stage(stage: int | None, stages: int) -> int:
    """The stage to write, of as many; ``ValueError`` if there are fewer."""
    if stage is None:
        return min(1, stages - 1)
    if stage >= stages:
        raise ValueError(
            f"--trace-stage must be at most {stages - 1}, the last stage of this run, not {stage}"
        )
    return stage
