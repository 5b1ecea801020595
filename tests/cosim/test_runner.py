"""The cocotb runner: what it builds, what it counts as a pass, what a failure tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pim_model.buildcache import build_root
from pim_model.spec.config import config
from sim.bench.designs import Design
from sim.bench.runner import CosimError, Result, run
from sim.bench.stimulus import spell, told
from sim.bench.verilate import build

pytestmark = pytest.mark.cosim

DESIGN = Design("checker", config("ianus"))


def test_ports_alone_are_public(seed: int) -> None:
    directory = build(DESIGN)
    log = (directory / "build.log").read_text(encoding="utf-8")
    assert "Vtop__ALL.o" in log, "the log does not show the build"
    assert "--public-flat-rw" not in log
    commands = (directory / "commands.txt").read_text(encoding="utf-8")
    assert "public.vlt" in commands
    assert "--public" not in commands
    assert "--trace" not in commands
    run(DESIGN, "selftest", "ports_only", seed=seed)


def test_time_counts_cycles(seed: int) -> None:
    assert run(DESIGN, "selftest", "time_counts", seed=seed).passed


def test_build_is_kept() -> None:
    first = build(DESIGN)
    stamp = (first / "checker").stat().st_mtime_ns
    assert build(DESIGN) == first
    assert (first / "checker").stat().st_mtime_ns == stamp


def test_failure_tells_how_to_repeat_it_and_leaves_waves() -> None:
    waves = build_root() / "waves" / "checker-ianus-ianus_ck-selftest-fails.vcd"
    waves.unlink(missing_ok=True)
    with pytest.raises(CosimError, match=r"drew \d+") as caught:
        run(DESIGN, "selftest", "fails", seed=7)
    text = str(caught.value)
    command = (
        "python -m sim.bench checker selftest fails --config ianus --timing ianus_ck --seed 7 --rounds 1"
    )
    assert f"reproduce: {command}" in text
    assert f"waves: {waves}" in text
    assert "op0" in waves.read_text(encoding="utf-8")
    log = re.search(r"^log: (.*)$", text, re.MULTILINE)
    assert log is not None
    assert "AssertionError" in Path(log[1]).read_text(encoding="utf-8")


def test_a_failure_is_shrunk_to_the_items_it_needs() -> None:
    with pytest.raises(CosimError, match="3 numbers are large") as caught:
        run(DESIGN, "selftest", "fails_on_a_few", seed=7)
    text = str(caught.value)
    stimulus = re.search(r"^stimulus: (\S+) \(3 of \d+ items fail alike\)$", text, re.MULTILINE)
    assert stimulus is not None, text
    lines = Path(stimulus[1]).read_text(encoding="utf-8").splitlines()
    assert len(lines) == 3
    assert all(int(line.rpartition(" ")[2]) > 900 for line in lines)
    keep = spell(told(Path(stimulus[1])))
    assert f"--seed 7 --rounds 1 --keep '{keep}'" in text
    with pytest.raises(CosimError, match="3 numbers are large at cycle 59") as again:
        run(DESIGN, "selftest", "fails_on_a_few", seed=7, keep=keep, trace_failure=False)
    assert f"--keep '{keep}'" in str(again.value)


def test_same_seed_draws_the_same() -> None:
    def drawn(seed: int) -> str:
        with pytest.raises(CosimError, match=r"drew \d+") as caught:
            run(DESIGN, "selftest", "fails", seed=seed, waves=True)
        found = re.search(r"drew \d+", str(caught.value))
        assert found is not None
        return found[0]

    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_no_test_is_no_pass(seed: int) -> None:
    with pytest.raises(CosimError, match=r"no test ran|without results"):
        run(DESIGN, "selftest", "there_is_no_such_test", seed=seed)


def test_a_simulator_that_dies_is_no_pass(seed: int) -> None:
    with pytest.raises(CosimError, match="without results"):
        run(DESIGN, "there_is_no_such_module", "ports_only", seed=seed)


def test_result_is_what_the_test_took(seed: int) -> None:
    result = run(DESIGN, "selftest", "time_counts", seed=seed)
    assert isinstance(result, Result)
    assert result.name == "time_counts"
    assert result.seconds > 0
