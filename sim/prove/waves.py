"""Counterexamples as waves."""

from __future__ import annotations

from pathlib import Path

from vcd import VCDWriter

__all__ = ["write_waves"]


def write_waves(path: Path, widths: dict[str, int], table: list[list[int]]) -> None:
    """Write a run as VCD, 1 ns a cycle: for each cycle the values of the signals in the order of ``widths``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="ascii") as file, VCDWriter(file, timescale="1 ns") as writer:
        variables = []
        for name, width in widths.items():
            scope, _, last = name.rpartition(".")
            variables.append(writer.register_var(scope or "harness", last, "wire", size=width))
        for cycle, row in enumerate(table):
            for variable, value in zip(variables, row, strict=True):
                writer.change(variable, cycle, value)
        writer.close(len(table))
