"""Runs of a model with numbers: directed and random stimuli, and the replay of what the solver found.

The terms of the model become one Python function, a line a term, so what runs here is what the solver proves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sim.prove.model import Model

__all__ = ["Machine"]


class Machine:
    """Evaluates named signals and the next state of a model."""

    def __init__(self, model: Model, names: Sequence[str]):
        self._model = model
        self.names = list(names)
        registers = [s for s in model.segments if s.next is not None]
        self._lows = [s.low for s in registers]
        self._register_mask = sum(((1 << s.width) - 1) << s.low for s in registers)
        self.initial = sum((s.init or 0) << s.low for s in registers)
        self._run = _compile(
            [model.term(name) for name in self.names] + [s.next for s in registers], model.state
        )

    def cycle(self, registers: int, inputs: int) -> tuple[list[int], int]:
        """Values of the named signals in a cycle, and the registers of the next."""
        values = self._run(registers & self._register_mask | inputs)
        count = len(self.names)
        following = 0
        for low, value in zip(self._lows, values[count:], strict=True):
            following |= value << low
        return values[:count], following

    def pack(self, inputs: dict[str, int]) -> int:
        """Inputs by name as bits of the state; those not named are zero."""
        bits = 0
        for name, value in inputs.items():
            rest = value
            for low, width in self._model.inputs[name]:
                bits |= (rest & (1 << width) - 1) << low
                rest >>= width
            if rest:
                raise ValueError(f"{value!r} does not fit into {name}")
        return bits


def _compile(terms: list[Any], state: Any) -> Callable[[int], list[int]]:
    """A function from the state's bits to the values of ``terms``."""
    lines: list[str] = []
    known: dict[int, str] = {}
    pending = [(term, False) for term in reversed(terms)]
    while pending:
        term, ready = pending.pop()
        key = term.get_id()
        if key in known:
            continue
        if not ready:
            pending.append((term, True))
            pending.extend((child, False) for child in term.children() if child.get_id() not in known)
            continue
        text = _expression(term, [known[child.get_id()] for child in term.children()], state)
        if text.isidentifier() or text.isdigit():
            known[key] = text
        else:
            known[key] = f"v{len(lines)}"
            lines.append(f" v{len(lines)} = {text}")
    body = "\n".join(lines)
    source = f"def run(s):\n{body}\n return [{', '.join(known[term.get_id()] for term in terms)}]\n"
    scope: dict[str, Any] = {}
    exec(source, scope)
    run: Callable[[int], list[int]] = scope["run"]
    return run


def _expression(term: Any, args: list[str], state: Any) -> str:
    import z3

    kind = term.decl().kind()
    if term.eq(state):
        return "s"
    if z3.is_bv_value(term):
        return str(term.as_long())
    infix = {
        z3.Z3_OP_AND: "&", z3.Z3_OP_OR: "|", z3.Z3_OP_BAND: "&", z3.Z3_OP_BOR: "|", z3.Z3_OP_BXOR: "^",
        z3.Z3_OP_XOR: "^",
    }  # fmt: skip
    compare = {
        z3.Z3_OP_EQ: "==", z3.Z3_OP_IFF: "==", z3.Z3_OP_ULT: "<", z3.Z3_OP_ULEQ: "<=", z3.Z3_OP_UGT: ">",
        z3.Z3_OP_UGEQ: ">=",
    }  # fmt: skip
    arithmetic = {z3.Z3_OP_BADD: "+", z3.Z3_OP_BSUB: "-", z3.Z3_OP_BMUL: "*"}
    if kind in infix:
        return f" {infix[kind]} ".join(args)
    if kind in compare:
        return f"int({args[0]} {compare[kind]} {args[1]})"
    if kind == z3.Z3_OP_DISTINCT and len(args) == 2:
        return f"int({args[0]} != {args[1]})"
    if kind == z3.Z3_OP_ITE:
        return f"{args[1]} if {args[0]} else {args[2]}"
    if kind == z3.Z3_OP_TRUE:
        return "1"
    if kind == z3.Z3_OP_FALSE:
        return "0"
    if kind == z3.Z3_OP_NOT:
        return f"{args[0]} ^ 1"
    mask = (1 << term.size()) - 1 if z3.is_bv(term) else 1
    if kind in arithmetic:
        return f"({f' {arithmetic[kind]} '.join(args)}) & {mask}"
    if kind == z3.Z3_OP_BNOT:
        return f"{args[0]} ^ {mask}"
    if kind == z3.Z3_OP_BNEG:
        return f"-{args[0]} & {mask}"
    if kind == z3.Z3_OP_EXTRACT:
        return f"{args[0]} >> {term.params()[1]} & {mask}"
    if kind == z3.Z3_OP_CONCAT:
        parts, at = [], term.size()
        for arg, child in zip(args, term.children(), strict=True):
            at -= child.size()
            parts.append(f"{arg} << {at}" if at else arg)
        return " | ".join(parts)
    if kind in (z3.Z3_OP_ZERO_EXT,):
        return args[0]
    if kind in (z3.Z3_OP_SIGN_EXT,):
        width = term.arg(0).size()
        return f"{args[0]} | ({mask} ^ {(1 << width) - 1}) * ({args[0]} >> {width - 1})"
    if kind == z3.Z3_OP_BSHL:
        return f"({args[0]} << {args[1]}) & {mask} if {args[1]} < {term.size()} else 0"
    if kind == z3.Z3_OP_BLSHR:
        return f"{args[0]} >> {args[1]}"
    if kind in (z3.Z3_OP_SLT, z3.Z3_OP_SLEQ, z3.Z3_OP_SGT, z3.Z3_OP_SGEQ):
        sign = 1 << (term.arg(0).size() - 1)
        signs = {z3.Z3_OP_SLT: "<", z3.Z3_OP_SLEQ: "<=", z3.Z3_OP_SGT: ">", z3.Z3_OP_SGEQ: ">="}
        return f"int(({args[0]} ^ {sign}) {signs[kind]} ({args[1]} ^ {sign}))"
    raise NotImplementedError(f"replay must know {term.decl().name()}")
