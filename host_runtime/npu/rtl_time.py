# Ref: IANUS (ASPLOS 2024), section 7.3
"""Cycles of macros measured on the RTL: run once for each shape, read off the commands on the bus of a channel."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from host_runtime.driver import Driver
from host_runtime.plan import stride
from host_runtime.transport.verilated import VerilatedTransport
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
    transport : VerilatedTransport
        An open simulation.
    config : Config
        Its shape.
    """

    def __init__(self, transport: VerilatedTransport, config: Config):
        self._transport = transport
        self._config = config
        self._driver = Driver(transport, config)
        self._driver.set_refresh(False)
        # A refresh that has begun would still hold up the first macro.
        transport.wait_interrupt(4 * config.timing.cycles("tRFCab"))
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
        simulation = self._transport.simulation
        simulation.record(CAPACITY)
        self._driver.wait(self._driver.submit(macro))
        trace = simulation.trace()
        simulation.record(0)
        own = trace[trace["channel"] == 0]  # the channels are in lock step
        ends = own["cycle"].astype(np.int64) + 1
        ends[np.isin(own["op"], _RESULTS)] += self._arrival
        return int(ends.max()) - int(own["cycle"][0]), 0
