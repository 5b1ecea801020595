"""Timing presets, and the one function that turns a value into controller cycles.

A parameter is a pair (minimum CK, minimum ns): the larger counts, rounded up. Expressions of the rule rows are sums
and differences of parameters, in CK.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property

from .micro import MicroOp
from .row_buffers import rules_of
from .timing_rules import RULES, Rule, Scope


class RegisterAccess(Enum):
    """How global buffer, bias and results are reached."""

    MODE = "mode"
    """In register mode only, between TMOD_IN and TMOD_OUT, with every bank closed."""
    DIRECT = "direct"
    """At any time, under the data hazards alone."""


@dataclass(frozen=True)
class Param:
    """One timing parameter: at least ``ck`` clocks and at least ``ns`` nanoseconds."""

    ck: int
    ns: float
    source: str

    def clocks(self, tck_ns: float) -> int:
        """The value in CK, rounded up."""
        return max(self.ck, math.ceil(round(self.ns / tck_ns, 6)))


@dataclass(frozen=True)
class TimedRule:
    """A rule with its value in a preset."""

    rule: Rule
    index: int
    """Place in :data:`~pim_model.spec.timing_rules.RULES`; the checker's rule number."""
    clocks: int
    """Minimum distance in CK."""
    cycles: int
    """Minimum distance in controller cycles."""

    def binds(self, before: MicroOp, after: MicroOp) -> bool:
        """Whether the rule speaks of this pair."""
        return before in self.rule.before and after in self.rule.after


@dataclass(frozen=True)
class Timing:
    """A resolved preset."""

    name: str
    description: str
    register_access: RegisterAccess
    tck_ns: float
    ck_per_cycle: int
    params: dict[str, Param]
    rules: tuple[TimedRule, ...]
    """In the order of :data:`~pim_model.spec.timing_rules.RULES`. With dual row buffers a rule may stand here twice,
    once for each buffer (``row_buffers.py``)."""

    def clocks(self, expression: str) -> int:
        """Value of an expression over the parameters, in CK, not below zero."""
        return max(0, _evaluate(expression, {name: p.clocks(self.tck_ns) for name, p in self.params.items()}))

    def cycles(self, expression: str) -> int:
        """Value of an expression in controller cycles, rounded up."""
        return -(-self.clocks(expression) // self.ck_per_cycle)

    @property
    def cycle_ns(self) -> float:
        """Length of a controller cycle in ns."""
        return self.tck_ns * self.ck_per_cycle

    @property
    def direct(self) -> bool:
        """Whether registers are reached without a mode switch."""
        return self.register_access is RegisterAccess.DIRECT

    @cached_property
    def faw_cycles(self) -> int:
        """Window in which at most four single-bank activations fall, in controller cycles."""
        return self.cycles("tFAW")

    @cached_property
    def refresh_interval(self) -> int:
        """tREFI in controller cycles (rounded down: refreshing early is legal)."""
        return self.clocks("tREFI") // self.ck_per_cycle

    @property
    def refresh_limit(self) -> int:
        """Longest distance between two refreshes of a bank: eight may be postponed."""
        return (1 + POSTPONED) * self.refresh_interval

    def between(self, before: MicroOp, after: MicroOp, scope: Scope) -> int:
        """Largest distance in cycles that rules of ``scope`` ask for between two commands (0 for none)."""
        found = (r.cycles for r in self.rules if r.rule.scope is scope and r.binds(before, after))
        return max(found, default=0)


POSTPONED = 8
"""Refreshes of a bank that may be postponed, and that may be pulled in, as in GDDR6 and DDR4."""


def _evaluate(expression: str, values: dict[str, int]) -> int:
    total, sign = 0, 1
    for token in re.findall(r"[A-Za-z]\w*|\d+|[+-]", expression):
        if token in "+-":
            sign = 1 if token == "+" else -1
            continue
        if not token.isdigit() and token not in values:
            raise ValueError(f"timing expression {expression!r} names {token!r}, which no preset defines")
        total += sign * (int(token) if token.isdigit() else values[token])
        sign = 1
    return total


def _ck(value: int, source: str) -> Param:
    return Param(value, 0.0, source)


def _ns(value: float, source: str) -> Param:
    return Param(0, value, source)


_HAZARDS = {
    "tGBMAC": _ck(4, "D: one controller cycle for the write, one for the buffer's read port"),
    "tCPMAC": _ck(56, "D: bank read latency and tGBMAC"),
    "tBIASMAC": _ck(4, "D: as tGBMAC"),
    "tMACRD": _ck(20, "D: ten pipeline stages at 1 GHz"),
    "tAFRD": _ck(20, "D: as tMACRD"),
}

_FPGA = {
    "tCCD": _ck(2, "R"),
    "tRCDRD": _ns(15, "R"),
    "tRCDWR": _ns(12, "R"),
    "tRCDMAC": _ns(18, "R: all-bank"),
    "tRCDAF": _ck(86, "S 868"),
    "tRCDEW": _ns(18, "R"),
    "tRCDRDCP": _ns(18, "R: as all-bank read; its RDCP counts from RL"),
    "tRCDWRCP": _ck(48, "S 875"),
    "tRP": _ns(15, "R"),
    "tRAS": _ns(28, "R"),
    "tRC": _ns(43, "R: tRAS + tRP"),
    "tWR": _ns(15, "R"),
    "tRTP": _ns(3, "R"),
    "tMACPRE": _ns(17, "R"),
    "tAFPRE": _ns(27, "R"),
    "tEWPRE": _ns(15, "R"),
    "tPPD": _ck(2, "D: one controller cycle; a bank that is closed already needs no tRP"),
    "tRRDS": _ck(2, "R"),
    "tRRDL": _ck(2, "R"),
    "tFAW": _ck(28, "S 859"),
    "tRREFD": _ck(21, "S 900"),
    "tRFCab": _ns(120, "R"),
    "tRFCpb": _ns(120, "R"),
    "tREFI": _ns(1900, "R"),
    "RL": _ck(9, "R"),
    "WL": _ck(5, "R"),
    "RLREG": _ck(9, "R: as RL"),
    "WLREG": _ck(5, "R: as WL"),
    "BL": _ck(2, "P: 32 bytes at 16 Gb/s x16"),
    "tRTW": _ck(4, "S 809: 3 and a write preamble of 1"),
    "tWTRS": _ck(9, "S 823"),
    "tWTRL": _ck(11, "S 831"),
    "tMODIN": _ck(34, "R: 4 CK and 15 ns"),
    "tMODOUT": _ck(8, "R"),
    **_HAZARDS,
}

_IANUS_CK = {
    **_FPGA,
    "tCCD": _ns(1, "P"),
    "tRCDRD": _ck(36, "P, read as CK"),
    "tRCDWR": _ck(24, "P, read as CK"),
    "tRCDMAC": _ck(36, "P, read as CK: as tRCDRD"),
    "tRP": _ck(30, "P, read as CK"),
    "tRAS": _ns(21, "P"),
    "tRC": _ns(36, "P: tRAS + tRP"),
    "tWR": _ck(36, "P, read as CK"),
}

_IANUS_PRINTED = {
    **_FPGA,
    "tCCD": _ns(1, "P"),
    "tRCDRD": _ns(36, "P"),
    "tRCDWR": _ns(24, "P"),
    "tRCDMAC": _ns(36, "P: as tRCDRD"),
    "tRP": _ns(30, "P"),
    "tRAS": _ns(21, "P"),
    "tRC": _ns(51, "P: tRAS + tRP"),
    "tWR": _ns(36, "P"),
    "tMACPRE": _ns(1, "D: Table 1 has none; tCCD gives the printed values their best case, 130 ns a row"),
}

_AIM_SIMULATOR = {
    "tCCD": _ck(2, "S 791, 798"),
    "tRCDRD": _ck(36, "S 872"),
    "tRCDWR": _ck(28, "S 876"),
    "tRCDMAC": _ck(56, "S 867"),
    "tRCDAF": _ck(86, "S 868"),
    "tRCDEW": _ck(25, "S 869"),
    "tRCDRDCP": _ck(66, "S 871"),
    "tRCDWRCP": _ck(48, "S 875"),
    "tRP": _ck(32, "S 864"),
    "tRAS": _ck(54, "S 861"),
    "tRC": _ck(89, "S 857"),
    "tWR": _ck(33, "S 848"),
    "tRTP": _ck(12, "S 845"),
    "tMACPRE": _ck(12, "S 845"),
    "tAFPRE": _ck(12, "S 845"),
    "tEWPRE": _ck(39, "S 849"),
    "tPPD": _ck(2, "D: the peer's 32 (S 902) also binds closed banks"),
    "tRRDS": _ck(5, "S 853"),
    "tRRDL": _ck(6, "S 855"),
    "tFAW": _ck(28, "S 859"),
    "tRREFD": _ck(21, "S 900"),
    "tRFCab": _ns(120, "R: the peer's is zero, it never refreshes"),
    "tRFCpb": _ns(120, "R: the peer's 3333 CK is never used"),
    "tREFI": _ns(1900, "R"),
    "RL": _ck(50, "S 809"),
    "WL": _ck(6, "S 809"),
    "RLREG": _ck(0, "S 811"),
    "WLREG": _ck(1, "S 813"),
    "BL": _ck(2, "S 781"),
    "tRTW": _ck(4, "S 809"),
    "tWTRS": _ck(9, "S 823"),
    "tWTRL": _ck(11, "S 831"),
    "tMODIN": _ck(32, "S 905"),
    "tMODOUT": _ck(32, "S 905"),
    **_HAZARDS,
}

_PRESETS: dict[str, tuple[str, RegisterAccess, int, dict[str, Param]]] = {
    # name: (description, register access, CK a controller cycle, parameters)
    "ianus_ck": ("IANUS Table 1 read as CK, gaps from R, then S", RegisterAccess.DIRECT, 2, _IANUS_CK),
    "ianus_printed": ("IANUS Table 1 as printed", RegisterAccess.DIRECT, 2, _IANUS_PRINTED),
    # One command a CK, as the peer counts: with two CK a cycle its odd distances would be rounded up.
    "aim_simulator": ("the public simulator's values", RegisterAccess.MODE, 1, _AIM_SIMULATOR),
    "fpga_controller": ("a public AiM FPGA controller's values", RegisterAccess.MODE, 2, _FPGA),
}

TIMINGS: tuple[str, ...] = tuple(_PRESETS)
"""Names of the presets; the first is the default."""


@cache
def timing(name: str, tck_ns: float = 0.5, *, dual: bool = False) -> Timing:
    """Resolve preset ``name``, with ``dual`` for a device with dual row buffers.

    ``ValueError`` lists the names there are.
    """
    if name not in _PRESETS:
        raise ValueError(f"timing must be one of {', '.join(TIMINGS)}, not {name!r}")
    description, access, ck_per_cycle, params = _PRESETS[name]
    values = {key: p.clocks(tck_ns) for key, p in params.items()}
    timed = []
    for index, rule in rules_of(RULES, dual):
        clocks = max(0, _evaluate(rule.expression, values))
        timed.append(TimedRule(rule, index, clocks, -(-clocks // ck_per_cycle)))
    return Timing(name, description, access, tck_ns, ck_per_cycle, params, tuple(timed))
