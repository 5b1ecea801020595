"""Refresh: the balance of each unit is kept, and no deadline passes, if what is forced is done within a tREFI.

With the real tREFI; a unit that the solver picks stands for all. That the scheduler does what is forced soon
enough under normal traffic is proved in ``scheduler.py``.
"""

from amaranth import Array, Const, Module, Mux, Signal, signed

from hdl.controller.refresh import RefreshTimer
from pim_model.spec.config import Config, RefreshPolicy
from pim_model.spec.timing import POSTPONED

from .harness import Harness, signals_of

__all__ = ["RefreshHarness"]


class RefreshHarness(Harness):
    """A :class:`RefreshTimer`, refreshed as anyone likes, but in time once forced, and not beyond what may be ahead."""

    def __init__(self, config: Config):
        super().__init__()
        self._timing = config.timing
        self._units = config.geometry.banks if config.refresh is RefreshPolicy.PER_BANK else 1
        interval, every = self._timing.refresh_interval, (1 << self._units) - 1
        first_end = -(-interval // self._units) - 1
        last_moment = first_end + POSTPONED * interval - 1
        on, done = {"on": 1}, {"on": 1, "timer_done": every}
        self.scripts = [
            # Pulled in as far as may be; then none until the last moment after it is forced by the time since.
            [*[done] * POSTPONED, *[on] * (last_moment - POSTPONED), done, on],
            # None until the last moment after eight are owed; then switched off.
            [*[on] * last_moment, done, *[on] * 4, {}, on],
            [*[on] * first_end, done, done, *[on] * (POSTPONED * interval + 2)],
        ]

    def build(self, m: Module) -> None:
        interval, units = self._timing.refresh_interval, self._units
        enable = self.free("on")
        chosen = self.constant(m, "chosen", max(1, (units - 1).bit_length()))
        if units & (units - 1) or units == 1:
            self.assume(m, chosen < units)
        timer = RefreshTimer(self._timing, units)
        inner = signals_of(self.place(m, "timer", timer, enable=enable))

        def mine(vector):
            return vector.bit_select(chosen, 1)

        done = mine(timer.done) & enable
        due, forced = mine(timer.due), mine(timer.forced)

        # --- a count of its own: cycles, the ends of the unit's intervals, what it owes, since when
        cycle = Signal(range(interval))
        ends_at = Array(-(-(unit + 1) * interval // units) - 1 for unit in range(units))[chosen]
        end, place = Signal(), Signal(range(interval))  # cycles since the last end
        owed, ends = Signal(signed(8)), Signal(range(2 * POSTPONED))
        age, waits = Signal(range(10 * interval)), Signal(range(interval + 1))
        m.d.comb += [
            end.eq(enable & (cycle == ends_at)),
            place.eq(Mux(cycle > ends_at, cycle - ends_at - 1, cycle + interval - ends_at - 1)),
        ]
        with m.If(~enable):
            m.d.sync += [cycle.eq(0), owed.eq(0), ends.eq(0), age.eq(0), waits.eq(0)]
        with m.Else():
            m.d.sync += [
                cycle.eq(Mux(cycle == interval - 1, 0, cycle + 1)),
                owed.eq(owed - done + end),
                ends.eq(Mux(done, 0, ends) + end),
                age.eq(Mux(done, 0, age) + 1),
                waits.eq(Mux(forced & ~done, waits + 1, 0)),
            ]
        self.assume(m, ~(forced & ~done) | (waits < interval - 1))
        self.assume(m, ~done | (owed > -POSTPONED))

        self.claim(m, "postponed", owed <= POSTPONED, "never more than eight are owed")
        self.claim(m, "pulled in", owed >= -POSTPONED, "never more than eight are ahead")
        self.claim(
            m,
            "deadline",
            age <= self._timing.refresh_limit,
            "a unit is refreshed within nine tREFI of the last time",
        )
        self.claim(
            m,
            "forced in time",
            (age <= POSTPONED * interval) | forced,
            "what is not forced has a whole tREFI left",
        )
        self.claim(
            m, "due", due == ((owed >= 1) | (ends >= POSTPONED)), "one is owed, or eight intervals are over"
        )
        self.claim(m, "twice", mine(timer.twice) == (owed >= 2), "two are owed")
        self.claim(m, "forced", forced == ((owed >= POSTPONED) | (ends >= POSTPONED)), "eight are")
        self.claim(
            m, "spare", mine(timer.spare) == (enable & (owed > -POSTPONED)), "one more may be pulled in"
        )
        self.claim(
            m, "no end is lost", ~(end & ~done & forced), "what is forced is done before the next one is owed"
        )
        for name, happens in (
            ("eight are owed", owed == POSTPONED),
            ("eight are ahead", owed == -POSTPONED),
            ("the last moment", forced & done & (waits == interval - 2)),
            ("forced by time alone", forced & (owed < POSTPONED)),
            ("forced by what is owed", forced & (owed == POSTPONED)),
            ("two are owed", mine(timer.twice)),
            ("not forced, after eight intervals less a cycle", ~forced & (age == POSTPONED * interval - 1)),
            ("off after it was owed", ~enable & (owed > 1)),
            ("a refresh at the end of an interval", end & done),
        ):
            self.cover(m, name, happens)

        # --- links: the timer's position is the cycle, its vectors are the counts
        turn, elapsed = inner["turn"], inner["elapsed"]
        number = sum((Mux(turn[unit], unit, 0) for unit in range(units)), Const(0, 8))
        one_hot = (turn != 0) & ((turn & (turn - 1)) == 0)
        self.invariant(m, "one has its turn", one_hot[0] if units == 1 else one_hot)
        self.invariant(m, "position", number * interval + elapsed == cycle * units)
        self.invariant(m, "elapsed", elapsed < interval)
        self.invariant(m, "cycle", cycle < interval)
        for count in range(1 - POSTPONED, POSTPONED + 1):
            name = f"owes_{count}".replace("-", "minus_")
            self.invariant(m, f"owes {count}", mine(inner[name]) == (owed >= count))
        for count in range(1, POSTPONED + 1):
            self.invariant(m, f"since {count}", mine(inner[f"since_{count}"]) == (ends >= count))
        self.invariant(m, "ends", ends <= POSTPONED)
        # What has been left alone for some ends came within an interval before the first of them.
        self.invariant(m, "age", age <= ends * interval + place)
        self.invariant(m, "owed and ends", (ends < POSTPONED) | (owed > -POSTPONED))
        self.invariant(m, "waits", ~forced | (waits == place))
