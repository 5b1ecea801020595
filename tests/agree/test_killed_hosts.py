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
        self.signal = signal.SIGKILL

    def aim(self, *, at_byte: int = 0, at_piece: int = 0) -> None:
        """One shot, at one of the two."""
        self.bytes = self.pieces = 0
        self.at_byte, self.at_piece = at_byte, at_piece

    def received(self, count: int) -> None:
        self.bytes, self.pieces = self.bytes + count, self.pieces + 1
        due = 0 < self.at_byte <= self.bytes or 0 < self.at_piece <= self.pieces
        if due and self.victim is not None:
            self.victim.send_signal(self.signal)
            self.at_byte = self.at_piece = 0


def host(path: Path, products: int, seed: int) -> subprocess.Popen[str]:
    arguments = [sys.executable, "-m", "tests.agree.host_process", str(path), str(products), str(seed)]
    return subprocess.Popen(arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def finish(process: subprocess.Popen[str]) -> tuple[int, list[str]]:
    out, _ = process.communicate(timeout=120)
    return process.returncode, out.splitlines()


@pytest.mark.verilator
@pytest.mark.timeout(60 + 10 * KILLS)
def test_kill_and_recover(rng: np.random.Generator) -> None:
    stages, found = campaign(KILLS, signal.SIGKILL, rng)
    if KILLS >= 50:
        assert min(stages.values()) > 0
        assert len(found) > 2, "too few kinds of leftovers"


@pytest.mark.verilator
def test_interrupt_and_recover(rng: np.random.Generator) -> None:
    """Ctrl-C: the transfer under way ends first, and the host ends by it."""
    campaign(4, signal.SIGINT, rng)


def campaign(
    kills: int, number: signal.Signals, rng: np.random.Generator
) -> tuple[Counter[str], Counter[str]]:
    """How far the hosts were, and what the next ones found."""
    require("socket")
    killer, found, stages = Killer(), Counter[str](), Counter[str]()
    killer.signal = number
    with served(config("tiny"), received=killer.received) as path:
        killer.aim()
        assert finish(host(path, 1, 0)) == (0, ["found nothing", "right"])
        run_bytes, run_pieces = killer.bytes, killer.pieces
        for kill in range(kills):
            # A piece is a request or a part of a long one; most bytes are in few long ones, and few pieces open it.
            if kill % 2:
                killer.aim(at_byte=int(rng.integers(1, run_bytes * 3 // 2)))
            else:
                killer.aim(at_piece=int(rng.integers(1, 20 if kill % 8 == 0 else run_pieces * 3 // 2)))
            where = f"kill {kill} at byte {killer.at_byte} or piece {killer.at_piece}"
            killer.victim = host(path, 0, 2 * kill + 1)
            code, said = finish(killer.victim)
            killer.victim = None
            if number == signal.SIGKILL:
                assert set(said[1:]) <= {"right"}, f"{where}: {said}"
            assert code == -number, f"{where}: {said}"
            assert "wrong" not in said, f"{where}: {said}"
            stages["in a product" if said and said[0].startswith("found") else "opening"] += 1
            code, said = finish(host(path, 1, 2 * kill + 2))
            assert (code, said[1:]) == (0, ["right"]), f"after {where}: {said}"
            found[said[0]] += 1
    print(f"\n{kills} by {number.name}, {found.total()} recoveries; {dict(stages)}; {dict(found)}")
    assert found.total() == kills
    return stages, found
