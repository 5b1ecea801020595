"""Options that name a piece of hardware, and the identity that it must have."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from host_runtime.transport import PATIENCE, UART, XDMA
from host_runtime.transport.transcript import Replayed

__all__ = ["chosen_backend", "hardware_options", "replayed", "transcript_options"]

F = TypeVar("F", bound=Callable[..., Any])

_DIGEST = re.compile(r"[0-9a-f]{16}")


class _Build(click.ParamType):  # type: ignore[type-arg]  # generic in newer releases of click only
    """A digest of 16 hexadecimal digits, or a file that `ianus fpga build` left."""

    name = "build"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        text = str(value).lower()
        if not _DIGEST.fullmatch(text):
            text = _recorded(Path(value)) or self.fail(
                f"{value!r} is no digest of 16 hexadecimal digits, and no JSON or bitstream of `ianus fpga build`",
                param,
                ctx,
            )
        return int(text, 16)


def _recorded(path: Path) -> str | None:
    """The digest in a report, or in the name of the directory in which a bitstream was built."""
    if path.suffix == ".json" and path.is_file():
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        digest = found.get("digest") if isinstance(found, dict) else None
        return digest if isinstance(digest, str) and _DIGEST.fullmatch(digest) else None
    if not path.exists():
        return None
    named = re.fullmatch(rf"fpga-.*-({_DIGEST.pattern})", path.resolve().parent.name)
    return named[1] if named else None


def hardware_options(function: F) -> F:
    """``--port``, ``--patience``, ``--card`` and ``--expect-build``."""
    port = click.option(
        "--port",
        metavar="PATH",
        help="serial port of a board, such as /dev/ttyUSB0: the products are computed there, whatever --backend says",
    )
    patience = click.option(
        "--patience",
        metavar="SECONDS",
        type=click.FloatRange(0, min_open=True),
        default=PATIENCE,
        show_default=True,
        help="with --port: seconds until a request without an answer is sent again; a simulated board takes up to 60",
    )
    card = click.option(
        "--card",
        metavar="PATH",
        help="device files of a card behind the XDMA driver, such as /dev/xdma0, or the socket of `ianus serve`: "
        "likewise",
    )
    expected = click.option(
        "--expect-build",
        "build",
        metavar="DIGEST|FILE",
        type=_Build(),
        help="digest of the bitstream that the device must hold, as `ianus fpga build` prints it, or a file with it: "
        "the JSON that this writes, or the bitstream in its directory; checked before anything else",
    )
    return port(patience(card(expected(function))))


def chosen_backend(backend: str, port: str | None, card: str | None) -> str:
    """The transport's name; ``--port`` and ``--card`` exclude each other."""
    if port is not None and card is not None:
        raise click.UsageError("--port and --card name two devices; give one of them")
    if port is not None:
        return UART
    return backend if card is None else XDMA


def transcript_options(function: F) -> F:
    """``--record`` and ``--replay``."""
    record = click.option(
        "--record",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False),
        help="write all that is asked of the device, and its answers, as JSON lines",
    )
    replay = click.option(
        "--replay",
        metavar="FILE",
        type=click.Path(path_type=Path, dir_okay=False, exists=True),
        help="in place of a device, take the answers of such a file; it ends at the first request that differs",
    )
    return record(replay(function))


def replayed(path: Path) -> Replayed:
    """The device of a transcript, or a usage error."""
    try:
        return Replayed(path)
    except ValueError as error:
        raise click.UsageError(f"--replay: {error}") from error
