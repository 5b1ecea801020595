"""What a proof is made of: a part of the RTL, free inputs, claims, and covers that show that claims say something.

A harness is elaborated once, into one clock domain that is never reset: proofs begin at power-on. Each claim,
invariant, assumption and cover is one output of the resulting module, so none can be lost on the way to the solver.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from amaranth import ClockDomain, Const, Elaboratable, Module, Signal, Value
from amaranth.hdl import Assert, Assume, Fragment
from amaranth.lib import wiring
from amaranth.lib.wiring import In

__all__ = ["Claim", "Cover", "Harness", "inside", "signals_of", "state_number", "tap"]


@dataclass(frozen=True)
class Claim:
    """Something that holds in every cycle. ``helper``: an invariant that makes others inductive."""

    name: str
    text: str
    signal: Signal
    helper: bool = False
    facts: dict[str, Any] = field(default_factory=dict)
    """What a failure's message needs to know; see :meth:`Harness.explain`."""


@dataclass(frozen=True)
class Cover:
    """Something that must happen in some run, or the claims that speak of it are empty."""

    name: str
    signal: Signal


class Harness(Elaboratable):
    """A module with free inputs. Subclasses say what is in it, in :meth:`build`.

    Attributes
    ----------
    depth : int
        Cycles from power-on in which the solver looks for covers and counterexamples, besides simulation.
    scripts : list of lists
        Directed stimuli: the inputs by name for each cycle; those not named are zero. Covers and counterexamples are
        looked for in them first.
    """

    depth = 12

    def __init__(self) -> None:
        self.domain = ClockDomain("sync", reset_less=True)
        self.inputs: list[Signal] = []
        self.claims: list[Claim] = []
        self.covers: list[Cover] = []
        self.assumptions: list[Signal] = []
        self.scripts: list[list[dict[str, int]]] = []

    def build(self, m: Module) -> None:
        """Add what the proof is about to ``m``."""
        raise NotImplementedError

    def elaborate(self, _platform: Any) -> Module:
        m = Module()
        m.domains.sync = self.domain
        self.build(m)
        return m

    @property
    def ports(self) -> list[Any]:
        """Inputs and outputs of the module; complete only once it has been elaborated."""
        outputs = [claim.signal for claim in self.claims] + [cover.signal for cover in self.covers]
        return [self.domain.clk, *self.inputs, *self.assumptions, *outputs]

    # ------------------------------------------------------------------ for build()

    def free(self, name: str, shape: Any = 1) -> Signal:
        """An input that may have any value in any cycle."""
        signal = Signal(shape, name=name)
        self.inputs.append(signal if isinstance(signal, Signal) else Value.cast(signal))
        return signal

    def constant(self, m: Module, name: str, shape: Any = 1) -> Signal:
        """An input that has any value, the same in all cycles."""
        signal = self.free(name, shape)
        kept, begun = Signal(len(signal), name=f"{name}_kept"), Signal(name=f"{name}_begun")
        m.d.sync += [kept.eq(signal), begun.eq(1)]
        self.assume(m, ~begun | (kept == signal))
        return signal

    def place(self, m: Module, name: str, part: wiring.Component, **given: Any) -> Fragment:
        """Put ``part`` into the module; inputs that are not ``given`` (``a__b`` for a member ``b`` of ``a``) are free.

        Returns its fragment, for :func:`signals_of`.
        """
        left = dict(given)
        for path, member, value in part.signature.flatten(part):
            if member.flow is not In:
                continue
            port = "__".join(str(each) for each in path)
            source = left.pop(port) if port in left else self.free(f"{name}_{port}", len(Value.cast(value)))
            m.d.comb += Value.cast(value).eq(source)
        if left:
            raise ValueError(f"{type(part).__name__} must have the inputs {', '.join(left)}")
        fragment = Fragment.get(part, None)
        m.submodules[name] = fragment
        return fragment

    def claim(self, m: Module, name: str, holds: Any, text: str = "", **facts: Any) -> None:
        """``holds`` in every cycle, whatever the inputs do."""
        self._assert(m, name, holds, text, False, facts)

    def invariant(self, m: Module, name: str, holds: Any) -> None:
        """As :meth:`claim`, but only a step on the way to the claims; proved like them and not counted."""
        self._assert(m, name, holds, "", True, {})

    def _assert(
        self, m: Module, name: str, holds: Any, text: str, helper: bool, facts: dict[str, Any]
    ) -> None:
        signal = Signal(name=f"claim_{len(self.claims)}")
        m.d.comb += [signal.eq(Value.cast(holds).bool()), Assert(signal)]
        self.claims.append(Claim(name, text, signal, helper, facts))

    def assume(self, m: Module, holds: Any) -> None:
        """The inputs are such that this holds in every cycle."""
        signal = Signal(name=f"assume_{len(self.assumptions)}")
        m.d.comb += [signal.eq(Value.cast(holds).bool()), Assume(signal)]
        self.assumptions.append(signal)

    def cover(self, m: Module, name: str, happens: Any) -> None:
        """Some run has a cycle in which this happens."""
        signal = Signal(name=f"cover_{len(self.covers)}")
        m.d.comb += signal.eq(Value.cast(happens).bool())
        self.covers.append(Cover(name, signal))

    # ------------------------------------------------------------------ for messages

    def explain(self, claim: Claim, cycles: list[Callable[[str], int]]) -> str:  # noqa: ARG002 - for subclasses
        """One sentence about a run that breaks ``claim`` in its last cycle; ``cycles[i](name)`` is a signal's value."""
        return f"broken in cycle {len(cycles) - 1}"


def signals_of(fragment: Fragment) -> dict[str, Signal]:
    """The signals that ``fragment`` itself drives, by their names: for invariants about what is inside."""
    found: dict[str, Signal] = {}
    for statements in fragment.statements.values():
        for statement in statements:
            for signal in statement._lhs_signals():
                found[signal.name] = signal
    return found


def inside(fragment: Fragment, *path: str) -> Fragment:
    """The part of ``fragment`` that stands in it under the names of ``path``, outermost first."""
    for step in path:
        fragment = next(part for part, name, _ in fragment.subfragments if name == step)
    return fragment


def state_number(state: Signal, name: str) -> int:
    """The number of an FSM's state ``name`` in its state signal."""
    for number in range(1 << len(state)):
        try:
            if state.decoder(number).rpartition("/")[0] == name:
                return number
        except KeyError:
            continue
    raise ValueError(f"{state.name} has no state {name!r}")


def tap(m: Module, memory: Any, address: Any) -> Signal:
    """What lies in a word of ``memory``, a part of the design: one more way to look at it, which changes nothing."""
    at = Signal(max(1, (memory._data.depth - 1).bit_length()))
    word = Signal(Value.cast(Signal(memory._data.shape)).shape())
    m.d.comb += at.eq(address)
    memory.read_port(domain="comb", addr=at, data=word, en=Const(1), transparent_for=())
    return word
