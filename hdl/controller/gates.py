"""Timing gates: one small countdown for each command that has to wait, loaded by the commands before it.

The values come from the rule rows of ``pim_model.spec.timing_rules``; every rule between two commands that the
controller issues is enforced by exactly one gate. The checker (``hdl/checker.py``) measures the same rules another
way: it stamps commands and subtracts.
"""

from amaranth import Cat, Module, Mux, Signal

from pim_model.spec.micro import MicroOp
from pim_model.spec.timing import Timing
from pim_model.spec.timing_rules import Scope

__all__ = ["distances", "faw_gate", "gate"]


def distances(timing: Timing, after: MicroOp, strobes: dict[MicroOp, Signal], *scopes: Scope):
    """The (strobe, cycles) pairs that hold ``after`` back within ``scopes``; pairs of no distance are left out."""
    pairs = []
    for before, strobe in strobes.items():
        cycles = max(timing.between(before, after, scope) for scope in scopes)
        if cycles:
            pairs.append((strobe, cycles))
    return pairs


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


def faw_gate(m: Module, strobe: Signal, cycles: int) -> Signal:
    """Add the tFAW gate: at most four activations in any window of ``cycles``; returns its ``ready``."""
    ready = Signal(name="faw_ready")
    history = Signal(max(1, cycles - 1), name="faw_history")
    counts = Signal(range(len(history) + 1), name="faw_counts")
    m.d.sync += history.eq(history << 1 | strobe)
    m.d.comb += [counts.eq(sum(history)), ready.eq(counts < 4)]
    return ready
