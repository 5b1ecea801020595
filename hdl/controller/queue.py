"""The normal requests of one channel that wait for their column command, oldest first.

Kept by bits and not by entries: every bit of every field is one vector over the places of the queue. A comparison with
all entries, a choice and the closing of a gap are then a few operations on whole vectors, in hardware the same gates as
otherwise, in a simulator a fraction of the work.

An entry keeps the order of the accesses to its address by itself: ``blocked`` says that an older access of the other
kind is still there. Of one kind the oldest goes first, since entries of one address are ready together.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.config import Config
from pim_model.spec.micro import MicroOp

__all__ = ["AGE", "SLOT_BITS", "Header", "RequestQueue", "first", "numbers", "pick"]

AGE = 256
"""A request passed over for this many cycles goes before all younger ones; at the latest after twice as many.

Then only older requests and its own row stand between it and its column command: a PRE (tWR), an ACT (tRP) and the
command (tRCD) follow as early as timing allows.
"""

SLOT_BITS = 6
"""A slot names where an access has its data: of a write in the write memory, of a read in the reorder buffer."""

_CLOSERS = (MicroOp.PREA, MicroOp.ACTAB, MicroOp.ACTAF)
"""After these no entry's row is open for normal traffic. With dual row buffers activations of PIM close nothing."""


def first(places):
    """The lowest place of a vector alone; none of none."""
    return (places & (~places + 1))[: len(places)]


def pick(bits, place):
    """The number whose bits are the vectors ``bits``, at the one place of ``place``; zero at none."""
    return Cat((bit & place).any() for bit in bits)


def numbers(count):
    """The numbers of ``count`` places, by bits, for :func:`pick`."""
    return [
        sum(1 << place for place in range(count) if place >> bit & 1)
        for bit in range((count - 1).bit_length())
    ]


def _below(places):
    """All places below the lowest of a vector; all places when it is empty."""
    return (~places & (places - 1))[: len(places)]


class Header(data.Struct):
    """One access without its data."""

    write: 1
    bank: 4
    row: 16
    column: 6
    slot: SLOT_BITS
    #: A write of all 32 bytes.
    full: 1


class RequestQueue(wiring.Component):
    """Take one access a cycle, give one away; place 0 holds the oldest and there are no gaps.

    Members
    -------
    push : In(1), header : In(Header), row_hit : In(1)
        An access that comes in, and whether its row is open. Only while ``space``.
    space : Out(1)
        There is a place for one more.
    covered : Out(1), source : Out(6)
        ``header`` is a read whose data is that of a queued write, and the slot of that write. It takes no place.
    remove : In(one bit a place)
        The entry whose column command is decided in this cycle.
    op, bank, row, column : In
        Slot 0's command as decided in this cycle; ``column`` of a column command.
    valid, write, hit, blocked, banks, rows, columns, slots : Out
        The entries: one vector for each flag and for each bit of a number. ``hit``: the entry's row is open, two cycles
        after its ACT at the latest; until a cycle after the PRE.
    old : Out(1)
        The entry in place 0 has waited long enough.

    With dual row buffers also:

    mark : In(1), early : In(1)
        Mark all writes that are here; mark the write that comes in.
    marked : Out(one bit a place)
    shared_row : In(16), shared : Out(one bit a place)
        A row; the entries that want it.
    """

    def __init__(self, config: Config):
        self._config = config
        entries = config.normal_queue
        geometry = config.geometry
        dual = {
            "mark": In(1),
            "early": In(1),
            "marked": Out(entries),
            "shared_row": In(16),
            "shared": Out(entries),
        }
        super().__init__(
            {
                **(dual if config.dual_row_buffer else {}),
                "push": In(1),
                "header": In(Header),
                "row_hit": In(1),
                "space": Out(1),
                "covered": Out(1),
                "source": Out(SLOT_BITS),
                "remove": In(entries),
                "op": In(5),
                "bank": In(4),
                "row": In(16),
                "column": In(6),
                **{name: Out(entries) for name in ("valid", "write", "hit", "blocked")},
                "banks": Out(entries).array(geometry.bank_bits),
                "rows": Out(entries).array(geometry.row_bits),
                "columns": Out(entries).array(geometry.column_bits),
                "slots": Out(entries).array(SLOT_BITS),
                "old": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        header, entries = self.header, self._config.normal_queue

        def vector(name, value):
            signal = Signal(entries, name=name)
            m.d.comb += signal.eq(value)
            return signal

        def equal(name, bits, number):
            """Where the number of ``bits`` is ``number``."""
            different = [bit ^ number[i].replicate(entries) for i, bit in enumerate(bits)]
            while len(different) > 1:
                different = [
                    vector(f"{name}_{len(different)}_{i}", different[i] | different[i + 1])
                    if i + 1 < len(different)
                    else different[i]
                    for i in range(0, len(different), 2)
                ]
            return vector(name, ~different[0])

        dual = self._config.dual_row_buffer
        closers = (MicroOp.PREA,) if dual else _CLOSERS
        # The command of the cycle before; what it changes stands in the vectors from the next cycle on.
        op, bank, row, column = Signal(5), Signal(4), Signal(16), Signal(6)
        m.d.sync += [op.eq(self.op), bank.eq(self.bank), row.eq(self.row), column.eq(self.column)]
        same_bank = equal("same_bank", self.banks, bank)
        opened = vector("opened", equal("same_row", self.rows, row) & (op == MicroOp.ACT).replicate(entries))
        closed = vector(
            "closed",
            (same_bank & (op == MicroOp.PRE).replicate(entries)) | op.matches(*closers).replicate(entries),
        )
        hit = vector("hit_now", (self.hit & ~closed) | (opened & same_bank & self.valid))

        # An access has left: who of its address waits for whom now? Its row is open, so hits share it.
        gone = op.matches(MicroOp.RD, MicroOp.WR)
        touched = vector(
            "touched",
            equal("same_column", self.columns, column) & same_bank & self.hit & gone.replicate(entries),
        )
        writes, reads = vector("writes", touched & self.write), vector("reads", touched & ~self.write)
        blocked = vector(
            "blocked_now", (self.blocked & ~touched) | (reads & ~_below(writes)) | (writes & ~_below(reads))
        )

        # An access comes in: who of its address is there?
        same = vector(
            "same",
            self.valid
            & equal("bank_in", self.banks, header.bank)
            & equal("row_in", self.rows, header.row)
            & equal("column_in", self.columns, header.column),
        )
        newest, full = (
            Signal(entries),
            Signal(entries),
        )  # no younger write has the address; it writes every byte
        opposite = (same & (self.write ^ header.write.replicate(entries))).any()
        cover = vector("cover", same & newest & full)
        enters = Signal()
        m.d.comb += [
            self.space.eq(~self.valid[-1]),
            self.covered.eq(~header.write & cover.any()),
            self.source.eq(pick(self.slots, cover)),
            enters.eq(self.push & ~self.covered),
        ]
        overwritten = (header.write & enters).replicate(entries)

        # Twice a request stays where a boundary of time finds it, then it is old.
        elapsed, boundary = Signal(range(AGE)), Signal()
        seen, old = Signal(entries), Signal(entries)
        m.d.sync += elapsed.eq(elapsed + 1)
        m.d.comb += [boundary.eq(elapsed == AGE - 1), self.old.eq(old[0])]

        stay = vector("stay", _below(self.remove))

        def moved(now):
            return (now & stay) | ((now >> 1) & ~stay)

        kept = []  # what more to keep of each entry
        if dual:
            m.d.comb += self.shared.eq(equal("shared_rows", self.rows, self.shared_row))
            now = Mux(self.mark, self.valid & self.write, self.marked)
            kept.append((self.marked, now, header.write & (self.mark | self.early)))

        left = vector("left", moved(self.valid))
        place = vector("place", (left << 1 | 1) & ~left & enters.replicate(entries))
        m.d.sync += self.valid.eq(left | place)
        for signal, now, bit in (
            (self.hit, hit, self.row_hit),
            (self.blocked, blocked, opposite),
            (newest, newest & ~(same & overwritten), header.write),
            (seen, Mux(boundary, self.valid, seen), Const(0)),
            (old, Mux(boundary, old | seen, old), Const(0)),
            *kept,
        ):
            m.d.sync += signal.eq(moved(now) | (place & bit.replicate(entries)))
        # What an access keeps only moves. Said as a condition, which a simulator skips.
        with m.If(enters | self.remove.any()):
            for signal, bit in (
                (self.write, header.write),
                (full, header.full),
                *zip(self.banks, header.bank, strict=False),
                *zip(self.rows, header.row, strict=False),
                *zip(self.columns, header.column, strict=False),
                *zip(self.slots, header.slot, strict=True),
            ):
                m.d.sync += signal.eq(moved(signal) | (place & bit.replicate(entries)))
        return m
