# Ref: IANUS (ASPLOS 2024), sections 5.1-5.2 (one DRAM row address names a tile)
"""The memory's bytes, sparse: a DRAM row over all channels and banks is one slab, made when first written."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import numpy.typing as npt

from pim_model.spec.geometry import Geometry

__all__ = ["Storage", "WriteHook"]

Slab = npt.NDArray[np.uint16]

WriteHook = Callable[[int, int], None]
"""Called before rows ``first`` to ``end - 1`` change: ``hook(first, end)``."""


class Storage:
    """All DRAM rows of a geometry; a row that was never written reads as zeros and costs nothing.

    A slab is ``uint16[channels, banks, elements]`` in little-endian byte order, so its bytes in C order are
    the addresses from ``geometry.address(row)`` on.
    """

    def __init__(self, geometry: Geometry) -> None:
        self.geometry = geometry
        self._shape = (geometry.channels, geometry.banks, geometry.elements)
        self._slabs: dict[int, Slab] = {}
        self._hooks: list[WriteHook] = []
        self._zeros: Slab = np.zeros(self._shape, dtype="<u2")
        self._zeros.flags.writeable = False

    @property
    def allocated_bytes(self) -> int:
        """Bytes held for rows that were written."""
        return len(self._slabs) * self.geometry.slab_bytes

    @property
    def written_rows(self) -> list[int]:
        """Rows that were written, ascending; all others read as zeros."""
        return sorted(self._slabs)

    def add_write_hook(self, hook: WriteHook) -> None:
        """Have ``hook(first, end)`` called before any byte of rows ``first`` to ``end - 1`` changes."""
        self._hooks.append(hook)

    def row(self, row: int) -> Slab:
        """The slab of ``row``, to be read only; ``ValueError`` outside the memory."""
        slab = self._slabs.get(row)
        if slab is None:
            self._check_row(row)
            return self._zeros
        view = slab.view()
        view.flags.writeable = False
        return view

    def row_for_write(self, row: int) -> Slab:
        """The slab of ``row``, to be changed at once: hooks were told. ``ValueError`` outside the memory."""
        self._check_row(row)
        self._announce(row, row + 1)
        return self._slab(row)

    def read(self, address: int, size: int) -> bytes:
        """Read ``size`` bytes from ``address``; ``ValueError`` outside the memory."""
        self._check_range(address, size)
        result = np.zeros(size, dtype=np.uint8)
        for row, inside, start, count in self._pieces(address, size):
            slab = self._slabs.get(row)
            if slab is not None:
                result[start : start + count] = _bytes_of(slab)[inside : inside + count]
        return result.tobytes()

    def write(self, address: int, data: bytes | bytearray | memoryview) -> None:
        """Write bytes from ``address`` on; ``ValueError`` outside the memory, with nothing written."""
        source = np.frombuffer(data, dtype=np.uint8)
        self._check_range(address, source.size)
        if not source.size:
            return
        slab_bytes = self.geometry.slab_bytes
        self._announce(address // slab_bytes, (address + source.size - 1) // slab_bytes + 1)
        for row, inside, start, count in self._pieces(address, source.size):
            _bytes_of(self._slab(row))[inside : inside + count] = source[start : start + count]

    def _pieces(self, address: int, size: int) -> Iterator[tuple[int, int, int, int]]:
        """Cut a range at slab borders: (row, offset in the slab, offset in the range, bytes)."""
        done = 0
        while done < size:
            row, inside = divmod(address + done, self.geometry.slab_bytes)
            count = min(size - done, self.geometry.slab_bytes - inside)
            yield row, inside, done, count
            done += count

    def _slab(self, row: int) -> Slab:
        slab = self._slabs.get(row)
        if slab is None:
            slab = self._slabs[row] = np.zeros(self._shape, dtype="<u2")
        return slab

    def _announce(self, first: int, end: int) -> None:
        for hook in self._hooks:
            hook(first, end)

    def _check_row(self, row: int) -> None:
        if not 0 <= row < self.geometry.rows:
            raise ValueError(f"row must be from 0 to {self.geometry.rows - 1}, not {row!r}")

    def _check_range(self, address: int, size: int) -> None:
        if size < 0:
            raise ValueError(f"size must be 0 or more bytes, not {size!r}")
        if not 0 <= address <= self.geometry.memory_bytes - size:
            raise ValueError(
                f"range must lie in the memory of {self.geometry.memory_bytes:#x} bytes, "
                f"not {size} bytes from {address:#x}"
            )


def _bytes_of(slab: Slab) -> npt.NDArray[np.uint8]:
    return slab.reshape(-1).view(np.uint8)
