"""Stream buffers: nothing lost, doubled or out of order, and an offer stands until it is taken.

One word that the solver picks is followed from its way in to its way out; it stands for all words.
"""

from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value
from amaranth.hdl import Fragment

from hdl.host.axi import Axi4LiteSignature
from hdl.host.slice import BusSlice
from hdl.stream import ProtectedFifo, StreamFifo

from .harness import Harness, inside, signals_of, tap

__all__ = ["FifoHarness", "SliceHarness", "fifo_in_range", "stands"]


def stands(h: Harness, m: Module, name: str, valid: Any, ready: Any, payload: Any) -> None:
    """Claim that a stream keeps to its rule: what is offered stays as it is until it is taken."""
    payload = Value.cast(payload)
    waited, kept = Signal(name=f"{name}_waited"), Signal(len(payload), name=f"{name}_kept")
    m.d.sync += [waited.eq(valid & ~ready), kept.eq(payload)]
    h.claim(m, f"{name}: valid holds", ~waited | valid, "an offer is not withdrawn")
    h.claim(m, f"{name}: payload holds", ~waited | (payload == kept), "an offer does not change")
    h.cover(m, f"{name}: an offer that waits", waited & valid)


def fifo_in_range(h: Harness, m: Module, fifo: Fragment, name: str, depth: int) -> dict[str, Signal]:
    """Invariants on the pointers of a :class:`StreamFifo` in place; returns the signals of its core."""
    core = signals_of(inside(fifo, "fifo"))
    level, produce, consume = core["level"], core["produce"], core["consume"]
    h.invariant(m, f"{name}: level", level <= depth)
    h.invariant(m, f"{name}: places", (produce < depth) & (consume < depth))
    ahead = Mux(consume + level >= depth, consume + level - depth, consume + level)
    h.invariant(m, f"{name}: pointers", produce == ahead)
    return core


class FifoHarness(Harness):
    """A :class:`StreamFifo`, or a :class:`ProtectedFifo`, between a source and a sink that do as they like."""

    def __init__(self, depth: int, *, protected: bool = False, width: int = 8):
        super().__init__()
        self._depth, self._width, self._protected = depth, width, protected
        fill = [{"buffer_i__valid": 1, "buffer_i__payload": i, "watch": i == depth - 1} for i in range(depth)]
        self.scripts = [fill + [{"buffer_i__valid": 1}] * 2 + [{"buffer_o__ready": 1}] * (depth + 2)]

    def build(self, m: Module) -> None:
        depth, width = self._depth, self._width
        kind = ProtectedFifo if self._protected else StreamFifo
        fifo = kind(width, depth)
        part = self.place(m, "buffer", fifo)
        plain = inside(part, "fifo") if self._protected else part
        core = fifo_in_range(self, m, plain, "buffer", depth)
        pushed, popped = fifo.i.valid & fifo.i.ready, fifo.o.valid & fifo.o.ready
        held = Signal(range(depth + 2))
        m.d.sync += held.eq(held + pushed - popped)
        self.invariant(m, "held is level", held == core["level"])
        self.claim(
            m, "no overflow", (held <= depth) & ((held != depth) | ~fifo.i.ready), "full takes nothing"
        )
        self.claim(m, "no underflow", (held != 0) | ~fifo.o.valid, "empty gives nothing")
        self.claim(m, "room is offered", (held == depth) | fifo.i.ready, "not full takes a word")
        self.claim(m, "words are offered", (held == 0) | fifo.o.valid, "not empty offers a word")
        self.claim(m, "level", fifo.level == held, "level says how many words are held")
        self.cover(m, "full, and one more comes", (held == depth) & fifo.i.valid)
        self.cover(m, "empty, and one is wanted", (held == 0) & fifo.o.ready)
        stands(self, m, "output", fifo.o.valid, fifo.o.ready, fifo.o.p)

        watch = self.free("watch")
        followed, ahead = Signal(), Signal(range(depth + 1))
        word, flipped = Signal(width), Signal()
        with m.If(followed & popped):
            m.d.sync += [ahead.eq(ahead - 1), followed.eq(ahead != 0)]
        with m.If(~followed & watch & pushed):
            m.d.sync += [followed.eq(1), word.eq(fifo.i.p), ahead.eq(held - popped)]
            if self._protected:
                m.d.sync += flipped.eq(fifo.flip)
        self.invariant(m, "the word is held", ~followed | (ahead < held))
        place = core["consume"] + ahead
        lies = tap(m, inside(plain, "fifo", "storage"), Mux(place >= depth, place - depth, place))
        stored = Cat(word, word.xor() ^ flipped) if self._protected else word
        self.invariant(m, "the word lies there", ~followed | (lies == stored))
        leaves = followed & (ahead == 0)
        self.claim(m, "in order", ~leaves | (fifo.o.p == word), "words leave as they came, in their order")
        self.cover(m, "a word that came last leaves", leaves & popped)
        if self._protected:
            self.claim(
                m, "parity", ~leaves | (fifo.bad == flipped), "a flipped bit is told with its word, no other"
            )
            self.cover(m, "a flipped word leaves", leaves & popped & flipped)


class SliceHarness(Harness):
    """The register slice of an AXI4-Lite bus: each channel keeps order and stands still while it waits."""

    def build(self, m: Module) -> None:
        bus = BusSlice(Axi4LiteSignature(16))
        part = self.place(m, "slice", bus)
        names = list(bus.inner.signature.members)
        for channel in ("aw", "w", "b", "ar", "r"):
            source, sink = (bus.inner, bus.outer) if channel in "br" else (bus.outer, bus.inner)
            fields = [
                n for n in names if n.startswith(channel) and n not in (f"{channel}valid", f"{channel}ready")
            ]
            came, left = (Cat(getattr(side, name) for name in fields) for side in (source, sink))
            comes = getattr(source, f"{channel}valid") & getattr(source, f"{channel}ready")
            valid, ready = getattr(sink, f"{channel}valid"), getattr(sink, f"{channel}ready")
            stands(self, m, channel, valid, ready, left)
            core = fifo_in_range(self, m, inside(part, channel), channel, 2)
            watch = self.free(f"watch_{channel}")
            followed, ahead, word = (
                Signal(name=f"{channel}_followed"),
                Signal(range(3), name=f"{channel}_ahead"),
                Signal(len(came), name=f"{channel}_word"),
            )
            with m.If(followed & valid & ready):
                m.d.sync += [ahead.eq(ahead - 1), followed.eq(ahead != 0)]
            with m.If(~followed & watch & comes):
                m.d.sync += [followed.eq(1), word.eq(came), ahead.eq(core["level"] - (valid & ready))]
            self.invariant(m, f"{channel}: the word is held", ~followed | (ahead < core["level"]))
            lies = tap(m, inside(part, channel, "fifo", "storage"), core["consume"] ^ ahead[0])
            self.invariant(m, f"{channel}: the word lies there", ~followed | (lies == word))
            leaves = followed & (ahead == 0)
            self.claim(
                m,
                f"{channel}: in order",
                ~leaves | (valid & (left == word)),
                "what came leaves, in its order",
            )
            self.cover(m, f"{channel}: a word leaves", leaves & ready)
