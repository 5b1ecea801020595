"""BF16 operands that reach the edges of the arithmetic."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

U16 = npt.NDArray[np.uint16]

# Zeros, subnormals (least, largest), least normal, ones, largest, infinities, quiet and signalling NaN; both signs.
_MAGNITUDES = (0x0000, 0x0001, 0x007F, 0x0080, 0x3F80, 0x3FFF, 0x7F7F, 0x7F80, 0x7FC0, 0x7F81, 0x7FFF)
SPECIALS: U16 = np.array([sign | m for sign in (0, 0x8000) for m in _MAGNITUDES], np.uint16)
FINITE: U16 = SPECIALS[(SPECIALS & 0x7F80) != 0x7F80]

KINDS = (
    "any bits",
    "near one",
    "near overflow",
    "near underflow",
    "cancelling",
    "finite edges",
    "edges",
    "zeros",
)


def operands(rng: np.random.Generator, kind: str, shape: tuple[int, ...]) -> U16:
    """BF16 bits of one kind; ``cancelling`` draws from few magnitudes, so that sums vanish or nearly so."""
    sign = rng.integers(0, 2, shape, np.uint16) << 15
    fraction = rng.integers(0, 128, shape, np.uint16)

    def exponents(low: int, high: int) -> U16:
        return (sign | rng.integers(low, high, shape, np.uint16) << 7 | fraction).astype(np.uint16)

    match kind:
        case "any bits":
            return rng.integers(0, 1 << 16, shape, np.uint16)
        case "near one":
            return exponents(120, 132)
        case "near overflow":
            return exponents(180, 200)
        case "near underflow":
            return exponents(50, 70)
        case "cancelling":
            few = np.array([0x3F80, 0x3F81, 0x4000, 0x0000], np.uint16)
            return (sign | rng.choice(few, shape)).astype(np.uint16)
        case "finite edges":
            return rng.choice(FINITE, shape)
        case "edges":
            mixed = np.where(rng.random(shape) < 0.9, exponents(100, 150), rng.choice(SPECIALS, shape))
            return mixed.astype(np.uint16)
        case "zeros":
            return sign.astype(np.uint16)
    raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
