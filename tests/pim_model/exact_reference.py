# Ref: GDDR6-AiM notes, "Numbers"
"""A slow second opinion on the PU's arithmetic: Python integers and fractions, on bit patterns.

Written from the document and sharing no code with ``pim_model.numerics``. Floats are plain ints holding their
bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

NAN16, NAN32 = 0x7FC0, 0x7FC00000
INF32 = 0x7F800000
TINY = Fraction(1, 2**126)


def fields(bits: int, width: int) -> tuple[int, int, int]:
    """Split into sign, biased exponent, fraction field."""
    fraction_bits = {16: 7, 32: 23}[width]
    return bits >> (width - 1), (bits >> fraction_bits) & 0xFF, bits & ((1 << fraction_bits) - 1)


def is_nan(bits: int, width: int) -> bool:
    _, exponent, fraction = fields(bits, width)
    return exponent == 255 and fraction != 0


def is_inf(bits: int, width: int) -> bool:
    _, exponent, fraction = fields(bits, width)
    return exponent == 255 and fraction == 0


def value(bits: int, width: int) -> Fraction:
    """Value of a finite number; subnormals are zero."""
    sign, exponent, fraction = fields(bits, width)
    assert exponent != 255
    if exponent == 0:
        return Fraction(0)
    fraction_bits = {16: 7, 32: 23}[width]
    return (-1) ** sign * Fraction(2) ** (exponent - 127) * (1 + Fraction(fraction, 2**fraction_bits))


def round_to(exact: Fraction, width: int, zero_sign: int = 0) -> int:
    """Round to nearest even with unbounded exponent, then flush below 2^-126, overflow to infinity."""
    precision = {16: 8, 32: 24}[width]
    top = width - 1
    if exact == 0:
        return zero_sign << top
    sign = int(exact < 0)
    magnitude = abs(exact)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if magnitude < Fraction(2) ** exponent:
        exponent -= 1
    assert Fraction(2) ** exponent <= magnitude < Fraction(2) ** (exponent + 1)
    steps = round(magnitude / Fraction(2) ** (exponent - precision + 1))  # Python rounds halves to even
    if steps == 2**precision:
        steps, exponent = steps // 2, exponent + 1
    if exponent < -126:
        return sign << top
    if exponent > 127:
        return sign << top | 0xFF << (precision - 1)
    return sign << top | (exponent + 127) << (precision - 1) | (steps - 2 ** (precision - 1))


def add32(a: int, b: int) -> int:
    """FP32 add."""
    if is_nan(a, 32) or is_nan(b, 32):
        return NAN32
    if is_inf(a, 32) or is_inf(b, 32):
        if is_inf(a, 32) and is_inf(b, 32) and a != b:
            return NAN32
        return a if is_inf(a, 32) else b
    exact_a, exact_b = value(a, 32), value(b, 32)
    both_minus = exact_a == 0 and exact_b == 0 and a >> 31 == 1 and b >> 31 == 1
    return round_to(exact_a + exact_b, 32, int(both_minus))


def product32(a: int, b: int) -> int:
    """Product of two finite BF16 as FP32."""
    return round_to(value(a, 16) * value(b, 16), 32, (a ^ b) >> 15)


def special_sum(a: Sequence[int], b: Sequence[int]) -> int | None:
    """Sum of a group with an infinity or NaN in a lane; None if it has none."""
    signs = set()
    found = False
    for x, y in zip(a, b, strict=True):
        if is_nan(x, 16) or is_nan(y, 16):
            return NAN32
        if is_inf(x, 16) or is_inf(y, 16):
            found = True
            if (not is_inf(x, 16) and value(x, 16) == 0) or (not is_inf(y, 16) and value(y, 16) == 0):
                return NAN32
            signs.add((x ^ y) >> 15)
    if not found:
        return None
    return NAN32 if len(signs) == 2 else signs.pop() << 31 | INF32


def aligned(acc: int, a: Sequence[int], b: Sequence[int]) -> int:
    """One group in profile ``aligned``."""
    special = special_sum(a, b)
    if special is not None:
        return add32(acc, special)
    products = []  # (sign, exponent, significand) of the non-zero ones
    all_minus_zero = True
    for x, y in zip(a, b, strict=True):
        (sign_x, exponent_x, fraction_x), (sign_y, exponent_y, fraction_y) = fields(x, 16), fields(y, 16)
        if exponent_x == 0 or exponent_y == 0:
            all_minus_zero &= sign_x != sign_y
        else:
            all_minus_zero = False
            products.append(
                (sign_x ^ sign_y, exponent_x + exponent_y, (128 + fraction_x) * (128 + fraction_y))
            )
    if not products:
        return add32(acc, int(all_minus_zero) << 31)
    largest = max(exponent for _, exponent, _ in products)
    total = sum(
        (-1) ** sign * (significand * 256 >> largest - exponent) for sign, exponent, significand in products
    )
    assert abs(total) < 2**28
    # A significand of 2^14 at biased exponents 127 + 127 is the value 1; 8 guard bits lie below.
    group = round_to(total * Fraction(2) ** (largest - 254 - 14 - 8), 32)
    return add32(acc, group)


def fp32_tree(acc: int, a: Sequence[int], b: Sequence[int]) -> int:
    """One group in profile ``fp32_tree``."""
    special = special_sum(a, b)
    if special is not None:
        return add32(acc, special)

    def subtree(first: int, count: int) -> int:
        if count == 1:
            return product32(a[first], b[first])
        return add32(subtree(first, count // 2), subtree(first + count // 2, count // 2))

    return add32(acc, subtree(0, 16))


PROFILES = {"aligned": aligned, "fp32_tree": fp32_tree}


def to_bf16(bits: int) -> int:
    """Read-out: FP32 bits to BF16 bits; FP32 subnormals are rounded by value, as the flush rule says."""
    sign, exponent, fraction = fields(bits, 32)
    if exponent == 255:
        return NAN16 if fraction else sign << 15 | 0x7F80
    if exponent == 0:
        exact = (-1) ** sign * Fraction(fraction, 2**149)
    else:
        exact = value(bits, 32)
    return round_to(exact, 16, sign)


def activate(table: Sequence[int], x: int) -> int:
    """Table look-up and interpolation of one accumulator."""
    if is_nan(x, 32):
        return NAN32
    sign = x >> 31
    if is_inf(x, 32) or abs(value(x, 32)) >= 16:
        y0, scale = table[512 * sign + 480], table[512 * sign + 481]
        if fields(scale, 16)[1] == 0:
            return add32(_widen(y0), sign_zero(y0))
        coarse = x >> 16
        if is_nan(scale, 16):
            return NAN32
        if is_inf(scale, 16) or is_inf(coarse, 16):
            return add32(_widen(y0), ((scale ^ coarse) >> 15) << 31 | INF32)
        return add32(_widen(y0), product32(scale, coarse))
    magnitude = abs(value(x, 32))
    start, width, octave = Fraction(0), Fraction(1, 2**10), 0
    while magnitude >= start + width:
        start += width
        width = start  # from octave 1 on an octave is as wide as its start
        octave += 1
    position = int((magnitude - start) / width * 16 * 256)  # truncates
    segment, f = divmod(position, 256)
    y0, dy = (
        table[512 * sign + 2 * (16 * octave + segment)],
        table[512 * sign + 2 * (16 * octave + segment) + 1],
    )
    if is_nan(dy, 16) or (is_inf(dy, 16) and f == 0):
        return NAN32
    if is_inf(dy, 16):
        return add32(_widen(y0), (dy >> 15) << 31 | INF32)
    product = round_to(value(dy, 16) * Fraction(f, 256), 32, dy >> 15)
    return add32(_widen(y0), product)


def sign_zero(bits16: int) -> int:
    """FP32 zero with the sign of a BF16: adding it to that BF16 changes nothing."""
    return (bits16 >> 15) << 31


def _widen(bits16: int) -> int:
    """BF16 operand as FP32 bits; subnormal becomes zero, NaN canonical."""
    if is_nan(bits16, 16):
        return NAN32
    sign, exponent, _ = fields(bits16, 16)
    return (bits16 << 16) if exponent else sign << 31
