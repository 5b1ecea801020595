"""The `ianus` command. Each subcommand is one file here; what they share is in `options` and `output`.

Exit codes: 0 done; 1 the device or the numbers are wrong; 2 the request cannot be done as given; 130 interrupted.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence

import click

from host_runtime.errors import IanusError, OutOfMemory
from host_runtime.llm.errors import LanguageModelError

__all__ = ["main", "run"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130

COMMANDS = ("demo", "info", "matvec", "ppl", "bench")
SMALL_PRODUCTS = ("demo", "ppl")
"""Commands whose numpy products are attention's, a few thousand numbers each: threads of a BLAS library only wait for
each other there (five times slower on two busy cores). The golden kernels have threads of their own."""


class Commands(click.Group):
    """Loads a command's module when it is asked for, so that its settings come before numpy does."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in COMMANDS:
            return None
        if cmd_name in SMALL_PRODUCTS:
            os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
        command = getattr(importlib.import_module(f"{__name__}.{cmd_name}"), cmd_name)
        assert isinstance(command, click.Command)
        return command


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="ianus", prog_name="ianus", message="%(prog)s %(version)s")
def cli() -> None:
    """Run neural-network layers in simulated processing-in-memory: golden model or Verilated RTL.

    \b
    ianus demo                                    the whole of it, in a minute
    ianus matvec --rows 1000 --cols 1000          one product, compared bit by bit
    ianus ppl --model DIR --text FILE             a GPT-2's perplexity on a text
    """


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line (``sys.argv`` by default) and end the process with its exit code."""
    sys.exit(run(arguments))


def run(arguments: Sequence[str] | None = None) -> int:
    """As :func:`main`, but return the exit code."""
    try:
        result = cli.main(
            args=None if arguments is None else list(arguments), prog_name="ianus", standalone_mode=False
        )
    except click.exceptions.Abort:
        return INTERRUPTED
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except (LanguageModelError, OutOfMemory) as error:
        return _say(error, USAGE)
    except (IanusError, FloatingPointError) as error:
        return _say(error, FAILED)
    return result if isinstance(result, int) else 0


def _say(error: Exception, code: int) -> int:
    click.echo(f"Error: {error}", err=True)
    return code
