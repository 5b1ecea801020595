# Ref: IANUS (ASPLOS 2024), sections 4.1, 5.3 and 7.3
"""What each command of a program computes or moves, in BF16.

Macros and transfers of memory go to the device through the driver; what the matrix and vector units do is numpy, with
the same arithmetic as ``host_runtime.llm``: FP32 inside an operation, BF16 between operations. One program stands for
all cores, so a command does the work of each of them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from host_runtime.bits import F32, from_bits, to_bits
from host_runtime.llm.layers import add, gelu_new, layer_norm, masked_softmax, rounding_of, scores, weighted
from host_runtime.npu.caches import MatrixCaches, PlainCaches
from host_runtime.npu.placed import PlacedModel
from host_runtime.npu.tiles import Tiles
from pim_model.npu.command import Command, Op, Unit

__all__ = ["Stage"]

_ROUNDED = rounding_of("bf16")


class Stage:
    """The operands of one stage: a summarization, or a token of a generation.

    Parameters
    ----------
    placed : PlacedModel
        The model on its device.
    tokens : list of int
        New tokens.
    first : int
        Position of the first of them; keys and values of earlier ones are in the device's memory.
    program : sequence of Command
        What will be performed.

    Attributes
    ----------
    logits : numpy.ndarray
        float32 [1 or new tokens, vocabulary], when the head has run.
    best : int
        The likeliest token after the last.
    """

    def __init__(self, placed: PlacedModel, tokens: list[int], first: int, program: Sequence[Command]):
        model = placed.model
        self.logits: F32 = np.empty((0, model.vocabulary), np.float32)
        self.best = -1
        self._placed = placed
        self._tiles = Tiles(placed, program)
        self._tokens, self._first = tokens, first
        self._embedded: tuple[F32, F32] | None = None
        self._stream: F32 = np.empty((1, 0, model.width), np.float32)
        self._normed = self._inner = self._made = self._stream
        self._norms = self._place = 0
        # Side by side as the fused layer of `host_runtime.llm` gives them, so that products see the same layout.
        self._merged = np.empty((1, len(tokens), 3, model.heads, model.head_dim), np.float32)
        self._mixed = np.empty((1, model.heads, len(tokens), model.head_dim), np.float32)
        self._keys: dict[int, F32] = {}
        self._values: dict[int, F32] = {}
        self._scores: dict[int, F32] = {}
        self._operations: dict[Op, Callable[[Command], None]] = {
            Op.EMBED: self._embed,
            Op.ADD_EMBEDDINGS: self._add_embeddings,
            Op.NORM: self._norm,
            Op.QUERY: self._query,
            Op.KEY: self._key,
            Op.VALUE: self._value,
            Op.LOAD_KEYS: self._load_keys,
            Op.CONCATENATE: self._concatenate,
            Op.TRANSPOSE: self._transpose,
            Op.STORE_KEY: self._store_key,
            Op.STORE_VALUE: self._store_value,
            Op.LOAD_VALUES: self._load_values,
            Op.MOVE_VALUES: self._move_values,
            Op.SCORES: self._score,
            Op.SOFTMAX: self._softmax,
            Op.CONTEXT: self._context,
            Op.PROJECTION: self._projection,
            Op.EXPAND: self._expand,
            Op.GELU: self._gelu,
            Op.CONTRACT: self._contract,
            Op.RESIDUAL: self._residual,
            Op.HEAD: self._head,
            Op.ARGMAX: self._argmax,
        }

    def perform(self, place: int, command: Command) -> None:
        """Do what the command at ``place`` of the program says."""
        if command.unit is Unit.SYNC:
            return
        if command.op is Op.LOAD_WEIGHTS:
            self._tiles.load(place)
            return
        self._place = place
        self._operations[command.op](command)

    # ------------------------------------------------------------------------------------------- vectors and embeddings

    def _embed(self, command: Command) -> None:
        del command
        self._embedded = self._placed.embeddings(self._tokens, self._first)

    def _add_embeddings(self, command: Command) -> None:
        del command
        assert self._embedded is not None
        words, positions = self._embedded
        self._stream = add(words[None], positions, _ROUNDED)

    def _norm(self, command: Command) -> None:
        if command.layer == self._placed.model.blocks:
            parameters = self._placed.final_norm
            self._normed = self._stream[:, -(command.size // self._placed.model.width) :]
            self._normed = np.ascontiguousarray(self._normed)
        else:
            parameters = self._placed.blocks[command.layer].norms[self._norms % 2]
            self._norms += 1
            self._normed = self._stream
        self._normed = layer_norm(self._normed, *parameters, self._placed.epsilon, _ROUNDED)

    def _residual(self, command: Command) -> None:
        del command
        self._stream = add(self._stream, self._made, _ROUNDED)

    def _gelu(self, command: Command) -> None:
        del command
        self._inner = gelu_new(self._inner, _ROUNDED)

    # ---------------------------------------------------------------------------------------------------------- macros

    def _product(self, command: Command, x: F32, out: F32 | None = None) -> F32:
        """[1, n, columns] to [1, n, rows], in PIM, or a tile of it on the matrix unit.

        The first tile of a layer makes its ``out``; others come with it.
        """
        matrix = self._tiles.matrix(command)
        if command.unit is Unit.PIM:
            assert command.macro is not None
            activation = "gelu" if command.macro.activation else None
            bits = to_bits("x", np.ascontiguousarray(x[0]))
            return from_bits(self._placed.pim.linear(matrix, bits, activation))[None]
        if out is None or out.shape != (1, x.shape[1], matrix.rows):
            out = np.empty((1, x.shape[1], matrix.rows), np.float32)
        self._tiles.multiply(self._place, command, x, out)
        return out

    def _make(self, part: int, command: Command) -> None:
        heads = self._placed.heads_of(command.head)
        made = self._product(command, self._normed)
        self._merged[:, :, part, heads] = made.reshape(1, len(self._tokens), len(heads), -1)

    def _query(self, command: Command) -> None:
        self._make(0, command)

    def _key(self, command: Command) -> None:
        self._make(1, command)

    def _value(self, command: Command) -> None:
        self._make(2, command)

    def _projection(self, command: Command) -> None:
        merged = self._mixed.transpose(0, 2, 1, 3).reshape(1, len(self._tokens), -1)
        self._made = self._product(command, merged, self._made)

    def _expand(self, command: Command) -> None:
        self._inner = self._product(command, self._normed, self._inner)

    def _contract(self, command: Command) -> None:
        self._made = self._product(command, self._inner, self._made)

    def _head(self, command: Command) -> None:
        self.logits = self._product(command, self._normed, self.logits[None])[0]

    def _argmax(self, command: Command) -> None:
        del command
        self.best = int(self.logits[-1].argmax())

    # ------------------------------------------------------------------------------------------------------- attention

    def _new(self, part: int, head: int) -> F32:
        """New queries, keys or values of a head [n, dim]."""
        view: F32 = self._merged[0, :, part, head]
        return view

    def _write(self, layer: int, kind: int, head: int) -> None:
        self._placed.caches.store(layer, kind, head, self._first, self._new(1 + kind, head))

    @property
    def _plain(self) -> PlainCaches:
        assert isinstance(self._placed.caches, PlainCaches)
        return self._placed.caches

    @property
    def _matrices(self) -> MatrixCaches:
        assert isinstance(self._placed.caches, MatrixCaches)
        return self._placed.caches

    def _each(self, command: Command, action: Callable[[int], Any]) -> None:
        for head in self._placed.heads_of(command.head):
            action(head)

    def _load_keys(self, command: Command) -> None:
        def load(head: int) -> None:
            self._keys[head] = self._plain.load(command.layer, 0, head, self._first)

        self._each(command, load)

    def _concatenate(self, command: Command) -> None:
        def append(head: int) -> None:
            self._keys[head] = np.concatenate([self._keys[head], self._new(1, head)])

        self._each(command, append)

    def _transpose(self, command: Command) -> None:
        """Without earlier keys, the new ones are all; a transposed view is taken where they are multiplied."""
        if not self._first:
            self._each(command, lambda head: self._keys.__setitem__(head, self._new(1, head)))

    def _store_key(self, command: Command) -> None:
        self._each(command, lambda head: self._write(command.layer, 0, head))

    def _store_value(self, command: Command) -> None:
        self._each(command, lambda head: self._write(command.layer, 1, head))

    def _load_values(self, command: Command) -> None:
        def load(head: int) -> None:
            self._values[head] = self._plain.load(command.layer, 1, head, self._first + len(self._tokens))

        self._each(command, load)

    def _move_values(self, command: Command) -> None:
        self._each(command, lambda head: self._values.__setitem__(head, self._new(2, head)))

    def _score(self, command: Command) -> None:
        def multiply(head: int) -> None:
            query = self._new(0, head)
            if command.unit is Unit.PIM:
                self._scores[head] = self._matrices.scores(command.layer, head, query, self._first + 1)
            else:
                self._scores[head] = scores(query, self._keys[head], _ROUNDED)

        self._each(command, multiply)

    def _softmax(self, command: Command) -> None:
        dim = self._placed.model.head_dim

        def normalise(head: int) -> None:
            self._scores[head] = masked_softmax(self._scores[head], dim, _ROUNDED)

        self._each(command, normalise)

    def _context(self, command: Command) -> None:
        def mix(head: int) -> None:
            if command.unit is Unit.PIM:
                self._mixed[0, head] = self._matrices.context(command.layer, head, self._scores[head])
            else:
                self._mixed[0, head] = weighted(self._scores[head], self._values[head], _ROUNDED)

        self._each(command, mix)
