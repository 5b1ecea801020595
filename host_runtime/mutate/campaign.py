"""A campaign: many mutants, their verdicts kept as they come, so that one that was stopped goes on where it was."""

from __future__ import annotations

import fcntl
import json
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from host_runtime.mutate.judges import Judges, Stage
from host_runtime.mutate.mutants import Mutant
from host_runtime.mutate.tree import Tree, private_tree
from host_runtime.mutate.trial import Reference, Verdict, circuit, judge, measure
from pim_model.buildcache import digest

__all__ = ["Campaign", "totals"]

_JUDGED = ("hdl", "pim_model", "sim", "host_runtime")
_TOOL = ("host_runtime/mutate", "host_runtime/regress", "host_runtime/cli")  # not what the judges run on
Report = Callable[[Mutant, Verdict], None]


class Campaign:
    """Verdicts in ``directory``, on the sources of ``checkout``."""

    def __init__(self, checkout: Path, directory: Path, judges: Judges, seed: int) -> None:
        self._checkout = checkout
        self._directory = directory
        self._judges = judges
        self._seed = seed
        self._sources = _digest_of(checkout, [checkout / name for name in _JUDGED], _TOOL)
        tests = [path for path in (checkout / "tests").rglob("*.py") if not path.name.startswith("test_")]
        self._helpers = _digest_of(checkout, tests)
        self._results = directory / "results.jsonl"
        self._references = directory / "references.json"

    def forget(self) -> None:
        """Drop all verdicts."""
        self._results.unlink(missing_ok=True)
        self._references.unlink(missing_ok=True)

    def known(self, mutants: Sequence[Mutant]) -> dict[str, Verdict]:
        """Verdicts that still hold, by id: of these sources, and by the same tests unless the mutant was killed."""
        found: dict[str, Verdict] = {}
        lines = self._results.read_text(encoding="utf-8").splitlines() if self._results.exists() else []
        names = {_name(mutant): mutant for mutant in mutants}
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the end of a run that was killed
            verdict, mutant = Verdict(**entry["verdict"]), names.get(entry["mutant"])
            if mutant is None or entry["sources"] != self._sources:
                continue
            if verdict.result != "survived" or entry["judges"] == self._judges_of(mutant):
                found[mutant.id] = verdict
        return found

    def run(
        self, mutants: Sequence[Mutant], jobs: int, preparing: Callable[[str], None], report: Report
    ) -> None:
        """Judge ``mutants``; ``report`` hears of each at its end.

        First the sources as they are have to pass every stage that is needed: ``ValueError`` if they do not, or if
        another campaign is at work in the directory.
        """
        if not mutants:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            lock = stack.enter_context(open(self._directory / "lock", "w"))
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"another campaign is at work in {self._directory}") from None
            trees = [
                stack.enter_context(private_tree(self._checkout, self._directory / f"build-{place}"))
                for place in range(min(jobs, len(mutants)))
            ]
            references, circuits = self._prepare(trees[0], mutants, preparing)
            kept = trees[0].builds()
            for tree in trees:
                tree.kept = kept
            if len(trees) == 1:
                for mutant in mutants:
                    self._one(trees[0], mutant, references, circuits, report)
                return
            self._many(trees, mutants, references, circuits, report)

    def _many(
        self,
        trees: Sequence[Tree],
        mutants: Sequence[Mutant],
        references: dict[str, Reference],
        circuits: dict[str, str],
        report: Report,
    ) -> None:
        free: queue.SimpleQueue[Tree] = queue.SimpleQueue()
        for tree in trees:
            free.put(tree)

        def work(mutant: Mutant) -> None:
            tree = free.get()
            try:
                self._one(tree, mutant, references, circuits, report)
            finally:
                free.put(tree)

        with ThreadPoolExecutor(len(trees)) as pool:
            futures = [pool.submit(work, mutant) for mutant in mutants]
            try:
                for future in as_completed(futures):
                    future.result()
            except BaseException:
                for future in futures:
                    future.cancel()
                for tree in trees:
                    tree.interrupt()
                raise

    def _prepare(
        self, tree: Tree, mutants: Sequence[Mutant], preparing: Callable[[str], None]
    ) -> tuple[dict[str, Reference], dict[str, str]]:
        """References of all stages that are needed, and the circuits if any mutant is one of the RTL."""
        needed = {stage.name: stage for mutant in mutants for stage in self._judges.of(mutant.path)}
        lacking = sorted({str(mutant.path) for mutant in mutants if not self._judges.of(mutant.path)})
        if lacking:
            raise ValueError(f"no stage judges {', '.join(lacking)}")
        kept: dict[str, Any] = {}
        if self._references.exists():
            kept = json.loads(self._references.read_text(encoding="utf-8"))

        def keep(name: str, key: str, value: Any) -> None:
            kept[name] = {"key": key, "value": value}
            self._references.write_text(json.dumps(kept, indent=1), encoding="utf-8")

        def lacks(name: str, key: str) -> bool:
            return name not in kept or kept[name]["key"] != key

        for stage in needed.values():
            key = self._key(stage)
            if lacks(stage.name, key):
                preparing(stage.name)
                keep(stage.name, key, asdict(measure(tree, stage, self._seed)))
            if not kept[stage.name]["value"]["tests"]:
                preparing(f"{stage.name} is left out: all of its tests are skipped here")
        circuits = self._judges.circuits if any(mutant.path.parts[0] == "hdl" for mutant in mutants) else ()
        for name in circuits:
            if lacks(name, self._sources):
                preparing(f"circuit {name}")
                keep(name, self._sources, circuit(tree, name))
        return (
            {name: Reference(**kept[name]["value"]) for name in needed},
            {name: kept[name]["value"] for name in circuits},
        )

    def _key(self, stage: Stage) -> str:
        """Names all that a stage depends on, besides a mutant."""
        tests = [self._checkout / test.partition("::")[0] for test in stage.tests]
        return digest(
            repr([field.name for field in fields(Reference)]),
            repr(stage),
            f"seed {self._seed}",
            self._sources,
            self._helpers,
            _digest_of(self._checkout, tests),
        )

    def _judges_of(self, mutant: Mutant) -> str:
        return digest(*(self._key(stage) for stage in self._judges.of(mutant.path)))

    def _one(
        self,
        tree: Tree,
        mutant: Mutant,
        references: dict[str, Reference],
        circuits: dict[str, str],
        report: Report,
    ) -> None:
        verdict = judge(tree, mutant, self._judges, references, circuits, self._seed)
        if tree.interrupted:
            return
        entry = {
            "id": mutant.id,
            "mutant": _name(mutant),
            "sources": self._sources,
            "judges": self._judges_of(mutant),
            "verdict": asdict(verdict),
        }
        with open(self._results, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        report(mutant, verdict)


def totals(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """``rate`` is the part killed of those that are not equivalent, 1 where there is none."""
    counts = {
        result: sum(v.result == result for v in verdicts) for result in ("killed", "survived", "equivalent")
    }
    judged = counts["killed"] + counts["survived"]
    return {"mutants": len(verdicts), **counts, "rate": counts["killed"] / judged if judged else 1.0}


def _name(mutant: Mutant) -> str:
    return digest(str(mutant.path), mutant.mutated)


def _digest_of(root: Path, places: Sequence[Path], left_out: Sequence[str] = ()) -> str:
    """Of names and contents of all files in ``places``, which are files or folders below ``root``."""
    parts: list[str | Path] = []
    files = {path for place in places for path in (place.rglob("*") if place.is_dir() else [place])}
    for path in sorted(path for path in files if path.is_file()):
        name = path.relative_to(root).as_posix()
        if "__pycache__" not in name and not name.startswith(tuple(left_out)):
            parts += [name, path]
    return digest(*parts)
