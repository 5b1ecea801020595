# Ref: IANUS (ASPLOS 2024), section 6, Fig. 7
"""The attention heads of one core as commands: the schedules of Fig. 7.

(a) *summarization*, products on the matrix unit: the key first, so that its transposition overlaps the generation of
the value; key and value are stored during computation; the value moves on chip during the softmax; the next head's
weights are loaded meanwhile.

(b) *generation*, scores and context in PIM: a head's key and value are stored in the memory that multiplies by them.

(c) *generation*, scores and context on the matrix unit: the key is appended while PIM makes the query; transposition
overlaps the query, scores and softmax overlap the value; the next head's keys are loaded while the context is computed.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from pim_model.mapping.emitter import Emitter
from pim_model.mapping.fully_connected import in_pim, load
from pim_model.npu.command import Macro, Op, Part, Unit
from pim_model.npu.units import Units
from pim_model.spec.models import Transformer
from pim_model.spec.npu import ELEMENT_BYTES

__all__ = ["Heads"]

_MAKES = {"key": Op.KEY, "value": Op.VALUE, "query": Op.QUERY}


@dataclass
class Heads:
    """Emits the heads of one layer on one core.

    Parameters
    ----------
    emitter, units, model
        Where to, how long, and of what.
    heads : int
        Heads of this core.
    tokens : int
        New tokens.
    length : int
        Tokens attended to, the new ones included.
    fc_in_pim : bool
        Query, key and value are made in PIM.
    attention_in_pim : bool
        Schedule (b); only for one new token.
    layer : int
        For the commands.
    prefetch : bool
        The next weights or keys are loaded while this head, or this product of it, is computed.
    """

    emitter: Emitter
    units: Units
    model: Transformer
    heads: int
    tokens: int
    length: int
    fc_in_pim: bool
    attention_in_pim: bool
    layer: int
    prefetch: bool = True
    _macro: int | None = field(default=None, init=False)
    """The last query, key or value made in PIM.

    They are made in the order of Fig. 7, head by head. Those of later heads need the same input alone: they would come
    first, and keep the transfers of this head waiting.
    """

    def emit(self, normed: int, gate: int | None) -> list[int]:
        """All heads, after the command ``normed``; the commands that end them.

        ``gate``: what must have ended before the first head's keys or weights are loaded.
        """
        ends = []
        if not self.prefetch:
            gate = normed
        for head in range(self.heads):
            if self.attention_in_pim:
                last = self._in_pim(head, normed)
                gate = last
            else:
                last, gate = self._on_matrix_unit(head, normed, gate)
                if not self.prefetch:
                    gate = last
            ends.append(last)
        return ends

    # ---------------------------------------------------------------------------------------------- (a) and (c)

    def _on_matrix_unit(self, head: int, normed: int, gate: int | None) -> tuple[int, int]:
        """One head; (its last command, the one after which the next head may load)."""
        earlier = self.length - self.tokens
        earlier_keys = None
        if earlier:
            earlier_keys = self._add(
                Unit.DMA_IN, Op.LOAD_KEYS, self._moved(earlier), gate, head=head, size=self._bytes(earlier)
            )
        key = self._make("key", head, normed, earlier_keys if self.fc_in_pim else gate)
        whole = key
        if earlier_keys is not None:
            whole = self._add(
                Unit.VECTOR, Op.CONCATENATE, self._copied(), key, earlier_keys, head=head, size=self._values
            )
        # With PIM the query overlaps the transposition; on the matrix unit the value does, and the query comes last.
        first, second = ("query", "value") if self.fc_in_pim else ("value", "query")
        transposed = self._add(
            Unit.ONCHIP,
            Op.TRANSPOSE,
            self.units.onchip(self._bytes(self.length)),
            whole,
            head=head,
            size=self._bytes(self.length),
        )
        self.emitter.claim(transposed, self._bytes(self.length))
        made = {first: self._make(first, head, normed, gate if self.prefetch else key)}
        if not self.fc_in_pim:
            made[second] = self._make(second, head, normed, gate if self.prefetch else made[first])
        scores = self._add(
            Unit.MATRIX,
            Op.SCORES,
            self.units.matrix(self.tokens, self.model.head_dim, self.length),
            made["query"],
            transposed,
            head=head,
            size=self.tokens * self.model.head_dim * self.length,
        )
        self.emitter.free(scores, self._bytes(self.length))
        if self.fc_in_pim:
            made[second] = self._make(second, head, normed, gate)
        probabilities = self._softmax(head, scores)
        stored = self._store(head, key, made["value"])
        if earlier:
            values = self._add(
                Unit.DMA_IN,
                Op.LOAD_VALUES,
                self._moved(self.length),
                stored,
                head=head,
                size=self._bytes(self.length),
            )
        else:
            values = self._add(
                Unit.ONCHIP,
                Op.MOVE_VALUES,
                self.units.onchip(self._bytes(self.length)),
                made["value"],
                scores,
                head=head,
                size=self._bytes(self.length),
            )
        self.emitter.claim(values, self._bytes(self.length))
        last = self._add(
            Unit.MATRIX,
            Op.CONTEXT,
            self.units.matrix(self.tokens, self.length, self.model.head_dim),
            probabilities,
            values,
            head=head,
            size=self.tokens * self.model.head_dim * self.length,
        )
        self.emitter.free(last, self._bytes(self.length))
        # On the matrix unit the next head's weights may come once the engine has transposed this one's key.
        return last, values if earlier else transposed

    # ------------------------------------------------------------------------------------------------------- (b)

    def _in_pim(self, head: int, normed: int) -> int:
        """One head with its scores and context in PIM, each core's on its own channels; its last command."""
        cores = self.units.machine.cores
        key = self._make("key", head, normed, None)
        stored_key = self._stored(Op.STORE_KEY, head, key, 0)
        query = self._make("query", head, normed, None)
        scores = in_pim(
            self.emitter,
            self.units,
            Op.SCORES,
            Part.SELF_ATTENTION,
            Macro(self.length * cores, self.model.head_dim),
            query,
            stored_key,
            layer=self.layer,
            head=head,
        )
        value = self._make("value", head, normed, None)
        probabilities = self._softmax(head, scores)
        stored_value = self._stored(Op.STORE_VALUE, head, value, self.units.scatter)
        return in_pim(
            self.emitter,
            self.units,
            Op.CONTEXT,
            Part.SELF_ATTENTION,
            Macro(self.model.head_dim * cores, self.length),
            probabilities,
            stored_value,
            layer=self.layer,
            head=head,
        )

    # ----------------------------------------------------------------------------------------------------- pieces

    def _add(self, unit: Unit, op: Op, ticks: int, *needs: int | None, head: int, size: int) -> int:
        return self.emitter.add(
            unit, op, Part.SELF_ATTENTION, ticks, *needs, layer=self.layer, head=head, size=size
        )

    def _make(self, name: str, head: int, normed: int, gate: int | None) -> int:
        """Query, key or value of a head, of all cores at once if in PIM."""
        op, width, dim = _MAKES[name], self.model.width, self.model.head_dim
        if self.fc_in_pim:
            macro = Macro(dim * self.units.machine.cores, width, self.tokens)
            needs = (normed, gate if name == "key" else None, self._macro)
            # All heads' keys, queries and values are made of the same inputs.
            self._macro = in_pim(
                self.emitter,
                self.units,
                op,
                Part.ATTENTION_FC,
                macro,
                *needs,
                layer=self.layer,
                head=head,
                staged=head > 0 or name != "key",
            )
            return self._macro
        size = width * dim * ELEMENT_BYTES
        weights = load(self.emitter, self.units, Part.ATTENTION_FC, size, gate, layer=self.layer, head=head)
        place = self.emitter.add(
            Unit.MATRIX,
            op,
            Part.SELF_ATTENTION,
            self.units.matrix(self.tokens, width, dim),
            weights,
            normed,
            layer=self.layer,
            head=head,
            size=self.tokens * width * dim,
            flows=True,
        )
        self.emitter.free(place, size)
        return place

    def _softmax(self, head: int, scores: int) -> int:
        ticks = self.units.softmax(self.tokens, self.length)
        return self._add(Unit.VECTOR, Op.SOFTMAX, ticks, scores, head=head, size=self.tokens * self.length)

    def _store(self, head: int, key: int, value: int) -> int:
        """New keys and values into memory; the value's store."""
        if not self.model.decoder:
            return value
        self._stored(Op.STORE_KEY, head, key, 0)
        return self._stored(Op.STORE_VALUE, head, value, 0)

    def _stored(self, op: Op, head: int, made: int, extra: int) -> int:
        size = self._bytes(self.tokens)
        return self._add(Unit.DMA_OUT, op, self._moved(self.tokens) + extra, made, head=head, size=size)

    def _bytes(self, tokens: int) -> int:
        return tokens * self.model.head_dim * ELEMENT_BYTES

    def _moved(self, tokens: int) -> int:
        return self.units.transfer(self._bytes(tokens))

    @property
    def _values(self) -> int:
        return self.tokens * self.model.head_dim

    def _copied(self) -> int:
        return self.units.elementwise(self.tokens, self.model.head_dim)
