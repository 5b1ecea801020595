"""The peer's trace language: what is read, where each mistake is, and what a statement becomes on a device."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from pim_model.isr_program import Fetch, Fill, TraceProgram, translate
from pim_model.isr_trace import TraceError, read_trace
from pim_model.spec.config import config
from pim_model.spec.isr import Instruction
from pim_model.spec.macro import MacroOp as M

TINY, IANUS = config("tiny"), config("ianus")


def program(text: str, **options: object) -> TraceProgram:
    return translate(read_trace(text + "\nAiM EOC"), TINY, **options)  # type: ignore[arg-type]


# --- syntax


def test_blanks_comments_and_both_ends() -> None:
    text = "# AiM [opcode]\r\n     \n\tAiM  MAC_ABK 0x2 15\t0x0A  \n# W GPR 1\nW GPR 3   \n"
    text += "R CFR 2 0\nAiM ISR_EOC   \n\n  # end\n"
    found = read_trace(text)
    assert [(s.kind, s.what, [f.value for f in s.fields], s.line, s.column) for s in found] == [
        ("AiM", "MAC_ABK", [2, 15, 10], 3, 2),
        ("W", "GPR", [3], 5, 1),
        ("R", "CFR", [2, 0], 6, 1),
        ("AiM", "EOC", [], 7, 1),
    ]
    assert [field.column for field in found[0].fields] == [15, 19, 22]


@pytest.mark.parametrize(
    ("text", "line", "column", "message"),
    [
        ("", 1, 1, "expected AiM EOC as the last statement, found the end of the trace"),
        ("AiM SYNC\n", 2, 1, "expected AiM EOC as the last statement, found the end of the trace"),
        ("# ok\n  aim SYNC", 2, 3, "expected AiM, R, W or #, found 'aim'"),
        ("#comment", 1, 1, "expected AiM, R, W or # alone, found '#comment'"),
        ("AiM  ", 1, 4, "expected one of WR_SBK, .*, EOC, found the end of the line"),
        ("AiM MACAB 1", 1, 5, "expected one of WR_SBK, .*, EOC, found 'MACAB'"),
        ("W ISR_EOC", 1, 3, "expected one of GPR, CFR, MEM, found 'ISR_EOC'"),
        ("AiM WR_GB 2 2", 1, 14, "expected mask, found the end of the line"),
        ("AiM SYNC\nW MEM 1 2", 2, 10, "expected row, found the end of the line"),
        ("AiM AF 15 3", 1, 11, "expected the end of the line, found '3'"),
        ("AiM AF 15 # note", 1, 11, "expected the end of the line, found '#'"),
        ("AiM AF 1x", 1, 8, "expected mask, a decimal or 0x number, found '1x'"),
        ("AiM AF -1", 1, 8, "expected mask, a decimal or 0x number, found '-1'"),
        ("AiM AF " + "9" * 5000, 1, 8, "expected mask, a decimal or 0x number"),
        ("AiM EOC\nAiM EOC", 2, 1, "expected nothing after AiM EOC on line 1, found 'AiM'"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, line: int, column: int, message: str) -> None:
    with pytest.raises(TraceError, match=rf"^line {line}, column {column}: {message}") as caught:
        read_trace(text)
    assert (caught.value.line, caught.value.column) == (line, column)


# --- meaning


def test_every_op_becomes_its_instruction() -> None:
    text = """AiM WR_SBK 1 2 3 4
AiM WR_ABK 1 2 4
AiM WR_GB 5 1 3
AiM WR_BIAS 1 3
AiM RD_MAC 2 3
AiM RD_AF 2 3
AiM RD_SBK 2 1 3 4
AiM COPY_BKGB 5 3 2 4
AiM COPY_GBBK 5 3 2 4
AiM MAC_SBK 5 3 2 4
AiM MAC_ABK 5 3 4
AiM AF 3
AiM EWMUL 5 3 4
AiM EWADD 5 8 16
AiM SYNC"""
    made = program(text)
    assert made.steps == [
        Instruction(op=M.WR_SBK, size=1, gpr0=32, mask=2, bank=3, row=4),
        Instruction(op=M.WR_ABK, size=1, gpr0=32, mask=2, row=4),
        Instruction(op=M.WR_GB, size=5, gpr0=32, mask=3),
        Instruction(op=M.WR_BIAS, gpr0=32, mask=3),
        Instruction(op=M.RD_MAC, gpr0=64, mask=3),
        Instruction(op=M.RD_AF, gpr0=64, mask=3),
        Instruction(op=M.RD_SBK, size=1, gpr0=64, mask=1, bank=3, row=4),
        Instruction(op=M.COPY_BKGB, size=5, mask=3, bank=2, row=4),
        Instruction(op=M.COPY_GBBK, size=5, mask=3, bank=2, row=4),
        Instruction(op=M.MAC_SBK, size=5, mask=3, bank=2, row=4),
        Instruction(op=M.MAC_ABK, size=5, mask=3, row=4),
        Instruction(op=M.AF, mask=3, function=0),
        Instruction(op=M.EWMUL, size=5, mask=3, row=4),
        Instruction(op=M.EWADD, size=5, gpr0=256, gpr1=512),
        Instruction(op=M.SYNC),
    ]
    assert (made.statements, made.dropped, made.gprs) == (16, 0, 21)


def test_control_registers_are_folded_in() -> None:
    text = """AiM MAC_ABK 1 1 0
W CFR 0 0
AiM MAC_ABK 1 1 0
AiM MAC_SBK 1 1 0 0
AiM EWMUL 1 1 0
W CFR 1 1
R CFR 1 0
AiM EWMUL 1 1 0
W CFR 2 7
AiM AF 1
W CFR 0 1
AiM MAC_SBK 1 1 0 0"""
    made = program(text)
    assert [each.mode for each in made.instructions] == [0, 2, 2, 0, 2, 0, 0]
    assert made.instructions[5].function == 7
    assert made.registers == [(7, 1, 1)]


def test_memory_statements_are_accesses_in_program_order() -> None:
    made = program("W MEM 1 2 3\nAiM SYNC\nR MEM 1 2 3\nW MEM 0 0 0")
    first = TINY.buffer_words - 16 - 2  # 16 words to write, one a channel to read
    assert made.steps == [
        Instruction(op=M.WR_SBK, size=1, mask=2, bank=2, row=3, gpr0=32 * first),
        Instruction(op=M.SYNC),
        Instruction(op=M.RD_SBK, size=1, mask=2, bank=2, row=3, gpr0=32 * (first + 17)),
        Instruction(op=M.WR_SBK, size=1, mask=1, bank=0, row=0, gpr0=32 * (first + 1)),
    ]
    assert made.contents[1].offset == 32 * first


def test_contents_come_from_the_seed() -> None:
    text = "W GPR 2\nAiM WR_GB 2 2 1"
    one, same, other = (program(text, seed=seed) for seed in (1, 1, 2))
    assert one.contents == same.contents
    assert one.steps == same.steps
    assert one.contents != other.contents
    filled = one.steps[0]
    assert isinstance(filled, Fill)
    assert filled.offset == 64
    values = np.frombuffer(filled.data, "<u2")
    assert values.size == 16
    assert len(set(values.tolist())) > 8
    assert one.contents[0] == Fill(0, one.contents[0].data)
    assert len(one.contents[0].data) == 4 * 32


def test_masks_in_the_peers_order() -> None:
    made = program("AiM AF 0x80000000\nAiM AF 0x40000000\nAiM AF 0xC0000000", mask_order="peer")
    assert [each.mask for each in made.instructions] == [1, 2, 3]


def test_folding_drops_and_counts() -> None:
    made = program("AiM AF 0x0F\nAiM AF 0x0C\nW MEM 2 0 0\nR MEM 1 0 0\nAiM AF 1", fold=True)
    assert [each.mask for each in made.instructions] == [3, 2, 1]
    assert (made.statements, made.dropped, made.dropped_bits) == (6, 2, 4)


@pytest.mark.parametrize(
    ("line", "column", "message"),
    [
        ("AiM AF 4", 8, "mask must be a mask of the device's 2 channels \\(channel 2 is absent"),
        ("AiM AF 0", 8, "mask must be a mask of 1 to 32 channels"),
        ("AiM AF 0x100000000", 8, "mask must be a mask of 1 to 32 channels"),
        ("W MEM 2 0 0", 7, "channel must be one of the device's 2 channels"),
        ("W MEM 32 0 0", 7, "channel must be from 0 to 31"),
        ("W MEM 0 4 0", 9, "bank must be from 0 to 3"),
        ("AiM MAC_ABK 9 1 0", 13, "opsize must be from 1 to 8"),
        ("AiM MAC_ABK 0 1 0", 13, "opsize must be from 1 to 8"),
        ("AiM EWADD 65 1 0", 11, "opsize must be from 1 to 64"),
        ("AiM MAC_ABK 1 1 64", 17, "row must be from 0 to 63"),
        ("AiM MAC_SBK 1 1 4 0", 17, "bank must be from 0 to 3"),
        ("W CFR 3 0", 7, "CFR id must be from 0 to 2"),
        ("W CFR 0 2", 9, "data must be from 0 to 1"),
        ("W CFR 2 8", 9, "data must be from 0 to 7"),
        ("W GPR 493", 7, "GPR id must be a GPR up to 492"),
        ("AiM WR_GB 2 492 1", 13, "gpr0 must be a GPR up to 491, for 2 of them"),
        ("AiM EWADD 2 0 492", 15, "gpr1 must be a GPR up to 491, for 2 of them"),
    ],
)
def test_what_the_device_lacks_is_told_with_its_place(line: str, column: int, message: str) -> None:
    with pytest.raises(TraceError, match=rf"^line 2, column {column}: {message}"):
        program(f"AiM SYNC\n{line}")


def test_the_largest_gpr_leaves_room_for_one_instruction() -> None:
    assert program("W GPR 492").room(TINY) == 1


# --- cutting into PROGRAMs


def test_programs_are_cut_at_the_limit() -> None:
    made = program("\n".join(["AiM SYNC"] * 7))
    assert [len(phase.instructions) for phase in made.phases(3)] == [3, 3, 1]


def test_the_host_waits_only_for_instructions_that_have_the_gpr() -> None:
    made = program("W GPR 1\nAiM WR_GB 1 1 1\nW GPR 2\nR GPR 1\nAiM RD_MAC 2 3\nR GPR 3")
    phases = list(made.phases(100))
    before = [[step.offset // 32 for step in phase.before] for phase in phases]
    # GPR 2 is filled ahead of the first PROGRAM; GPR 1 is read after it, GPRs 2 and 3 are channel 0's and 1's result.
    assert before == [[1, 2], [1], [3]]
    assert [[each.op for each in phase.instructions] for phase in phases] == [[M.WR_GB], [M.RD_MAC], []]
    last = phases[2].before[0]
    assert isinstance(last, Fetch)
    assert last.line == 6


# --- the peer's own traces


@pytest.mark.parametrize(
    ("name", "statements", "options"),
    [
        ("all_isr", 54, {}),
        ("micro_macab_1024_16banks", 1025, {"fold": True}),
        ("micro_rdmac_1024_16banks", 1025, {"fold": True}),
        ("micro_wrab_1024_1bank", 1025, {"mask_order": "peer"}),
        ("micro_wrbias_1024_16banks", 1025, {"fold": True}),
        ("micro_wrgb_gbbk_bggb_16banks", 3073, {"fold": True}),
    ],
)
def test_the_peers_traces(name: str, statements: int, options: dict[str, object], shared: Path) -> None:
    text = (shared / "traces" / f"{name}.trace").read_text()
    made = translate(read_trace(text), IANUS, **options)  # type: ignore[arg-type]
    assert made.statements == statements
    assert made.dropped == 0
    if name.startswith("micro"):
        assert len(made.instructions) == statements - 1
        assert made.dropped_bits == (24 * (statements - 1) if "fold" in options else 0)
