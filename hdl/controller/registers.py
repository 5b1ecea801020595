"""The register stream of a macro: global buffer, bias and results, in order, in command slot 1.

Enforced here: the hazards on single columns of the global buffer (rules tGBMAC and tMACGB), and that bias, sums and
activation results exist before they are used. All other timing is in ``channel.py``.
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import RegisterKind, RegisterStep, Tile
from pim_model.spec.config import Config
from pim_model.spec.micro import SETS, MicroOp
from pim_model.spec.timing_rules import Scope

__all__ = ["RegisterStream"]

_OPS = {
    RegisterKind.WRGB: MicroOp.WRGB,
    RegisterKind.WRBIAS: MicroOp.WRBIAS,
    RegisterKind.RDMAC: MicroOp.RDMAC,
    RegisterKind.RDAF: MicroOp.RDAF,
}


class RegisterStream(wiring.Component):
    """Issue the steps of the register stream as early as hazards and gates allow.

    The stream is in order: the biases of a pass, its buffer loads, its results, the biases of the next pass. A load may
    run ahead of the row stream by one: column c is written again once the run that reads it last has passed c.

    Members
    -------
    steps : In(stream of RegisterStep)
    enable : In(1)
        Register commands may be issued now (always with direct access; in register mode otherwise).
    result_space : In(1)
        There is a place for one more result.
    wrgb_ready, wrbias_ready, rdmac_ready, rdaf_ready : In(1)
        Gates of the channel.
    tile : In(Tile), tile_valid : In(1)
        Head of the row stream.
    mac, mac_last : In(1)
        MACAB is issued in this cycle; it is the run's last.
    mac_index : In(7)
        MACABs of the run issued before this cycle; zero again after the last.
    af : In(1)
        AF is issued in this cycle.
    op, column, accumulators, data : Out
        Slot 1 in this cycle.
    pending : Out(1)
        The next step waits for nothing but time, a result's place or register mode.
    mac_allowed : Out(1)
        The operands of the next MACAB are there.
    af_allowed : Out(1)
        The result of the AF before has been read.
    tile_ready : Out(1)
        There is a head run, and nothing that it needs of the register stream is missing.
    finished : Out(1)
        The last step of a macro has been issued and none of the next has come.
    loads_wait : In(1), bias_waits : Out(1), result_waits : Out(1)
        With dual row buffers: no WRGB now; what the next step is, if it is ``pending``.
    """

    def __init__(self, config: Config):
        self._config = config
        dual = {"loads_wait": In(1), "bias_waits": Out(1), "result_waits": Out(1)}
        super().__init__(
            {
                **(dual if config.dual_row_buffer else {}),
                "steps": In(stream.Signature(RegisterStep)),
                "enable": In(1),
                "result_space": In(1),
                **{f"{op.name.lower()}_ready": In(1) for op in _OPS.values()},
                "tile": In(Tile),
                "tile_valid": In(1),
                "mac": In(1),
                "mac_last": In(1),
                "mac_index": In(7),
                "af": In(1),
                "op": Out(5),
                "column": Out(6),
                "accumulators": Out(1),
                "data": Out(256),
                "pending": Out(1),
                "mac_allowed": Out(1),
                "af_allowed": Out(1),
                "tile_ready": Out(1),
                "finished": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        timing = self._config.timing
        # In register mode all rows are closed, so a mode switch and an activation lie between WRGB and MACAB.
        gb_to_mac = timing.between(MicroOp.WRGB, MicroOp.MACAB, Scope.COLUMN) if timing.direct else 1
        if timing.direct and timing.between(MicroOp.MACAB, MicroOp.WRGB, Scope.COLUMN) != 1:
            raise ValueError("tMACGB must be one controller cycle: mac_index counts MACABs of earlier cycles")

        step = self.steps.p
        tile = self.tile
        #: By accumulator set.
        bias_loaded, summed = Signal(SETS), Signal(SETS)
        activated = Signal()
        #: Columns written, old enough to be read, and not yet read by the run that loads them.
        columns_ready = Signal(8)
        #: Loads begun and not yet released, the one being written included.
        loads = Signal(2)

        # --- what the next step waits for
        older = Signal(2)
        possible = Signal()
        summed_here = summed.bit_select(step.accumulators, 1)
        m.d.comb += older.eq(loads - (step.column != 0))
        with m.Switch(step.kind):
            with m.Case(RegisterKind.WRGB):
                passed = self.tile_valid & tile.release & (self.mac_index > step.column)
                m.d.comb += possible.eq((older == 0) | ((older == 1) & passed))
            with m.Case(RegisterKind.WRBIAS):
                m.d.comb += possible.eq(~bias_loaded.bit_select(step.accumulators, 1) & ~summed_here)
            with m.Case(RegisterKind.RDMAC):
                m.d.comb += possible.eq(summed_here)
            with m.Case(RegisterKind.RDAF):
                m.d.comb += possible.eq(activated)
        m.d.comb += self.pending.eq(self.steps.valid & possible)

        in_time = Signal()
        with m.Switch(step.kind):
            for kind, op in _OPS.items():
                with m.Case(kind):
                    space = self.result_space if op in (MicroOp.RDMAC, MicroOp.RDAF) else 1
                    if op is MicroOp.WRGB and self._config.dual_row_buffer:
                        space = ~self.loads_wait
                    m.d.comb += in_time.eq(getattr(self, f"{op.name.lower()}_ready") & space)
        with m.If(self.pending & self.enable & in_time):
            m.d.comb += self.steps.ready.eq(1)
            with m.Switch(step.kind):
                for kind, op in _OPS.items():
                    with m.Case(kind):
                        m.d.comb += self.op.eq(op)
        m.d.comb += [
            self.column.eq(step.column),
            self.accumulators.eq(step.accumulators),
            self.data.eq(step.data),
        ]

        if self._config.dual_row_buffer:
            m.d.comb += [
                self.bias_waits.eq(self.pending & (step.kind == RegisterKind.WRBIAS)),
                self.result_waits.eq(
                    self.pending & ((step.kind == RegisterKind.RDMAC) | (step.kind == RegisterKind.RDAF))
                ),
            ]

        # --- what has been done
        written = Signal()
        m.d.comb += written.eq(self.op == MicroOp.WRGB)
        aged = written
        for _ in range(gb_to_mac - 1):
            older_write = Signal()
            m.d.sync += older_write.eq(aged)
            aged = older_write
        used = self.mac & tile.load
        m.d.sync += columns_ready.eq(columns_ready + aged - used)
        released = self.mac & self.mac_last & tile.release
        m.d.sync += loads.eq(loads + (written & (step.column == 0)) - released)

        with m.If(self.steps.valid):
            m.d.sync += self.finished.eq(self.steps.ready & step.final)
        with m.If(self.mac & self.mac_last & tile.last):
            m.d.sync += bias_loaded.bit_select(tile.accumulators, 1).eq(0)
            m.d.sync += summed.bit_select(tile.accumulators, 1).eq(1)
        with m.If(self.op == MicroOp.WRBIAS):
            m.d.sync += bias_loaded.bit_select(step.accumulators, 1).eq(1)
        with m.If(self.af):
            m.d.sync += activated.eq(1)
        with m.If(self.op == MicroOp.RDMAC):
            m.d.sync += summed.bit_select(step.accumulators, 1).eq(0)
        with m.If(self.op == MicroOp.RDAF):
            # After the first of two nobody asks for the other's sums but its AF.
            m.d.sync += [summed.eq(0), activated.eq(0)]

        biased = bias_loaded.bit_select(tile.accumulators, 1)
        m.d.comb += [
            self.mac_allowed.eq(self.tile_valid & biased & (~tile.load | (columns_ready != 0))),
            self.af_allowed.eq(self.tile_valid & ~activated),
            self.tile_ready.eq(
                self.tile_valid
                & Mux(tile.table, ~activated, biased & (~tile.load | (columns_ready >= tile.columns)))
            ),
        ]
        return m
