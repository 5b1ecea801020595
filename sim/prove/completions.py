"""Completions of the PCU: each macro that is accepted completes once; none is lost, doubled or made up.

Unrollers, issuer and buffer are cut out: what they tell the rest is free, so it holds whatever they do. Fetch, decoder,
collector and all queues are the real ones.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from amaranth import Module, Mux, Signal, Value
from amaranth.lib.wiring import Out

import hdl.pcu.pcu as unit
from hdl.layouts import Fetched, Job
from hdl.pcu.collector import IN_FLIGHT, Collector
from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.macro import MatVec

from .harness import Harness, inside, signals_of, state_number, tap
from .streams import fifo_in_range, stands

__all__ = ["CompletionHarness"]

_CUT = ("TileUnroller", "StepUnroller", "InstructionIssuer", "ActivationBuffer")


@contextmanager
def _cut(h: Harness) -> Iterator[None]:
    """Within, the parts of the PCU that are named above do nothing but drive free values."""
    real = {name: getattr(unit, name) for name in _CUT}

    def free(kind: Any) -> Any:
        class Free(kind):
            def elaborate(self, _platform):
                m = Module()
                for path, member, value in self.signature.flatten(self):
                    if member.flow is Out:
                        name = "__".join(str(step) for step in (kind.__name__, *path))
                        m.d.comb += Value.cast(value).eq(h.free(name, len(Value.cast(value))))
                return m

        return Free

    try:
        for name, kind in real.items():
            setattr(unit, name, free(kind))
        yield
    finally:
        for name, kind in real.items():
            setattr(unit, name, kind)


class CompletionHarness(Harness):
    """A :class:`Pcu` without what lies between a job and its results."""

    depth = 4

    def __init__(self, config: Config):
        super().__init__()
        self._config = config
        good = MatVec(tag=1, rows=1, columns=1, weight_row=0, input_offset=0, output_offset=64).encode()
        words = sum(word << 32 * i for i, word in enumerate(good))
        quiet = {f"pcu_idle__{i}": 1 for i in range(config.geometry.channels)}
        taken = {f"pcu_results__{i}__valid": 1 for i in range(config.geometry.channels)}
        push = {**quiet, "pcu_macros__valid": 1, "pcu_macros__payload": words}
        bad = {**quiet, "pcu_macros__valid": 1, "pcu_macros__payload": words | 1 << 63}
        self.scripts = [
            [
                *[push] * 40,
                *[{**quiet, **taken}] * 20,
                *[{**quiet, **taken, "pcu_completions__ready": 1}] * 60,
            ],
            [bad, *[quiet] * 30],
        ]

    def build(self, m: Module) -> None:
        config = self._config
        with _cut(self):
            pcu = unit.Pcu(config)
            part = self.place(m, "pcu", pcu)
        inner, fetch = signals_of(part), signals_of(inside(part, "fetch"))
        decoder, collector = signals_of(inside(part, "decoder")), signals_of(inside(part, "collector"))
        queue = fifo_in_range(self, m, inside(part, "queue", "fifo"), "macros", config.macro_queue)
        held = fifo_in_range(self, m, inside(part, "completions"), "completions", config.completion_queue)
        jobs = fifo_in_range(self, m, inside(part, "collector", "jobs"), "jobs", IN_FLIGHT)
        entry = signals_of(inside(part, "completions"))
        accepted = pcu.macros.valid & pcu.macros.ready
        completed = entry["w_en"] & entry["i__ready"]
        ends = collector["done"] & Collector.ENDED(collector["ended"]).last
        owed = Signal(range(64))
        m.d.sync += owed.eq(owed + accepted - completed)
        self.claim(m, "none made up", ~completed | (owed != 0), "no completion without a macro that owes one")
        self.claim(m, "none lost at the queue", ~ends | entry["i__ready"], "a place is kept for what runs")
        self.claim(m, "none forgotten", pcu.busy | (owed == 0), "busy while a macro owes its completion")
        self.claim(
            m, "room is told", pcu.space == config.macro_queue - queue["level"], "as many places as are free"
        )
        self.claim(
            m,
            "malformed macros do not run",
            (~inner["instruct"] | (Job(decoder["jobs__payload"]).status == Status.OK))
            & (~inner["start"] | (Job(inner["job"]).status == Status.OK)),
            "what starts has passed all checks",
        )
        stands(self, m, "completions", pcu.completions.valid, pcu.completions.ready, pcu.completions.p)
        self.cover(m, "completed", completed)
        self.cover(m, "a MATVEC completes", ends & completed)
        self.cover(m, "a malformed macro completes", pcu.refused)
        self.cover(m, "several are owed", owed > 2)
        self.cover(m, "idle after work", ~pcu.busy & held["level"].any())

        # --- where the macros are that owe a completion
        offered = Job(decoder["jobs__payload"])
        given, starts = decoder["given"], inner["start"]
        storage = inside(part, "collector", "jobs", "fifo", "storage")
        lasts = []
        for place in range(IN_FLIGHT):
            word = tap(m, storage, place)
            lasts.append(word[-1])  # ``last`` is the topmost field
        first = Mux(jobs["consume"], lasts[1], lasts[0])
        second = Mux(jobs["consume"], lasts[0], lasts[1])
        awaited = jobs["level"]
        self.invariant(
            m,
            "where they are",
            owed
            == queue["level"]
            + (given & offered.last)
            + (starts & Job(inner["job"]).last)
            + ((awaited >= 1) & first)
            + ((awaited >= 2) & second)
            + inner["ending"],
        )
        self.invariant(m, "refused is last", ~given | offered.last | (offered.status == Status.OK))
        self.invariant(m, "place kept", held["level"] + awaited + starts <= config.completion_queue)
        self.invariant(m, "two at most", awaited + starts <= IN_FLIGHT)
        self.invariant(m, "programs end alone", ~inner["ending"] | ((awaited == 0) & ~starts))
        self.invariant(m, "started is well-formed", ~starts | (Job(inner["job"]).status == Status.OK))

        # --- a macro at the decoder is still offered, as it was
        state = decoder["decoder_state"]
        taking = state == state_number(state, "TAKE")
        fetching = fetch["fetch_state"]
        numbers = {name: state_number(fetching, name) for name in ("MACRO", "CHECK", "READ", "LINE", "GIVE")}
        fetched = Fetched(fetch["fetched__payload"])
        self.invariant(m, "fetch states", fetching <= max(numbers.values()))
        self.invariant(m, "decoder states", state <= 7)
        self.invariant(m, "a program waits", (fetching == numbers["MACRO"]) | (queue["level"] != 0))
        self.invariant(
            m,
            "at the decoder",
            taking
            | (
                ~given
                & fetch["fetched__valid"]
                & (fetching.matches(numbers["MACRO"], numbers["GIVE"]))
                & (offered.last == fetched.last)
            ),
        )
