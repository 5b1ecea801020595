"""Decides the commands of one channel, cycle by cycle.

Normal traffic (``normal.py``) proposes its commands, with rows left open. A macro's row stream starts from all banks
closed, and no normal command gets between its commands.

Refresh: under normal traffic when it is forced and when the channel is at rest, then ahead of time too; with the
per-bank policy also of a bank that no request waits for. In a macro as soon as one is owed and all banks are or can be
closed: at a row boundary of a MATVEC, between two items of a program.

With dual row buffers a MATVEC lends normal traffic what it does not use itself (``sharing.py``), and rows of both may
be open. Programs have the channel alone.
"""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import ChannelOp, RegisterStep, Tile
from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import REGISTER_OPS, MicroOp, Mode

from .bank import BankState
from .bank_refresh import BankRefresh
from .channel import ChannelGates
from .normal import ProposalSignature
from .program import COLUMN_OPS, ProgramStream
from .refresh import RefreshTimer
from .registers import RegisterStream
from .sharing import Sharing

__all__ = ["REST", "Scheduler"]

REST = 64
"""Cycles without request and macro after which a channel is at rest, and refreshes that nothing forces are taken. Gaps
within a stream of accesses are shorter; who comes just then waits for one tRFC."""


class Scheduler(wiring.Component):
    """Command scheduler of one channel.

    Members
    -------
    normal : In(ProposalSignature)
        Normal traffic, which has slot 0 while ``quiet`` and no refresh takes it.
    tiles : In(stream of Tile), steps : In(stream of RegisterStep)
        Row and register stream of running MATVECs.
    ops : In(stream of ChannelOp)
        Items of running ISR instructions. MATVECs and instructions never run at the same time.
    pim_request : In(1)
        A macro wants the channel, or has it; high until its last result is taken.
    abort : In(1)
        Leave the macro: close all banks, return to normal traffic. High until ``quiet``.
    refresh : In(1)
        Refresh is wanted.
    result_space : In(1)
        There is a place for the data of one more RDMAC or RDAF.
    results_pending : In(1)
        Data of such commands is still to come.
    op0, bank0, row0, column0, mode0, op1, column1, mode1, wdata, wmask : Out
        The commands of this cycle, as in :class:`~hdl.phy.interface.PhySignature`.
    program_read : Out(1)
        A RD in this cycle belongs to a program: its data is a result.
    quiet : Out(1)
        Normal traffic has the channel.

    With dual row buffers also:

    exclusive : In(1)
        The macro that has or wants the channel is a program, or belongs to one.
    started : In(1), level : In(3)
        A MATVEC starts; tiles queued.
    flush : Out(1)
        It waits for writes that were accepted before; no request may come in.
    """

    def __init__(self, config: Config):
        self._config = config
        dual = {"exclusive": In(1), "started": In(1), "level": In(3), "flush": Out(1)}
        super().__init__(
            {
                **(dual if config.dual_row_buffer else {}),
                "normal": In(ProposalSignature(config.geometry.banks, config.dual_row_buffer)),
                "tiles": In(stream.Signature(Tile)),
                "steps": In(stream.Signature(RegisterStep)),
                "ops": In(stream.Signature(ChannelOp)),
                "pim_request": In(1),
                "abort": In(1),
                "refresh": In(1),
                "result_space": In(1),
                "results_pending": In(1),
                "op0": Out(5),
                "bank0": Out(4),
                "row0": Out(16),
                "column0": Out(6),
                "mode0": Out(2),
                "op1": Out(5),
                "column1": Out(6),
                "mode1": Out(2),
                "program_read": Out(1),
                "wdata": Out(256),
                "wmask": Out(32),
                "quiet": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        timing = self._config.timing
        m.submodules.bank = bank = BankState(self._config)
        m.submodules.gates = gates = ChannelGates(self._config)
        per_bank = self._config.refresh is RefreshPolicy.PER_BANK
        banks = self._config.geometry.banks
        m.submodules.refresh = refresh = RefreshTimer(timing, banks if per_bank else 1)
        m.submodules.registers = registers = ResetInserter(self.abort)(RegisterStream(self._config))
        m.submodules.program = program = ResetInserter(self.abort)(ProgramStream(self._config))

        normal, tile = self.normal, self.tiles.p
        mac_index = Signal(7)
        in_pim = Signal()
        in_program = Signal()
        in_mode = Signal()
        #: The macro is over. The next one may want the channel before this one's last row is closed, but what was
        #: accepted from the host in between goes first.
        over = Signal()
        dual = self._config.dual_row_buffer
        #: Slot 0 as the FSM below wants it; what it leaves free while it lends goes to normal traffic.
        op0 = Signal(5) if dual else self.op0
        lends = Signal()
        register_data = in_pim
        if dual:
            register_data = in_pim & ~(normal.granted & (normal.op == MicroOp.WR))
        connect(m, flipped(self.steps), registers.steps)
        connect(m, flipped(self.ops), program.ops)
        m.d.comb += [
            bank.op.eq(self.op0),
            bank.bank.eq(self.bank0),
            bank.row.eq(self.row0),
            bank.mode.eq(self.mode0),
            bank.request_bank.eq(Mux(in_program, program.query, normal.lookup_bank)),
            bank.request_row.eq(Mux(in_program, program.row, normal.lookup_row)),
            program.enable.eq(in_program),
            program.op0.eq(self.op0),
            program.row0.eq(self.row0),
            program.op1.eq(self.op1),
            program.in_mode.eq(in_mode),
            program.any_open.eq(bank.any_open),
            program.open.eq(bank.opened.bit_select(program.query, 1)),
            program.hit.eq(bank.hit),
            normal.hit.eq(bank.hit),
            normal.opened.eq(bank.opened),
            normal.op0.eq(self.op0),
            normal.bank0.eq(self.bank0),
            normal.row0.eq(self.row0),
            gates.op0.eq(self.op0),
            gates.op1.eq(self.op1),
            refresh.enable.eq(self.refresh),
            refresh.done.eq((self.op0 == MicroOp.REFAB).replicate(len(refresh.done))),
            registers.enable.eq(
                (in_pim if timing.direct else in_mode) & self.pim_request & ~over & ~in_program
            ),
            registers.result_space.eq(self.result_space),
            registers.tile.eq(tile),
            registers.tile_valid.eq(self.tiles.valid),
            # What a program does to its accumulators is none of the MATVEC streams' business.
            registers.mac.eq((self.op0 == MicroOp.MACAB) & ~in_program),
            registers.mac_index.eq(mac_index),
            registers.mac_last.eq(mac_index == tile.columns - 1),
            registers.af.eq((self.op0 == MicroOp.AF) & ~in_program),
            self.op1.eq(registers.op),
            self.column1.eq(registers.column),
            self.mode0.eq(Mux(tile.accumulators, Mode.SET1, 0)),
            self.mode1.eq(Mux(registers.accumulators, Mode.SET1, 0)),
            self.wdata.eq(Mux(in_program, self.ops.p.data, Mux(register_data, registers.data, normal.data))),
            self.wmask.eq(Mux(register_data, -1, normal.mask)),
        ]
        for op in (MicroOp.WRGB, MicroOp.WRBIAS, MicroOp.RDMAC, MicroOp.RDAF):
            name = f"{op.name.lower()}_ready"
            m.d.comb += getattr(registers, name).eq(getattr(gates, name))

        idle, idled, due = Signal(), Signal(range(REST + 1)), Signal()
        m.d.comb += [
            idle.eq(self.quiet & normal.idle & ~self.pim_request),
            due.eq(refresh.due.any()),
        ]
        rest = idle & (idled == REST)
        m.d.sync += idled.eq(Mux(idle, Mux(rest, REST, idled + 1), 0))

        ready = {}
        for op in (MicroOp.ACT, MicroOp.PRE, MicroOp.RD, MicroOp.WR, *([MicroOp.REFPB] if per_bank else [])):
            name = f"{op.name.lower()}_ready"
            ready[op] = getattr(bank, name) & getattr(gates, name).replicate(banks)
        if per_bank:
            m.submodules.bank_refresh = bank_refresh = BankRefresh(banks)
            m.d.comb += [
                bank_refresh.forced.eq(refresh.forced),
                bank_refresh.due.eq(refresh.due),
                bank_refresh.twice.eq(refresh.twice),
                bank_refresh.spare.eq(refresh.spare),
                bank_refresh.busy.eq(normal.busy | self.pim_request.replicate(banks)),
                bank_refresh.rest.eq(rest),
                bank_refresh.opened.eq(bank.opened),
                bank_refresh.pre_ready.eq(ready[MicroOp.PRE]),
                bank_refresh.refpb_ready.eq(ready.pop(MicroOp.REFPB)),
            ]
            with m.If(self.op0 == MicroOp.REFPB):
                m.d.comb += refresh.done.eq(1 << self.bank0[: self._config.geometry.bank_bits])
            ready[MicroOp.ACT] &= ~bank_refresh.wanted
            # A bank that is forced gets no more column commands, so that it can be closed.
            ready[MicroOp.RD] &= ~refresh.forced
            ready[MicroOp.WR] &= ~refresh.forced
        if dual:
            m.submodules.sharing = sharing = ResetInserter(self.abort)(Sharing(self._config))
            for op, free in ((MicroOp.RD, sharing.rd_free), (MicroOp.WR, sharing.wr_free)):
                ready[op] &= ~sharing.held & (free | ~in_pim).replicate(banks)
            m.d.comb += sharing.pre_ready.eq(ready[MicroOp.PRE])
        for op, allowed in ready.items():
            m.d.comb += getattr(normal, f"{op.name.lower()}_ready").eq(allowed)

        # Gates do not see what stands beside a command in its own cycle. When a tile comes late, a register command may
        # become possible in the very cycle in which the row stream goes on; then the row stream waits a cycle.
        registers_rest = registers.op == MicroOp.NOP
        sums_rest = ~registers.op.matches(MicroOp.WRBIAS, MicroOp.RDMAC, MicroOp.RDAF)

        def issue(op: MicroOp, *, when=1):
            """Put ``op`` into slot 0 when its gate is open; the returned condition says that it was.

            It adds statements, so it may not stand in the condition of an ``Elif``.
            """
            ready = Signal(name=f"issue_{op.name.lower()}")
            m.d.comb += ready.eq(getattr(gates, f"{op.name.lower()}_ready") & when)
            with m.If(ready):
                m.d.comb += op0.eq(op)
            return ready

        def close():
            """Leave register mode and close all banks; the returned condition says that both is done.

            It adds statements, as ``issue`` does.
            """
            with m.If(in_mode):
                issue(MicroOp.TMOD_OUT, when=registers_rest)
            with m.Elif(bank.any_open):
                issue(MicroOp.PREA)
            return ~in_mode & ~bank.any_open

        def lend():
            """What this state leaves of slot 0 is for normal traffic."""
            if dual:
                m.d.comb += lends.eq(1)

        def next_run():
            """The head run's last command but PREA is issued: go on with the next run on the same row, or close it.

            Between two passes a row is closed for a refresh, and for normal traffic that has turn-arounds only.
            """
            aged = normal.aged if dual else 0
            with m.If(tile.keep & ~(tile.yields & (due | aged))):
                m.d.comb += self.tiles.ready.eq(1)
            with m.Else():
                m.next = "CLOSE ROW"

        with m.Switch(self.op0):
            with m.Case(MicroOp.TMOD_IN):
                m.d.sync += in_mode.eq(1)
            with m.Case(MicroOp.TMOD_OUT):
                m.d.sync += in_mode.eq(0)

        with m.If(self.quiet):
            m.d.sync += over.eq(0)
        with m.Elif(in_pim & ~self.pim_request):
            m.d.sync += over.eq(1)

        m.d.comb += self.program_read.eq(in_program & (self.op0 == MicroOp.RD))
        with m.FSM(name="scheduler") as fsm:
            with m.State("NORMAL"):
                m.d.comb += self.quiet.eq(1)
                m.d.comb += [self.bank0.eq(normal.bank), self.row0.eq(normal.row)]
                m.d.comb += self.column0.eq(normal.column)
                if per_bank:
                    refreshing = bank_refresh.op != MicroOp.NOP
                    with m.If(refreshing):
                        m.d.comb += [op0.eq(bank_refresh.op), self.bank0.eq(bank_refresh.bank)]
                else:
                    refreshing = refresh.forced | (rest & refresh.spare)
                    with m.If(refreshing):
                        with m.If(close()):
                            issue(MicroOp.REFAB)
                with m.If(~refreshing):
                    with m.If(~normal.idle):
                        m.d.comb += [normal.granted.eq(1), op0.eq(normal.op)]
                    with m.Elif(self.pim_request & ~self.abort):
                        m.next = "CLOSE FOR PIM"
                    if dual:
                        with m.If(self.pim_request & ~self.exclusive & ~self.abort):
                            m.next = "CLOSE FOR PIM"

            with m.State("CLOSE FOR PIM"):
                closed = ~bank.any_open
                if dual:  # a MATVEC leaves normal rows open
                    closed = closed | ~self.exclusive
                with m.If(closed):
                    m.next = "BOUNDARY"
                with m.Else():
                    with m.If(issue(MicroOp.PREA)):
                        m.next = "BOUNDARY"

            with m.State("BOUNDARY"):
                m.d.comb += [in_pim.eq(1), self.row0.eq(tile.row)]
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Elif(in_mode):
                    # Leave register mode when the row stream can go on, or when the macro is over.
                    with m.If(registers.tile_ready | registers.finished | over):
                        issue(MicroOp.TMOD_OUT, when=registers_rest)
                with m.Elif(over | ~self.pim_request):
                    m.next = "NORMAL"
                with m.Elif(due):
                    if dual:
                        with m.If(close()):
                            issue(MicroOp.REFAB)
                    else:
                        issue(MicroOp.REFAB)
                with m.Elif((registers.tile_ready | timing.direct) & self.tiles.valid):
                    free = 1
                    if dual:
                        lend()
                        free = sharing.ready
                        with m.If(sharing.close):
                            m.d.comb += [op0.eq(MicroOp.PRE), self.bank0.eq(sharing.bank)]
                    with m.If(tile.table):
                        with m.If(issue(MicroOp.ACTAF, when=free)):
                            m.next = "ACTIVATE"
                    with m.Else():
                        with m.If(issue(MicroOp.ACTAB, when=free)):
                            m.next = "MULTIPLY"
                with m.Elif(registers.pending & (not timing.direct)):
                    issue(MicroOp.TMOD_IN)
                with m.Elif(self.ops.valid):
                    if dual:  # after a MATVEC of the same program: what came before goes first
                        with m.If(~normal.idle):
                            lend()
                        with m.Else():
                            with m.If(close()):
                                m.next = "PROGRAM"
                    else:
                        m.next = "PROGRAM"
                with m.Else():
                    lend()

            with m.State("PROGRAM"):
                m.d.comb += [in_pim.eq(1), in_program.eq(1)]
                m.d.comb += [
                    self.bank0.eq(program.bank),
                    self.row0.eq(program.row),
                    self.column0.eq(program.column),
                    self.mode0.eq(program.mode),
                    self.column1.eq(program.column),
                    self.mode1.eq(program.mode),
                ]
                boundary = due & ~program.started
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Elif(over):
                    m.next = "LEAVE"
                with m.Elif(boundary):
                    with m.If(close()):
                        issue(MicroOp.REFAB)
                with m.Elif(~self.ops.valid & (self.tiles.valid | self.steps.valid | ~self.pim_request)):
                    m.next = "LEAVE"
                with m.Else():
                    with m.Switch(program.want):
                        for op in (*COLUMN_OPS, MicroOp.PRE, MicroOp.ACT):
                            with m.Case(op):
                                by_bank = getattr(bank, f"{op.name.lower()}_ready", None)
                                own = 1 if by_bank is None else by_bank.bit_select(program.query, 1)
                                space = self.result_space if op is MicroOp.RD else 1
                                m.d.comb += program.taken.eq(issue(op, when=own & space))
                        for op in (
                            MicroOp.PREA,
                            MicroOp.ACTAB,
                            MicroOp.ACTAF,
                            MicroOp.TMOD_IN,
                            MicroOp.TMOD_OUT,
                        ):
                            with m.Case(op):
                                issue(op)
                        for op in sorted(REGISTER_OPS):
                            with m.Case(op):
                                space = self.result_space if op in (MicroOp.RDMAC, MicroOp.RDAF) else 1
                                m.d.comb += program.taken.eq(
                                    getattr(gates, f"{op.name.lower()}_ready") & space
                                )
                                with m.If(program.taken):
                                    m.d.comb += self.op1.eq(op)

            with m.State("LEAVE"):
                # Between a program and a MATVEC or normal traffic: everything closed, and nothing on its way.
                m.d.comb += in_pim.eq(1)
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Else():
                    with m.If(close() & ~self.results_pending):
                        m.next = "BOUNDARY"

            with m.State("MULTIPLY"):
                m.d.comb += [in_pim.eq(1), self.column0.eq(mac_index)]
                lend()
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Else():
                    with m.If(issue(MicroOp.MACAB, when=registers.mac_allowed & sums_rest)):
                        m.d.sync += mac_index.eq(mac_index + 1)
                        with m.If(registers.mac_last):
                            # From here on the head run reads no column of the buffer.
                            m.d.sync += mac_index.eq(0)
                            next_run()

            with m.State("ACTIVATE"):
                m.d.comb += in_pim.eq(1)
                lend()
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Else():
                    with m.If(
                        issue(MicroOp.AF, when=registers.af_allowed & (registers.op != MicroOp.WRBIAS))
                    ):
                        next_run()

            with m.State("CLOSE ROW"):
                m.d.comb += in_pim.eq(1)
                lend()
                with m.If(issue(self._config.row_closer)):
                    m.d.comb += self.tiles.ready.eq(1)
                    m.next = "BOUNDARY"

            with m.State("ABORT"):
                m.d.sync += mac_index.eq(0)
                with m.If(close() & ~self.results_pending):
                    m.next = "NORMAL"
        if dual:
            with m.If(lends & (op0 == MicroOp.NOP)):
                m.d.comb += [normal.granted.eq(1), self.op0.eq(normal.op)]
                m.d.comb += [self.bank0.eq(normal.bank), self.row0.eq(normal.row)]
                m.d.comb += self.column0.eq(normal.column)
            with m.Else():
                m.d.comb += self.op0.eq(op0)
            self._share(m, sharing, bank, registers, op0, fsm)
        return m

    def _share(self, m, sharing, bank, registers, op0, fsm):
        """Connect what normal traffic and row stream ask of each other."""
        normal = self.normal
        multiply, activate = fsm.ongoing("MULTIPLY"), fsm.ongoing("ACTIVATE")
        m.d.comb += [
            sharing.started.eq(self.started),
            sharing.level.eq(self.level),
            sharing.tile.eq(self.tiles.p),
            sharing.tile_valid.eq(self.tiles.valid),
            sharing.tile_taken.eq(self.tiles.ready),
            sharing.boundary.eq(fsm.ongoing("BOUNDARY")),
            sharing.multiply.eq(multiply),
            sharing.activate.eq(activate),
            sharing.opened.eq(multiply | activate | fsm.ongoing("CLOSE ROW")),
            sharing.opens.eq(op0.matches(MicroOp.ACTAB, MicroOp.ACTAF)),
            sharing.op1.eq(self.op1),
            sharing.bias_waits.eq(registers.bias_waits),
            sharing.result_waits.eq(registers.result_waits),
            sharing.waiting.eq(normal.busy.any()),
            sharing.marked.eq(normal.marked),
            sharing.overdue.eq(normal.overdue),
            sharing.holds.eq(bank.holds),
            bank.shared_row.eq(sharing.row),
            normal.shared_row.eq(sharing.row),
            normal.barred.eq(sharing.barred),
            normal.flush.eq(sharing.flush),
            registers.loads_wait.eq(sharing.loads_wait),
            self.flush.eq(sharing.flush),
        ]
