"""One channel of GDDR6-AiM as synthesisable logic: what stands in for the chip on boards without one.

# Ref: "GDDR6-AiM: what is publicly known", commands and numbers
"""

from amaranth import Array, Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, wiring
from amaranth.lib.wiring import In

from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, MicroOp, Mode
from pim_model.spec.timing_rules import Scope

from .cells import Cells
from .delay import DelayLine
from .elements import ElementRounder
from .float32 import to_bf16
from .interface import COMMAND, PhySignature
from .table import TableLookUp
from .unit import LATENCY, ProcessingUnit

__all__ = ["MOST_BYTES", "NEEDS", "READ_LATENCY", "RESULT_LATENCY", "AimDevice"]

_MACS = (MicroOp.MACSB, MicroOp.MAC4B, MicroOp.MACAB)
_OPENS = (MicroOp.ACT, MicroOp.ACT4, MicroOp.ACTAB, MicroOp.ACTAF)
_SUM = LATENCY + 1
"""Cycles from one command to the first that reads what it added."""

NEEDS: tuple[tuple[MicroOp, MicroOp, Scope, int], ...] = (
    # before, after: at least so many cycles apart, because
    (MicroOp.MACAB, MicroOp.RDMAC, Scope.CHANNEL, _SUM),  # the sum is in the accumulator
    (MicroOp.MACAB, MicroOp.AF, Scope.CHANNEL, _SUM),
    (MicroOp.MACAB, MicroOp.WRBIAS, Scope.CHANNEL, _SUM),  # the sum is there before it is overwritten
    (MicroOp.AF, MicroOp.RDAF, Scope.CHANNEL, _SUM),
    (MicroOp.WRBIAS, MicroOp.AF, Scope.CHANNEL, 1),
    (MicroOp.WRGB, MicroOp.MACAB, Scope.COLUMN, 1),  # the buffer's write port, then its read port
    (MicroOp.MACAB, MicroOp.WRGB, Scope.COLUMN, 1),
    (MicroOp.RDCP, MicroOp.MACAB, Scope.CHANNEL, 2),  # one cycle more: the bank is read first
    (MicroOp.RDCP, MicroOp.WRGB, Scope.CHANNEL, 2),  # both would write the buffer in one cycle
    (MicroOp.WR, MicroOp.RD, Scope.CHANNEL, 2),  # cells are written a cycle after they are read
    (MicroOp.WR, MicroOp.MACAB, Scope.CHANNEL, 2),
    (MicroOp.WRBK, MicroOp.RD, Scope.CHANNEL, 2),
    (MicroOp.EWMUL, MicroOp.RD, Scope.BANK, 4),  # the product is rounded first
    (MicroOp.EWMUL, MicroOp.WR, Scope.BANK, 4),  # and takes the write port then
    (MicroOp.EWMUL, MicroOp.PREA, Scope.BANK, 4),  # and the row has not changed
)
"""Distances that the pipeline needs and the timing table must give."""

MOST_BYTES = 64 << 20
"""More than the on-chip memory of any FPGA, and what a simulator still holds at ease."""

READ_LATENCY = 3
RESULT_LATENCY = 2
"""Cycles from RD, and from RDMAC or RDAF, to the first in which data could be returned."""


class AimDevice(wiring.Component):
    """Banks in block RAM, a processing unit each (profile ``aligned``), global buffer, tables, two accumulator sets.

    A command is taken from the bus, executed in the second cycle, and its columns arrive in the third; sums are ready
    six cycles after. The device relies on the distances of the timing table (those in :data:`NEEDS`) and judges
    nothing: a sequence without a meaning has none here. Refreshes and register mode are accepted at any time. Cells,
    buffer and registers keep their contents over a reset; they start as zeros.

    ``ValueError`` for a timing preset that is too short for the pipeline, for more than :data:`MOST_BYTES`, and for
    dual row buffers: a write to the other row would want the port that an EWMUL of two cycles before needs.

    Members
    -------
    phy : In(PhySignature)
        Register commands in slot 1, all others in slot 0. Data return after RL + BL, results after RLREG + BL.
    """

    def __init__(self, config: Config):
        if config.dual_row_buffer:
            raise ValueError(
                f"config must have one row buffer a bank for the synthesisable device, not {config.name!r}"
            )
        if config.geometry.memory_bytes > MOST_BYTES:
            raise ValueError(
                f"memory must be {MOST_BYTES >> 20} MiB at most for the synthesisable device, not "
                f"{config.geometry.memory_bytes >> 20} ({config.name})"
            )
        timing = config.timing
        for before, after, scope, cycles in NEEDS:
            if scope is Scope.COLUMN and not timing.direct:
                continue  # a mode switch lies between
            given = timing.between(before, after, scope)
            if given < cycles:
                raise ValueError(
                    f"timing must keep {after.name} {cycles} cycles after {before.name} for the synthesisable device, "
                    f"not {given} ({config.timing_name})"
                )
        self._config = config
        self._read_latency = timing.cycles("RL + BL")
        self._result_latency = timing.cycles("RLREG + BL")
        if self._read_latency < READ_LATENCY or self._result_latency < RESULT_LATENCY:
            raise ValueError(
                f"timing must return reads after {READ_LATENCY} and results after {RESULT_LATENCY} cycles or more, not "
                f"{self._read_latency} and {self._result_latency} ({config.timing_name})"
            )
        super().__init__({"phy": In(PhySignature())})

    def elaborate(self, platform):
        m = Module()
        geometry = self._config.geometry
        banks = range(geometry.banks)

        # --- the command, a cycle after it stood on the bus
        c = {name: Signal.like(getattr(self.phy, name), name=f"taken_{name}") for name in COMMAND}
        m.d.sync += [signal.eq(getattr(self.phy, name)) for name, signal in c.items()]
        op, op1, column = c["op0"], c["op1"], c["column0"]
        local, second = (c["mode0"] & Mode.LOCAL).any(), (c["mode0"] & Mode.SET1).any()

        second1 = (c["mode1"] & Mode.SET1).any()

        addressed = Signal(geometry.banks)
        for bank in banks:
            group = c["bank0"][2:] == bank // geometry.banks_per_group
            m.d.comb += addressed[bank].eq(
                op.matches(*ALL_BANKS) | Mux(op.matches(*FOUR_BANKS), group, c["bank0"] == bank)
            )
        mac, element = Signal(), Signal()
        m.d.comb += [mac.eq(op.matches(*_MACS)), element.eq(op == MicroOp.EWMUL)]

        # --- the cycle after: columns have arrived
        later = {
            name: _registered(m, value, name)
            for name, value in {
                "read": op == MicroOp.RD,
                "copy_in": op == MicroOp.RDCP,
                "copy_out": op == MicroOp.WRCP,
                "write": op == MicroOp.WR,
                "write_all": op == MicroOp.WRBK,
                "bank": c["bank0"],
                "column": column,
                "mask": c["wmask"],
                "data": c["wdata"],
                "second": second,
                "neighbour": element | (local & op.matches(MicroOp.MACSB, MicroOp.MACAB)),
                "element": element,
                "one_group": local,
                "activate": op == MicroOp.AF,
                "written": Mux(op.matches(MicroOp.WRBK, MicroOp.WR, MicroOp.WRCP), addressed, 0),
            }.items()
        }

        # --- global buffer
        m.submodules.buffer = buffer = memory.Memory(shape=8 * COLUMN_BYTES, depth=geometry.columns, init=[])
        buffer_read, buffer_write = buffer.read_port(), buffer.write_port()
        m.d.comb += [buffer_read.en.eq(1), buffer_read.addr.eq(column)]

        units = [ProcessingUnit() for _ in banks]
        cells = [Cells(geometry) for _ in banks]
        arrived = Array(each.data for each in cells)
        operand = Signal(8 * COLUMN_BYTES)
        m.d.comb += operand.eq(arrived[later["bank"]])
        copied = later["copy_in"]
        m.d.comb += [
            buffer_write.en.eq(copied | (op1 == MicroOp.WRGB)),
            buffer_write.addr.eq(Mux(copied, later["column"], c["column1"])),
            buffer_write.data.eq(Mux(copied, operand, c["wdata"])),
        ]

        # --- products of elements go to the third bank of each group, two cycles after their operands have arrived
        element_column = _registered(m, _registered(m, later["column"], "element_column"), "element_column_2")
        element_ends = _registered(m, _registered(m, later["element"], "element_2"), "element_3")
        element_one = _registered(m, _registered(m, later["one_group"], "element_one"), "element_one_2")

        for bank in banks:
            own, unit = cells[bank], units[bank]
            m.submodules[f"cells{bank}"] = own
            m.submodules[f"unit{bank}"] = unit
            m.submodules[f"table{bank}"] = table = TableLookUp()
            in_group = bank % geometry.banks_per_group

            # rows
            opens = op.matches(*_OPENS) & addressed[bank]
            table_row = geometry.weight_rows + c["row0"][:3]
            m.d.comb += [own.row.eq(Mux(op == MicroOp.ACTAF, table_row, c["row0"])), own.open.eq(opens)]

            # cells
            found = Signal(10, name=f"found{bank}")
            m.d.comb += [
                table.x.eq(Mux(second, unit.sums[1], unit.sums[0])),
                found.eq(table.index),
                own.read_column.eq(Mux(op == MicroOp.AF, found[4:], column)),
                own.write_column.eq(later["column"]),
                own.write.eq(
                    Mux(
                        later["written"][bank],
                        Mux(later["write"], later["mask"], Const(-1, COLUMN_BYTES)),
                        0,
                    )
                ),
                own.write_data.eq(Mux(later["copy_out"], buffer_read.data, later["data"])),
            ]
            if in_group == 0:
                m.submodules[f"rounder{bank}"] = rounder = ElementRounder()
                m.d.comb += rounder.products.eq(unit.products)
            if in_group == 2:
                with m.If(element_ends & (~element_one | (bank < geometry.banks_per_group))):
                    m.d.comb += [
                        own.write.eq(Const(-1, COLUMN_BYTES)),
                        own.write_column.eq(element_column),
                        own.write_data.eq(rounder.column),
                    ]

            # operands
            other = Mux(later["neighbour"], cells[bank ^ 1].data, buffer_read.data)
            pair = own.data.word_select(_registered(m, found[1:4], f"pair{bank}"), 32)
            linear = _registered(m, table.linear, f"linear{bank}")
            distance = _registered(m, table.operand, f"distance{bank}")
            activate = later["activate"]
            start, slope = pair[:16], pair[16:]
            # With a scale of zero the linear zone is its offset, which adding -0 leaves alone.
            flat = linear & (slope[7:15] == 0)
            m.d.comb += [
                unit.a.eq(Cat(Mux(activate, Mux(flat, 0x8000, slope), own.data[:16]), own.data[16:])),
                unit.b.eq(Cat(Mux(activate, Mux(flat, 0, distance), other[:16]), other[16:])),
                unit.accumulate.eq(
                    _registered(
                        m,
                        mac & addressed[bank] & ~(local & (op == MicroOp.MACAB) & (bank % 2)),
                        f"accumulate{bank}",
                    )
                ),
                unit.accumulators.eq(later["second"]),
                unit.activate.eq(activate),
                unit.start.eq(start),
                unit.nan.eq(_registered(m, table.nan, f"nan{bank}")),
                unit.load.eq(op1 == MicroOp.WRBIAS),
                unit.load_set.eq(second1),
                unit.value.eq(c["wdata"].word_select(bank, 16)),
            ]

        # --- data back
        m.submodules.reads = reads = DelayLine(8 * COLUMN_BYTES, self._read_latency - READ_LATENCY + 1)
        m.submodules.results = results = DelayLine(
            16 * geometry.banks, self._result_latency - RESULT_LATENCY + 1
        )
        m.d.comb += [reads.push.eq(later["read"]), reads.word.eq(operand)]
        m.d.comb += results.push.eq(op1.matches(MicroOp.RDMAC, MicroOp.RDAF))
        for bank, unit in enumerate(units):
            value = Signal(32, name=f"result{bank}")
            m.d.comb += [
                value.eq(Mux(op1 == MicroOp.RDAF, unit.activation, Mux(second1, unit.sums[1], unit.sums[0]))),
                results.word.word_select(bank, 16).eq(to_bf16(value)),
            ]
        m.d.comb += [
            self.phy.rvalid.eq(reads.due | results.due),
            self.phy.rdata.eq(Mux(reads.due, reads.out, results.out)),
        ]
        return m


def _registered(m: Module, value, name: str) -> Signal:
    """``value`` a cycle later."""
    later = Signal.like(value, name=name)
    m.d.sync += later.eq(value)
    return later
