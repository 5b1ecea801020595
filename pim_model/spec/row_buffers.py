# Ref: NeuPIMs (ASPLOS 2024), dual row buffers
"""Which row buffer of a bank a command touches, and what that does to the timing rules.

A bank with dual row buffers holds a row for normal traffic and one for PIM at the same time. What goes on in one buffer
does not wait for what goes on in the other; buses, charge pumps and the array's data paths are still shared, so rules
wider than a bank stay as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from .micro import MicroOp as Op
from .timing_rules import DUAL_RULES, Rule, Scope

MEM_ONLY = frozenset({Op.ACT, Op.PRE, Op.RD, Op.WR})
"""Commands that touch nothing but the buffer of normal traffic."""

PIM_ONLY = frozenset({Op.ACT4, Op.ACTAB, Op.ACTAF, Op.PREP, Op.MAC4B, Op.MACAB, Op.AF, Op.EWMUL, Op.WRBK})
"""Commands that touch nothing but the PIM buffer. All others belong to both: MACSB, RDCP and WRCP go to the PIM row
where one is open, and to the other one where none is."""

DUAL_OPS = frozenset({Op.PREP})
"""Commands of devices with dual row buffers alone."""


def rules_of(rules: Iterable[Rule], dual: bool) -> Iterator[tuple[int, Rule]]:
    """The rules of a device with or without dual row buffers, each with its number.

    A rule of the other kind of device is there with the expression ``0``, which binds nothing. With dual row buffers a
    rule of scope BANK comes once for each buffer, without the commands that touch the other one alone.
    """
    for index, rule in enumerate(rules):
        if not dual:
            expression = "0" if rule.name in DUAL_RULES else rule.expression
            before, after = rule.before - DUAL_OPS, rule.after - DUAL_OPS
            yield index, replace(rule, before=before, after=after, expression=expression)
        elif rule.scope is not Scope.BANK:
            yield index, rule
        else:
            for others in (PIM_ONLY, MEM_ONLY):
                before, after = rule.before - others, rule.after - others
                if before and after:
                    yield index, replace(rule, before=before, after=after)
