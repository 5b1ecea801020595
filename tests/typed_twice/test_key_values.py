"""Key numbers, typed a second time by hand from the documents, so that a wrong shared number cannot hide.

Nothing here is computed from ``pim_model.spec``. Change a value here only with its document open.
"""

from __future__ import annotations

from dataclasses import replace

import pytest

from pim_model.spec.config import CONFIGS, RefreshPolicy, config
from pim_model.spec.errors import Status, Violation
from pim_model.spec.geometry import TABLE_ROWS
from pim_model.spec.macro import MatVec, decode
from pim_model.spec.micro import MicroOp
from pim_model.spec.registers import (
    Control,
    Event,
    Feature,
    Irq,
    Reg,
    StatusBit,
    command_counter,
    event_counter,
    macro_word,
)
from pim_model.spec.timing import POSTPONED, TIMINGS, timing
from pim_model.spec.timing_rules import RULES, Scope

# --- geometry: IANUS (ASPLOS 2024), Table 1 and section 5.1


def test_ianus_geometry() -> None:
    geometry = CONFIGS["ianus"].geometry
    assert (geometry.channels, geometry.banks, geometry.row_bytes) == (8, 16, 2048)
    assert geometry.memory_bytes == 8 * 1024**3
    # "row 15, channel 3, bank 4, column 6, byte 5"
    bits = (geometry.row_bits, geometry.channel_bits, geometry.bank_bits, geometry.column_bits)
    assert bits == (15, 3, 4, 6)
    # A tile: 16 banks x 8 channels by 1024 BF16.
    assert (geometry.outputs, geometry.elements, geometry.columns) == (128, 1024, 64)
    assert geometry.slab_bytes == 256 * 1024
    assert geometry.address(row=1) == 0x40000
    assert geometry.address(0, channel=1) == 0x8000
    assert geometry.address(0, 0, bank=1) == 0x800
    assert geometry.address(0, 0, 0, column=1) == 0x20
    assert geometry.address(32767, 7, 15, 63, 31) == 0x1_FFFF_FFFF
    assert TABLE_ROWS == 8
    assert geometry.table_row(0) == 32760


def test_data_window() -> None:
    assert (config("ianus").buffer_base, config("ianus").window_bits) == (0x2_0000_0000, 34)
    assert (config("tiny").buffer_base, config("tiny").window_bits) == (0x2_0000, 18)


# --- timing in CK of 0.5 ns
# IANUS Table 1 as printed (ns): tCCD 1, tRCDRD 36, tRCDWR 24, tRP 30, tRAS 21, tWR 36; "as CK" takes tRCD,
# tRP and tWR
# in CK. aim_simulator: GDDR6.cpp by line (rule table of the peer). FPGA controller: the column of the
# GDDR6-AiM notes.
# Columns: ianus_ck, ianus_printed, aim_simulator, fpga_controller.

CLOCKS: dict[str, tuple[int, int, int, int]] = {
    "tRC": (72, 102, 89, 86),  # tRAS + tRP; peer 857
    "tRP": (30, 60, 32, 30),
    "tRAS": (42, 42, 54, 56),
    "tPPD": (2, 2, 2, 2),
    "tRTP": (6, 6, 12, 6),
    "tWR": (43, 79, 41, 37),  # WL + BL + tWR: 5+2+36, 5+2+72, 6+2+33, 5+2+30
    "tMACPRE": (34, 2, 12, 34),
    "tAFPRE": (54, 54, 12, 54),
    "tEWPRE": (30, 30, 39, 30),
    "tRPref": (30, 60, 32, 30),
    "tRCref": (72, 102, 89, 86),
    "tRFCab": (240, 240, 240, 240),
    "tRFCpb": (240, 240, 240, 240),
    "tRREFD": (21, 21, 21, 21),
    "tRRDref": (2, 2, 6, 2),
    "tRRDS": (2, 2, 5, 2),
    "tRRDL": (2, 2, 6, 2),
    "tRCDRD": (36, 72, 36, 30),
    "tRCDWR": (24, 48, 28, 24),
    "tRCDWRBK": (24, 48, 28, 24),
    "tRCDMAC": (36, 72, 56, 36),
    "tRCDAF": (86, 86, 86, 86),
    "tRCDEW": (36, 36, 25, 36),
    "tRCDRDCP": (36, 36, 66, 36),
    "tRCDWRCP": (48, 48, 48, 48),
    "tCCDrd": (2, 2, 2, 2),
    "tCCDwr": (2, 2, 2, 2),
    "tRTW": (10, 10, 50, 10),  # RL + BL + 4 - WL: 9+2+4-5, 50+2+4-6
    "tRTWreg": (10, 10, 55, 10),
    "tRESW": (10, 10, 0, 10),
    "tRESWreg": (10, 10, 5, 10),
    "tWTRS": (16, 16, 17, 16),  # WL + BL + 9
    "tWTRL": (18, 18, 19, 18),  # WL + BL + 11
    "tWTRbk": (18, 18, 19, 18),
    "tWTRres": (18, 18, 19, 18),
    "tGBTR": (16, 16, 12, 16),
    "tBIASTR": (18, 18, 14, 18),
    "tRDRES": (2, 2, 52, 2),  # RL + BL - RLREG: 9+2-9, 50+2-0
    "tWTRint": (18, 18, 19, 18),
    "tGBMAC": (4, 4, 4, 4),
    "tMACGB": (2, 2, 2, 2),
    "tCPMAC": (56, 56, 56, 56),
    "tGBCP": (4, 4, 4, 4),
    "tMACCP": (2, 2, 2, 2),
    "tCPGB": (10, 10, 55, 10),
    "tBIASMAC": (4, 4, 4, 4),
    "tMACBIAS": (20, 20, 20, 20),
    "tMACRD": (20, 20, 20, 20),
    "tMACAF": (20, 20, 20, 20),
    "tAFRD": (20, 20, 20, 20),
    "tAFBIAS": (20, 20, 20, 20),
    "tINTW": (10, 10, 50, 10),  # as tRTW
    "tEWTR": (30, 30, 39, 30),  # as tEWPRE
    "tAFAF": (20, 20, 20, 20),
    "tRDAFAF": (2, 2, 2, 2),
    "tMODIN": (34, 34, 32, 34),
    "tMODIN2": (34, 34, 32, 34),
    "tMODOUT": (8, 8, 32, 8),
    "tMODWR": (7, 7, 3, 7),
    "tMODRD": (11, 11, 2, 11),
    "tRPmod": (2, 2, 2, 2),
    "tRFCmod": (240, 240, 240, 240),
    "tRRDpim": (0, 0, 0, 0),  # of dual row buffers alone
    "tRRDmem": (0, 0, 0, 0),
}

PRESETS = ("ianus_ck", "ianus_printed", "aim_simulator", "fpga_controller")


def test_presets_have_their_numbers() -> None:
    assert TIMINGS == PRESETS
    assert [rule.name for rule in RULES] == list(CLOCKS), "rule numbers are positions in the table"
    assert len(RULES) <= Violation.ROW_OPEN


@pytest.mark.parametrize("name", CLOCKS)
@pytest.mark.parametrize("preset", PRESETS)
def test_rule_has_its_value(preset: str, name: str) -> None:
    resolved = timing(preset)
    rule = next(rule for rule in resolved.rules if rule.rule.name == name)
    clocks = CLOCKS[name][PRESETS.index(preset)]
    assert rule.clocks == clocks
    if preset == "aim_simulator":
        assert rule.cycles == clocks, "a controller cycle is one CK"
    else:
        assert rule.cycles == (clocks + 1) // 2, "a controller cycle is two CK, rounded up"


@pytest.mark.parametrize("preset", PRESETS)
def test_windows_and_refresh(preset: str) -> None:
    resolved = timing(preset)
    ck = 1 if preset == "aim_simulator" else 2
    assert resolved.ck_per_cycle == ck
    assert resolved.cycle_ns == 0.5 * ck
    assert resolved.faw_cycles == 28 // ck
    assert resolved.refresh_interval == 3800 // ck
    assert POSTPONED == 8
    assert resolved.refresh_limit == 34200 // ck
    assert resolved.direct is preset.startswith("ianus")


@pytest.mark.parametrize(("preset", "read", "result"), [("ianus_ck", 6, 6), ("aim_simulator", 52, 2)])
def test_read_latency(preset: str, read: int, result: int) -> None:
    # RL + BL: 9 + 2 CK and 50 + 2 CK; of results 9 + 2 and 0 + 2.
    assert timing(preset).cycles("RL + BL") == read
    assert timing(preset).cycles("RLREG + BL") == result


# --- command numbers: five bits on the command bus

MICRO = """NOP ACT ACT4 ACTAB ACTAF RD WR PRE PREA REFPB REFAB TMOD_IN TMOD_OUT WRGB WRBIAS RDMAC RDAF
MACSB MAC4B MACAB AF EWMUL RDCP WRCP WRBK PREP""".split()


def test_micro_command_numbers() -> None:
    assert [op.name for op in sorted(MicroOp)] == MICRO
    assert [int(op) for op in sorted(MicroOp)] == list(range(26))


# --- macro format


def test_macro_words() -> None:
    macro = MatVec(
        tag=0xABCD,
        rows=0x00C457,
        columns=0x000300,
        tokens=0x0002,
        weight_row=0x1234,
        input_offset=0x20,
        output_offset=0x2000,
        bias_offset=0x1_0000,
        function=5,
    )
    words = (0x53AB_CD01, 0x0000_C457, 0x0000_0300, 0x1234_0002, 0x20, 0x2000, 0x1_0000, 0)
    assert macro.encode() == words
    plain = (0x00AB_CD01, 0x0000_C457, 0x0000_0300, 0x1234_0001, 0x20, 0x2000, 0, 0)
    decoded = decode(plain, config("ianus"))
    assert (decoded.tag, decoded.rows, decoded.columns, decoded.tokens) == (0xABCD, 50263, 768, 1)
    assert (decoded.weight_row, decoded.input_offset, decoded.output_offset) == (0x1234, 0x20, 0x2000)
    assert decoded.bias_offset is None
    assert decoded.function is None


def test_qkv_words() -> None:
    """Three matrices: the rows of W_k and W_v in word 7, the rest a MATVEC's."""
    macro = MatVec(
        tag=0xABCD,
        rows=0x300,
        columns=0x300,
        weight_row=0x1234,
        input_offset=0x20,
        output_offset=0x2000,
        kv_rows=(0x2345, 0x6789),
    )
    words = (0x00AB_CD03, 0x300, 0x300, 0x1234_0001, 0x20, 0x2000, 0, 0x6789_2345)
    assert macro.encode() == words
    assert decode(words, config("ianus")) == macro
    assert (macro.part_stride, macro.output_stride) == (1536, 4608)
    with pytest.raises(ValueError, match=r"^kv_rows must fit in 16 bits each, not \(1, 65536\)"):
        replace(macro, kv_rows=(1, 1 << 16)).encode()


def test_status_numbers() -> None:
    names = """OK BAD_OPCODE RESERVED_BITS BAD_SHAPE BAD_FUNCTION WEIGHT_RANGE ALIGNMENT BUFFER_RANGE OVERLAP
    CHANNEL_MASK ADDRESS_RANGE PARITY""".split()
    assert [Status(number).name for number in range(len(names))] == names
    assert len(Status) == len(names)


def test_violation_numbers() -> None:
    names = """ROW_OPEN ROW_CLOSED REFRESH_OPEN MODE_OPEN REGISTER_MODE IN_REGISTER_MODE PIM_ROW TABLE_ROW FAW
    REFRESH_LATE COMMAND_BUS OPERAND SHARED_ROW""".split()
    assert [Violation(64 + number).name for number in range(len(names))] == names
    assert len(Violation) == len(names)


# --- register map

OFFSETS = {
    "ID": 0x000,
    "ABI": 0x004,
    "CHANNELS": 0x010,
    "BANKS": 0x014,
    "ROWS": 0x018,
    "ROW_BYTES": 0x01C,
    "BUFFER_BYTES": 0x020,
    "TIMING": 0x024,
    "QUEUE_DEPTH": 0x028,
    "FEATURES": 0x02C,
    "BUILD_LOW": 0x030,
    "BUILD_HIGH": 0x034,
    "CONTROL": 0x040,
    "STATUS": 0x044,
    "IRQ_ENABLE": 0x048,
    "IRQ_STATUS": 0x04C,
    "VIOLATIONS": 0x050,
    "ERRORS": 0x054,
    "INJECT": 0x058,
    "CYCLES_LOW": 0x060,
    "CYCLES_HIGH": 0x064,
    "MACRO_WORD0": 0x080,
    "MACRO_PUSH": 0x0A0,
    "MACRO_SPACE": 0x0A4,
    "COMPLETION": 0x0C0,
    "COMPLETION_CYCLES": 0x0C4,
    "COMPLETION_POP": 0x0C8,
    "ERROR_INFO": 0x100,
    "COMMANDS": 0x1000,
    "EVENTS": 0x3000,
}


def test_register_offsets() -> None:
    assert {reg.name: int(reg) for reg in Reg} == OFFSETS
    assert macro_word(7) == 0x09C
    assert command_counter(0, MicroOp.MACAB) == 0x104C
    assert command_counter(7, MicroOp.ACT) == 0x1384
    assert event_counter(0, Event.ROW_MISS) == 0x3008
    assert event_counter(7, Event.OCCUPANCY) == 0x33C0


def test_refresh_policies() -> None:
    assert (RefreshPolicy.ALL_BANK, RefreshPolicy.PER_BANK) == (0, 1)
    assert [name for name in CONFIGS if CONFIGS[name].refresh == 1] == ["ianus_refpb", "tiny_refpb"]


def test_dual_row_buffers() -> None:
    assert [name for name in CONFIGS if CONFIGS[name].dual_row_buffer] == ["ianus_dual", "tiny_dual"]
    assert [(bit.name, int(bit)) for bit in Feature] == [("DUAL_ROW_BUFFER", 1)]
    for preset in PRESETS:
        # Charge pumps: as tRRDL between single activations, 2 CK, 6 in the peer.
        clocks = {rule.rule.name: rule.clocks for rule in timing(preset, dual=True).rules}
        assert clocks["tRRDpim"] == clocks["tRRDmem"] == (6 if preset == "aim_simulator" else 2)


# NeuPIMs: what touches one row buffer alone. Typed from the design's words, not from spec/row_buffers.py.
NORMAL_BUFFER = "ACT PRE RD WR".split()
PIM_BUFFER = "ACT4 ACTAB ACTAF PREP MAC4B MACAB AF EWMUL WRBK".split()


def test_rules_of_banks_leave_the_other_buffer_alone() -> None:
    one, two = (timing("ianus_ck", dual=dual) for dual in (False, True))
    for before in MicroOp:
        for after in MicroOp:
            if MicroOp.PREP in (before, after):
                continue
            names = (before.name, after.name)
            apart = any(a in NORMAL_BUFFER and b in PIM_BUFFER for a, b in (names, names[::-1]))
            for scope in Scope:
                alone, both = (each.between(before, after, scope) for each in (one, two))
                if scope is Scope.CHANNEL and apart and "ACT" in names and {"ACTAB", "ACTAF"} & set(names):
                    assert both == max(alone, 1)
                else:
                    assert both == (0 if scope is Scope.BANK and apart else alone), f"{names}, {scope}"


def test_prep_is_a_prea_of_the_pim_buffer() -> None:
    dual = timing("ianus_ck", dual=True)
    for other in set(MicroOp) - {MicroOp.PREP}:
        for scope in Scope:
            apart = scope is Scope.BANK and other.name in NORMAL_BUFFER
            wanted = [
                0 if apart else dual.between(*pair, scope)
                for pair in ((other, MicroOp.PREA), (MicroOp.PREA, other))
            ]
            assert [
                dual.between(other, MicroOp.PREP, scope),
                dual.between(MicroOp.PREP, other, scope),
            ] == wanted


@pytest.mark.parametrize("preset", ["ianus_ck", "ianus_printed"])
def test_data_of_results_and_reads_leave_in_the_order_of_commands(preset: str) -> None:
    """RD after a result has no rule of its own: RL is no less than RLREG, and tCCD no less than a burst."""
    values = {name: timing(preset).clocks(name) for name in ("RL", "RLREG", "BL", "tCCD")}
    assert values["RLREG"] + values["BL"] <= values["tCCD"] + values["RL"]


def test_register_bits() -> None:
    assert (Control.REFRESH, Control.SOFT_RESET) == (1, 2)
    assert (StatusBit.BUSY, StatusBit.COMPLETION, StatusBit.VIOLATION, StatusBit.OVERFLOW) == (1, 2, 4, 8)
    assert (Irq.COMPLETION, Irq.ERROR) == (1, 2)
