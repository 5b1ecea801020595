"""The scheduler of a channel: what it puts on the bus is legal, and never sooner than the gates allow.

Normal traffic, row stream, register stream and programs want what they like, in any order, and stop when they like. So
the streams of a real macro are among these runs, and what holds here holds whatever the PCU sends.
"""

from dataclasses import fields, replace
from typing import Any

from amaranth import Array, Const, Module, Mux, Signal, Value

from hdl.controller.program import COLUMN_OPS
from hdl.controller.scheduler import REST, Scheduler
from hdl.layouts import ChannelOp, RegisterKind, RegisterStep, Tile
from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import REGISTER_OPS, MicroOp, Mode
from pim_model.spec.timing import POSTPONED, Param, Timing
from pim_model.spec.timing_rules import Scope

from .bus import Bus
from .harness import Harness, inside, signals_of, state_number

__all__ = ["SchedulerHarness"]

_BY_BANK = (MicroOp.ACT, MicroOp.PRE, MicroOp.RD, MicroOp.WR)


_INTERVAL = 250
"""tREFI here, in cycles: what is forced is then reached in a short run. No gate depends on it."""


class _Short(Config):
    """A configuration whose refreshes come often."""

    @property
    def timing(self) -> Timing:
        timing = super().timing
        interval = Param(_INTERVAL * timing.ck_per_cycle, 0, "short, for proofs")
        return replace(timing, params={**timing.params, "tREFI": interval})


class SchedulerHarness(Harness):
    """A :class:`Scheduler` among sources that hold what they offer and follow no other rule."""

    depth = 4  # the directed stimuli reach everything; the model is too large to unroll far

    def __init__(self, config: Config):
        super().__init__()
        self._config = _Short(**{field.name: getattr(config, field.name) for field in fields(config)})
        self.scripts = [self._refreshes(), self._commands()]

    def _inputs(self, **more: int) -> dict[str, int]:
        return {"scheduler_result_space": 1, "scheduler_normal__idle": 1, **more}

    @property
    def _wait(self) -> int:
        """Cycles after which every gate is open."""
        return 150 if self._config.timing.ck_per_cycle == 1 else 75

    def _refreshes(self) -> list[dict[str, int]]:
        """Normal traffic until a refresh is forced; a macro that finds one owed; a channel at rest."""
        on = self._inputs(scheduler_refresh=1)
        busy = {**on, "scheduler_normal__idle": 0, "normal_wants": 7}
        first = [{**busy, "normal_wants": wants} for wants in (0, 2)] * self._wait
        script = first + [busy] * (POSTPONED * _INTERVAL + 2 * self._wait)
        script += [{**on, "scheduler_pim_request": 1}] * (2 * _INTERVAL)
        return script + [on] * (REST + POSTPONED * _INTERVAL)

    def _commands(self) -> list[dict[str, int]]:
        """Each normal command, an item of each kind, and a MATVEC with its activation; no refresh in between."""
        wait, idle = self._wait, self._inputs()
        on = {**idle, "scheduler_normal__idle": 0}
        pim = {**idle, "scheduler_pim_request": 1}
        program = {**pim, "scheduler_exclusive": 1} if self._config.dual_row_buffer else pim
        script: list[dict[str, int]] = []
        for wants in (0, 2, 3, 1, 0):  # ACT, RD, WR, PRE, ACT
            script += [{**on, "normal_wants": wants}] * wait
        script += [idle] * wait

        def item(number: int, mode: int = 0, row: int = 0, bank: int = 0) -> list[dict[str, int]]:
            word = number | bank << 5 | row << 9 | 1 << 31 | mode << 38
            return [{**program, "ops_offer": 1, "ops_free": word}, *[program] * wait]

        def bits(values: dict[str, Any], shape: Any) -> int:
            return int(shape.const(values).as_bits())

        kinds = (*COLUMN_OPS, *sorted(REGISTER_OPS))
        script += item(kinds.index(MicroOp.MACSB), Mode.LOCAL)
        for number in range(len(kinds)):
            script += item(number)
        script += [{**program, "scheduler_normal__idle": 0}] * 4
        for op in (MicroOp.MACAB, MicroOp.RDCP, MicroOp.MACSB, MicroOp.WRCP, MicroOp.MACAB):
            script += item(kinds.index(op), row=1)
        script += [idle] * (2 * wait)
        steps = [
            *({"kind": kind} for kind in (RegisterKind.WRBIAS, RegisterKind.WRGB)),
            *({"kind": kind} for kind in (RegisterKind.RDMAC, RegisterKind.RDAF)),
        ]
        run = {"row": 1, "columns": 1, "load": 1, "release": 1, "last": 1}
        script += [{**pim, "tiles_offer": 1, "tiles_free": bits(run, Tile)}]
        for step in steps[:3]:
            given = {"steps_offer": 1, "steps_free": bits(step, RegisterStep)}
            script += [{**pim, **given}, *[pim] * (2 * wait)]
        script += [{**pim, "tiles_offer": 1, "tiles_free": bits({"table": 1, "row": 1}, Tile)}]
        given = {"steps_offer": 1, "steps_free": bits(steps[3], RegisterStep)}
        script += [{**pim, **given}, *[{**pim, "normal_wants": 0, "normal_row": 3}] * (4 * wait)]
        return [*script, *[idle] * wait]

    def build(self, m: Module) -> None:
        config = self._config
        scheduler = Scheduler(config)
        given = self._sources(m, scheduler)
        part = self.place(m, "scheduler", scheduler, **given)
        self._part, self._inner = part, signals_of(part)
        chosen = self.constant(m, "chosen", config.geometry.bank_bits)
        bus = Bus(
            m, config, op0=scheduler.op0, bank0=scheduler.bank0, row0=scheduler.row0, mode0=scheduler.mode0,
            op1=scheduler.op1, chosen=chosen,
        )  # fmt: skip
        bus.open_chosen = bus.opened.bit_select(chosen, 1)
        for name, (about, broken) in bus.rules().items():
            self.claim(m, f"legal: {name}", ~broken, "no command breaks this rule of legality")
            self.cover(m, f"legal: {name}", about)
        self._gates(m, scheduler)
        self._beside(m, scheduler)
        self._atomic(m, scheduler, bus)
        self._deadline(m, scheduler, bus)
        self._links(m, scheduler, bus, chosen)

    # ------------------------------------------------------------------ what comes in

    def _sources(self, m: Module, scheduler: Scheduler) -> dict[str, Any]:
        """Streams that hold what they offer, and a normal traffic that asks for what is legal at the moment."""
        config, geometry = self._config, self._config.geometry
        given: dict[str, Any] = {}
        self._aborting = aborting = Signal(name="aborting")
        m.d.sync += aborting.eq(self.free("abort") | (aborting & ~scheduler.quiet))
        given["abort"] = aborting
        for name, shape in (("tiles", Tile), ("steps", RegisterStep), ("ops", ChannelOp)):
            port = getattr(scheduler, name)
            valid, payload = Signal(name=f"{name}_valid"), Signal(shape, name=f"{name}_head")
            wanted = Signal(shape, name=f"{name}_wanted")
            drawn = self.free(f"{name}_free", len(Value.cast(payload)))
            m.d.comb += Value.cast(wanted).eq(drawn)
            if shape is not Tile:
                m.d.comb += wanted.data.eq(0)
            if shape is ChannelOp:
                self._item = valid, payload
                ops = Array([*COLUMN_OPS, *sorted(REGISTER_OPS)] + [MicroOp.MACAB] * 32)
                m.d.comb += wanted.op.eq(ops[drawn[:4]])
                m.d.comb += wanted.bank.eq(drawn[5 : 5 + geometry.bank_bits])
                m.d.comb += wanted.row.eq(drawn[9 : 9 + geometry.row_bits])
            if shape is Tile:
                # On a row that stays open the next run is of the same row.
                stays = Signal(name="row_stays")
                with m.If(port.valid & port.ready):
                    m.d.sync += stays.eq(payload.keep)
                with m.If(aborting):
                    m.d.sync += stays.eq(0)
                m.d.comb += wanted.row.eq(drawn[: geometry.row_bits])
                with m.If(Mux(port.valid & port.ready, payload.keep, stays)):
                    m.d.comb += [wanted.row.eq(payload.row), wanted.table.eq(payload.table)]
                self._run = valid, payload, stays
            with m.If(aborting):
                m.d.sync += valid.eq(0)
            with m.Elif(~valid | port.ready):
                m.d.sync += [valid.eq(self.free(f"{name}_offer")), payload.eq(wanted)]
            given[f"{name}__valid"], given[f"{name}__payload"] = valid, Value.cast(payload)
        wants, bank = self.free("normal_wants", 3), self.free("normal_bank", geometry.bank_bits)
        proposal = scheduler.normal
        op = Signal(5, name="normal_op")
        opened = proposal.opened.bit_select(bank, 1)
        row = self.free("normal_row", geometry.row_bits)
        may_open = 1
        if config.dual_row_buffer:
            may_open = ~(proposal.barred & (row == proposal.shared_row))
        with m.Switch(wants):
            for i, (each, legal) in enumerate(
                (
                    (MicroOp.ACT, ~opened & may_open),
                    (MicroOp.PRE, opened),
                    (MicroOp.RD, opened),
                    (MicroOp.WR, opened),
                )
            ):
                with m.Case(i):
                    gate = getattr(proposal, f"{each.name.lower()}_ready").bit_select(bank, 1)
                    m.d.comb += op.eq(Mux(gate & legal, each, MicroOp.NOP))
        given |= {"normal__op": op, "normal__bank": bank, "normal__row": row, "normal__data": Const(0)}
        return given

    # ------------------------------------------------------------------ what comes out

    def _gates(self, m: Module, scheduler: Scheduler) -> None:
        """No command without its gates: with the proofs of the gates, no rule is broken by commands of other cycles."""
        config = self._config
        gates, banks = signals_of(inside(self._part, "gates")), signals_of(inside(self._part, "bank"))
        bank = scheduler.bank0[: config.geometry.bank_bits]
        for name, gate in gates.items():
            op_name, _, ready = name.partition("_ready")
            if name != f"{op_name}_ready" or ready or op_name.upper() not in MicroOp.__members__:
                continue
            op = MicroOp[op_name.upper()]
            if not config.timing.direct or op not in (MicroOp.TMOD_IN, MicroOp.TMOD_OUT):
                here = (scheduler.op1 if op in REGISTER_OPS else scheduler.op0) == op
                allowed = gate
                if name in banks:
                    allowed = allowed & banks[name].bit_select(bank, 1)
                self.claim(
                    m,
                    f"gates: {op.name}",
                    ~here | allowed,
                    f"{op.name} is issued when its gates are open, not sooner",
                )
                self.cover(m, f"gates: {op.name}", here)
                self.cover(m, f"gates: {op.name} closed", ~allowed)

    def _beside(self, m: Module, scheduler: Scheduler) -> None:
        """Two commands of one cycle are no cycle apart: none stands beside one that has to wait for it."""
        timing = self._config.timing
        ops = (*COLUMN_OPS, *_BY_BANK, MicroOp.ACTAB, MicroOp.ACTAF, MicroOp.PREA, MicroOp.PREP, MicroOp.REFAB,
               MicroOp.TMOD_IN, MicroOp.TMOD_OUT, MicroOp.REFPB)  # fmt: skip
        for first in dict.fromkeys(ops):
            for second in sorted(REGISTER_OPS):
                rules = [
                    timed.rule.name
                    for timed in timing.rules
                    if timed.cycles and timed.rule.scope is Scope.CHANNEL
                    and (timed.binds(first, second) or timed.binds(second, first))
                ]  # fmt: skip
                if not rules:
                    continue
                self.claim(
                    m,
                    f"beside: {first.name} and {second.name}",
                    ~((scheduler.op0 == first) & (scheduler.op1 == second)),
                    f"never in one cycle ({', '.join(rules)})",
                )
        self.cover(
            m,
            "beside: two commands in one cycle" if timing.direct else "beside: register command",
            (scheduler.op1 != 0) & ((scheduler.op0 != 0) | (not timing.direct)),
        )

    def _atomic(self, m: Module, scheduler: Scheduler, bus: Bus) -> None:
        """From a macro's first command until it has given up the channel no normal command is granted."""
        dual = self._config.dual_row_buffer
        state = self._inner["scheduler_state"]
        normal = state == state_number(state, "NORMAL")
        in_program = state == state_number(state, "PROGRAM")
        granted = scheduler.normal.granted
        begun = Signal(name="macro_begun")
        own = (scheduler.op1 != 0) | ((scheduler.op0 != 0) & ~granted & ~normal)
        # A macro that has ended may still have rows to close when the next one asks: they are not that one's commands.
        ended = Signal(name="macro_ended")
        with m.If(normal):
            m.d.sync += ended.eq(0)
        with m.Elif((state != state_number(state, "CLOSE FOR PIM")) & ~scheduler.pim_request):
            m.d.sync += ended.eq(1)
        asks = scheduler.pim_request & ~self._aborting & ~ended
        m.d.sync += begun.eq(asks & (begun | own))
        self.invariant(m, "ended", ~(ended & begun))
        self.invariant(m, "begun", ~(begun & normal))
        abort = state == state_number(state, "ABORT")
        self.invariant(m, "aborts", ~abort | self._aborting)
        before = state == state_number(state, "CLOSE FOR PIM")
        self.invariant(m, "over", normal | abort | (ended == self._inner["over"]))
        self.invariant(m, "over before", ~before | ~ended)
        if dual:
            exclusive = state.matches(*(state_number(state, name) for name in ("PROGRAM", "LEAVE", "ABORT")))
            self.claim(
                m,
                "atomic: programs",
                ~(granted & exclusive),
                "no normal command while a program has the channel",
            )
            self.cover(m, "atomic: programs", in_program & (scheduler.op0 != 0))
            self.cover(m, "shared: a normal command beside a MATVEC", granted & begun & (scheduler.op0 != 0))
            taken = granted & (scheduler.op0 != scheduler.normal.op)
            self.claim(m, "granted is issued", ~taken, "what is granted is what stands in slot 0")
            return
        self.claim(
            m,
            "atomic: macros",
            ~(granted & begun & asks),
            "no normal command between a macro's first command and its end",
        )
        self.cover(m, "atomic: macros", begun & asks & ~scheduler.normal.idle)
        self.claim(
            m, "atomic: quiet", ~granted | scheduler.quiet, "normal commands only while normal traffic has it"
        )
        self.claim(
            m,
            "atomic: row stream",
            ~(granted & (bus.pim | bus.mode)),
            "no normal command while a row is open for PIM, or in register mode",
        )
        self.claim(
            m,
            "granted is issued",
            ~granted | (scheduler.op0 == scheduler.normal.op),
            "it stands in slot 0",
        )
        self.cover(m, "a granted command", granted & (scheduler.op0 != 0))

    def _deadline(self, m: Module, scheduler: Scheduler, bus: Bus) -> None:
        """A refresh that is due goes before the next row; one that is forced goes before all normal traffic."""
        timing, state = self._config.timing, self._inner["scheduler_state"]
        due = signals_of(inside(self._part, "refresh"))["due"].any()
        boundary = state == state_number(state, "BOUNDARY")
        opens = scheduler.op0.matches(MicroOp.ACTAB, MicroOp.ACTAF)
        self.claim(
            m, "refresh: before the next row", ~(boundary & due & opens), "a row boundary is where it goes"
        )
        self.cover(m, "refresh: before the next row", boundary & opens)
        self.cover(m, "refresh: due at a boundary", boundary & due)
        if self._config.refresh is RefreshPolicy.PER_BANK:
            return
        forced = signals_of(inside(self._part, "refresh"))["forced"]
        gates = signals_of(inside(self._part, "gates"))
        close, refresh = gates["prea_remaining"], gates["refab_remaining"]
        longest = {
            op: max(timing.between(before, op, scope) for before in MicroOp for scope in Scope)
            for op in (MicroOp.PREA, MicroOp.REFAB)
        }
        waits = Signal(16, name="refresh_waits")
        now = (state == state_number(state, "NORMAL")) & forced & (scheduler.op0 != MicroOp.REFAB)
        m.d.sync += waits.eq(Mux(now, waits + 1, 0))
        bound = sum(longest.values())
        self.claim(
            m,
            "refresh: forced",
            waits <= bound,
            f"within {bound} cycles normal traffic has given way, all banks are closed, and refreshed",
        )
        self.cover(m, "refresh: forced", waits > 2)
        for name, gate, op in (("close", close, MicroOp.PREA), ("refresh", refresh, MicroOp.REFAB)):
            self.invariant(m, f"{name} in range", gate < longest[op])
        open_now = bus.opened.any() | bus.pim
        self.invariant(
            m, "waits to close", (waits == 0) | ~open_now | (waits + close <= longest[MicroOp.PREA])
        )
        self.invariant(m, "waits to refresh", (waits == 0) | open_now | (waits + refresh <= bound))

    # ------------------------------------------------------------------ links

    def _links(self, m: Module, scheduler: Scheduler, bus: Bus, chosen: Signal) -> None:
        """What is open in each state, and that the controller knows."""
        config, inner = self._config, self._inner
        dual = config.dual_row_buffer
        banks = signals_of(inside(self._part, "bank"))
        program = signals_of(inside(self._part, "program"))
        state, in_mode = inner["scheduler_state"], inner["in_mode"]

        def during(*names: str) -> Any:
            return state.matches(*(state_number(state, name) for name in names))

        self.invariant(m, "states", state <= max(state_number(state, name) for name in _STATES))
        self.invariant(m, "mode", in_mode == bus.mode)
        if dual:
            self.invariant(m, "opened", (banks["opened"] == bus.opened) & (banks["pim_open"] == bus.pim))
        else:
            self.invariant(m, "opened", banks["opened"] == (bus.opened | bus.pim.replicate(len(bus.opened))))
            self.invariant(m, "one kind of row", ~(bus.pim & bus.opened.any()))
        if not dual:
            self.invariant(m, "closed for PIM", ~during("BOUNDARY") | (~bus.opened.any() & ~bus.pim))
        else:
            self.invariant(m, "closed for PIM", ~during("BOUNDARY") | ~bus.pim)
        self.invariant(m, "normal", ~during("NORMAL", "CLOSE FOR PIM") | ~bus.pim)
        self.invariant(m, "mode is PIM's", ~bus.mode | (~bus.opened.any() & ~bus.pim))
        self.invariant(
            m, "no mode", ~during("NORMAL", "CLOSE FOR PIM", "MULTIPLY", "ACTIVATE", "CLOSE ROW") | ~bus.mode
        )
        if config.timing.direct:
            self.invariant(m, "never in register mode", ~bus.mode)
        self.invariant(m, "weights open", ~during("MULTIPLY") | (bus.pim & ~bus.table))
        self.invariant(m, "table open", ~during("ACTIVATE") | (bus.pim & bus.table))
        self.invariant(m, "row open", ~during("CLOSE ROW") | bus.pim)
        whole = program["whole"]
        valid, item = self._item
        known = item.op.matches(*COLUMN_OPS, *sorted(REGISTER_OPS)) & (item.bank < config.geometry.banks)
        self.invariant(m, "items", ~valid | known)
        # While a MACSB of two banks waits for the neighbour, its own bank stays open.
        neighbour = program["neighbour"]
        own = bus.opened.bit_select(item.bank[: config.geometry.bank_bits], 1)
        self.invariant(
            m,
            "neighbour",
            ~neighbour
            | (
                valid
                & (item.op == MicroOp.MACSB)
                & ((item.mode & Mode.LOCAL) != 0)
                & own
                & ~whole
                & during("PROGRAM", "LEAVE", "ABORT")
            ),
        )
        known = ~whole | (bus.pim & (program["table"] == bus.table))
        self.invariant(m, "whole", known)
        self.invariant(m, "whole unless aborted", whole | ~bus.pim | self._aborting | during("ABORT"))
        self._rows(m, scheduler, bus, during, banks, program, chosen)

    def _rows(self, m: Module, scheduler: Scheduler, bus: Bus, during: Any, banks, program, chosen) -> None:
        """Column commands go to the row that was asked for."""
        geometry = self._config.geometry
        kept = Array(banks[f"row_{i}"] for i in range(geometry.banks))[chosen]
        self.invariant(
            m, "row of the chosen bank", ~bus.open_chosen | ((kept == bus.row) & (bus.row < geometry.rows))
        )
        (valid, item), (present, tile, stays) = self._item, self._run
        self.invariant(
            m,
            "row of all banks",
            ~program["whole"]
            | (program["whole_row"] + Mux(bus.table, geometry.weight_rows, 0) == bus.pim_row)
            & (program["whole_row"] < geometry.rows),
        )
        waits = program["neighbour"] & (item.bank == chosen)
        self.invariant(m, "row of the bank that waits", ~waits | (bus.row == item.row))
        self.invariant(m, "item's row", ~valid | (item.row < geometry.rows))
        self.invariant(m, "run's row", tile.row < geometry.rows)
        own_row = tile.row + Mux(tile.table, geometry.weight_rows, 0)
        running = during("MULTIPLY", "ACTIVATE")
        self.invariant(
            m, "row of the run", ~running | self._aborting
            | ((own_row == bus.pim_row) & (present | stays) & (tile.table == bus.table)),
        )  # fmt: skip
        if self._config.dual_row_buffer:
            sharing = signals_of(inside(self._part, "sharing"))
            opened = during("MULTIPLY", "ACTIVATE", "CLOSE ROW")
            self.invariant(m, "row that is remembered", ~opened | (sharing["open_row"] == bus.pim_row))
        in_program = during("PROGRAM")
        op0 = scheduler.op0
        single = op0.matches(MicroOp.RD, MicroOp.WR, MicroOp.MACSB, MicroOp.RDCP, MicroOp.WRCP) & in_program
        whole = op0.matches(MicroOp.MACAB, MicroOp.EWMUL, MicroOp.WRBK, MicroOp.AF)
        here = scheduler.bank0[: geometry.bank_bits] == chosen
        of_item = item.row + Mux(item.op == MicroOp.AF, geometry.weight_rows, 0)
        for name, about, right in (
            ("row: one bank", single & here & ~bus.pim, bus.row == item.row),
            ("row: one bank of a row open in all", single & bus.pim, bus.pim_row == item.row),
            ("row: all banks, of a program", whole & in_program, bus.pim_row == of_item),
            ("row: all banks, of a MATVEC", whole & ~in_program, bus.pim_row == own_row),
        ):
            self.claim(m, name, ~about | right, "a column command goes to the row that was asked for")
            self.cover(m, name, about)


_STATES = (
    "NORMAL",
    "CLOSE FOR PIM",
    "BOUNDARY",
    "PROGRAM",
    "LEAVE",
    "MULTIPLY",
    "ACTIVATE",
    "CLOSE ROW",
    "ABORT",
)
