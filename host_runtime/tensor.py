# Ref: IANUS (ASPLOS 2024), section 5.1: a tile's rows share one DRAM row address
"""Allocation of device memory: DRAM rows for weights, bytes of the activation buffer for vectors."""

from __future__ import annotations

from bisect import insort
from dataclasses import dataclass

from host_runtime.errors import OutOfMemory
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES

__all__ = ["Arena", "Span", "activation_buffer", "weight_rows"]


@dataclass(frozen=True, order=True)
class Span:
    """A piece of an arena: ``size`` units from ``start`` on."""

    start: int
    size: int

    @property
    def end(self) -> int:
        """First unit behind the piece."""
        return self.start + self.size


class Arena:
    """First-fit allocation of pieces of one range.

    Parameters
    ----------
    what, unit : str
        For messages: "the activation buffer", "bytes".
    size : int
        Units there are, numbered from 0.
    align : int
        Every piece starts at a multiple of it and takes a multiple of it.
    """

    def __init__(self, what: str, unit: str, size: int, align: int = 1):
        self._what, self._unit, self._align = what, unit, align
        self._free = [Span(0, size // align * align)]
        self._taken: set[Span] = set()

    @property
    def largest(self) -> int:
        """Size of the largest piece that is free."""
        return max((span.size for span in self._free), default=0)

    @property
    def free(self) -> int:
        """Units free in all."""
        return sum(span.size for span in self._free)

    def allocate(self, size: int) -> Span:
        """Take a piece of at least ``size`` units; :class:`OutOfMemory` tells what there is."""
        if size < 1:
            raise ValueError(f"size must be a positive number of {self._unit}, not {size!r}")
        needed = -(-size // self._align) * self._align
        for index, span in enumerate(self._free):
            if span.size >= needed:
                taken = Span(span.start, needed)
                rest = Span(taken.end, span.size - needed)
                self._free[index : index + 1] = [rest] if rest.size else []
                self._taken.add(taken)
                return taken
        raise OutOfMemory(self._what, needed, self.largest, self._unit)

    def release(self, span: Span) -> None:
        """Give a piece back; ``ValueError`` if it is not taken (a piece is given back once)."""
        if span not in self._taken:
            raise ValueError(f"span must be a piece that is allocated, not {span!r}")
        self._taken.remove(span)
        insort(self._free, span)
        merged: list[Span] = []
        for piece in self._free:
            if merged and merged[-1].end == piece.start:
                before = merged.pop()
                merged.append(Span(before.start, before.size + piece.size))
            else:
                merged.append(piece)
        self._free = merged


def weight_rows(config: Config) -> Arena:
    """The DRAM rows that weights may use: all but the activation tables' at the top."""
    return Arena("the PIM memory", "DRAM rows", config.geometry.weight_rows)


def activation_buffer(config: Config) -> Arena:
    """The activation buffer in bytes; vectors start on 32 bytes."""
    return Arena("the activation buffer", "bytes", config.buffer_bytes, COLUMN_BYTES)
