"""One mutant before its judges."""

from __future__ import annotations

import time
from dataclasses import dataclass
from types import CodeType

from host_runtime.mutate.judges import Judges, Stage
from host_runtime.mutate.mutants import Mutant
from host_runtime.mutate.tree import Tree
from host_runtime.regress.record import Record

__all__ = ["Reference", "Verdict", "circuit", "judge", "measure"]

_PATIENCE, _TIMES = 30.0, 5.0
"""A stage is given this many seconds, and this many times what it took on the sources as they are."""
_ELABORATION = 600.0
_NOTHING_COLLECTED = 5


@dataclass(frozen=True)
class Reference:
    """What the sources as they are do in a stage."""

    seconds: float
    circuit: str
    """Digest of the stage's circuit; empty without one."""
    tests: int
    """Tests that pass; a stage of none, all skipped for the want of something, is left out."""


@dataclass(frozen=True)
class Verdict:
    """What became of a mutant."""

    result: str
    """killed, survived or equivalent"""
    by: str
    """The test that failed first, or what else told the mutant from the original; the reason of an equivalence."""
    seconds: float
    timeout: bool = False


class ElaborationError(ValueError):
    """The sources give no circuit."""


def circuit(tree: Tree, name: str) -> str:
    """Digest of a circuit, as in ``sim.circuit``; :class:`ElaborationError` if there is none."""
    ended = tree.run(["-m", "sim.circuit", name], _ELABORATION)
    if ended.code != 0:
        raise ElaborationError(f"elaboration of {name}: {_last(ended.output)}")
    return ended.output.split()[-1]


def measure(tree: Tree, stage: Stage, seed: int) -> Reference:
    """Run a stage on the sources as they are; ``ValueError`` unless every test passes or is skipped."""
    digest = circuit(tree, stage.circuit) if stage.circuit else ""
    began = time.monotonic()
    record, output, code = _tests(tree, stage, seed, _ELABORATION)
    if code == _NOTHING_COLLECTED and " skipped" in output:  # of a file that needs what is not installed
        return Reference(time.monotonic() - began, digest, 0)
    if code != 0:
        failed = _first_failure(record) or _last(output)
        raise ValueError(f"the sources as they are do not pass stage {stage.name}: {failed}")
    passed = sum(outcome.result == "passed" for outcome in record.outcomes.values())
    return Reference(time.monotonic() - began, digest, passed)


def judge(
    tree: Tree,
    mutant: Mutant,
    judges: Judges,
    references: dict[str, Reference],
    circuits: dict[str, str],
    seed: int,
) -> Verdict:
    """Ask the stages one after the other until one tells the mutant from the original.

    ``references`` by stage, ``circuits``: digests of ``judges.circuits``, for a mutant of the RTL.
    """
    began = time.monotonic()

    def verdict(result: str, by: str, timeout: bool = False) -> Verdict:
        return Verdict(result, by, round(time.monotonic() - began, 1), timeout)

    if _same_code(mutant):
        return verdict("equivalent", "the bytecode is the original's")
    same: dict[str, bool] = {}  # by circuit

    def untouched(name: str, digest: str) -> bool:
        if name not in same:
            same[name] = circuit(tree, name) == digest
        return same[name]

    with tree.mutated(mutant):
        try:
            for stage in judges.of(mutant.path):
                reference = references[stage.name]
                if not reference.tests:
                    continue
                if stage.circuit and untouched(stage.circuit, reference.circuit):
                    continue
                record, output, code = _tests(tree, stage, seed, _PATIENCE + _TIMES * reference.seconds)
                if code is None:
                    return verdict("killed", f"time-out of {stage.name}, at {_running(record)}", timeout=True)
                if code != 0:
                    return verdict("killed", _first_failure(record) or f"{stage.name}: {_last(output)}")
            if mutant.path.parts[0] == "hdl" and all(untouched(*each) for each in circuits.items()):
                return verdict("equivalent", f"the Verilog of {len(circuits)} circuits is the original's")
        except ElaborationError as error:
            return verdict("killed", str(error))
    return verdict("survived", "")


def _tests(tree: Tree, stage: Stage, seed: int, seconds: float) -> tuple[Record, str, int | None]:
    lines = tree.root / "record.jsonl"
    lines.unlink(missing_ok=True)
    keyword = ["-k", stage.keyword] if stage.keyword else []
    plugins = ["-p", "no:xdist", "-p", "tests.recorder", "--record", str(lines)]
    ended = tree.run(
        ["-m", "pytest", "-x", "-q", *plugins, "--seed", str(seed), *keyword, *stage.tests], seconds
    )
    record = Record(seed)
    if lines.exists():
        record.update(lines)
    return record, ended.output, ended.code


def _first_failure(record: Record) -> str:
    return next((outcome.id for outcome in record.outcomes.values() if outcome.result == "failed"), "")


def _running(record: Record) -> str:
    """About where a run that did not end was."""
    return next(reversed(record.outcomes), "its first test")


def _last(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("E ")]
    return (errors or lines or ["no message"])[-1].removeprefix("E ").strip()[:200]


def _same_code(mutant: Mutant) -> bool:
    name = str(mutant.path)
    try:
        return _code(compile(mutant.original, name, "exec")) == _code(compile(mutant.mutated, name, "exec"))
    except (SyntaxError, ValueError):
        return False


def _code(code: CodeType) -> tuple[object, ...]:
    """A code object without positions."""
    constants = tuple(
        _code(each) if isinstance(each, CodeType) else (type(each), each) for each in code.co_consts
    )
    return (
        code.co_code,
        constants,
        code.co_names,
        code.co_varnames,
        code.co_freevars,
        code.co_cellvars,
        code.co_flags,
    )
