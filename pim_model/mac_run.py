# Ref: GDDR6-AiM notes, "Numbers"
"""Many MACABs at once: the same bits as one by one, since a group's sum does not depend on the accumulator."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pim_model.channel import Channel
from pim_model.numerics.bf16 import add_f32
from pim_model.numerics.profiles import profile
from pim_model.spec.geometry import LANES
from pim_model.spec.micro import Micro, Mode
from pim_model.spec.micro import MicroOp as Op

__all__ = ["is_mac_run", "multiply_run"]


def is_mac_run(commands: Sequence[Micro]) -> bool:
    """Whether :func:`multiply_run` knows these commands: MACABs of one accumulator set on the global buffer."""
    return all(
        micro.op is Op.MACAB and micro.mode == commands[0].mode and not micro.mode & Mode.LOCAL
        for micro in commands
    )


def multiply_run(channels: Sequence[Channel], commands: Sequence[Micro], numerics: str) -> None:
    """Execute MACABs, in order, on each of the channels; all banks have a row open."""
    chosen = [micro.column for micro in commands]
    accumulator_set = int(bool(commands[0].mode & Mode.SET1))
    shape = (len(channels[0].banks), -1, LANES)
    weights = np.stack(
        [np.stack([bank.row(Op.MACAB) for bank in channel.banks]).reshape(shape) for channel in channels]
    )[:, :, chosen].astype(np.uint16)
    operands = np.stack([channel.buffer[chosen] for channel in channels])[:, np.newaxis]
    # Added to -0, a group's sum stays what it is.
    nothing = np.full(weights.shape[:-1], -0.0, np.float32)
    sums = profile(numerics).mac_group(nothing, weights, operands)
    totals = np.stack([channel.accumulators[accumulator_set] for channel in channels])
    for place in range(len(chosen)):
        totals = add_f32(totals, sums[..., place])
    for channel, total in zip(channels, totals, strict=True):
        channel.accumulators[accumulator_set] = total
