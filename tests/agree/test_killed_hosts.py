"""A host that is killed at any point of a run: the next one finds what it left, resets, and gets the right product.

A campaign, too: ``IANUS_KILLS=100 pytest tests/agree/test_killed_hosts.py -s --seed 1``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from pim_model.spec.config import config
from tests.agree.conftest import require
from tests.agree.served import served
from tests.source_tree import ROOT

KILLS = int(os.environ.get("IANUS_KILLS", "10"))


class Killer:
    """Counts what the server receives, and kills a process at one point of it."""

    def __init__(self) -> None:
        self.bytes = self.pieces = 0
        self.at_byte = self.at_piece = 0
        self.victim: subprocess.Popen[str] | None = None

    def aim(self, *, at_byte: int = 0, at_piece: int = 0) -> None:
        self.bytes = self.pieces = 0
        self.at_byte, self.at_piece = at_byte, at_piece

    def received(self, count: int) -> None:
        self.bytes, self.pieces = self.bytes + count, self.pieces + 1
        due = 0 < self.at_byte <= self.bytes or 0 < self.at_piece <= self.pieces
        if due and self.victim is not None:
            self.victim.kill()


def host(path: Path, products: int, seed: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "tests.agree.host_process", str(path), str(products), str(seed)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    out, _ = process.communicate(timeout=120)
    return process.returncode, out.splitlines()


@pytest.mark.verilator
@pytest.mark.timeout(60 + 10 * KILLS)
def test_kill_and_recover(rng: np.random.Generator) -> None:
    require("socket")
    killer, found, stages = Killer(), Counter[str](), Counter[str]()
    with served(config("tiny"), received=killer.received) as path:
        killer.aim()
        assert finish(host(path, 1, 0)) == (0, ["found nothing", "right"])
        run_bytes, run_pieces = killer.bytes, killer.pieces
        for kill in range(KILLS):
            # A piece is a request or a part of a long one; most bytes are in few long ones, and few pieces open it.
            if kill % 2:
                killer.aim(at_byte=int(rng.integers(1, run_bytes * 3 // 2)))
            else:
                killer.aim(at_piece=int(rng.integers(1, 20 if kill % 8 == 0 else run_pieces * 3 // 2)))
            where = f"kill {kill} at byte {killer.at_byte} or piece {killer.at_piece}"
            killer.victim = host(path, 0, 2 * kill + 1)
            code, said = finish(killer.victim)
            killer.victim = None
            assert code == -signal.SIGKILL, f"{where}: {said}"
            assert set(said[1:]) <= {"right"}, f"{where}: {said}"
            stages["opening" if not said else "in a product"] += 1
            code, said = finish(host(path, 1, 2 * kill + 2))
            assert (code, said[1:]) == (0, ["right"]), f"after {where}: {said}"
            found[said[0]] += 1
    print(f"\n{KILLS} kills, {found.total()} recoveries; {dict(stages)}; {dict(found)}")
    assert found.total() == KILLS
    if KILLS >= 50:
        assert min(stages.values()) > 0
        assert len(found) > 2, "too few kinds of leftovers"
