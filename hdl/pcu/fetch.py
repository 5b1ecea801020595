"""Take macros from the queue; in the place of a PROGRAM its macros, read from the activation buffer.

# Ref: pim_model.spec.isr
"""

from amaranth import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from hdl.layouts import Fetched, MacroEntry
from pim_model.spec.config import Config
from pim_model.spec.errors import Status
from pim_model.spec.isr import PROGRAM_COUNT_BITS
from pim_model.spec.macro import MacroOp

from .buffer import line_words
from .instruction import first_failure

__all__ = ["Fetch"]


class Fetch(wiring.Component):
    """One macro a cycle; three cycles more for each line of the buffer that a program reaches into.

    Members
    -------
    macros : In(stream of MacroEntry), bad : In(1)
        A macro, and that it is not what was pushed.
    fetched : Out(stream of Fetched)
        A program that is refused gives one payload with its status.
    read : Out(1), address : Out(16)
        Wants a line of the activation buffer.
    granted : In(1), data : In(256 x line words), data_bad : In(1)
        The line is being read; its data comes in the cycle after, and whether it is what was written.
    """

    def __init__(self, config: Config):
        self._config = config
        super().__init__(
            {
                "macros": In(stream.Signature(MacroEntry)),
                "bad": In(1),
                "fetched": Out(stream.Signature(Fetched)),
                "read": Out(1),
                "address": Out(16),
                "granted": In(1),
                "data": In(256 * line_words(config)),
                "data_bad": In(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        places = line_words(self._config)
        words = self.macros.p.words
        count, first = words[1][:PROGRAM_COUNT_BITS], words[4]
        program = words[0][:8] == MacroOp.PROGRAM
        left, position = Signal(PROGRAM_COUNT_BITS), Signal(16)
        line_bad = Signal()
        line, given = Signal(256 * places), Signal(range(places + 1))
        out = self.fetched.p
        m.d.comb += [
            out.words.eq(words),
            out.tag.eq(words[0][8:24]),
            out.pushed.eq(self.macros.p.pushed),
            out.status.eq(Mux(self.bad, Status.PARITY, Status.OK)),
            out.last.eq(1),
            self.address.eq(position),
        ]
        reserved = words[0][24:].any() | words[1][PROGRAM_COUNT_BITS:].any()
        for word in (2, 3, 5, 6, 7):
            reserved |= words[word].any()
        end = (first >> 5) + count

        with m.FSM(name="fetch"):
            with m.State("MACRO"):
                m.d.sync += [left.eq(count), position.eq(first >> 5)]
                with m.If(~program):
                    m.d.comb += [
                        self.fetched.valid.eq(self.macros.valid),
                        self.macros.ready.eq(self.fetched.ready),
                    ]
                with m.Elif(self.macros.valid):
                    m.next = "CHECK"

            with m.State("CHECK"):
                m.d.comb += out.status.eq(
                    first_failure(
                        (self.bad, Status.PARITY),
                        (reserved, Status.RESERVED_BITS),
                        (count == 0, Status.BAD_SHAPE),
                        (first[:5].any(), Status.ALIGNMENT),
                        (end > self._config.buffer_words, Status.BUFFER_RANGE),
                    )
                )
                with m.If(out.status == Status.OK):
                    m.next = "READ"
                with m.Else():
                    m.d.comb += self.fetched.valid.eq(1)
                    with m.If(self.fetched.ready):
                        m.d.comb += self.macros.ready.eq(1)
                        m.next = "MACRO"

            with m.State("READ"):
                m.d.comb += self.read.eq(1)
                with m.If(self.granted):
                    m.next = "LINE"

            with m.State("LINE"):
                m.d.sync += [
                    line.eq(self.data),
                    line_bad.eq(self.data_bad),
                    given.eq(0),
                    position.eq(position + places),
                ]
                m.next = "GIVE"

            with m.State("GIVE"):
                for place in range(places):
                    with m.If(given == place):
                        m.d.comb += out.words.eq(line.word_select(place, 256))
                m.d.comb += [
                    out.status.eq(Mux(line_bad, Status.PARITY, Status.OK)),
                    out.last.eq(left == 1),
                    self.fetched.valid.eq(1),
                ]
                with m.If(self.fetched.ready):
                    m.d.sync += [left.eq(left - 1), given.eq(given + 1)]
                    with m.If(left == 1):
                        m.d.comb += self.macros.ready.eq(1)
                        m.next = "MACRO"
                    with m.Elif(given == places - 1):
                        m.next = "READ"
        return m
