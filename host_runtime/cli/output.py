"""What a command prints: tables for people, JSON for programs, progress of what takes long."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import TextIOWrapper
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

__all__ = ["Output", "quantity"]

_PREFIXES = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


class Output:
    """Where a command writes. With ``--json -`` standard output belongs to the JSON alone."""

    def __init__(self, json_path: str | None):
        self._json_path = json_path
        if json_path is not None:
            _require_writable(json_path)
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):
                stream.reconfigure(errors="replace")  # a terminal that lacks a letter still gets the result
        self.console = Console(stderr=json_path == "-", highlight=False)
        # Progress always goes to standard error, and only to a terminal: a log keeps the results alone.
        self.live = Console(stderr=True, highlight=False)

    @property
    def microseconds(self) -> str:
        """The unit, in letters that the output has."""
        return "µs" if self.console.encoding.startswith("utf") else "us"

    def print(self, *content: Any) -> None:
        """Write for people."""
        self.console.print(*content, soft_wrap=True)

    def table(
        self, title: str, rows: dict[str, Any] | list[tuple[str, ...]], columns: tuple[str, ...] = ()
    ) -> None:
        """Write a table: names and values, or rows below a head."""
        table = Table(title=title, title_justify="left", show_header=bool(columns))
        for column in columns or ("", ""):
            table.add_column(column, overflow="fold")
        lines = [(name, _text(value)) for name, value in rows.items()] if isinstance(rows, dict) else rows
        for line in lines:
            table.add_row(*line)
        self.console.print(table)

    def write_json(self, result: Any) -> None:
        """Write the result where ``--json`` said, if it did."""
        if self._json_path is None:
            return
        text = json.dumps(result, indent=2, allow_nan=False) + "\n"
        if self._json_path == "-":
            sys.stdout.write(text)
            return
        try:
            with open(self._json_path, "w", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise click.UsageError(f"--json {self._json_path}: {error.strerror}") from error

    @contextmanager
    def working(self, what: str) -> Iterator[Callable[[float], None]]:
        """A function to tell which part of the work is done: a bar on a terminal, nothing elsewhere."""
        progress = Progress(
            TextColumn(what), BarColumn(), TimeElapsedColumn(), console=self.live, transient=True
        )
        task = progress.add_task("", total=1.0)
        if not self.live.is_terminal:
            yield lambda _: None
            return
        with progress:
            yield lambda part: progress.update(task, completed=part)

    @contextmanager
    def building(self, what: str = "") -> Iterator[Callable[[str, float | None], None]]:
        """A function to tell of a build's steps: a bar that is only there while something is built.

        Not on a terminal, it is one line instead; ``what`` names the configuration there.
        """
        progress = Progress(
            TextColumn("building the simulation: {task.description}"),
            BarColumn(),
            TimeElapsedColumn(),
            console=self.live,
            transient=True,
        )
        task = progress.add_task("", total=None)
        started = False

        def report(step: str, fraction: float | None) -> None:
            nonlocal started
            if not started:
                started = True
                if not self.live.is_terminal:
                    name = f" of {what}" if what else ""
                    click.echo(f"building the simulation{name}: about a minute", err=True)
                else:
                    progress.start()
            progress.update(
                task, description=step, total=None if fraction is None else 1.0, completed=fraction or 0.0
            )

        try:
            yield report
        finally:
            if started and self.live.is_terminal:
                progress.stop()


def _require_writable(path: str) -> None:
    """Refuse a place that cannot be written before hours of work, not after them."""
    try:
        if path == "-":
            if sys.stdout is None:
                raise click.UsageError("--json -: standard output is closed")
        elif not os.path.exists(path):
            with open(path, "xb"):
                pass
            os.unlink(path)
        elif os.path.isfile(path):
            with open(path, "ab"):
                pass
        # A pipe's reader would take the end of a trial for the end of everything.
    except OSError as error:
        raise click.UsageError(f"--json {path}: {error.strerror}") from error


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {number}" for name, number in value.items())
    return str(value)


def quantity(value: float, unit: str) -> str:
    """A number with a decimal prefix: 2.13e12 B/s is 2.13 TB/s."""
    for factor, prefix in _PREFIXES:
        if abs(value) >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value:.3g} {unit}"
