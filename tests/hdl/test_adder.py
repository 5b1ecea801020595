"""EWADD's adder against sums in FP64, rounded once; special values in every pair."""

import numpy as np

from hdl.pcu.adder import Bf16Adder
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.spec.geometry import LANES

from .simulate import run

# Zeros, subnormals, the smallest and largest numbers, infinities, NaNs, ones and numbers that tie with them.
_BITS = (
    "0000 8000 0001 807f 0080 8080 00ff 3f80 bf80 3f81 7f7f ff7f 7f80 ff80 7fc0 ffff 7f81 3b80 bb80 3b00 3a80"
)
_SPECIAL = [int(bits, 16) for bits in _BITS.split()]


def reference(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Exact where FP64 is; farther apart the smaller operand is less than any half of a last place."""

    def flushed(bits):
        return np.where(bits & 0x7F80, bits, bits & 0x8000).astype(np.uint16)

    with np.errstate(invalid="ignore", over="ignore"):
        total = bf16_to_f32(flushed(a)).astype(np.float64) + bf16_to_f32(flushed(b)).astype(np.float64)
        # Round FP64 to 8 significand bits by hand: via FP32 it would be rounded twice.
        mantissa, exponent = np.frexp(total)
        rounded = np.ldexp(np.rint(mantissa * 256), exponent - 8)
        result = f32_to_bf16(rounded.astype(np.float32))
    tiny = (np.abs(rounded) < 2.0**-126) & (total != 0)
    result = np.where(tiny, np.signbit(total).astype(np.uint16) << 15, result)
    return np.where(np.isnan(total), 0x7FC0, result).astype(np.uint16)


def add(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    dut = Bf16Adder()
    sums = []

    async def bench(ctx):
        for first in range(0, len(a), LANES):
            ctx.set(dut.a, int.from_bytes(a[first : first + LANES].astype("<u2").tobytes(), "little"))
            ctx.set(dut.b, int.from_bytes(b[first : first + LANES].astype("<u2").tobytes(), "little"))
            ctx.set(dut.run, 1)
            await ctx.tick().repeat(LANES)
            ctx.set(dut.run, 0)
            sums.append(np.frombuffer(ctx.get(dut.sum).to_bytes(32, "little"), "<u2"))

    run(dut, bench)
    return np.concatenate(sums)


def check(a: np.ndarray, b: np.ndarray) -> None:
    found, wanted = add(a, b), reference(a, b)
    wrong = np.flatnonzero(found != wanted)
    assert not wrong.size, (
        f"{wrong.size} wrong, first {a[wrong[0]]:#06x} + {b[wrong[0]]:#06x}: "
        f"{found[wrong[0]]:#06x}, not {wanted[wrong[0]]:#06x}"
    )


def test_special_values():
    pairs = np.array([(x, y) for x in _SPECIAL for y in _SPECIAL], np.uint16)
    pairs = np.pad(pairs, ((0, -len(pairs) % LANES), (0, 0)))
    check(pairs[:, 0], pairs[:, 1])


def test_random(rng):
    a = rng.integers(0, 1 << 16, 4096).astype(np.uint16)
    near = (a.astype(np.int64) + (rng.integers(-24, 25, 4096) << 7) + rng.integers(-3, 4, 4096)) & 0x7FFF
    b = np.where(
        rng.random(4096) < 0.2, rng.integers(0, 1 << 16, 4096), near | (rng.integers(0, 2, 4096) << 15)
    )
    check(a, b.astype(np.uint16))
