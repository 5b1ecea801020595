"""The passes of a job, one after the other: which token and group, whether a second lane goes beside the first, what
the next pass shares with it, and where a matrix ends."""

from amaranth import Cat, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Job
from pim_model.spec.config import Config
from pim_model.spec.order import best_order

__all__ = ["Passes"]


class Passes(wiring.Component):
    """Count passes, in the order of :mod:`pim_model.spec.order`.

    Members
    -------
    job : In(Job)
        Held from ``start`` to the end of the last pass.
    start : In(1)
        Begin with the first pass of ``job``.
    next : In(1)
        The pass ends with this cycle.
    token_pair, group_pair : Out(1)
        The second lane is the next token, or the next group; neither: there is none.
    ends : Out(2)
        For each lane, whether its group is the last of its matrix. Without a second lane that bit is as the first's.
    fresh, spent : Out(1)
        The input of a single tile is not in the buffer yet; no later pass needs it there.
    stays : Out(1)
        The next pass has the same group, and the next tokens.
    turns : Out(1)
        The next pass has the next tokens, and the first group.
    rewinds : Out(1)
        The next pass has the next group, and the first tokens. None of the three: the next group, and the same tokens.
    last : Out(1)
        The last pass.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "job": In(Job),
                "start": In(1),
                "next": In(1),
                "token_pair": Out(1),
                "group_pair": Out(1),
                "ends": Out(2),
                "fresh": Out(1),
                "spent": Out(1),
                "stays": Out(1),
                "turns": Out(1),
                "rewinds": Out(1),
                "last": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        job = self.job
        order = best_order(self._config.timing.direct, job.all_groups, job.tiles, job.activate)
        tokens, groups = Signal(16), Signal(24)  # to come, this pass included

        last_group, last_token = Signal(), Signal()  # of all matrices
        #: Each pass has its own input.
        reloads = Signal()

        # Groups to come of the first lane's matrix, and of the second's: either lane's group included.
        first, second = Signal(24), Signal(24)

        def following(left):
            return Mux(left == 1, job.groups, left - 1)

        m.d.comb += [
            self.token_pair.eq(order.tokens & (tokens != 1)),
            self.group_pair.eq(order.groups & ~self.token_pair & (groups != 1)),
            second.eq(Mux(self.group_pair, following(first), first)),
            self.ends.eq(Cat(first == 1, second == 1)),
            last_group.eq(groups == 1 + self.group_pair),
            last_token.eq(tokens == 1 + self.token_pair),
            reloads.eq(order.stays & (job.tokens != 1)),
            self.fresh.eq((groups == job.all_groups) | reloads),
            self.spent.eq(last_group | reloads),
            self.stays.eq(order.stays & ~last_token),
            self.turns.eq(~order.stays & last_group),
            self.rewinds.eq(order.stays & last_token),
            self.last.eq(last_group & last_token),
        ]
        with m.If(self.start):
            m.d.sync += [tokens.eq(job.tokens), groups.eq(job.all_groups), first.eq(job.groups)]
        with m.Elif(self.next):
            with m.If(self.stays | self.turns):
                m.d.sync += tokens.eq(tokens - 1 - self.token_pair)
            with m.Elif(self.rewinds):
                m.d.sync += tokens.eq(job.tokens)
            with m.If(~self.stays):
                m.d.sync += [groups.eq(groups - 1 - self.group_pair), first.eq(following(second))]
            with m.If(self.turns):
                m.d.sync += groups.eq(job.all_groups)
        return m
