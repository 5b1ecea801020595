"""From the sources to a bitstream: elaborate, synthesise, place and route, judge, pack.

Directories (see ``pim_model.buildcache``): ``netlist-<board>-<digest>/`` holds the design, the script and ``top.json``,
``fpga-<board>-<digest>/`` constraints, reports, logs and, if the design meets its clock, ``top.bit``. The digest is of
all that decides the bits: the design without it, the configuration, constraints, scripts, and versions of the tools.
The design holds it in the registers BUILD_LOW and BUILD_HIGH.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from amaranth.back import rtlil

from fpga.boards import Board
from fpga.errors import BuildFailed, TimingNotMet
from fpga.progress import Progress
from fpga.report import Report, read_report
from fpga.tools import run, versions
from fpga.top import BoardTop
from hdl.serial_prototype import SerialPrototype
from pim_model.buildcache import build_root, digest, once
from pim_model.spec.config import config

__all__ = ["Build", "build", "design", "identity", "netlist"]

# ABC9's short script: with its default one the equivalences that it looks for among four processing units take longer
# than everything else together. Flat: module by module Yosys 0.70 fails an assertion of its own when it puts a module
# together again. No LUTs wider than four inputs: those fill a slice with wires from everywhere, and the middle of the
# device then has more of them than it can route.
SYNTHESIS = """\
read_rtlil top.il
scratchpad -set abc9.script +&if,{C},{W},{D},{R},-v;&mfs
synth_ecp5 -top top -nowidelut -run begin:json
opt_clean -purge
check
stat
write_json top.json
"""

BITSTREAM = "top.bit"
_SEED = 1
"""Of the placer: another one gives another placement, and another slack."""


@dataclass(frozen=True, kw_only=True)
class Build:
    """A finished build."""

    board: Board
    identity: str
    directory: Path
    report: Report

    @property
    def bitstream(self) -> Path:
        """What goes onto the board."""
        return self.directory / BITSTREAM


def design(board: Board, identity: str = "0") -> str:
    """The design for a board as RTLIL, with the build's digest in its registers."""
    prototype = SerialPrototype(
        config(board.config), board.divisor, build=int(identity, 16), checked=board.checked
    )
    top = BoardTop(prototype, board.pll)
    # Not Verilog: Yosys takes minutes to read the initial contents of memories from it. Without source positions, which
    # would make the text depend on where the sources lie.
    text: str = rtlil.convert(top, name="top", emit_src=False)
    return text


def identity(board: Board, text: str) -> str:
    """16 hexadecimal digits: the digest of a build whose design without digest is ``text``."""
    return digest(
        text,
        repr(config(board.config)),
        board.constraints(),
        SYNTHESIS,
        *_place(board),
        *_pack(),
        versions(),
    )


def _place(board: Board) -> tuple[str, ...]:
    # Placed for short wires alone, since it is wires that are short here, not time. Timing may fail, so that the report
    # is written; it is judged afterwards.
    return (
        f"--{board.device}", "--package", board.package, "--speed", board.speed, "--seed", str(_SEED),
        "--json", "top.json", "--lpf", "top.lpf", "--textcfg", "top.config", "--report", "report.json",
        "--timing-allow-fail", "-q", "--log", "nextpnr-ecp5.log", "--placer", "static", "--no-tmdriv",
        "--router", "router2",
    )  # fmt: skip


def _pack() -> tuple[str, ...]:
    return ("--compress", "top.config", BITSTREAM)


def netlist(board: Board, progress: Progress) -> Path:
    """``top.json``: the synthesised design of a board, made if there is none of its digest. Errors as :func:`build`."""
    progress("elaborate", "")
    return _netlist(board, identity(board, design(board)), progress)


def _netlist(board: Board, name: str, progress: Progress) -> Path:
    with _made(f"netlist-{board.name}-{name}") as (directory, work):
        if work is not None:
            (work / "top.il").write_text(design(board, name), encoding="utf-8")
            (work / "synth.ys").write_text(SYNTHESIS, encoding="utf-8")
            arguments = ["-q", "-l", "yosys.log", "synth.ys"]
            run("yosys", arguments, work, ["top.json"], lambda line: progress("synthesise", line))
    return directory / "top.json"


def build(board: Board, progress: Progress) -> Build:
    """Build the bitstream, unless there is one of the same digest.

    :class:`TimingNotMet` with negative slack, :class:`BuildFailed` if a tool fails, :class:`FpgaUnavailable` if one is
    missing.
    """
    progress("elaborate", "")
    name = identity(board, design(board))
    with _made(f"fpga-{board.name}-{name}") as (directory, work):
        if work is not None:
            _build(board, name, work, progress)
    return Build(
        board=board, identity=name, directory=directory, report=read_report(directory / "report.json")
    )


@contextmanager
def _made(name: str) -> Iterator[tuple[Path, Path | None]]:
    """The directory ``name``, and where to make it if it is not there; the log of what fails stays."""
    directory = build_root() / name
    try:
        with once(directory) as work:
            yield directory, work
    except BuildFailed as error:
        if error.log.is_file():  # of a step with a directory of its own
            raise
        kept = directory.with_name(directory.name + ".failed") / error.log.name
        raise type(error)(str(error).partition("; see")[0], kept) from error


def _build(board: Board, name: str, work: Path, progress: Progress) -> None:
    synthesised = _netlist(board, name, progress)
    shutil.copy(synthesised, work / "top.json")
    (work / "top.lpf").write_text(board.constraints(), encoding="utf-8")
    facts = {"board": board.name, "config": board.config, "digest": name, "tools": versions()}
    (work / "build.json").write_text(json.dumps(facts, indent=2) + "\n", encoding="utf-8")

    def step(text: str) -> Callable[[str], None]:
        return lambda line: progress(text, line)

    run("nextpnr-ecp5", _place(board), work, ["top.config", "report.json"], step("place and route"))
    (work / "top.json").unlink()  # a hundred megabytes, and it is there already
    report = read_report(work / "report.json")
    if not report.good:
        raise TimingNotMet(
            f"{board.title} reaches {report.fmax_mhz:.2f} MHz, not {report.clock_mhz:.2f}: slack "
            f"{report.slack_ns:+.2f} ns",
            work / "nextpnr-ecp5.log",
        )
    run("ecppack", _pack(), work, [BITSTREAM], step("pack"))
