"""What a channel does with the two streams of the PCU, without commands or time: the PCU bench's controllers."""

from __future__ import annotations

from collections import deque
from typing import Any

from hdl.layouts import RegisterKind
from pim_model.channel import Channel
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.micro import SETS, Micro
from pim_model.spec.micro import MicroOp as Op

__all__ = ["ChannelModel"]


class ChannelModel:
    """Takes tiles and steps in any interleaving, executes each as soon as its operands are there.

    A tile runs whole: it needs its set's bias, and if it loads, all its columns. A load waits until the tile that reads
    the columns before it has run, an activation until the result before it has been read. ``results`` is what RDMAC and
    RDAF gave, in order.
    """

    def __init__(self, channel: Channel, closer: Op) -> None:
        self._channel, self._closer = channel, closer
        self._tiles: deque[Any] = deque()
        self._steps: deque[Any] = deque()
        self._written = 0  # columns of the load in the buffer
        self._loaded = False  # the buffer holds a load that a later tile still reads
        self._open = False
        self._biased, self._summed = [False] * SETS, [False] * SETS
        self._activated: int | None = None  # set of the result that waits in the result register
        self.results: deque[int] = deque()

    def tile(self, tile: Any) -> None:
        """A tile was sent."""
        self._tiles.append(tile)
        self._pump()

    def step(self, step: Any) -> None:
        """A step was sent."""
        self._steps.append(step)
        self._pump()

    @property
    def idle(self) -> bool:
        """Nothing waits."""
        return not (self._tiles or self._steps or self.results or self._open)

    def _pump(self) -> None:
        while (self._steps and self._try_step(self._steps[0])) or (
            self._tiles and self._try_tile(self._tiles[0])
        ):
            pass

    def _try_step(self, step: Any) -> bool:
        data = int(step.data).to_bytes(COLUMN_BYTES, "little")
        chosen = int(step.accumulators)
        match step.kind:
            case RegisterKind.WRGB:
                if step.column == 0 and self._written and self._loaded:
                    return False
                if step.column == 0:
                    self._written, self._loaded = 0, True
                assert step.column == self._written, f"column {step.column} after {self._written} columns"
                self._written += 1
                self._channel.execute(Micro(Op.WRGB, column=step.column), data)
            case RegisterKind.WRBIAS:
                if self._biased[chosen] or self._summed[chosen]:
                    return False
                self._channel.execute(Micro(Op.WRBIAS, mode=chosen), data)
                self._biased[chosen] = True
            case RegisterKind.RDMAC:
                if not self._summed[chosen]:
                    return False
                self._answer(Micro(Op.RDMAC, mode=chosen))
                self._summed[chosen] = False
            case _:
                if self._activated is None:
                    return False
                self._answer(Micro(Op.RDAF))
                self._summed[self._activated], self._activated = False, None
        self._steps.popleft()
        return True

    def _answer(self, micro: Micro) -> None:
        answer = self._channel.execute(micro)
        assert answer is not None
        self.results.append(int.from_bytes(answer, "little"))

    def _try_tile(self, tile: Any) -> bool:
        chosen = int(tile.accumulators)
        if tile.table:
            if not self._summed[chosen] or self._activated is not None:
                return False
        elif not self._biased[chosen] or self._summed[chosen] or (tile.load and self._written < tile.columns):
            return False
        if not self._open:
            self._run(Micro(Op.ACTAF if tile.table else Op.ACTAB, row=tile.row))
        if tile.table:
            self._run(Micro(Op.AF, mode=chosen))
            self._activated = chosen
        for column in range(tile.columns):
            self._run(Micro(Op.MACAB, column=column, mode=chosen))
        self._open = bool(tile.keep)
        if not self._open:
            self._run(Micro(self._closer))
        if tile.release:
            self._written, self._loaded = 0, False
        if tile.last:
            self._biased[chosen], self._summed[chosen] = False, True
        self._tiles.popleft()
        return True

    def _run(self, micro: Micro) -> None:
        self._channel.execute(micro)
