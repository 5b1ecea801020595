"""The `ianus` command. Each subcommand is one file here; what they share is in `options` and `output`.

Exit codes: 0 done; 1 the device or the numbers are wrong; 2 the request cannot be done as given; 130 interrupted.
"""

from __future__ import annotations

import errno
import importlib
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from host_runtime.errors import IanusError, OutOfMemory
from host_runtime.llm.errors import LanguageModelError

__all__ = ["main", "run"]

FAILED, USAGE, INTERRUPTED = 1, 2, 130

COMMANDS = (
    "demo",
    "info",
    "matvec",
    "ppl",
    "exec",
    "npu",
    "paper",
    "bench",
    "fpga",
    "regress",
    "serve",
    "prove",
    "mutate",
)
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
    ianus demo                                    the whole of it; the first time builds the simulation, about a minute
    ianus matvec --rows 1000 --cols 1000          one product, compared bit by bit
    ianus ppl --model DIR --text FILE             a GPT-2's perplexity on a text
    ianus fpga build --board ulx3s                a bitstream, by open tools
    ianus exec TRACE --fold-channels              a trace of AiM instructions, in the public simulator's language
    ianus npu run --model gpt2-xl --input 64 --output 256    what a token costs on the NPU with this memory
    ianus regress --smoke                         the quick tests of this checkout, against the test plan
    ianus serve --config tiny --socket card       the RTL as a card behind the XDMA driver, for --card
    ianus paper                                   the claims of the IANUS paper, recomputed, with verdicts
    ianus prove                                   timing rules of the controllers, proved by induction
    ianus mutate                                  faults put into RTL and golden model: do the tests notice?
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
        if sys.stdout is not None:
            sys.stdout.flush()  # a full disk must be told here, not at the interpreter's end
    except (click.exceptions.Abort, KeyboardInterrupt):  # click makes the one of the other
        click.echo("interrupted", err=True)
        return INTERRUPTED
    except click.ClickException as error:
        error.show()
        return USAGE
    except Exception as error:
        code = _exit_code(error)
        if code is None:
            raise
        click.echo(f"Error: {_sentence(error)}", err=True)
        if isinstance(error, OSError):
            _drop_output()
        return code
    return result if isinstance(result, int) else 0


def _exit_code(error: Exception) -> int | None:
    """What a command that ended by ``error`` returns; None if the error is a mistake in this program."""
    # Not needed, and thus not loaded, where all goes well.
    from host_runtime.transport.verilated import SimulationUnavailable
    from pim_model.numerics.native import KernelBuildError

    unable = (LanguageModelError, OutOfMemory, SimulationUnavailable, KernelBuildError, MemoryError, OSError)
    if isinstance(error, unable):
        return USAGE
    return FAILED if isinstance(error, IanusError | FloatingPointError) else None


def _sentence(error: Exception) -> str:
    if isinstance(error, MemoryError):
        return f"this machine's memory does not suffice{f': {error}' if str(error) else ''}"
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error).partition("\n$ ")[0]  # without the log of a compiler's command
    if error.filename is None:
        return f"cannot write: {error.strerror}" if error.errno == errno.ENOSPC else error.strerror
    from pim_model.buildcache import build_root

    root, path = build_root(), Path(os.fsdecode(error.filename)).absolute()
    if root == path or root in path.parents or path in root.parents:
        return (
            f"the build directory {root} cannot be used ({path}: {error.strerror}); "
            "set IANUS_BUILD to a directory that can be written"
        )
    return f"{path}: {error.strerror}"


def _drop_output() -> None:
    """Forget what standard output cannot take: the interpreter would try again at its end, and complain."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
