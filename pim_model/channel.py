# Ref: GDDR6-AiM notes, "Commands" and "Numbers"
"""One channel of the device, command by command with its data: banks, processing units, global buffer."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from pim_model.bank import Bank, ImpossibleCommand
from pim_model.matvec import table_in
from pim_model.numerics import activation
from pim_model.numerics.bf16 import F32, bf16_to_f32, f32_to_bf16
from pim_model.numerics.profiles import profile
from pim_model.spec.geometry import COLUMN_BYTES, LANES, TABLE_ROWS
from pim_model.spec.micro import ALL_BANKS, FOUR_BANKS, ONE_BANK, SETS, WITH_COLUMN, WRITE_DATA, Micro, Mode
from pim_model.spec.micro import MicroOp as Op
from pim_model.spec.row_buffers import DUAL_OPS
from pim_model.storage import Storage

__all__ = ["ALL_BYTES", "Channel"]

ALL_BYTES = (1 << COLUMN_BYTES) - 1
"""Write mask that enables every byte."""


class Channel:
    """Golden model of one channel under micro commands.

    Commands act in the order of the calls, each at once: timing, register mode and the protocol are the
    business of :mod:`pim_model.checker`. Only what has no meaning at all raises
    :class:`~pim_model.bank.ImpossibleCommand`.

    Parameters
    ----------
    storage : Storage
        The memory of all channels.
    index : int
        Which channel this is.
    numerics : str
        Name of the arithmetic profile.
    dual : bool
        Normal traffic and PIM have a row buffer each.
    """

    def __init__(
        self, storage: Storage, index: int, numerics: str = "aligned", *, dual: bool = False
    ) -> None:
        self.geometry = storage.geometry
        if not 0 <= index < self.geometry.channels:
            raise ValueError(f"index must be from 0 to {self.geometry.channels - 1}, not {index!r}")
        self.index = index
        """Which channel it is."""
        self.banks = [Bank(storage, index, bank, dual=dual) for bank in range(self.geometry.banks)]
        self._dual = dual
        self._mac_group = profile(numerics).mac_group
        self.buffer: npt.NDArray[np.uint16] = np.zeros((self.geometry.columns, LANES), dtype=np.uint16)
        """Global buffer, by column."""
        self.accumulators: npt.NDArray[np.float32] = np.zeros((SETS, self.geometry.banks), dtype=np.float32)
        """Accumulators, by set and bank."""
        self.activations: npt.NDArray[np.float32] = np.zeros(self.geometry.banks, dtype=np.float32)
        """Results of AF, by bank, whichever set they came from."""

    def execute(self, micro: Micro, data: bytes | None = None, mask: int = ALL_BYTES) -> bytes | None:
        """Execute one command.

        ``data``: the 32 bytes of a command that writes, None otherwise. ``mask``: byte enables of WR, ignored
        by others. Returns the 32 bytes of a command that reads, None otherwise.
        """
        self._check(micro, data)
        geometry = self.geometry
        op, column, mode = micro.op, micro.column, Mode(micro.mode)
        accumulators = self.accumulators[int(Mode.SET1 in mode)]
        lanes = np.frombuffer(data, dtype="<u2") if data is not None else None
        match op:
            case Op.ACT | Op.ACT4 | Op.ACTAB:
                for bank in self._addressed(micro):
                    bank.open(micro.row, op)
            case Op.ACTAF:
                for bank in self._addressed(micro):
                    bank.open(geometry.table_row(micro.row), op)
            case Op.PRE | Op.PREA | Op.PREP:
                for bank in self._addressed(micro):
                    bank.close(op)
            case Op.REFPB | Op.REFAB:
                for bank in self._addressed(micro):
                    if bank.is_open:
                        raise ImpossibleCommand(f"{op.name} to {bank}, where a row is open")
            case Op.RD:
                return self.banks[micro.bank].read(column, op).astype("<u2").tobytes()
            case Op.WR if lanes is not None:
                self.banks[micro.bank].write(column, lanes, op, mask)
            case Op.WRBK if lanes is not None:
                for bank in self.banks:
                    bank.write(column, lanes, op)
            case Op.WRGB if lanes is not None:
                self.buffer[column] = lanes
            case Op.WRBIAS if lanes is not None:
                accumulators[:] = bf16_to_f32(lanes[: geometry.banks].astype(np.uint16))
            case Op.RDMAC:
                return self._result(accumulators)
            case Op.RDAF:
                return self._result(self.activations)
            case Op.MACSB | Op.MACAB if Mode.LOCAL in mode:
                self._multiply_neighbours(self._indexes(micro), micro, accumulators)
            case Op.MACSB | Op.MAC4B | Op.MACAB:
                self._multiply(self._indexes(micro), micro, accumulators)
            case Op.AF:
                self._activate(accumulators)
            case Op.EWMUL:
                self._element_wise(column, geometry.banks_per_group if Mode.LOCAL in mode else geometry.banks)
            case Op.RDCP:
                self.buffer[column] = self.banks[micro.bank].read(column, op)
            case Op.WRCP:
                self.banks[micro.bank].write(column, self.buffer[column], op)
            case Op.NOP | Op.TMOD_IN | Op.TMOD_OUT:
                pass
        return None

    def _multiply(self, banks: range, micro: Micro, accumulators: F32) -> None:
        chosen = slice(banks.start, banks.stop)
        accumulators[chosen] = self._mac_group(
            accumulators[chosen], self._read(banks, micro), self.buffer[micro.column]
        )

    def _multiply_neighbours(self, banks: range, micro: Micro, accumulators: F32) -> None:
        """The bank named, or of all banks the even ones, against the same column of their neighbours."""
        chosen = banks[::2]
        neighbours = self._read((bank ^ 1 for bank in chosen), micro)
        accumulators[chosen] = self._mac_group(accumulators[chosen], self._read(chosen, micro), neighbours)

    def _read(self, banks: Iterable[int], micro: Micro) -> npt.NDArray[np.uint16]:
        return np.stack([self.banks[bank].read(micro.column, micro.op) for bank in banks]).astype(np.uint16)

    def _activate(self, accumulators: F32) -> None:
        for index, bank in enumerate(self.banks):
            if bank.opened_by(Op.AF) is not Op.ACTAF:
                raise ImpossibleCommand(f"AF to {bank}, where no table row is open")
            table = table_in(bank.row(Op.AF).astype(np.uint16))
            self.activations[index] = activation.apply(table, accumulators[index : index + 1])[0]

    def _element_wise(self, column: int, banks: int) -> None:
        """In each group of the first ``banks`` banks."""
        for first in range(0, banks, self.geometry.banks_per_group):
            a, b = (bf16_to_f32(self.banks[first + bank].read(column, Op.EWMUL)) for bank in (0, 1))
            # Exact in FP32 wherever BF16 does not flush it; an overflow is one in BF16 too.
            with np.errstate(over="ignore", under="ignore", invalid="ignore"):
                product = a * b
            self.banks[first + 2].write(column, f32_to_bf16(product), Op.EWMUL)

    def _result(self, values: npt.NDArray[np.float32]) -> bytes:
        lanes = np.zeros(LANES, dtype="<u2")
        lanes[: self.geometry.banks] = f32_to_bf16(values)
        return lanes.tobytes()

    def _indexes(self, micro: Micro) -> range:
        if micro.op in ONE_BANK:
            return range(micro.bank, micro.bank + 1)
        if micro.op in FOUR_BANKS:
            size = self.geometry.banks_per_group
            first = micro.bank // size * size
            return range(first, first + size)
        return range(self.geometry.banks)

    def _addressed(self, micro: Micro) -> Iterable[Bank]:
        return (self.banks[index] for index in self._indexes(micro))

    def _check(self, micro: Micro, data: bytes | None) -> None:
        op, geometry = micro.op, self.geometry
        if op in DUAL_OPS and not self._dual:
            raise ImpossibleCommand(f"{op.name} to a device without dual row buffers")
        limits = (
            ("bank", micro.bank, geometry.banks if op not in ALL_BANKS else None),
            ("row", micro.row, _row_limit(op, geometry.rows)),
            ("column", micro.column, geometry.columns if op in WITH_COLUMN else None),
        )
        for name, value, limit in limits:
            if limit is not None and not 0 <= value < limit:
                raise ImpossibleCommand(f"{micro}: {name} must be from 0 to {limit - 1}")
        if (data is not None) != (op in WRITE_DATA):
            raise ImpossibleCommand(f"{op.name} {'carries' if op in WRITE_DATA else 'does not carry'} data")
        if data is not None and len(data) != COLUMN_BYTES:
            raise ImpossibleCommand(f"{op.name} carries {COLUMN_BYTES} bytes, not {len(data)}")


def _row_limit(op: Op, rows: int) -> int | None:
    if op is Op.ACTAF:
        return TABLE_ROWS
    return rows if op in (Op.ACT, Op.ACT4, Op.ACTAB) else None
