"""`ianus exec` on the golden model, and its comparison with a device that is wrong in a known way."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from host_runtime import cli
from host_runtime.transport import open_transport
from host_runtime.transport.model import ModelTransport
from pim_model.numerics.bf16 import bf16_to_f32, f32_to_bf16
from pim_model.spec.config import Config
from pim_model.spec.registers import Reg
from pim_model.trace import Entry

KEYS = {
    "statements", "dropped", "cycles", "ck", "closing_ck", "commands", "violations", "macros", "backend", "timing",
    "seconds", "excess_cycles", "bound_by", "mismatches", "refreshes",
}  # fmt: skip

SUM = "W GPR 0\nW GPR 1\nR GPR 0\nR GPR 1\nAiM EWADD 1 0 1\nR GPR 0\nW MEM 1 2 3\nR CFR 0 0\nAiM EOC\n"


@pytest.fixture
def trace(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        path = tmp_path / "a.trace"
        path.write_text(text)
        return path

    return write


def run(*arguments: object) -> int:
    return cli.run(["exec", *(str(argument) for argument in arguments)])


def run_json(capsys: pytest.CaptureFixture[str], *arguments: object, code: int = 0) -> Any:
    assert run(*arguments, "--json", "-") == code
    return json.loads(capsys.readouterr().out)


def test_result_of_a_small_trace(capsys: pytest.CaptureFixture[str], trace: Callable[[str], Path]) -> None:
    result = run_json(capsys, trace(SUM), "--config", "tiny", "--timing", "aim_simulator")
    assert set(result) >= KEYS
    a, b, total = (np.frombuffer(bytes.fromhex(read["data"]), "<u2") for read in result["gprs_read"])
    assert np.array_equal(
        total, f32_to_bf16(bf16_to_f32(a.astype(np.uint16)) + bf16_to_f32(b.astype(np.uint16)))
    )
    assert [read["line"] for read in result["gprs_read"]] == [3, 4, 6]
    assert result["cfrs_read"] == [{"line": 8, "cfr": 0, "value": 1}]
    assert (result["statements"], result["instructions"], result["macros"]) == (9, 2, 2)
    # ACT, then WR after tRCDWR 28; PREA waits for WL 6, BL 2 and tWR 33.
    assert result["commands"] == {"ACT": 1, "WR": 1, "PREA": 1}
    assert (result["cycles"], result["ck"], result["closing_ck"]) == (29, 29, 41)
    assert result["bound_by"]["tRCDWR"] == {"commands": 1, "cycles": 27}


def test_ck_are_cycles_times_their_ck(
    capsys: pytest.CaptureFixture[str], trace: Callable[[str], Path]
) -> None:
    result = run_json(capsys, trace(SUM), "--config", "tiny")
    assert (result["cycles"], result["ck"]) == (13, 26)  # tRCDWR 24 CK, two a cycle


def test_refresh_is_counted_and_can_be_off(
    capsys: pytest.CaptureFixture[str], trace: Callable[[str], Path]
) -> None:
    text = "\n".join([f"AiM MAC_ABK 8 3 {row % 60}" for row in range(300)] + ["AiM EOC"])
    on = run_json(capsys, trace(text), "--config", "tiny")
    off = run_json(capsys, trace(text), "--config", "tiny", "--no-refresh")
    assert on["refreshes"] == on["commands"]["REFAB"] > 8
    assert off["refreshes"] == 0
    assert on["cycles"] > off["cycles"]
    assert on["excess_cycles"] == off["excess_cycles"] == 0


def test_a_trace_longer_than_the_buffer_is_cut(
    capsys: pytest.CaptureFixture[str], trace: Callable[[str], Path]
) -> None:
    text = "\n".join(["AiM MAC_ABK 1 3 1"] * 1000 + ["AiM EOC"])  # 494 places
    result = run_json(capsys, trace(text), "--config", "tiny", "--no-refresh")
    assert result["macros"] == 3
    assert result["commands"] == {"ACTAB": 6, "MACAB": 2000, "PREA": 6}, "closed after each PROGRAM"


def test_vcd_and_table(
    capsys: pytest.CaptureFixture[str], trace: Callable[[str], Path], tmp_path: Path
) -> None:
    assert run(trace(SUM), "--config", "tiny", "--vcd", tmp_path / "a.vcd") == 0
    assert "WR" in (tmp_path / "a.vcd").read_text()
    out = capsys.readouterr().out
    assert "26, and 44 to close the channels" in out
    assert "tRCDWR" in out


@pytest.mark.parametrize(
    ("text", "options", "sentence"),
    [
        ("AiM MAC_ABK 1 1\nAiM EOC", (), "line 1, column 16: expected row, found the end of the line"),
        ("AiM AF 15\nAiM EOC", (), "line 1, column 8: mask must be .*--fold-channels drops it"),
        ("AiM SYNC", (), "line 1, column 1: expected AiM EOC"),
        ("AiM AF 1\nAiM EOC", ("--mask-order", "reverse"), "'reverse' is not one of 'plain', 'peer'"),
    ],
)
def test_bad_input_is_a_sentence_and_nothing_runs(
    capsys: pytest.CaptureFixture[str],
    trace: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    options: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.setattr("host_runtime.cli.exec.run_trace", lambda *_: pytest.fail("it ran"))
    assert run(trace(text), "--config", "tiny", *options) == 2
    assert re.search(sentence, capsys.readouterr().err)


def test_missing_trace(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert run(tmp_path / "none.trace") == 2
    assert "does not exist" in capsys.readouterr().err


# --- another device beside the golden one


class Wrong(ModelTransport):
    """A golden device under another name, that can be told to be wrong."""

    fault = ""

    def read_memory(self, address: int, size: int) -> bytes:
        data = super().read_memory(address, size)
        if self.fault == "buffer" and size > 32:
            data = bytes([data[0] ^ 1]) + data[1:]
        return data

    def peek(self, address: int, size: int) -> bytes:
        return bytes(size) if self.fault == "memory" else super().peek(address, size)

    def read_register(self, offset: int) -> int:
        return 3 if self.fault == "violations" and offset == Reg.VIOLATIONS else super().read_register(offset)

    def recorded(self) -> list[Entry]:
        entries = super().recorded()
        if self.fault == "late":
            entries[-1] = entries[-1]._replace(cycle=entries[-1].cycle + 9)
        if self.fault == "order":
            entries.append(entries[0]._replace(cycle=entries[-1].cycle + 9))
        return entries


@pytest.mark.parametrize(
    ("fault", "code", "expected"),
    [
        ("", 0, {"mismatches": 0, "compared": 16 * (2 + 18 + 3 + 1), "same_order": True, "excess_cycles": 0}),
        ("buffer", 1, {"mismatches": 2}),
        ("memory", 1, {"mismatches": 16}),
        ("violations", 1, {"mismatches": 0, "violations": 3}),
        ("late", 0, {"mismatches": 0, "excess_cycles": 9, "same_order": True}),
        ("order", 1, {"mismatches": 0, "same_order": False}),
    ],
)
def test_comparison_with_the_golden_device(
    capsys: pytest.CaptureFixture[str],
    trace: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    fault: str,
    code: int,
    expected: dict[str, int],
) -> None:
    def opened(name: str, shape: Config, *others: Any) -> Any:
        return Wrong(shape) if name == "verilator" else open_transport(name, shape, *others)

    monkeypatch.setattr("host_runtime.cli.exec.open_transport", opened)
    monkeypatch.setattr(Wrong, "fault", fault)
    request = (trace(SUM), "--config", "tiny", "--backend", "verilator", "--no-refresh")
    result = run_json(capsys, *request, code=code)
    assert {key: result[key] for key in expected} == expected
    assert result["golden"]["cycles"] == 13


# --- the peer's traces

ALL_ISR = (
    (28 + 1)  # ACT for W MEM, tRCDWR; WR; ACT for WR_SBK on the next cycle, nothing binds it
    + (28 + 2)  # tRCDWR, tCCD: two WR
    + (6 + 2 + 33)  # WL + BL + tWR: PREA
    + (2 + 32)  # tPPD, tMODIN
    + (2 + 2 + 3)  # tCCD, tCCD: WRGB twice, WRBIAS; tMODWR
    + (32 + 56)  # tMODOUT, ACTAB, tRCDMAC
    + 11 * 2  # tCCD: four MACAB, four MACSB, four EWMUL
    + (39 + 32)  # tEWPRE, tRP
    + (86 + 12)  # ACTAF, tRCDAF, AF, tAFPRE
    + (2 + 32)  # tPPD, tMODIN
    + (2 + 2 + 1)  # RDMAC, tCCD, RDAF, its burst; EWADD aligns the channels the cycle after
    + (32 + 66)  # tMODOUT, ACT, tRCDRDCP
    + (2 + 56 + 2)  # tCCD, tCPMAC, tCCD: RDCP twice, WRCP twice
    + (6 + 2 + 33)  # WL + BL + tWR; the RDs fit in
    + (32 + 28)  # tRP, ACTAB, tRCDWR
    + 1  # WRBK
)
"""All channels' critical path in all_isr, by the numbers of ``aim_simulator``."""


@pytest.mark.parametrize(
    ("name", "peer", "own"),
    [
        # Name, CK in the peer, CK here. The peer's are for its 32 channels.
        ("all_isr", 689, ALL_ISR),
        ("micro_rdmac_1024_16banks", 3106, 32 + 2 * 1023 + 2),  # tMODIN, tCCD, the last burst
        ("micro_wrbias_1024_16banks", 2083, 32 + 2 * 1023 + 1),
    ],
)
def test_ck_beside_the_peers(
    capsys: pytest.CaptureFixture[str], shared: Path, name: str, peer: int, own: int
) -> None:
    path = shared / "traces" / f"{name}.trace"
    options = ("--fold-channels", "--timing", "aim_simulator", "--no-refresh")
    result = run_json(capsys, path, *options)
    assert result["ck"] == own
    assert own < 1.05 * peer
