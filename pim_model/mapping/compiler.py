# Ref: IANUS (ASPLOS 2024), sections 5.2, 5.3 and 6
"""A model's stages as programs of one core. The cores of a device have equal shares, so one program serves all."""

from __future__ import annotations

from pim_model.mapping.algorithm1 import Estimate, estimate
from pim_model.mapping.attention import Heads
from pim_model.mapping.emitter import Emitter
from pim_model.mapping.fully_connected import in_pim, on_matrix_unit
from pim_model.mapping.partition import partition, placement, require_room
from pim_model.mapping.schedule import Mapping, Schedule, schedule
from pim_model.npu.command import Command, Macro, Op, Part, Unit
from pim_model.npu.machine import Machine, System
from pim_model.npu.pim_time import PimTime
from pim_model.npu.units import Units
from pim_model.spec.models import Transformer
from pim_model.spec.npu import ELEMENT_BYTES

__all__ = ["Compiler"]


class Compiler:
    """Compiles one model for one machine.

    Parameters
    ----------
    model, machine
        What, and for what.
    time : PimTime
        What Algorithm 1 asks for the cycles of a macro.
    tokens : int
        Longest sequence there will be: memory must hold its keys and values.
    chosen : Schedule
        What may overlap, and where attention runs.
    mapping : Mapping
        Where fully connected layers run while several tokens are processed; with one token they run in PIM, if any.
    layers : int, optional
        Compile only as many blocks, from the first.
    capacity : bool
        As of :func:`~pim_model.mapping.partition.placement`.
    gelu_in_pim : bool
        GELU follows its layer into PIM; otherwise it always runs on the vector unit.
    all_logits : bool
        A summarization computes the head for all of its tokens, not for the last alone.

    Raises ``ValueError`` for a model that the machine cannot hold or divide.
    """

    def __init__(
        self,
        model: Transformer,
        machine: Machine,
        time: PimTime,
        tokens: int,
        *,
        chosen: Schedule | None = None,
        mapping: Mapping = Mapping.ALGORITHM,
        layers: int | None = None,
        capacity: bool = True,
        gelu_in_pim: bool = True,
        all_logits: bool = False,
    ):
        self.model = model
        self.machine = machine
        self.units = Units(machine)
        self.schedule = chosen or schedule("pas")
        self.layers = model.blocks if layers is None else min(layers, model.blocks)
        self._time = time
        self._mapping = mapping
        self._gelu_in_pim = gelu_in_pim
        self._all_logits = all_logits
        self._share = partition(model, machine)
        self.placement = placement(model, machine, tokens, capacity=capacity)
        self._emitter = Emitter()
        self._prefetch = True
        if self.schedule.attention_in_pim and not machine.pim:
            raise ValueError(
                f"schedule {self.schedule.name} needs PIM, and the system {machine.system.value} has none"
            )

    # ----------------------------------------------------------------------------------------------------- stages

    def summarization(self, tokens: int) -> list[Command]:
        """All blocks for ``tokens`` tokens at once, and the head for the last of them (decoders)."""
        require_room(self.model, self.machine, tokens)
        return self._stage(tokens, tokens)

    def generation(self, length: int) -> list[Command]:
        """One token more; ``length`` tokens are attended to, it included."""
        return self._stage(1, length)

    def fc_in_pim(self, name: str, tokens: int, generating: bool) -> bool:
        """Where a fully connected layer of a block runs, by its name in ``Transformer.fully_connected``."""
        if not self.machine.pim or self._mapping is Mapping.MATRIX:
            return False
        if self._mapping is Mapping.PIM or (generating and tokens == 1):
            return True
        return self.estimate(name, tokens, self.prefetch(name, tokens)).in_pim

    def estimate(self, name: str, tokens: int, prefetch: int = 0) -> Estimate:
        """Algorithm 1 for a layer of a block; of query, key and value for a head of each core."""
        rows, columns = self._shape(name)
        return estimate(
            self.units,
            self._time,
            tokens,
            columns,
            rows,
            -(-rows // (self.machine.cores * self.machine.devices)),
            prefetch=prefetch,
            activation=name == "expand" and self._gelu_in_pim,
            printed=self._mapping is Mapping.PRINTED,
        )

    def alone(self, name: str, tokens: int, memory: bool) -> list[Command]:
        """A layer by itself, in PIM or on the matrix unit, after the command of the vector unit that it follows."""
        self._emitter = Emitter()
        rows, columns = self._shape(name)
        share = -(-rows // (self.machine.cores * self.machine.devices))
        before = self._emitter.add(Unit.VECTOR, Op.NORM, Part.NORM, self.prefetch(name, tokens))
        activation = name == "expand" and self._gelu_in_pim
        if memory:
            macro = Macro(-(-rows // self.machine.devices), columns, tokens, activation)
            in_pim(self._emitter, self.units, Op.PROJECTION, Part.FFN, macro, before)
        else:
            on_matrix_unit(self._emitter, self.units, Op.PROJECTION, Part.FFN, tokens, columns, share, before)
        return self._emitter.commands

    def prefetch(self, name: str, tokens: int) -> int:
        """Ticks of the command of the vector unit before a layer, while its first tile can be loaded."""
        if name in ("projection", "contract"):  # after the context of a head, or an exchange of the cores
            return 0
        return self.units.norm(tokens, self.model.width)

    def _shape(self, name: str) -> tuple[int, int]:
        rows, columns = self.model.fully_connected[name]
        if name in ("query", "key", "value"):
            rows = self.model.head_dim * self.machine.cores * self.machine.devices
        return rows, columns

    # ----------------------------------------------------------------------------------------------------- pieces

    def _stage(self, tokens: int, length: int) -> list[Command]:
        self._emitter = Emitter(serial=self.schedule.serial)
        # Read off the paper's figures for NPU-MEM, which are the sum of its parts: see the README.
        self._prefetch = self.machine.system is not System.NPU_MEM or length == tokens
        last = self._embedding(tokens)
        gate: int | None = None
        for layer in range(self.layers):
            last, gate = self._block(layer, tokens, length, last, gate)
        if self.model.decoder:
            self._head(last, tokens if self._all_logits else 1)
        return self._emitter.commands

    def _embedding(self, tokens: int) -> int:
        size = tokens * self.model.width * ELEMENT_BYTES
        loaded = self._emitter.add(
            Unit.DMA_IN, Op.EMBED, Part.EMBEDDING, self.units.transfer(2 * size), size=2 * size
        )
        return self._vector(Op.ADD_EMBEDDINGS, Part.EMBEDDING, tokens, self.model.width, loaded)

    def _block(
        self, layer: int, tokens: int, length: int, entry: int, gate: int | None
    ) -> tuple[int, int | None]:
        """One block after the command ``entry``; (its last command, after which the next block's first head loads)."""
        emitter, units, model, machine = self._emitter, self.units, self.model, self.machine
        generating = length > tokens
        present = machine.pim and layer < self.placement.pim_blocks

        def chosen(name: str) -> bool:
            return present and self.fc_in_pim(name, tokens, generating)

        normed = self._norm(layer, tokens, entry)
        heads = Heads(
            emitter,
            units,
            model,
            self._share.heads,
            tokens,
            length,
            fc_in_pim=chosen("query"),
            attention_in_pim=self.schedule.attention_in_pim and generating and present,
            layer=layer,
            prefetch=self._prefetch,
        )
        merged = self._barrier(Part.SELF_ATTENTION, layer, *heads.emit(normed, gate))
        merged = self._gather(Part.SELF_ATTENTION, layer, tokens * model.width, merged)
        projected = self._fc(
            "projection", Op.PROJECTION, Part.ATTENTION_FC, layer, tokens, chosen("projection"), merged
        )
        projected = self._gather(Part.ATTENTION_FC, layer, tokens * model.width, projected)
        added = self._residual(Part.ATTENTION_FC, layer, tokens, projected, entry)
        synced = self._barrier(Part.ATTENTION_FC, layer, added)
        normed = self._norm(layer, tokens, synced)
        in_memory = chosen("expand")
        expanded = self._fc("expand", Op.EXPAND, Part.FFN, layer, tokens, in_memory, normed)
        if not (in_memory and self._gelu_in_pim):
            inner = self._share.inner
            expanded = self._vector(Op.GELU, Part.FFN, tokens, inner, expanded, layer=layer)
        expanded = self._barrier(Part.FFN, layer, expanded)
        expanded = self._gather(Part.FFN, layer, tokens * model.inner, expanded)
        contracted = self._fc("contract", Op.CONTRACT, Part.FFN, layer, tokens, chosen("contract"), expanded)
        contracted = self._gather(Part.FFN, layer, tokens * model.width, contracted)
        added = self._residual(Part.FFN, layer, tokens, contracted, synced)
        last = self._barrier(Part.FFN, layer, added)
        # Keys and weights of the next block may be loaded while this one's feed-forward network runs.
        return last, merged if heads.prefetch else last

    def _fc(self, name: str, op: Op, part: Part, layer: int, tokens: int, memory: bool, needed: int) -> int:
        rows, columns = self.model.fully_connected[name]
        if memory:
            macro = Macro(
                -(-rows // self.machine.devices), columns, tokens, self._gelu_in_pim and op is Op.EXPAND
            )
            return in_pim(self._emitter, self.units, op, part, macro, needed, layer=layer)
        share = self._share.inner if op is Op.EXPAND else self._share.width
        return on_matrix_unit(
            self._emitter,
            self.units,
            op,
            part,
            tokens,
            columns,
            share,
            needed,
            layer=layer,
            prefetch=self._prefetch,
        )

    def _head(self, entry: int, tokens: int) -> None:
        """Norm of the last tokens, the head, and the likeliest token."""
        width, vocabulary = self.model.width, self.model.vocabulary
        normed = self._norm(self.layers, tokens, entry, Part.HEAD)
        if self.machine.pim and self.placement.head_in_pim and self._mapping is not Mapping.MATRIX:
            macro = Macro(-(-vocabulary // self.machine.devices), width, tokens)
            made = in_pim(self._emitter, self.units, Op.HEAD, Part.HEAD, macro, normed)
        else:
            share = self._share.vocabulary
            made = on_matrix_unit(self._emitter, self.units, Op.HEAD, Part.HEAD, tokens, width, share, normed)
        best = self._vector(Op.ARGMAX, Part.HEAD, 1, self._share.vocabulary, made)
        self._gather(Part.HEAD, -1, self.machine.devices, self._barrier(Part.HEAD, -1, best))

    def _norm(self, layer: int, tokens: int, needed: int, part: Part = Part.NORM) -> int:
        width = self.model.width
        return self._emitter.add(
            Unit.VECTOR,
            Op.NORM,
            part,
            self.units.norm(tokens, width),
            needed,
            layer=layer,
            size=tokens * width,
        )

    def _residual(self, part: Part, layer: int, tokens: int, made: int, stream: int) -> int:
        return self._vector(Op.RESIDUAL, part, tokens, self.model.width, made, stream, layer=layer)

    def _vector(self, op: Op, part: Part, tokens: int, width: int, *needs: int, layer: int = -1) -> int:
        ticks = self.units.elementwise(tokens, width)
        return self._emitter.add(Unit.VECTOR, op, part, ticks, *needs, layer=layer, size=tokens * width)

    def _barrier(self, part: Part, layer: int, *needs: int) -> int:
        return self._emitter.add(Unit.SYNC, Op.BARRIER, part, self.units.barrier, *needs, layer=layer)

    def _gather(self, part: Part, layer: int, elements: int, needed: int) -> int:
        """All devices' parts of ``elements`` to every device; with one device there is nothing to do."""
        devices = self.machine.devices
        if devices == 1:
            return needed
        size = elements * ELEMENT_BYTES // devices
        return self._emitter.add(
            Unit.SYNC, Op.GATHER, part, self.units.gather(size), needed, layer=layer, size=size
        )
