"""BF16 values on their way to and from the device: float32 arrays to bit patterns and back, exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["F32", "U16", "from_bits", "to_bits"]

U16 = npt.NDArray[np.uint16]
F32 = npt.NDArray[np.float32]


def to_bits(name: str, values: Any) -> U16:
    """BF16 bit patterns of ``values``: a uint16 array as it is, a float32 array if BF16 holds each value exactly.

    ``TypeError`` for another type, ``ValueError`` for a value that would have to be rounded: rounding is the caller's
    choice, never this conversion's.
    """
    if not isinstance(values, np.ndarray) or values.dtype not in (np.uint16, np.float32):
        kind = values.dtype if isinstance(values, np.ndarray) else type(values).__name__
        raise TypeError(f"{name} must be a uint16 array of BF16 bits or a float32 array, not {kind}")
    array = np.ascontiguousarray(values)
    if array.dtype == np.uint16:
        return array
    halves = array.view("<u2").reshape(*array.shape, 2)
    if np.any(halves[..., 0]):
        where = tuple(int(index) for index in np.argwhere(halves[..., 0])[0])
        raise ValueError(f"{name} must hold values that BF16 can represent, not {array[where]!r} at {where}")
    return np.ascontiguousarray(halves[..., 1])


def from_bits(bits: U16) -> F32:
    """The same values as float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)
