"""Every timing rule of the device as one row: scope, before, after, expression, source.

``after`` may not follow ``before`` by less than the expression, where both touch the same instance of ``scope``:

* ``BANK``: a bank that both commands address (an all-bank command addresses each);
* ``GROUP``: a bank group;
* ``CHANNEL``: the channel;
* ``COLUMN``: a column of the global buffer.

With dual row buffers a rule of scope BANK leaves commands to different buffers alone (``row_buffers.py``).

Sources: P = IANUS (ASPLOS 2024), Table 1; S = arkhadem/aim_simulator, GDDR6.cpp (line); R = register-transfer code of
a public AiM FPGA controller; D = this project's decision, with its reason. Values are in ``timing.py``.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from .micro import MicroOp as Op


class Scope(Enum):
    """Where a rule binds."""

    BANK = "bank"
    GROUP = "bank group"
    CHANNEL = "channel"
    COLUMN = "buffer column"


@dataclass(frozen=True)
class Rule:
    """``after`` at least ``expression`` (CK) later than ``before`` within ``scope``."""

    name: str
    scope: Scope
    before: frozenset[Op]
    after: frozenset[Op]
    expression: str
    source: str


ACTS = (Op.ACT, Op.ACT4, Op.ACTAB, Op.ACTAF)
DATA_ACTS = (Op.ACT, Op.ACT4, Op.ACTAB)
PRES = (Op.PRE, Op.PREA, Op.PREP)
REFS = (Op.REFPB, Op.REFAB)
MACS = (Op.MACSB, Op.MAC4B, Op.MACAB)
READS = (Op.RD, *MACS, Op.RDCP, Op.RDMAC, Op.RDAF, Op.EWMUL)
WRITES = (Op.WR, Op.WRBK, Op.WRGB, Op.WRCP, Op.WRBIAS)
RESULTS = (Op.RDMAC, Op.RDAF)
REGISTERS = (Op.WRGB, Op.WRBIAS, *RESULTS)
OTHERS = tuple(op for op in Op if op not in (Op.NOP, Op.TMOD_IN, Op.TMOD_OUT))

B, G, C, K = Scope.BANK, Scope.GROUP, Scope.CHANNEL, Scope.COLUMN

_ROWS: tuple[tuple[str, Scope, tuple[Op, ...], tuple[Op, ...], str, str], ...] = (
    # name         scope  before                        after                          expression                  source
    # --- rows: open, close, refresh
    ("tRC",          B, ACTS,                         ACTS,                          "tRC",                      "S 857-858, 937-938, 981"),
    ("tRP",          B, PRES,                         ACTS,                          "tRP",                      "P; S 864-865, 943-944, 985"),
    ("tRAS",         B, ACTS,                         PRES,                          "tRAS",                     "P; S 861-862, 940-941, 983"),
    ("tPPD",         B, PRES,                         PRES,                          "tPPD",                     "S 902-903, 986; one command a CK elsewhere"),
    ("tRTP",         B, (Op.RD, Op.RDCP),             PRES,                          "tRTP",                     "S 845, 930, 977"),
    ("tWR",          B, (Op.WR, Op.WRCP, Op.WRBK),    PRES,                          "WL + BL + tWR",            "P; S 848, 932, 978"),
    ("tMACPRE",      B, MACS,                         PRES,                          "tMACPRE",                  "R; S 845-846"),
    ("tAFPRE",       B, (Op.AF,),                     PRES,                          "tAFPRE",                   "R; S 845-846"),
    ("tEWPRE",       B, (Op.EWMUL,),                  PRES,                          "tEWPRE",                   "S 849"),
    ("tRPref",       B, PRES,                         REFS,                          "tRP",                      "S 884, 896, 951, 994"),
    ("tRCref",       B, ACTS,                         REFS,                          "tRC",                      "S 883, 895, 950, 993"),
    ("tRFCab",       B, (Op.REFAB,),                  (*ACTS, *REFS),                "tRFCab",                   "S 889"),
    ("tRFCpb",       B, (Op.REFPB,),                  (*ACTS, *REFS),                "tRFCpb",                   "S 898, 953, 998"),
    ("tRREFD",       C, (Op.REFPB,),                  (*ACTS, Op.REFPB),             "tRREFD",                   "S 900"),
    ("tRRDref",      C, ACTS,                         (Op.REFPB,),                   "tRRDL",                    "S 893"),
    ("tRRDS",        C, (Op.ACT, Op.ACT4),            (Op.ACT, Op.ACT4),             "tRRDS",                    "S 853"),
    ("tRRDL",        G, (Op.ACT, Op.ACT4),            (Op.ACT, Op.ACT4),             "tRRDL",                    "S 936"),
    # --- row to column
    ("tRCDRD",       B, DATA_ACTS,                    (Op.RD,),                      "tRCDRD",                   "P; S 872, 959, 972"),
    ("tRCDWR",       B, DATA_ACTS,                    (Op.WR,),                      "tRCDWR",                   "P; S 876, 962, 975"),
    ("tRCDWRBK",     B, ACTS,                         (Op.WRBK,),                    "tRCDWR",                   "S 874"),
    ("tRCDMAC",      B, DATA_ACTS,                    MACS,                          "tRCDMAC",                  "R all-bank; S 867, 870, 957, 970"),
    ("tRCDAF",       B, ACTS,                         (Op.AF,),                      "tRCDAF",                   "S 868"),
    ("tRCDEW",       B, DATA_ACTS,                    (Op.EWMUL,),                   "tRCDEW",                   "S 869"),
    ("tRCDRDCP",     B, DATA_ACTS,                    (Op.RDCP,),                    "tRCDRDCP",                 "S 871, 958, 971"),
    ("tRCDWRCP",     B, DATA_ACTS,                    (Op.WRCP,),                    "tRCDWRCP",                 "S 875, 961, 974"),
    # --- column to column
    ("tCCDrd",       C, READS,                        READS,                         "tCCD",                     "P; S 781, 791, 798-799, 913"),
    ("tCCDwr",       C, (*WRITES, Op.EWMUL),          (*WRITES, Op.EWMUL),           "tCCD",                     "P; S 782, 792, 800-801, 914"),
    ("tRTW",         C, (Op.RD,),                     (Op.WR, Op.WRBK, Op.WRCP),     "RL + BL + tRTW - WL",      "S 809-810"),
    ("tRTWreg",      C, (Op.RD,),                     (Op.WRGB, Op.WRBIAS),          "RL + BL + tRTW - WLREG",   "S 813-814"),
    ("tRESW",        C, RESULTS,                      (Op.WR, Op.WRBK, Op.WRCP),     "RLREG + BL + tRTW - WL",   "S 811-812"),
    ("tRESWreg",     C, RESULTS,                      (Op.WRGB, Op.WRBIAS),          "RLREG + BL + tRTW - WLREG", "S 815-816"),
    ("tWTRS",        C, (Op.WR, Op.WRCP),             (Op.RD,),                      "WL + BL + tWTRS",          "S 823"),
    ("tWTRL",        G, (Op.WR, Op.WRCP),             (Op.RD,),                      "WL + BL + tWTRL",          "S 921"),
    ("tWTRbk",       C, (Op.WRBK,),                   (Op.RD, *RESULTS),             "WL + BL + tWTRL",          "S 824, 832"),
    ("tWTRres",      C, (Op.WR,),                     RESULTS,                       "WL + BL + tWTRL",          "S 823, 831"),
    ("tGBTR",        C, (Op.WRGB,),                   (Op.RD, *RESULTS),             "WLREG + BL + tWTRS",       "S 825"),
    ("tBIASTR",      C, (Op.WRBIAS,),                 (Op.RD, *RESULTS),             "WLREG + BL + tWTRL",       "S 826, 833"),
    ("tRDRES",       C, (Op.RD,),                     RESULTS,                       "RL + BL - RLREG",          "D: data leave in order, one burst after the other"),
    # --- hazards that the peer leaves out and hardware needs
    ("tWTRint",      C, (Op.WR, Op.WRBK, Op.WRCP),    (*MACS, Op.RDCP, Op.EWMUL, Op.AF), "WL + BL + tWTRL",      "D: an internal read waits for the array as a read does"),
    ("tGBMAC",       K, (Op.WRGB,),                   MACS,                          "tGBMAC",                   "D: the column is in the buffer before a PU reads it"),
    ("tMACGB",       K, MACS,                         (Op.WRGB,),                    "tCCD",                     "D: the PUs have read the column before it changes"),
    ("tCPMAC",       C, (Op.RDCP,),                   (*MACS, Op.WRCP),              "tCPMAC",                   "D: as tGBMAC, after the bank's read latency"),
    ("tGBCP",        C, (Op.WRGB,),                   (Op.WRCP,),                    "tGBMAC",                   "D: as tGBMAC"),
    ("tMACCP",       C, MACS,                         (Op.RDCP,),                    "tCCD",                     "D: as tMACGB; RDCP fills a column of the buffer"),
    ("tCPGB",        C, (Op.RDCP,),                   (Op.WRGB, Op.WRBIAS),          "RL + BL + tRTW - WLREG",   "D: as RD to WRGB"),
    ("tBIASMAC",     C, (Op.WRBIAS,),                 (*MACS, Op.AF),                "tBIASMAC",                 "D: the accumulator is loaded before it is added to"),
    ("tMACBIAS",     C, MACS,                         (Op.WRBIAS,),                  "tMACRD",                   "D: the adder pipeline has drained before a load"),
    ("tMACRD",       C, MACS,                         (Op.RDMAC,),                   "tMACRD",                   "D: multiply, align, add tree, convert, add: ten stages at 1 GHz"),
    ("tMACAF",       C, MACS,                         (Op.AF,),                      "tMACRD",                   "D: as tMACRD"),
    ("tAFRD",        C, (Op.AF,),                     (Op.RDAF,),                    "tAFRD",                    "D: look-up, multiply, add before the register is read"),
    ("tAFBIAS",      C, (Op.AF,),                     (Op.WRBIAS,),                  "tAFRD",                    "D: the look-up has read the accumulator"),
    ("tINTW",        C, (*MACS, Op.RDCP, Op.AF),      (Op.WR, Op.WRBK, Op.WRCP),     "RL + BL + tRTW - WL",      "D: as RD to WR: the array is read before it changes"),
    ("tEWTR",        B, (Op.EWMUL,),                  (Op.RD, Op.WR, Op.WRBK, *MACS, Op.RDCP, Op.WRCP), "tEWPRE", "D: the product is in the array when the row may close, and no sooner for sure"),
    ("tAFAF",        C, (Op.AF,),                     (Op.AF,),                      "tAFRD",                    "D: one look-up at a time, whichever the accumulator set"),
    ("tRDAFAF",      C, (Op.RDAF,),                   (Op.AF,),                      "tCCD",                     "D: as tMACGB; the result has been read before it changes"),
    # --- register mode
    ("tMODIN",       C, (Op.TMOD_IN,),                REGISTERS,                     "tMODIN",                   "R; S 905"),
    ("tMODIN2",      C, (Op.TMOD_IN,),                (Op.TMOD_OUT,),                "tMODIN",                   "S 905"),
    ("tMODOUT",      C, (Op.TMOD_OUT,),               (*OTHERS, Op.TMOD_IN),         "tMODOUT",                  "R; S 905"),
    ("tMODWR",       C, (Op.WRGB, Op.WRBIAS),         (Op.TMOD_OUT,),                "WLREG + BL",               "D: the write's data has arrived before the mode changes"),
    ("tMODRD",       C, RESULTS,                      (Op.TMOD_OUT,),                "RLREG + BL",               "D: the read's data has left before the mode changes"),
    ("tRPmod",       C, PRES,                         (Op.TMOD_IN,),                 "tPPD",                     "R: no row open; one command before"),
    ("tRFCmod",      C, REFS,                         (Op.TMOD_IN,),                 "tRFCab",                   "D: as a mode register set, a mode change waits for the refresh"),
    # --- dual row buffers: between the two buffers, whichever the banks
    ("tRRDpim",      C, (Op.ACT,),                    (Op.ACTAB, Op.ACTAF),          "tRRDL",                    "D: as tRRDL; both kinds of activation draw on the same charge pumps"),
    ("tRRDmem",      C, (Op.ACTAB, Op.ACTAF),         (Op.ACT,),                     "tRRDL",                    "D: as tRRDpim"),
)

DUAL_RULES = frozenset({"tRRDpim", "tRRDmem"})
"""Rules of devices with dual row buffers alone."""

RULES: tuple[Rule, ...] = tuple(
    Rule(name, scope, frozenset(before), frozenset(after), expression, source)
    for name, scope, before, after, expression, source in _ROWS
)
"""All rules. A preset may give one the value zero: it then binds nothing there."""

FAW_OPS = {Op.ACT: 1, Op.ACT4: 4}
"""Activations that each command counts in the tFAW window (at most four a window)."""
