# Ref: hdl/phy/interface.py
"""An AiM channel behind a command bus: the golden channel answers, the golden checker judges every command."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Callable
from typing import Any, NamedTuple

import cocotb

from pim_model.channel import Channel
from pim_model.checker import Checker, ProtocolError
from pim_model.spec.config import Config
from pim_model.spec.micro import READ_DATA, REGISTER_OPS, WRITE_DATA, Micro
from pim_model.spec.micro import MicroOp as Op
from sim.bench import covered
from sim.bench.harness import Harness

__all__ = ["AimResponder", "Issued", "respond"]


class Issued(NamedTuple):
    """A command as it stood on the bus."""

    cycle: int
    slot: int
    micro: Micro


class AimResponder:
    """One channel. Commands are sampled in the cycle in which they stand; read data answer a fixed latency later.

    Parameters
    ----------
    dut : handle
        The design.
    prefix : str
        Of the bus's ports, such as ``phy__0__``.
    channel : Channel
        The golden channel, which does what the commands say.
    config : Config
    judge : bool
        Whether the golden checker watches; a violation is an ``AssertionError`` that names the channel.

    Attributes
    ----------
    silent : bool
        Whether read data get lost on their way.
    hears : callable
        Told of each command: cycle, operation, bank, row, column.
    """

    def __init__(
        self, dut: Any, prefix: str, channel: Channel, config: Config, *, judge: bool = True
    ) -> None:
        def port(name: str) -> Any:
            return getattr(dut, prefix + name)

        self._op0, self._bank0, self._row0, self._column0 = map(port, ("op0", "bank0", "row0", "column0"))
        self._op1, self._column1 = map(port, ("op1", "column1"))
        self._mode0, self._mode1 = map(port, ("mode0", "mode1"))
        self._wdata, self._wmask = map(port, ("wdata", "wmask"))
        self._rvalid, self._rdata = map(port, ("rvalid", "rdata"))
        self.channel = channel
        self.checker = Checker(config, strict=True) if judge else None
        self.log: list[Issued] = []
        self.counts: Counter[Op] = Counter()
        timing = config.timing
        register = max(1, timing.cycles("RLREG + BL"))
        self._latency = {Op.RD: max(1, timing.cycles("RL + BL")), Op.RDMAC: register, Op.RDAF: register}
        self._due: deque[tuple[int, bytes]] = deque()
        self._answering = False
        self.silent = False
        self.hears: Callable[[int, Op, int, int, int], None] | None = None
        covered.listen_to_bus(self, config)

    def step(self, cycle: int) -> None:
        """Act at the edge that ends ``cycle``."""
        op0, op1 = int(self._op0.value), int(self._op1.value)
        if op0:
            self._take(cycle, 0, self._micro0(Op(op0)))
        if op1:
            op = Op(op1)
            self._take(cycle, 1, Micro.seen(op, 0, 0, int(self._column1.value), int(self._mode1.value)))
        self._answer(cycle + 1)

    @property
    def open_banks(self) -> list[int]:
        """Banks with an open row."""
        return [index for index, bank in enumerate(self.channel.banks) if bank.is_open]

    def last_refresh(self) -> int:
        """Cycle of the latest all-bank refresh, -1 for none."""
        return next((entry.cycle for entry in reversed(self.log) if entry.micro.op is Op.REFAB), -1)

    def _micro0(self, op: Op) -> Micro:
        pins = (self._bank0, self._row0, self._column0, self._mode0)
        return Micro.seen(op, *(int(pin.value) for pin in pins))

    def _take(self, cycle: int, slot: int, micro: Micro) -> None:
        assert (slot == 1) == (micro.op in REGISTER_OPS), f"cycle {cycle}: {micro} in slot {slot}"
        if self.checker is not None:
            try:
                self.checker.issue(cycle, slot, micro)
            except ProtocolError as error:
                raise AssertionError(f"channel {self.channel.index}: {error}") from error
        self.log.append(Issued(cycle, slot, micro))
        if self.hears:
            self.hears(cycle, micro.op, micro.bank, micro.row, micro.column)
        self.counts[micro.op] += 1
        data = int(self._wdata.value).to_bytes(32, "little") if micro.op in WRITE_DATA else None
        mask = int(self._wmask.value) if micro.op is Op.WR else (1 << 32) - 1
        answer = self.channel.execute(micro, data, mask)
        if micro.op in READ_DATA:
            assert answer is not None
            due = cycle + self._latency[micro.op]
            assert not self._due or self._due[-1][0] < due, (
                f"cycle {cycle}: data of {micro} would come out of order"
            )
            if not self.silent:
                self._due.append((due, answer))

    def _answer(self, cycle: int) -> None:
        """Drive what the device drives in ``cycle``."""
        if self._due and self._due[0][0] == cycle:
            self._rdata.value = int.from_bytes(self._due.popleft()[1], "little")
            self._rvalid.value = 1
            self._answering = True
        elif self._answering:
            self._rvalid.value = 0
            self._answering = False


def respond(bench: Harness, *channels: AimResponder) -> None:
    """Let the channels run from cycle 0 on, all woken by one task."""

    async def run() -> None:
        while True:
            await bench.edge()
            cycle = bench.cycle
            if cycle >= 0:
                for channel in channels:
                    channel.step(cycle)

    cocotb.start_soon(run())
