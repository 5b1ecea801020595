"""Timing gates: one small countdown for each command that has to wait, loaded by the commands before it.

Gates of all banks stand side by side, kept by bits: bit i of all their countdowns is one vector over the banks. In
hardware these are the same flip-flops as one countdown after the other; a simulator counts all banks at once.

The values come from the rule rows of ``pim_model.spec.timing_rules``; every rule between two commands that the
controller issues is enforced by exactly one gate. The checker (``hdl/checker.py``) measures the same rules another
way: it stamps commands and subtracts.
"""

from collections.abc import Iterable
from functools import reduce
from operator import or_

from amaranth import Cat, Const, Module, Mux, Signal

from pim_model.spec.micro import MicroOp
from pim_model.spec.timing import Timing
from pim_model.spec.timing_rules import Scope

__all__ = ["distances", "faw_gate", "gate", "gates"]


def distances(
    timing: Timing, after: MicroOp, befores: Iterable[MicroOp], *scopes: Scope
) -> dict[MicroOp, int]:
    """How long each of ``befores`` holds ``after`` back within ``scopes``, in cycles; not those that do not."""
    waits = {before: max(timing.between(before, after, scope) for scope in scopes) for before in befores}
    return {before: cycles for before, cycles in waits.items() if cycles}


def gate(m: Module, name: str, pairs) -> Signal:
    """Add a gate to ``m`` and return its ``ready``.

    ``ready`` is high in a cycle in which the gated command may stand on the bus: a strobe in cycle t closes the gate
    from t + 1 on and opens it at t + cycles. The longest open wait counts. Commands of one cycle are not gated
    against each other.
    """
    strobes: dict[int, list] = {}
    for strobe, cycles in pairs:
        if cycles > 1:
            strobes.setdefault(cycles, []).append(strobe)
    ready = Signal(name=f"{name}_ready")
    if not strobes:
        m.d.comb += ready.eq(1)
        return ready
    remaining = Signal(range(max(strobes)), name=f"{name}_remaining")
    m.d.comb += ready.eq(remaining == 0)
    m.d.sync += remaining.eq(Mux(ready, 0, remaining - 1))
    for cycles in sorted(strobes):
        # Ascending, so that of several strobes the last assignment, the longest wait, wins.
        with m.If(Cat(strobes[cycles]).any() & (remaining < cycles)):
            m.d.sync += remaining.eq(cycles - 1)
    return ready


def gates(m: Module, name: str, waits: dict, places: int) -> Signal:
    """As :func:`gate`, for ``places`` gates side by side: ``waits`` maps cycles to where such a wait begins."""
    waits = {cycles: where for cycles, where in sorted(waits.items()) if cycles > 1}
    ready = Signal(places, name=f"{name}_ready")
    if not waits:
        m.d.comb += ready.eq(-1)
        return ready
    longest = max(waits)
    remaining = [Signal(places, name=f"{name}_remaining{i}") for i in range((longest - 1).bit_length())]
    m.d.comb += ready.eq(~reduce(or_, remaining))

    after, borrow = [], ~ready  # one less, but not less than zero
    for bit in remaining:
        after.append(bit ^ borrow)
        borrow &= ~bit
    for cycles, where in waits.items():
        begins = Signal(places, name=f"{name}_begins{cycles}")
        m.d.comb += begins.eq(where & _below(remaining, cycles) if cycles < longest else where)
        # Ascending, so that of several waits the last, the longest, wins.
        after = [bit | begins if cycles - 1 >> i & 1 else bit & ~begins for i, bit in enumerate(after)]
    m.d.sync += [bit.eq(now) for bit, now in zip(remaining, after, strict=True)]
    return ready


def _below(number, limit: int):
    """Places where the number whose bits are the vectors ``number`` is below ``limit``."""
    below = Const(0, len(number[0]))
    for i, bit in enumerate(number):
        below = ~bit | below if limit >> i & 1 else ~bit & below
    return below


def faw_gate(m: Module, strobe: Signal, cycles: int) -> Signal:
    """Add the tFAW gate: at most four activations in any window of ``cycles``; returns its ``ready``."""
    ready = Signal(name="faw_ready")
    history = Signal(max(1, cycles - 1), name="faw_history")
    counts = Signal(range(len(history) + 1), name="faw_counts")
    m.d.sync += history.eq(history << 1 | strobe)
    m.d.comb += [counts.eq(sum(history)), ready.eq(counts < 4)]
    return ready
