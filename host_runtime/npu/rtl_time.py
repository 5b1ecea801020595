# Ref: IANUS (ASPLOS 2024), section 7.3
"""Cycles of macros measured on the RTL: run once for each shape, read off the commands on the bus of a channel."""

from __future__ import annotations

from functools import lru_cache

from host_runtime.driver import Driver
from host_runtime.plan import stride
from host_runtime.transport.base import RecordingTransport
from pim_model.spec.config import Config
from pim_model.spec.macro import MatVec
from pim_model.spec.micro import MicroOp

__all__ = ["RtlTime"]

CAPACITY = 1 << 22
"""Commands that a recording holds: the largest macro of a GPT-2 has a fifth of them."""

_RESULTS = (MicroOp.RDMAC, MicroOp.RDAF)


class RtlTime:
    """A source of PIM time (``pim_model.npu.pim_time``) that runs each macro on a device.

    The device computes on whatever its memory holds; commands and their cycles do not depend on it. Refresh is off.

    Parameters
    ----------
    transport : RecordingTransport
        An open device that records its commands.
    config : Config
        Its shape.
    """

    def __init__(self, transport: RecordingTransport, config: Config):
        self._transport = transport
        self._config = config
        self._driver = Driver(transport, config)
        self._driver.set_refresh(False)
        self._arrival = max(1, config.timing.cycles("RLREG + BL"))

    @lru_cache(maxsize=4096)  # noqa: B019 - one instance a process
    def cost(self, rows: int, columns: int, activation: bool, refresh_due: int | None, /) -> tuple[int, int]:
        """(cycles from the first command to the cycle after the last, or its result's arrival; 0 refreshes).

        ``ValueError`` for a refresh: when one falls due depends on the device's own clock.
        """
        if refresh_due is not None:
            raise ValueError("refresh must be off where the RTL gives the time of macros")
        macro = MatVec(
            tag=0,
            rows=rows,
            columns=columns,
            weight_row=0,
            input_offset=0,
            output_offset=stride(columns),
            function=0 if activation else None,
        )
        needed = stride(columns) + stride(rows)
        if needed > self._config.buffer_bytes:
            raise ValueError(
                f"operands of a macro must fit in the buffer of {self._config.buffer_bytes} bytes, not take {needed}"
            )
        self._transport.record(CAPACITY)
        self._driver.wait(self._driver.submit(macro))
        entries = [entry for entry in self._transport.recorded() if entry.channel == 0]
        self._transport.record(0)
        ends = (entry.cycle + 1 + (self._arrival if entry.micro.op in _RESULTS else 0) for entry in entries)
        return max(ends) - entries[0].cycle, 0
