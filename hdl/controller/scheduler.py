"""Decides the commands of one channel, cycle by cycle.

Normal traffic (``normal.py``) proposes its commands, with rows left open. A macro's row stream starts from all banks closed, and no
normal command gets between its commands. A refresh that is owed goes first wherever all banks are or can be closed:
at once under normal traffic, at a row boundary inside a macro.
"""

from amaranth import Module, Mux, ResetInserter, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import RegisterStep, Tile
from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp

from .bank import BankState
from .channel import ChannelGates
from .normal import ProposalSignature
from .refresh import RefreshTimer
from .registers import RegisterStream

__all__ = ["Scheduler"]


class Scheduler(wiring.Component):
    """Command scheduler of one channel.

    Members
    -------
    normal : In(ProposalSignature)
        Normal traffic, which has slot 0 while ``quiet`` and no refresh is owed.
    tiles : In(stream of Tile), steps : In(stream of RegisterStep)
        Row and register stream of the running macro.
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
    op0, bank0, row0, column0, op1, column1, wdata, wmask : Out
        The commands of this cycle, as in :class:`~hdl.phy.interface.PhySignature`.
    quiet : Out(1)
        Normal traffic has the channel.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "normal": In(ProposalSignature(config.geometry.banks)),
                "tiles": In(stream.Signature(Tile)),
                "steps": In(stream.Signature(RegisterStep)),
                "pim_request": In(1),
                "abort": In(1),
                "refresh": In(1),
                "result_space": In(1),
                "results_pending": In(1),
                "op0": Out(5),
                "bank0": Out(4),
                "row0": Out(16),
                "column0": Out(6),
                "op1": Out(5),
                "column1": Out(6),
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
        m.submodules.refresh = refresh = RefreshTimer(timing)
        m.submodules.registers = registers = ResetInserter(self.abort)(RegisterStream(self._config))

        normal, tile = self.normal, self.tiles.p
        mac_index = Signal(7)
        in_pim = Signal()
        in_mode = Signal()
        #: The macro is over. The next one may want the channel before this one's last row is closed, but what was
        #: accepted from the host in between goes first.
        over = Signal()
        connect(m, flipped(self.steps), registers.steps)
        m.d.comb += [
            bank.op.eq(self.op0),
            bank.bank.eq(self.bank0),
            bank.row.eq(self.row0),
            bank.request_bank.eq(normal.lookup_bank),
            bank.request_row.eq(normal.lookup_row),
            normal.hit.eq(bank.hit),
            normal.opened.eq(bank.opened),
            normal.op0.eq(self.op0),
            normal.bank0.eq(self.bank0),
            normal.row0.eq(self.row0),
            gates.op0.eq(self.op0),
            gates.op1.eq(self.op1),
            refresh.enable.eq(self.refresh),
            refresh.done.eq(self.op0 == MicroOp.REFAB),
            registers.enable.eq((in_pim if timing.direct else in_mode) & self.pim_request & ~over),
            registers.result_space.eq(self.result_space),
            registers.tile.eq(tile),
            registers.tile_valid.eq(self.tiles.valid),
            registers.mac.eq(self.op0 == MicroOp.MACAB),
            registers.mac_index.eq(mac_index),
            registers.mac_last.eq(mac_index == tile.columns - 1),
            registers.af.eq(self.op0 == MicroOp.AF),
            self.op1.eq(registers.op),
            self.column1.eq(registers.column),
            self.wdata.eq(Mux(in_pim, registers.data, normal.data)),
            self.wmask.eq(Mux(in_pim, -1, normal.mask)),
        ]
        for op in (MicroOp.WRGB, MicroOp.WRBIAS, MicroOp.RDMAC, MicroOp.RDAF):
            name = f"{op.name.lower()}_ready"
            m.d.comb += getattr(registers, name).eq(getattr(gates, name))

        for op in (MicroOp.ACT, MicroOp.PRE, MicroOp.RD, MicroOp.WR):
            name = f"{op.name.lower()}_ready"
            in_channel = getattr(gates, name).replicate(len(bank.opened))
            m.d.comb += getattr(normal, name).eq(getattr(bank, name) & in_channel)

        def issue(op: MicroOp, *, when=1):
            """Put ``op`` into slot 0 when its gate is open; the returned condition says that it was.

            It adds statements, so it may not stand in the condition of an ``Elif``.
            """
            ready = Signal(name=f"issue_{op.name.lower()}")
            m.d.comb += ready.eq(getattr(gates, f"{op.name.lower()}_ready") & when)
            with m.If(ready):
                m.d.comb += self.op0.eq(op)
            return ready

        with m.If(self.quiet):
            m.d.sync += over.eq(0)
        with m.Elif(in_pim & ~self.pim_request):
            m.d.sync += over.eq(1)

        with m.FSM(name="scheduler"):
            with m.State("NORMAL"):
                m.d.comb += self.quiet.eq(1)
                m.d.comb += [self.bank0.eq(normal.bank), self.row0.eq(normal.row)]
                m.d.comb += self.column0.eq(normal.column)
                with m.If(refresh.due):
                    m.next = "CLOSE FOR REFRESH"
                with m.Elif(~normal.idle):
                    m.d.comb += [normal.granted.eq(1), self.op0.eq(normal.op)]
                with m.Elif(self.pim_request & ~self.abort):
                    m.next = "CLOSE FOR PIM"

            with m.State("CLOSE FOR REFRESH"):
                with m.If(~bank.any_open):
                    m.next = "REFRESH"
                with m.Else():
                    with m.If(issue(MicroOp.PREA)):
                        m.next = "REFRESH"

            with m.State("REFRESH"):
                with m.If(issue(MicroOp.REFAB) | ~refresh.due):
                    m.next = "NORMAL"

            with m.State("CLOSE FOR PIM"):
                with m.If(~bank.any_open):
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
                        with m.If(issue(MicroOp.TMOD_OUT)):
                            m.d.sync += in_mode.eq(0)
                with m.Elif(over | ~self.pim_request):
                    m.next = "NORMAL"
                with m.Elif(refresh.due):
                    issue(MicroOp.REFAB)
                with m.Elif((registers.tile_ready | timing.direct) & self.tiles.valid):
                    with m.If(issue(MicroOp.ACTAB)):
                        m.next = "MULTIPLY"
                with m.Elif(registers.pending & (not timing.direct)):
                    with m.If(issue(MicroOp.TMOD_IN)):
                        m.d.sync += in_mode.eq(1)

            with m.State("MULTIPLY"):
                m.d.comb += [in_pim.eq(1), self.column0.eq(mac_index)]
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Else():
                    with m.If(issue(MicroOp.MACAB, when=registers.mac_allowed)):
                        m.d.sync += mac_index.eq(mac_index + 1)
                        with m.If(registers.mac_last):
                            # From here on the head tile reads no column of the buffer.
                            m.d.sync += mac_index.eq(0)
                            m.next = "CLOSE ROW"

            with m.State("CLOSE ROW"):
                m.d.comb += in_pim.eq(1)
                with m.If(issue(MicroOp.PREA)):
                    with m.If(tile.last & tile.activate):
                        m.next = "OPEN TABLE"
                    with m.Else():
                        m.d.comb += self.tiles.ready.eq(1)
                        m.next = "BOUNDARY"

            with m.State("OPEN TABLE"):
                m.d.comb += [in_pim.eq(1), self.row0.eq(tile.function)]
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Else():
                    with m.If(issue(MicroOp.ACTAF)):
                        m.next = "ACTIVATE"

            with m.State("ACTIVATE"):
                m.d.comb += in_pim.eq(1)
                with m.If(self.abort):
                    m.next = "ABORT"
                with m.Else():
                    with m.If(issue(MicroOp.AF)):
                        m.next = "CLOSE TABLE"

            with m.State("CLOSE TABLE"):
                m.d.comb += in_pim.eq(1)
                with m.If(issue(MicroOp.PREA)):
                    m.d.comb += self.tiles.ready.eq(1)
                    m.next = "BOUNDARY"

            with m.State("ABORT"):
                m.d.sync += mac_index.eq(0)
                with m.If(in_mode):
                    with m.If(issue(MicroOp.TMOD_OUT)):
                        m.d.sync += in_mode.eq(0)
                with m.Elif(bank.any_open):
                    issue(MicroOp.PREA)
                with m.Elif(~self.results_pending):
                    m.next = "NORMAL"
        return m
