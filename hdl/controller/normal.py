"""Normal traffic of one channel: requests in, the next command of theirs proposed, read data out in order.

First-ready, first-come-first-served: of the requests whose row is open the oldest gets its column command, and rows are
opened and closed for the oldest of the others while it does. Reads go before writes, which are collected and written in
runs, since every change of the direction costs the bus a dozen cycles.
"""

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import memory, stream, wiring
from amaranth.lib.wiring import In, Out, connect, flipped

from hdl.layouts import Request
from pim_model.spec.config import Config
from pim_model.spec.geometry import COLUMN_BYTES
from pim_model.spec.micro import MicroOp

from .queue import Header, RequestQueue, first, pick
from .reorder import ReorderBuffer

__all__ = ["NormalTraffic", "ProposalSignature", "write_run"]


def write_run(queue: int) -> tuple[int, int]:
    """Queued writes, of ``queue`` places, at which a run of writes begins, and at which it ends if there are reads."""
    return 3 * queue // 4, queue // 8


class ProposalSignature(wiring.Signature):
    """Between normal traffic, which proposes a command each cycle, and the scheduler, which grants it or not.

    Members
    -------
    op, bank, row, column, data, mask : Out
        The command that normal traffic wants in slot 0 in this cycle, NOP for none; legal, as far as timing goes.
    idle : Out(1)
        No request is here and no read data to come.
    busy : Out(one bit a bank)
        A request waits for the bank.
    lookup_bank, lookup_row : Out, hit : In(1)
        A request that comes in; its row is open.
    granted : In(1)
        ``op`` is slot 0's command.
    op0, bank0, row0 : In
        Slot 0's command, whoever's it is.
    opened : In(one bit a bank)
        The banks with an open row.
    act_ready, pre_ready, rd_ready, wr_ready : In(one bit a bank)
        Timing allows the command to that bank.

    With dual row buffers also:

    shared_row : In(16), barred : In(1)
        The row that PIM has open or is about to open; it must not be opened here.
    aged, overdue : Out(1)
        The oldest request is old; it wants that row.
    marked : Out(1), flush : In(1)
        Writes that were here at a macro's start still are; they go first, and nothing comes in.
    """

    def __init__(self, banks: int, dual: bool):
        sharing = {
            "shared_row": In(16),
            "barred": In(1),
            "aged": Out(1),
            "overdue": Out(1),
            "marked": Out(1),
            "flush": In(1),
        }
        super().__init__(
            {
                **(sharing if dual else {}),
                "op": Out(5),
                "bank": Out(4),
                "row": Out(16),
                "column": Out(6),
                "data": Out(8 * COLUMN_BYTES),
                "mask": Out(COLUMN_BYTES),
                "idle": Out(1),
                "busy": Out(banks),
                "lookup_bank": Out(4),
                "lookup_row": Out(16),
                "hit": In(1),
                "granted": In(1),
                "op0": In(5),
                "bank0": In(4),
                "row0": In(16),
                "opened": In(banks),
                "act_ready": In(banks),
                "pre_ready": In(banks),
                "rd_ready": In(banks),
                "wr_ready": In(banks),
            }
        )


class NormalTraffic(wiring.Component):
    """Queue, write data, reorder buffer and choice of one channel.

    A read sees every write accepted before it. Where a queued write covers all of its bytes it takes them from there;
    where one covers some, it waits for it. A request that was passed over for long (``AGE`` in ``queue.py``) goes next.

    Members
    -------
    requests : In(stream of Request)
    reads : Out(stream of 256)
        Data of the reads, in the order of their acceptance.
    rvalid : In(1), rdata : In(256)
        Data from the device, of RDs while ``pending``.
    pending : Out(1)
        Data of an RD is to come.
    queued : Out(6)
        Requests in the queue.
    flip_write, flip_read : In(1)
        Store the data of a write, of a read with a flipped bit.
    bad_write, bad_read : Out(1)
        The data of a write that leaves, or the data that ``reads`` shows, are not what was stored.
    mark : In(1)
        With dual row buffers: a macro starts.
    proposal : Out(ProposalSignature)
    """

    def __init__(self, config: Config):
        self._config, self._entries = config, config.normal_queue
        super().__init__(
            {
                **({"mark": In(1)} if config.dual_row_buffer else {}),
                "requests": In(stream.Signature(Request)),
                "reads": Out(stream.Signature(256)),
                "rvalid": In(1),
                "rdata": In(256),
                "pending": Out(1),
                "queued": Out(range(config.normal_queue + 1)),
                "flip_write": In(1),
                "flip_read": In(1),
                "bad_write": Out(1),
                "bad_read": Out(1),
                "proposal": Out(ProposalSignature(config.geometry.banks, config.dual_row_buffer)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.queue = queue = RequestQueue(self._config)
        m.submodules.reorder = reorder = ReorderBuffer(self._config.timing, 2 * self._entries)
        arriving = Signal()
        connect(m, reorder.reads, flipped(self.reads))
        m.d.comb += [
            reorder.rvalid.eq(self.rvalid),
            reorder.rdata.eq(self.rdata),
            self.pending.eq(reorder.pending),
            self.proposal.idle.eq(~arriving & ~queue.valid[0] & ~reorder.pending),
        ]
        self._accept(m, queue, reorder, arriving)
        m.d.sync += self.queued.eq(self.queued + (queue.push & ~queue.covered) - queue.remove.any())
        able = Signal(self._entries)
        m.d.comb += able.eq(queue.valid & ~queue.blocked)
        self._choose(m, queue, able, self._direction(m, queue, able))
        return m

    def _accept(self, m, queue, reorder, arriving):
        """Take a request: its data into the write memory at once, its header into the queue a cycle later."""
        proposal, request = self.proposal, self.requests.p
        m.submodules.data = words = memory.Memory(
            shape=len(request.data) + len(request.mask) + 1, depth=self._entries, init=[]
        )
        store, fetch, forward = (
            words.write_port(),
            words.read_port(domain="comb"),
            words.read_port(domain="comb"),
        )
        occupied, header, moves, taken = Signal(self._entries), Signal(Header), Signal(), Signal()
        free, released = Signal(self._entries), Signal(self._entries)
        slot = Cat(
            Cat(free[i] for i in range(self._entries) if i >> bit & 1).any()
            for bit in range(self._entries.bit_length() - 1)
        )
        issued = Signal.like(header.slot)
        writes = proposal.granted & (proposal.op == MicroOp.WR)
        m.d.comb += [
            free.eq(first(~occupied)),
            moves.eq(queue.space & reorder.forward_space),
            self.requests.ready.eq((~arriving | moves) & free.any() & reorder.space),
            taken.eq(self.requests.valid & self.requests.ready),
            reorder.accept.eq(taken & ~request.write),
            store.addr.eq(slot),
            store.data.eq(
                Cat(request.data, request.mask, Cat(request.data, request.mask).xor() ^ self.flip_write)
            ),
            store.en.eq(taken & request.write),
            proposal.lookup_bank.eq(header.bank),
            proposal.lookup_row.eq(header.row),
            queue.header.eq(header),
            queue.row_hit.eq(proposal.hit),
            queue.push.eq(arriving & moves),
            forward.addr.eq(queue.source),
            reorder.word.eq(forward.data[:256]),
            reorder.forwarded.eq(header.slot),
            reorder.forward.eq(queue.push & queue.covered),
            reorder.flip.eq(self.flip_read),
            self.bad_read.eq(reorder.bad),
            self.bad_write.eq((writes & fetch.data.xor()) | (reorder.forward & forward.data.xor())),
            issued.eq(pick(queue.slots, queue.remove)),
            reorder.issue.eq(proposal.granted & (proposal.op == MicroOp.RD)),
            reorder.issued.eq(issued),
            fetch.addr.eq(issued),
            Cat(proposal.data, proposal.mask).eq(fetch.data[:-1]),
            released.eq(writes << issued[: self._entries.bit_length() - 1]),
        ]
        m.d.sync += occupied.eq((occupied | (free & store.en.replicate(self._entries))) & ~released)
        with m.If(taken):
            m.d.sync += [
                arriving.eq(1),
                header.write.eq(request.write),
                header.bank.eq(request.bank),
                header.row.eq(request.row),
                header.column.eq(request.column),
                header.slot.eq(Mux(request.write, slot, reorder.slot)),
                header.full.eq(request.mask.all()),
            ]
        with m.Elif(moves):
            m.d.sync += arriving.eq(0)
        if self._config.dual_row_buffer:
            early = Signal()  # the header was here at a macro's start
            m.d.sync += early.eq(Mux(taken, self.mark, early | self.mark) & ~(moves & ~taken))
            m.d.comb += [
                queue.mark.eq(self.mark),
                queue.early.eq(early),
                queue.shared_row.eq(proposal.shared_row),
                proposal.marked.eq(queue.marked.any() | (arriving & header.write & early)),
                proposal.aged.eq(queue.old & queue.valid[0]),
                proposal.overdue.eq(proposal.aged & queue.shared[0]),
            ]

    def _direction(self, m, queue, able):
        """Whether writes go, not reads; a cycle late."""
        writing = Signal()
        reads, writes, many, few = Signal(), Signal(), Signal(), Signal()
        count = Signal(range(self._entries + 1))
        high, low = write_run(self._entries)
        entered = queue.push & queue.header.write
        left = self.proposal.granted & (self.proposal.op == MicroOp.WR)
        m.d.sync += count.eq(count + entered - left)
        m.d.comb += [
            reads.eq((able & ~queue.write).any()),
            writes.eq((able & queue.write).any()),
            many.eq(count >= high),
            few.eq(count <= low),
        ]
        with m.If(queue.old):
            m.d.sync += writing.eq(queue.write[0])
        if self._config.dual_row_buffer:
            with m.Elif(self.proposal.flush):
                m.d.sync += writing.eq((able & queue.marked).any())
        with m.Elif(writing):
            m.d.sync += writing.eq(writes & ~(few & reads))
        with m.Else():
            m.d.sync += writing.eq(many | (writes & ~reads))
        return writing

    def _choose(self, m, queue, able, writing):
        """Propose a command, and remove the entry whose column command is granted."""
        proposal, geometry = self.proposal, self._config.geometry

        def vector(name, value):
            signal = Signal(self._entries, name=name)
            m.d.comb += signal.eq(value)
            return signal

        banks = [Const(-1, self._entries)]  # of each bank, the places that have its number
        for i, bit in enumerate(queue.banks):
            banks = [
                vector(f"half{i}_{half}_{j}", of_half & (bit if half else ~bit))
                for half in (0, 1)
                for j, of_half in enumerate(banks)
            ]

        def by_bank(name, entries):
            """The banks that some of ``entries`` ask for."""
            signal = Signal(geometry.banks, name=name)
            m.d.comb += signal.eq(Cat((here & entries).any() for here in banks))
            return signal

        def of_banks(name, flags):
            """The places whose bank has its bit set in ``flags``."""
            choices = [flag.replicate(self._entries) for flag in flags]
            for i, bit in enumerate(queue.banks):
                choices = [
                    vector(f"{name}{i}_{j}", (upper & bit) | (lower & ~bit))
                    for j, (lower, upper) in enumerate(zip(choices[::2], choices[1::2], strict=True))
                ]
            return choices[0]

        current = vector("current", able & (queue.write ^ ~writing.replicate(self._entries)))
        # The direction that is served has a bank to itself while it needs it; the other prepares what is left.
        mine = by_bank("mine", current)
        served = vector("served", able & (current | ~of_banks("taken", mine)))
        wanted = by_bank("wanted", served & queue.hit)
        # An old request that waits for another row of its bank: no younger one keeps the open row.
        oldest = by_bank("oldest", able & 1)
        urgent = Signal(geometry.banks)
        row, column = Signal(geometry.banks), Signal(geometry.banks)
        opened = proposal.opened
        m.d.comb += [
            proposal.busy.eq(by_bank("busy", able)),
            urgent.eq(oldest & (queue.old & ~queue.hit[0]).replicate(geometry.banks)),
            row.eq((opened & proposal.pre_ready & (~wanted | urgent)) | (~opened & proposal.act_ready)),
            column.eq(opened & ~urgent & Mux(writing, proposal.wr_ready, proposal.rd_ready)),
        ]
        misses = ~queue.hit
        if self._config.dual_row_buffer:
            misses = misses & ~(queue.shared & proposal.barred.replicate(self._entries))
        rows = vector("rows", served & of_banks("row_of", row) & misses)
        columns = vector("columns", current & of_banks("column_of", column) & queue.hit)
        row_place, column_place = vector("row_place", first(rows)), vector("column_place", first(columns))
        row_bank, column_bank = Signal(geometry.bank_bits), Signal(geometry.bank_bits)
        by_row, by_column = Signal(), Signal()
        # Where column commands may follow each other cycle by cycle, rows would never get their turn behind them; each
        # row that is opened brings its own column command, so the columns do. Else there is a free cycle after each.
        row_first = self._config.timing.cycles("tCCD") == 1
        m.d.comb += [
            by_row.eq(rows.any() & (row_first | ~columns.any())),
            by_column.eq(columns.any() & ~by_row),
            row_bank.eq(pick(queue.banks, row_place)),
            column_bank.eq(pick(queue.banks, column_place)),
            proposal.bank.eq(Mux(by_row, row_bank, column_bank)),
            proposal.row.eq(pick(queue.rows, row_place)),
            proposal.column.eq(pick(queue.columns, column_place)),
            queue.remove.eq(column_place & (by_column & proposal.granted).replicate(self._entries)),
            queue.op.eq(proposal.op0),
            queue.bank.eq(proposal.bank0),
            queue.row.eq(proposal.row0),
            queue.column.eq(proposal.column),
        ]
        with m.If(by_row):
            m.d.comb += proposal.op.eq(Mux(proposal.opened.bit_select(row_bank, 1), MicroOp.PRE, MicroOp.ACT))
        with m.Elif(by_column):
            m.d.comb += proposal.op.eq(Mux(writing, MicroOp.WR, MicroOp.RD))
