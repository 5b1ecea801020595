"""The timing and legality checker of one channel, as hardware: for simulation, proof and FPGA.

It reads the same rule rows as the controller and shares nothing else with it: the controller counts down from each
command, the checker stamps each command with the cycle and subtracts.
"""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.errors import Violation
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, ONE_BANK, REGISTER_OPS, WRITE_DATA, MicroOp, Mode
from pim_model.spec.row_buffers import DUAL_OPS
from pim_model.spec.timing import POSTPONED
from pim_model.spec.timing_rules import RULES, Scope

from .checker_dual import dual_state

__all__ = ["Checker"]

_STAMP_BITS = 48
"""A stamp wraps after 2**48 cycles, more than three days at 1 GHz."""

_LONG_AGO = 1 << 16
"""The first cycle's number; stamps start from zero, further back than any rule reaches."""

_OPCODES = 32
"""Values of a command's five bits."""


def _later(a, b):
    """The later of two stamps."""
    return Mux(a > b, a, b)


def _among(one_hot, ops):
    """Whether the command whose bit is set in ``one_hot`` is one of ``ops``."""
    return (one_hot & sum(1 << op for op in ops)).any() if ops else Const(0, 1)


class Checker(wiring.Component):
    """Watch a command bus; report every cycle in which a command breaks a rule.

    Four-bank commands are reported as ``OPERAND``: this device has none. ``REFRESH_LATE`` counts each bank with the
    per-bank policy, and only refreshes of all banks with the all-bank one.

    Members
    -------
    op0, bank0, row0, column0, op1, column1, mode0, mode1 : In
        The command bus, as in :class:`~hdl.phy.interface.PhySignature`. No rule tells the accumulator sets apart, so
        ``mode1`` changes nothing.
    refresh : In(1)
        Refresh is enabled: a missing one is a violation.
    violation : Out(1)
        A command of the cycle before broke a rule.
    code : Out(7)
        Valid with ``violation``: number of the first broken rule in ``RULES``, or a
        :class:`~pim_model.spec.errors.Violation`.
    op : Out(5)
        Valid with ``violation``: slot 0's command, or slot 1's where slot 0 has none.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "op0": In(5),
                "bank0": In(4),
                "row0": In(16),
                "column0": In(6),
                "op1": In(5),
                "column1": In(6),
                "mode0": In(2),
                "mode1": In(2),
                "refresh": In(1),
                "violation": Out(1),
                "code": Out(7),
                "op": Out(5),
            }
        )

    def elaborate(self, platform):
        m = Module()
        # A reset does not restart time: the stamps in memories outlive it.
        self._now = Signal(_STAMP_BITS, init=_LONG_AGO, reset_less=True)
        m.d.sync += self._now.eq(self._now + 1)
        #: The commands of both slots, one-hot.
        self._slot0, self._slot1 = Signal(_OPCODES), Signal(_OPCODES)
        m.d.comb += [self._slot0.eq(1 << self.op0), self._slot1.eq(1 << self.op1)]
        #: A MAC of one bank, or of all, that reads the neighbour banks instead of the buffer.
        local = (self.mode0 & Mode.LOCAL) != 0
        self._local_one, self._local_all = Signal(), Signal()
        m.d.comb += [
            self._local_one.eq((self.op0 == MicroOp.MACSB) & local),
            self._local_all.eq((self.op0 == MicroOp.MACAB) & local),
        ]
        dual = self._config.dual_row_buffer
        #: The commands that the device has.
        self._known = set(MicroOp) if dual else set(MicroOp) - DUAL_OPS
        banks = dual_state(m, self._config, self, self._local_one) if dual else self._banks(m)
        found = [*banks, *self._register_mode(m), *self._windows(m), *self._bus(m)]
        found.sort(key=lambda pair: pair[1])
        late, broken = self._timing(m), Signal(len(found))
        m.d.comb += broken.eq(Cat(condition for condition, _ in found))
        m.d.sync += [
            self.violation.eq(late.any() | broken.any()),
            self.op.eq(Mux(self.op0 != MicroOp.NOP, self.op0, self.op1)),
        ]
        with m.If(late.any()):
            for i in reversed(range(len(late))):
                with m.If(late[i]):
                    m.d.sync += self.code.eq(i)
        with m.Elif(broken.any()):
            for i, (_, code) in reversed(list(enumerate(found))):
                with m.If(broken[i]):
                    m.d.sync += self.code.eq(code)
        return m

    # ------------------------------------------------------------------ timing rules

    def _timing(self, m: Module):
        """The rules that the commands of this cycle break, a bit each.

        Sorted by command, so that a simulator compares what the command at hand asks for, and nothing without one. So
        every comparison is made anew for each command: one with several uses would stand outside the cases.
        """
        rules = [timed for timed in self._config.timing.rules if timed.cycles]
        stamps: dict = {}
        checks: tuple[dict, dict] = ({}, {})
        for timed in rules:
            rule = timed.rule
            key = (rule.scope, rule.before)
            if key not in stamps:
                name = f"{rule.scope.name.lower()}{len(stamps)}"
                make = {
                    Scope.CHANNEL: self._channel_stamp,
                    Scope.BANK: self._bank_stamp,
                    Scope.GROUP: self._bank_stamp,
                    Scope.COLUMN: self._column_history,
                }[rule.scope]
                stamps[key] = make(m, name, [t for t in rules if (t.rule.scope, t.rule.before) == key])
            for slot, ops, late in stamps[key](timed):
                for op in ops:
                    checks[slot].setdefault(op, []).append((timed.index, late))

        broken = []
        for slot, (op, by_op) in enumerate(zip((self.op0, self.op1), checks, strict=True)):
            broken.append(Signal(len(RULES), name=f"late{slot}"))
            with m.Switch(op):
                for after, lates in sorted(by_op.items()):
                    bits = [Const(0, 1)] * len(RULES)
                    for index, late in lates:
                        bits[index] |= late()
                    with m.Case(after):
                        m.d.comb += broken[slot].eq(Cat(bits))
        return broken[0] | broken[1]

    def _channel_stamp(self, m: Module, name: str, rules):
        """The latest ``before`` in the channel; slot 1 also keeps its distance from slot 0 of its own cycle."""
        last = Signal(_STAMP_BITS, name=f"{name}_last")
        before = rules[0].rule.before
        in0, in1 = _among(self._slot0, before), _among(self._slot1, before)
        with m.If(in0 | in1):
            m.d.sync += last.eq(self._now)
        age = Signal(_STAMP_BITS, name=f"{name}_age")
        m.d.comb += age.eq(self._now - last)

        def checks(timed):
            yield 0, timed.rule.after, lambda: age < timed.cycles
            yield 1, timed.rule.after, lambda: (age < timed.cycles) | in0

        return checks

    def _bank_stamp(self, m: Module, name: str, rules):
        """The latest ``before`` of each bank or bank group, of all banks at once, and of any."""
        geometry = self._config.geometry
        before, scope = rules[0].rule.before, rules[0].rule.scope
        shift = 0 if scope is Scope.BANK else geometry.banks_per_group.bit_length() - 1
        place = self.bank0[shift : geometry.bank_bits]
        single = _among(self._slot0, before & ONE_BANK)
        whole = _among(self._slot0, before & ALL_BANKS)
        last_whole, last_any = (
            Signal(_STAMP_BITS, name=f"{name}_whole"),
            Signal(_STAMP_BITS, name=f"{name}_any"),
        )
        if scope is Scope.BANK and MicroOp.MACSB in before.union(*(timed.rule.after for timed in rules)):
            # MACSB may touch two neighbours at once: even and odd banks have a memory each.
            odd, both = place[0], self._local_one
            last_even = self._stamps(m, f"{name}_even", place[1:], single & (~odd | both))
            last_odd = self._stamps(m, f"{name}_odd", place[1:], single & (odd | both))
            newest = Mux(both, _later(last_even, last_odd), Mux(odd, last_odd, last_even))
        else:
            newest = self._stamps(m, name, place, single)
        with m.If(whole):
            m.d.sync += last_whole.eq(self._now)
        with m.If(whole | single):
            m.d.sync += last_any.eq(self._now)
        age_here, age_any = Signal(_STAMP_BITS, name=f"{name}_here"), Signal(_STAMP_BITS, name=f"{name}_age")
        newest = _later(newest, last_whole)
        m.d.comb += [age_here.eq(self._now - newest), age_any.eq(self._now - last_any)]

        def checks(timed):
            yield 0, timed.rule.after & ONE_BANK, lambda: age_here < timed.cycles
            yield 0, timed.rule.after & ALL_BANKS, lambda: age_any < timed.cycles

        return checks

    def _stamps(self, m: Module, name: str, place, stamp):
        """A memory of stamps; ``stamp`` writes the present one to ``place``. Returns what lies there."""
        # At least two places: a memory of one has an address of no bits, which Verilog cannot say.
        m.submodules[name] = each = memory.Memory(shape=_STAMP_BITS, depth=max(2, 1 << len(place)), init=[])
        write, read = each.write_port(), each.read_port(domain="comb")
        m.d.comb += [
            write.addr.eq(place),
            write.data.eq(self._now),
            write.en.eq(stamp),
            read.addr.eq(place),
        ]
        return read.data

    def _column_history(self, m: Module, name: str, rules):
        """The last few ``before`` commands with their buffer column; the distances are short."""
        in_buffer = ~(self._local_one | self._local_all)
        before, longest = rules[0].rule.before, max(timed.cycles for timed in rules)
        in0, in1 = _among(self._slot0, before) & in_buffer, _among(self._slot1, before)
        history = []
        valid, place = in0 | in1, Mux(in1, self.column1, self.column0)
        for age in range(1, longest):
            older_valid, older_place = (
                Signal(name=f"{name}_valid{age}"),
                Signal(6, name=f"{name}_column{age}"),
            )
            m.d.sync += [older_valid.eq(valid), older_place.eq(place)]
            history.append((age, older_valid, older_place))
            valid, place = older_valid, older_place

        def checks(timed):
            def recent(column):
                found = [valid & (place == column) for age, valid, place in history if age < timed.cycles]
                return sum(found, Const(0, 1)) != 0

            yield 0, timed.rule.after, lambda: in_buffer & recent(self.column0)
            yield 1, timed.rule.after, lambda: recent(self.column1) | (in0 & (self.column0 == self.column1))

        return checks

    # ------------------------------------------------------------------ state of banks and mode

    def _banks(self, m: Module):
        geometry, op = self._config.geometry, self.op0
        bank = self.bank0[: geometry.bank_bits]
        # What each bank has open: anything, a row by ACT, a table row; a row by ACTAB otherwise.
        opened, by_act, table = (Signal(geometry.banks, name=name) for name in ("opened", "by_act", "table"))
        here = Signal(geometry.banks)
        m.d.comb += here.eq(1 << bank)
        with m.Switch(op):
            with m.Case(MicroOp.ACT):
                m.d.sync += [opened.eq(opened | here), by_act.eq(by_act | here), table.eq(table & ~here)]
            with m.Case(MicroOp.ACTAB):
                m.d.sync += [opened.eq(-1), by_act.eq(0), table.eq(0)]
            with m.Case(MicroOp.ACTAF):
                m.d.sync += [opened.eq(-1), by_act.eq(0), table.eq(-1)]
            with m.Case(MicroOp.PRE):
                m.d.sync += [opened.eq(opened & ~here), by_act.eq(by_act & ~here), table.eq(table & ~here)]
            with m.Case(MicroOp.PREA):
                m.d.sync += [opened.eq(0), by_act.eq(0), table.eq(0)]

        slot = self._slot0
        single = _among(slot, {MicroOp.RD, MicroOp.WR, MicroOp.MACSB, MicroOp.RDCP, MicroOp.WRCP})
        whole = _among(slot, {MicroOp.MACAB, MicroOp.EWMUL, MicroOp.AF, MicroOp.WRBK})
        normal = _among(slot, {MicroOp.RD, MicroOp.WR})
        multiply = _among(slot, {MicroOp.MACAB, MicroOp.EWMUL})
        copies = _among(slot, {MicroOp.MACSB, MicroOp.RDCP, MicroOp.WRCP})
        open_here, table_here, act_here = (vector.bit_select(bank, 1) for vector in (opened, table, by_act))
        beside = bank ^ 1
        yield (op == MicroOp.ACT) & open_here, Violation.ROW_OPEN
        yield _among(slot, {MicroOp.ACTAB, MicroOp.ACTAF}) & opened.any(), Violation.ROW_OPEN
        yield single & ~open_here, Violation.ROW_CLOSED
        yield self._local_one & ~opened.bit_select(beside, 1), Violation.ROW_CLOSED
        yield whole & ~opened.all(), Violation.ROW_CLOSED
        yield (op == MicroOp.REFPB) & open_here, Violation.REFRESH_OPEN
        yield (op == MicroOp.REFAB) & opened.any(), Violation.REFRESH_OPEN
        yield _among(slot, {MicroOp.TMOD_IN, MicroOp.TMOD_OUT}) & opened.any(), Violation.MODE_OPEN
        yield normal & open_here & ~act_here, Violation.PIM_ROW
        yield whole & by_act.any(), Violation.PIM_ROW
        yield (op == MicroOp.AF) & opened.all() & ~table.all(), Violation.TABLE_ROW
        yield (multiply & table.any()) | (copies & table_here), Violation.TABLE_ROW
        yield self._local_one & table.bit_select(beside, 1), Violation.TABLE_ROW

    def _register_mode(self, m: Module):
        op = self.op0
        in_mode = Signal()
        with m.If(op == MicroOp.TMOD_IN):
            m.d.sync += in_mode.eq(1)
        with m.Elif(op == MicroOp.TMOD_OUT):
            m.d.sync += in_mode.eq(0)
        register = _among(self._slot0, REGISTER_OPS) | _among(self._slot1, REGISTER_OPS)
        if not self._config.timing.direct:
            yield register & ~in_mode, Violation.REGISTER_MODE
        yield (op == MicroOp.TMOD_OUT) & ~in_mode, Violation.REGISTER_MODE
        others = self._known - REGISTER_OPS - {MicroOp.NOP, MicroOp.TMOD_OUT}
        yield _among(self._slot0, others) & in_mode, Violation.IN_REGISTER_MODE

    # ------------------------------------------------------------------ windows

    def _windows(self, m: Module):
        timing = self._config.timing
        history = Signal(max(1, timing.faw_cycles - 1))
        act = self.op0 == MicroOp.ACT
        m.d.sync += history.eq(history << 1 | act)
        counts = Signal(range(len(history) + 1))
        m.d.comb += counts.eq(sum(history))
        yield act & (counts >= 4), Violation.FAW

        yield self._refresh_late(m), Violation.REFRESH_LATE

    def _refresh_late(self, m: Module):
        """Whether a bank, or with all-bank refresh the channel, misses its last chance of being refreshed in time.

        Each owes one refresh a tREFI; eight at most count ahead. Late is what owes nine, and what was left alone for
        nine tREFI, by tREFIs that ended since and by the place of the last refresh in its own.
        """
        per_bank = self._config.refresh is RefreshPolicy.PER_BANK
        interval, units = self._config.timing.refresh_interval, self._config.geometry.banks if per_bank else 1
        elapsed, ended = Signal(range(interval)), Signal()
        m.d.comb += ended.eq(elapsed == interval - 1)
        m.d.sync += elapsed.eq(Mux(ended | ~self.refresh, 0, elapsed + 1))
        done, late, reported = Signal(units), Signal(units), Signal(units)
        m.d.comb += done.eq((self.op0 == MicroOp.REFAB).replicate(units))
        if per_bank:
            with m.If(self.op0 == MicroOp.REFPB):
                m.d.comb += done.eq(1 << self.bank0[: self._config.geometry.bank_bits])

        # Counts in unary, a vector over the banks for each number: who owes that many or more, for whom as many
        # intervals have ended since the last refresh.
        every, none = Const((1 << units) - 1, units), Const(0, units)
        fresh = {owed: every if owed <= 0 else none for owed in range(1 - POSTPONED, POSTPONED + 2)}
        owes = [Signal(units, name=f"owes_{owed + POSTPONED}", init=first) for owed, first in fresh.items()]
        alone = [Signal(units, name=f"alone_{ends}") for ends in range(1, POSTPONED + 2)]
        with m.If(~self.refresh):
            m.d.sync += [vector.eq(first) for vector, first in zip(owes, fresh.values(), strict=True)]
            m.d.sync += [vector.eq(0) for vector in alone]
        with m.Elif(ended | done.any()):
            end = ended.replicate(units)
            # A refresh first, then the end of the interval.
            owed = [(vector & ~done) | (above & done) for vector, above in pairwise([*owes, none])]
            left = [vector & ~done for vector in alone]
            for vectors, now in ((owes, owed), (alone, left)):
                for vector, (below, same) in zip(vectors, pairwise([every, *now]), strict=True):
                    m.d.sync += vector.eq((below & end) | (same & ~end))
        places = []
        for i in range(units):
            place = Signal(range(interval), name=f"refreshed_{i}")
            with m.If(~self.refresh):
                m.d.sync += place.eq(0)
            with m.Elif(done[i]):
                m.d.sync += place.eq(elapsed)
            places.append(place)
        with m.If(alone[-1].any()):
            m.d.comb += late.eq(owes[-1] | (alone[-1] & Cat(place == elapsed for place in places)))
        with m.Else():
            m.d.comb += late.eq(owes[-1])
        m.d.sync += reported.eq((reported | late) & ~done & self.refresh.replicate(units))
        return (late & ~done & ~reported).any() & self.refresh

    # ------------------------------------------------------------------ the bus itself

    def _bus(self, m: Module):
        geometry = self._config.geometry
        register0 = _among(self._slot0, REGISTER_OPS)
        if self._config.timing.ck_per_cycle == 1:
            yield (self.op0 != MicroOp.NOP) & (self.op1 != MicroOp.NOP), Violation.COMMAND_BUS
        yield (
            (
                (register0 & (self.op1 != MicroOp.NOP))
                | ((self.op1 != MicroOp.NOP) & ~_among(self._slot1, REGISTER_OPS))
                | (_among(self._slot0, WRITE_DATA) & _among(self._slot1, WRITE_DATA))
            ),
            Violation.COMMAND_BUS,
        )
        with_row = _among(self._slot0, {MicroOp.ACT, MicroOp.ACTAB})
        with_column = _among(
            self._slot0,
            {
                op
                for op in MicroOp
                if op.name.startswith(("RD", "WR", "MAC", "EW"))
                and op.name not in ("WRBIAS", "RDMAC", "RDAF")
            },
        )
        yield (
            (
                (self.op0 > max(self._known))
                | _among(self._slot0, FOUR_BANKS)
                | (_among(self._slot0, ONE_BANK) & (self.bank0 >= geometry.banks))
                | (with_row & (self.row0 >= geometry.rows))
                | ((self.op0 == MicroOp.ACTAF) & (self.row0 >= geometry.rows - geometry.weight_rows))
                | (with_column & (self.column0 >= geometry.columns))
                | ((self.op1 == MicroOp.WRGB) & (self.column1 >= geometry.columns))
            ),
            Violation.OPERAND,
        )
