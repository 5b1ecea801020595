"""What the timing of the whole channel allows: one gate for each command that the controller issues.

Enforced here: every rule of scope CHANNEL, every rule between commands of which one addresses all banks, tFAW, and
tRCD of the commands in :data:`COLUMN_OF_ONE_BANK`.
Not here: rules between two single-bank commands (``bank.py``); the hazards on columns of the global buffer
(``registers.py``).
"""

from amaranth import Module, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.micro import ALL_BANKS, ONE_BANK, MicroOp
from pim_model.spec.timing_rules import Scope

from .gates import distances, faw_gate, gate

__all__ = ["COLUMN_OF_ONE_BANK", "ISSUED", "ChannelGates"]

COLUMN_OF_ONE_BANK = (MicroOp.MACSB, MicroOp.RDCP, MicroOp.WRCP)
"""Column commands of programs to one bank. What they need of ACT (tRCD) counts from the channel's last ACT, whatever
its bank: programs run one item after the other, and a gate for each bank and command would cost more than it gives."""

ISSUED = (
    MicroOp.ACT,
    MicroOp.ACTAB,
    MicroOp.ACTAF,
    MicroOp.RD,
    MicroOp.WR,
    MicroOp.PRE,
    MicroOp.PREA,
    MicroOp.REFAB,
    MicroOp.TMOD_IN,
    MicroOp.TMOD_OUT,
    MicroOp.WRGB,
    MicroOp.WRBIAS,
    MicroOp.RDMAC,
    MicroOp.RDAF,
    MicroOp.MACAB,
    MicroOp.AF,
    MicroOp.EWMUL,
    MicroOp.WRBK,
    *COLUMN_OF_ONE_BANK,
)
"""The micro commands that this controller issues, REFPB and PREP aside."""


class ChannelGates(wiring.Component):
    """Watch both command slots; say which commands the channel allows in this cycle.

    Members
    -------
    op0, op1 : In(5)
        Commands decided in this cycle.
    <op>_ready : Out(1)
        For each command of :data:`ISSUED`, in lower case; with the per-bank policy ``refpb_ready`` too, with dual row
        buffers ``prep_ready``.
    """

    def __init__(self, config: Config):
        self._config = config
        self._issued: tuple[MicroOp, ...] = ISSUED
        if config.refresh is RefreshPolicy.PER_BANK:
            self._issued += (MicroOp.REFPB,)
        if config.dual_row_buffer:
            self._issued += (MicroOp.PREP,)
        super().__init__(
            {"op0": In(5), "op1": In(5), **{f"{op.name.lower()}_ready": Out(1) for op in self._issued}}
        )

    def elaborate(self, platform):
        m = Module()
        timing = self._config.timing
        # Each kind of command has one slot, so both go into one vector: a set of commands is a mask on it.
        issued = Signal(max(self._issued) + 1)
        m.d.comb += issued.eq(1 << self.op0 | 1 << self.op1)
        strobes = {op: issued[op] for op in self._issued}
        all_banks = [op for op in self._issued if op in ALL_BANKS]
        for op in self._issued:
            name = op.name.lower()
            whole = op not in ONE_BANK or op in COLUMN_OF_ONE_BANK
            scopes = (Scope.CHANNEL, Scope.GROUP, Scope.BANK) if whole else (Scope.CHANNEL,)
            waits = distances(timing, op, strobes, *scopes)
            for before, cycles in distances(timing, op, all_banks, Scope.BANK).items():
                waits[before] = max(cycles, waits.get(before, 0))
            ready = gate(m, name, [(strobes[before], cycles) for before, cycles in waits.items()])
            if op is MicroOp.ACT:
                ready = ready & faw_gate(m, strobes[op], timing.faw_cycles)
            m.d.comb += getattr(self, f"{name}_ready").eq(ready)
        return m
