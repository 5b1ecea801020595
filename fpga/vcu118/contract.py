"""What a PHY for AiM must do, with the figures of a configuration: a document in the plan of the variant ``fmc``."""

from __future__ import annotations

from pathlib import Path
from string import Template

from amaranth import Shape
from amaranth.lib.wiring import Out

from hdl.phy.interface import PhySignature
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.micro import MicroOp

__all__ = ["contract"]

_MEANING = {
    "op0": "micro command of slot 0: rows, columns, compute, refresh, mode",
    "bank0": "its bank",
    "row0": "its row",
    "column0": "its column of 32 bytes",
    "mode0": "its accumulator set and operand source",
    "op1": "micro command of slot 1: WRGB, WRBIAS, RDMAC, RDAF",
    "column1": "column of a WRGB",
    "mode1": "accumulator set of slot 1",
    "wdata": "data of a WR, WRBK, WRGB or WRBIAS, with the command",
    "wmask": "its byte enables",
    "rvalid": "`rdata` holds data",
    "rdata": "data of RD, RDMAC and RDAF, in command order",
}


def contract(config: Config, core_mhz: float) -> str:
    """The document, in Markdown."""
    timing, geometry = config.timing, config.geometry
    cycle_ns = 1e3 / core_mhz
    ports = [
        f"| `phyN_{name}` | {'in' if member.flow is Out else 'out'} | {Shape.cast(member.shape).width} "
        f"| {_MEANING[name]} |"
        for name, member in PhySignature().members.items()
    ]
    codes = ", ".join(f"{op.name} {op.value}" for op in MicroOp)
    rules = [
        f"| {rule.rule.name} | {', '.join(op.name for op in rule.rule.before)} | "
        f"{', '.join(op.name for op in rule.rule.after)} | {rule.rule.scope.name.lower()} | {rule.cycles} |"
        for rule in timing.rules
        if rule.cycles > 1
    ]
    text = (Path(__file__).resolve().parent / "contract.md").read_text(encoding="utf-8")
    figures = {
        "cycle_ns": cycle_ns,
        "table_ns": timing.cycle_ns,
        "slower": cycle_ns / timing.cycle_ns,
        "core_mhz": core_mhz,
        "refresh_us": timing.refresh_interval * cycle_ns / 1e3,
        "chip_us": timing.refresh_interval * timing.cycle_ns / 1e3,
    }
    return Template(text).substitute(
        {name: f"{value:g}" for name, value in figures.items()},
        config=config.name,
        timing=config.timing_name,
        channels=geometry.channels,
        banks=geometry.banks,
        rows=geometry.rows,
        row_bytes=geometry.row_bytes,
        column=COLUMN_BYTES,
        read=timing.cycles("RL + BL"),
        result=timing.cycles("RLREG + BL"),
        refresh=timing.refresh_interval,
        rfc=timing.cycles("tRFCab"),
        codes=codes,
        ports="\n".join(ports),
        rules="\n".join(rules),
    )
