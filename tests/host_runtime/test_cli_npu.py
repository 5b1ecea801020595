"""`ianus npu`: a run's report, the same to the byte, and sentences for what cannot be run."""

from __future__ import annotations

import json

import pytest

from host_runtime import cli

RUN = ("npu", "run", "--model", "gpt2-base", "--input", "16", "--output", "3")


def report(capsys: pytest.CaptureFixture[str], *more: str) -> str:
    assert cli.run([*RUN, *more, "--json", "-"]) == 0
    captured = capsys.readouterr()
    assert "where the time goes" in captured.err
    return captured.out


def test_two_runs_are_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert report(capsys) == report(capsys)


def test_report_adds_up(capsys: pytest.CaptureFixture[str]) -> None:
    result = json.loads(report(capsys))
    assert len(result["tokens_ns"]) == 2
    assert result["total_ns"] == pytest.approx(result["prompt"]["ns"] + sum(result["tokens_ns"]))
    assert sum(result["token"]["parts_ns"].values()) == pytest.approx(result["token"]["ns"])
    energy = result["energy_bytes_read"]
    assert energy["all"] == pytest.approx(energy["normal memory"] + energy["PIM"] + energy["NPU cores"])
    assert result["invariants_checked"] > result["commands"]


def test_golden_schedule_gives_the_same_report(capsys: pytest.CaptureFixture[str]) -> None:
    closed, golden = (json.loads(report(capsys, "--pim", name)) for name in ("closed", "golden"))
    assert closed | {"pim": "golden"} == golden


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "gpt-6.7b"), "gpt-6.7b needs 12."),
        (("--model", "gpt5"), "--model must be one of gpt2-base, gpt2-m,"),
        (("--text", "x"), "--text needs a model that can be executed"),
        (("--compare",), "--compare needs a model that can be executed"),
        (("--pim", "rtl", "--refresh"), "--refresh must be left out where the RTL gives the time"),
        (("--numerics", "fp32_tree"), "--numerics changes nothing where a shape is timed"),
        (("--trace-stage", "1"), "--trace-stage needs --trace or --vcd"),
        (("--trace", "x.json", "--trace-stage", "3"), "--trace-stage must be at most 2"),
        (("--cores", "3"), "cores must be one of 1, 2, 4, not 3"),
        (("--devices", "8"), "heads must divide among 4 cores of 8 devices, and gpt2-base has 12"),
        (("--issue-slots", "0"), "issue_slots must be at least 1, not 0"),
        (("--pending-slots", "-1"), "pending_slots must be at least 1, not -1"),
        (
            ("--input", "1024"),
            "input and output must fit in the context of 1024 tokens of gpt2-base, not need 1026",
        ),
        (("--input", "0"), "0 is not in the range x>=1"),
        (("--output", "0"), "output must be at least one token, not 0"),
        (("--head-dim", "50"), "head dimension must divide the width 768, not be 50"),
        (("--system", "npu-mem", "--schedule", "pas-pim"), "schedule pas-pim needs PIM"),
        (("--system", "npu-mem", "--dual-row-buffer"), "dual row buffers need the system ianus"),
        (("--timing", "aim_simulator", "--dual-row-buffer"), "timing must reach registers directly"),
    ],
)
def test_bad_request_is_one_sentence(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([*RUN, *arguments]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.count("Error:") == 1
    assert "Traceback" not in captured.err
