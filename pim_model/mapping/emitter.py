# Ref: IANUS (ASPLOS 2024), sections 4.1 and 6
"""Writing a core's program command by command, with the weight scratch-pad kept within its capacity."""

from __future__ import annotations

from collections import deque

from pim_model.npu.command import Command, Macro, Op, Part, Unit
from pim_model.spec.npu import WEIGHT_BYTES

__all__ = ["Emitter"]


class Emitter:
    """A program in the making.

    Parameters
    ----------
    serial : bool
        Naive scheduling: every operation waits for the one before it in program order, so nothing overlaps. Only the
        tiles of one operation still flow.
    """

    def __init__(self, *, serial: bool = False):
        self.commands: list[Command] = []
        self._serial = serial
        self._before: tuple[int, ...] = ()
        self._frontier: tuple[int, ...] = ()
        """With ``serial``: commands of the operation before the present one, and of the present one."""
        self._held: deque[tuple[int, int]] = deque()
        """(bytes, command that frees them) in the weight scratch-pad, oldest first."""
        self._claimed = 0
        self._waited: int | None = None
        """The last claim that had to wait for room. Those after it come after it: all use the one DMA engine."""

    def add(
        self,
        unit: Unit,
        op: Op,
        part: Part,
        ticks: int,
        *needs: int | None,
        layer: int = -1,
        head: int = -1,
        size: int = 0,
        macro: Macro | None = None,
        flows: bool = False,
    ) -> int:
        """Append a command; its place in the program.

        ``needs``: commands before it that it needs, None for none. ``flows``: it belongs to the operation before it.
        """
        wanted = {needed for needed in needs if needed is not None}
        place = len(self.commands)
        if self._serial:
            if not flows:
                self._before, self._frontier = self._frontier, ()
            wanted.update(self._before)
            self._frontier = (*self._frontier, place)
        ordered = tuple(sorted(wanted)) if len(wanted) > 1 else tuple(wanted)
        self.commands.append(Command(unit, op, part, ticks, ordered, layer, head, size, macro))
        return place

    def claim(self, place: int, size: int) -> None:
        """The command at ``place`` fills ``size`` bytes of the weight scratch-pad; :meth:`free` must follow.

        Where room is short, it also waits for what frees the oldest contents. ``ValueError`` if that does not suffice.
        """
        command = self.commands[place]
        needs = set(command.needs)
        if self._waited is not None:
            needs.add(self._waited)
        while self._claimed + size > WEIGHT_BYTES:
            if not self._held:
                raise ValueError(
                    f"operands must fit in the weight scratch-pad of {WEIGHT_BYTES} bytes, and "
                    f"{command.op.value} in layer {command.layer} needs {self._claimed + size}"
                )
            freed, by = self._held.popleft()
            self._claimed -= freed
            needs.add(by)
            self._waited = place
        self._claimed += size
        self.commands[place] = command._replace(needs=tuple(sorted(needs)), claims=command.claims + size)

    def free(self, place: int, size: int) -> None:
        """The command at ``place`` is the last to read ``size`` bytes claimed before it."""
        command = self.commands[place]
        self.commands[place] = command._replace(frees=command.frees + size)
        self._held.append((size, place))
