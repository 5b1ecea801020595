"""Coverage of a cocotb bench: monitors that read pins, started where someone wants to know (``sim.coverage``)."""

from __future__ import annotations

import atexit
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import cocotb
import numpy as np

from pim_model.checker import Checker, describe
from pim_model.spec.micro import Micro
from sim import coverage
from sim.build import monitor_library
from sim.coverage.commands import CommandMonitor, preset
from sim.coverage.files import hit
from sim.coverage.host import HostMonitor
from sim.coverage.requests import RequestMonitor
from sim.native import TRACE

if TYPE_CHECKING:
    from pim_model.spec.config import Config
    from sim.bench.harness import Harness
    from sim.bench.responder import AimResponder, Issued

__all__ = ["host", "listen", "listen_to_bus", "report", "requests", "sequence"]

_FIRST, _LISTENING, _DEAF = 10_000, 400, 1200
"""Cycles at first, and later in turns, in which handshakes are looked at, and in which they are not: Python in each
cycle costs most of the time."""

_KINDS = {0: "FIXED", 1: "INCR", 2: "WRAP"}
_RESPONSES = {0: "OKAY", 1: "EXOKAY", 2: "SLVERR", 3: "DECERR"}


def on() -> bool:
    """Whether coverage is measured."""
    return coverage.directory() is not None


def host(config: Config) -> HostMonitor | None:
    """A monitor for what the bench's masters have seen done on the buses of the whole prototype."""
    return HostMonitor(config) if on() else None


def requests(config: Config) -> RequestMonitor | None:
    """A monitor for the requests of one controller."""
    return RequestMonitor(config) if on() else None


def listen(bench: Harness) -> None:
    """Hear all handshakes of the design, and the bursts on its data window if it has one."""
    if not on():
        return
    pairs = dict(_handshakes(bench.dut))
    if pairs:
        cocotb.start_soon(_listen(bench, pairs))
    if hasattr(bench.dut, "mem__awvalid"):
        for direction, address, answer in (("write", "aw", "b"), ("read", "ar", "r")):
            cocotb.start_soon(_bursts(bench, direction, address, answer))


def _handshakes(dut: Any) -> list[tuple[str, tuple[Any, Any]]]:
    """Valid and ready of each channel: one of both is an input."""
    found = {}
    for name in os.environ["IANUS_BENCH_INPUTS"].split():
        for mine, other in (("valid", "ready"), ("ready", "valid")):
            if name.endswith(mine) and hasattr(dut, stem := name.removesuffix(mine) + other):
                pins = {mine: getattr(dut, name), other: getattr(dut, stem)}
                found[name.removesuffix(mine).rstrip("_")] = (pins["valid"], pins["ready"])
    return list(found.items())


async def _listen(bench: Harness, pairs: dict[str, tuple[Any, Any]]) -> None:
    unit = str(bench.dut._name)
    while True:
        taken = dict.fromkeys(pairs, False)
        for _ in range(_LISTENING):
            await bench.edge()
            for name, (valid, ready) in pairs.items():
                offered, accepted = int(valid.value), int(ready.value)
                if offered and (not accepted or taken[name]):
                    channel = "__".join(word for word in name.split("__") if not word.isdigit())
                    hit("handshakes", unit, channel, "back-to-back" if accepted else "stalled")
                taken[name] = bool(offered and accepted)
        if bench.cycle > _FIRST:
            await bench.idle(_DEAF)


async def _bursts(bench: Harness, direction: str, address: str, answer: str) -> None:
    dut = bench.dut
    valid, ready = getattr(dut, f"mem__{address}valid"), getattr(dut, f"mem__{address}ready")
    fields = [getattr(dut, f"mem__{address}{name}") for name in ("burst", "size", "len", "addr")]
    answered = [getattr(dut, f"mem__{answer}{name}") for name in ("valid", "ready", "resp")]
    while True:
        await bench.edge()
        if int(valid.value) and int(ready.value):
            burst, size, length, first = (int(field.value) for field in fields)
            kind = _KINDS.get(burst, "reserved")
            if kind == "INCR" and size < 5:
                kind = "narrow"
            elif kind == "INCR" and (first // 32 + length) // 128 != first // 4096:
                kind = "across-4KB"
            beats = "1" if not length else "2-15" if length < 15 else "16-255" if length < 255 else "256"
            hit("bursts", direction, kind, beats)
        if int(answered[0].value) and int(answered[1].value):
            hit("responses", direction, _RESPONSES[int(answered[2].value)])


def listen_to_bus(device: AimResponder, config: Config) -> None:
    """Hear the commands of a channel, once the simulation ends."""
    if on():
        # Opened now: nothing can be built any more by an interpreter that ends.
        atexit.register(_hear, CommandMonitor(monitor_library(config), config), device.log)


def _hear(monitor: CommandMonitor, log: list[Issued]) -> None:
    monitor.take(
        np.array(
            [
                (cycle, micro.row, 0, slot, micro.op, micro.bank, micro.column, micro.mode)
                for cycle, slot, micro in log
            ],
            TRACE,
        )
    )
    monitor.close()


def report(config: Config, code: int) -> None:
    """The RTL checker reported a violation."""
    if on():
        hit("violations", preset(config), describe(code), "caught")


def sequence(config: Config, commands: Sequence[tuple[int, int, Micro]]) -> None:
    """The RTL checker had nothing to say of a sequence: the rules on whose edge its commands stood."""
    if not on():
        return
    checker, last = Checker(config, refresh=False), (-1, 1)
    for cycle, slot, micro in commands:
        if (cycle - 1, slot) > last:
            for code in checker.probe(cycle - 1, slot, micro):
                hit("violations", preset(config), describe(code), "on-time")
        checker.issue(cycle, slot, micro)
        last = (cycle, slot)
