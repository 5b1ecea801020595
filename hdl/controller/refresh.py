"""When refreshes are owed, and how many were pulled in.

# Ref: "GDDR6-AiM: what is publicly known", timing (tREFI, tRFC); JEDEC GDDR6 and DDR4, postponing and pulling in
"""

from itertools import pairwise

from amaranth import Cat, Const, Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from pim_model.spec.timing import POSTPONED, Timing

__all__ = ["RefreshTimer"]


class RefreshTimer(wiring.Component):
    """Keep the balance of each unit: of the channel (all-bank policy) or of each bank (per-bank policy).

    A unit owes one refresh more at each end of its own interval of tREFI, and one less after each refresh; the units'
    intervals end one after the other, tREFI / units apart. The commands themselves are the scheduler's, and so is every
    distance between them.

    Late is who owes nine, or was refreshed more than nine tREFI ago, whatever was pulled in. ``forced`` comes a whole
    tREFI before either.

    Members
    -------
    enable : In(1)
        Refresh is wanted. When low nothing is owed and the intervals restart.
    done : In(one bit a unit)
        These are refreshed by the command on the bus.
    due : Out(one bit a unit)
        One or more is owed, or eight intervals have ended since the last refresh.
    twice : Out(one bit a unit)
        Two or more are owed.
    forced : Out(one bit a unit)
        Eight are owed, or eight intervals have ended since the last refresh.
    spare : Out(one bit a unit)
        Fewer than eight are pulled in.
    """

    def __init__(self, timing: Timing, units: int):
        self._interval = timing.refresh_interval
        self._units = units
        super().__init__(
            {
                "enable": In(1),
                "done": In(units),
                "due": Out(units),
                "twice": Out(units),
                "forced": Out(units),
                "spare": Out(units),
            }
        )

    def elaborate(self, platform):
        m = Module()
        interval, units = self._interval, self._units
        # Each cycle is worth ``units``, the end of an interval ``interval``: no remainder of tREFI / units is lost.
        elapsed = Signal(range(interval))
        ended = Signal()
        turn = Signal(units, init=1)
        m.d.comb += ended.eq(elapsed >= interval - units)
        with m.If(~self.enable):
            m.d.sync += [elapsed.eq(0), turn.eq(1)]
        with m.Else():
            m.d.sync += elapsed.eq(elapsed + Mux(ended, units - interval, units))
            with m.If(ended):
                m.d.sync += turn.eq(Cat(turn[-1], turn[:-1]))

        # Counts in unary, a vector over the units for each number: who owes that many or more, for whom as many
        # intervals have ended since the last refresh.
        every, none = Const((1 << units) - 1, units), Const(0, units)
        fresh = {owed: every if owed <= 0 else none for owed in range(1 - POSTPONED, POSTPONED + 1)}
        owes = {
            owed: Signal(units, name=f"owes_{owed}".replace("-", "minus_"), init=first)
            for owed, first in fresh.items()
        }
        since = [Signal(units, name=f"since_{ends}") for ends in range(1, POSTPONED + 1)]
        end = turn & ended.replicate(units)
        with m.If(~self.enable):
            m.d.sync += [owes[owed].eq(first) for owed, first in fresh.items()]
            m.d.sync += [vector.eq(0) for vector in since]
        with m.Elif(ended | self.done.any()):
            # A refresh first, then the end of the interval.
            now = [
                (vector & ~self.done) | (above & self.done)
                for vector, above in pairwise([*owes.values(), none])
            ]
            left = [vector & ~self.done for vector in since]
            for vectors, values in ((owes.values(), now), (since, left)):
                for vector, (below, same) in zip(vectors, pairwise([every, *values]), strict=True):
                    m.d.sync += vector.eq((below & end) | (same & ~end))
        m.d.comb += [
            self.due.eq(owes[1] | since[-1]),
            self.twice.eq(owes[2]),
            self.forced.eq(owes[POSTPONED] | since[-1]),
            self.spare.eq(owes[1 - POSTPONED] & self.enable.replicate(units)),
        ]
        return m
