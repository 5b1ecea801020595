"""A campaign: many mutants, their verdicts kept as they come, so that one that was stopped goes on where it was."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host_runtime.mutate.judges import Judges
from host_runtime.mutate.mutants import Mutant
from host_runtime.mutate.tree import Tree, private_tree
from host_runtime.mutate.trial import Reference, Verdict, circuits_of, judge, measure
from pim_model.buildcache import digest

__all__ = ["Campaign", "totals"]

_JUDGED = ("hdl", "pim_model", "sim", "host_runtime")
_TOOL = ("host_runtime/mutate", "host_runtime/cli")  # not what the judges run on
Report = Callable[[Mutant, Verdict], None]


@dataclass(frozen=True)
class _State:
    """What a kept verdict depends on."""

    sources: str
    tests: str


class Campaign:
    """Verdicts in ``directory``, on the sources of ``checkout``."""

    def __init__(self, checkout: Path, directory: Path, judges: Judges, seed: int) -> None:
        self._checkout = checkout
        self._directory = directory
        self._judges = judges
        self._seed = seed
        self._state = _State(
            _digest_of(checkout, [checkout / name for name in _JUDGED], _TOOL),
            _digest_of(checkout, [checkout / "tests"], ("tests/mutation_waivers.toml",)) + f" seed {seed}",
        )
        self._results = directory / "results.jsonl"
        self._references = directory / "references.json"

    def forget(self) -> None:
        """Drop all verdicts."""
        self._results.unlink(missing_ok=True)
        self._references.unlink(missing_ok=True)

    def known(self, mutants: Sequence[Mutant]) -> dict[str, Verdict]:
        """Verdicts that still hold, by id: of these sources, and of these tests unless the mutant was killed."""
        found: dict[str, Verdict] = {}
        lines = self._results.read_text(encoding="utf-8").splitlines() if self._results.exists() else []
        names = {_name(mutant): mutant.id for mutant in mutants}
        for line in lines:
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:
                continue  # the end of a run that was killed
            verdict = Verdict(**entry["verdict"])
            stands = verdict.result != "survived" or entry["tests"] == self._state.tests
            if entry["sources"] == self._state.sources and entry["mutant"] in names and stands:
                found[names[entry["mutant"]]] = verdict
        return found

    def run(
        self, mutants: Sequence[Mutant], jobs: int, preparing: Callable[[str, float], None], report: Report
    ) -> None:
        """Judge ``mutants``; ``report`` hears of each at its end.

        First the sources as they are have to pass every stage that is needed: ``ValueError`` if they do not.
        """
        if not mutants:
            return
        self._directory.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
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
        self, tree: Tree, mutants: Sequence[Mutant], preparing: Callable[[str, float], None]
    ) -> tuple[dict[str, Reference], dict[str, str]]:
        """References of all stages that are needed, and the circuits if any mutant is one of the RTL."""
        needed = {stage.name: stage for mutant in mutants for stage in self._judges.of(mutant.path)}
        lacking = sorted({str(mutant.path) for mutant in mutants if not self._judges.of(mutant.path)})
        if lacking:
            raise ValueError(f"no stage judges {', '.join(lacking)}")
        kept: dict[str, Any] = {}
        if self._references.exists():
            kept = json.loads(self._references.read_text(encoding="utf-8"))
        if kept.get("state") != asdict(self._state):
            kept = {"state": asdict(self._state), "stages": {}, "circuits": {}}

        def keep() -> None:
            self._references.write_text(json.dumps(kept, indent=1), encoding="utf-8")

        rtl = any(mutant.path.parts[0] == "hdl" for mutant in mutants)
        todo = [stage for stage in needed.values() if stage.name not in kept["stages"]]
        for place, stage in enumerate(todo):
            preparing(stage.name, place / len(todo))
            kept["stages"][stage.name] = asdict(measure(tree, stage, self._seed))
            keep()
        if rtl and set(kept["circuits"]) != set(self._judges.circuits):
            preparing("circuits", 1.0)
            kept["circuits"] = circuits_of(tree, self._judges.circuits)
            keep()
        return {name: Reference(**entry) for name, entry in kept["stages"].items()}, kept["circuits"]

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
            **asdict(self._state),
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


def _digest_of(root: Path, places: Sequence[Path], left_out: Sequence[str]) -> str:
    parts: list[str | Path] = []
    for path in sorted(path for place in places for path in place.rglob("*") if path.is_file()):
        name = path.relative_to(root).as_posix()
        if "__pycache__" not in name and not name.startswith(tuple(left_out)):
            parts += [name, path]
    return digest(*parts)
