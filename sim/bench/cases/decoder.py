# Ref: hdl/pcu/decoder.py
"""The decoder alone: macros and instructions near all limits, alone and in programs, with back-pressure."""

from __future__ import annotations

import random
from typing import Any

import cocotb

from hdl.layouts import Fetched, Job
from pim_model.spec.errors import MALFORMED, Status
from pim_model.spec.macro import tag_of
from sim.bench.harness import Harness, pauses
from sim.bench.scoreboard import Scoreboard
from sim.bench.stream import StreamMonitor, StreamSink, StreamSource
from sim.bench.words import job_of, random_instruction, random_words, status_of

MACROS = 1200
LONGEST = 200
"""More cycles than the sink pauses for, and a macro takes."""


class _Bench(Harness):
    """The model hears what the decoder took, and expects a job or, behind a malformed macro of a program, none."""

    def __init__(self, dut: Any) -> None:
        super().__init__(dut)
        self.jobs = Scoreboard("jobs")
        self.seen: set[Status] = set()
        self._failed = Status.OK

    async def begin(self) -> None:
        """Reset, connect driver, sink and monitors."""
        await self.start()
        self.macros = StreamSource(self, "macros", Fetched, pauses(self.rng("pauses macros")))
        StreamSink(self, "jobs", pauses(self.rng("pauses jobs")))
        StreamMonitor(self, "macros", Fetched, self._taken)
        StreamMonitor(self, "jobs", Job, self._given)

    def _taken(self, entry: Any) -> None:
        words = tuple(int(word) for word in entry.words)
        status = self._failed or Status(int(entry.status)) or status_of(words, self.config)
        self.seen.add(status)
        last = int(entry.last)
        head = {"tag": int(entry.tag), "pushed": int(entry.pushed), "last": last, "status": status}
        if status is not Status.OK:
            if last:
                self.jobs.expect(head)
            self._failed = Status.OK if last else status
            return
        self.jobs.expect(head | job_of(words, self.config))

    def _given(self, job: Any) -> None:
        names = self.jobs.head if self.jobs.pending else ("tag", "status")
        self.jobs.check({name: int(getattr(job, name)) for name in names})


@cocotb.test()
async def macros(dut: Any) -> None:
    """Each well-formed macro becomes the job of the golden decoder, in order; no other does."""
    bench = _Bench(dut)
    await bench.begin()

    def draw(rng: random.Random) -> list[dict[str, Any]]:
        """A macro by itself, or a few as a program, which may itself be refused."""
        count = rng.choice((1, 1, 1, 2, 3, 8))
        pushed = rng.getrandbits(32)
        refused = rng.random() < 0.02
        found = []
        for place in range(count):
            make = random_instruction if rng.random() < 0.5 else random_words
            words = make(rng, bench.config)
            while count > 1 and rng.random() < 0.7 and status_of(words, bench.config) is not Status.OK:
                words = make(rng, bench.config)
            found.append(
                {
                    "words": list(words),
                    "tag": tag_of(words),
                    "pushed": pushed,
                    "status": Status.BUFFER_RANGE if refused else Status.OK,
                    "last": place == count - 1,
                }
            )
        return found

    for _, entries in bench.items("macros", MACROS * bench.rounds, draw):
        bench.macros.send(*entries)
    await bench.within(100 * 8 * MACROS * bench.rounds, cocotb.start_soon(bench.macros.drained()))
    await bench.idle(LONGEST)
    bench.jobs.finish()
    assert not int(dut.busy.value)
    if bench.whole:
        missing = MALFORMED - bench.seen
        assert not missing, f"not among them: {missing}"
