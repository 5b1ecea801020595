# Ref: IANUS (ASPLOS 2024), sections 5.3 and 6.2, Fig. 7
"""Keys and values in the device's memory: token after token, or as matrices that PIM multiplies by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from host_runtime.bits import F32, U16, from_bits, to_bits
from host_runtime.ops import Matrix, Pim
from pim_model.spec.models import Transformer
from pim_model.spec.npu import ELEMENT_BYTES

__all__ = ["MatrixCaches", "PlainCaches"]


class PlainCaches:
    """A head's keys, and its values, token after token: for scores and context on the matrix unit.

    Parameters
    ----------
    model : Transformer
        Its shape.
    pim : Pim
        The device, whose memory is taken for the whole context.
    """

    def __init__(self, model: Transformer, pim: Pim):
        self._model, self._pim = model, pim
        self._step = model.context * model.head_dim * ELEMENT_BYTES
        self._start = pim.reserve(2 * model.blocks * model.heads * self._step)

    def store(self, layer: int, kind: int, head: int, first: int, new: F32) -> None:
        """Write keys (``kind`` 0) or values (1) [n, head dimension] of tokens from position ``first`` on."""
        self._pim.driver.transport.write_memory(self._address(layer, kind, head, first), _bytes(new))

    def load(self, layer: int, kind: int, head: int, count: int) -> F32:
        """Keys or values of the first ``count`` tokens [count, head dimension]."""
        dim = self._model.head_dim
        data = self._pim.driver.transport.read_memory(
            self._address(layer, kind, head, 0), count * dim * ELEMENT_BYTES
        )
        return from_bits(np.frombuffer(data, dtype="<u2").reshape(count, dim))

    def _address(self, layer: int, kind: int, head: int, position: int) -> int:
        place = (layer * 2 + kind) * self._model.heads + head
        return self._start + place * self._step + position * self._model.head_dim * ELEMENT_BYTES


class MatrixCaches:
    """Keys [tokens, head dimension] and values [head dimension, tokens] in tiles: for scores and context in PIM.

    A token's key is one row, a burst to one bank. Its value is a column: two bytes to each of as many banks as a head
    has dimensions, which is what makes appending it slow.

    Parameters
    ----------
    model : Transformer
        Its shape. ``ValueError`` for heads that take more than one group of output rows while the context takes more
        than one DRAM row: the tiles of the values would move as the text grows.
    pim : Pim
        The device, whose memory is taken for the whole context.
    """

    def __init__(self, model: Transformer, pim: Pim):
        geometry = pim.config.geometry
        if model.head_dim > geometry.outputs and model.context > geometry.elements:
            raise ValueError(
                f"attention in PIM needs heads of at most {geometry.outputs} or a context of at most "
                f"{geometry.elements} tokens, not {model.head_dim} and {model.context}"
            )
        self._pim = pim
        context, dim = model.context, model.head_dim
        self._keys, self._values = (
            [[pim.reserve_matrix(*shape) for _ in range(model.heads)] for _ in range(model.blocks)]
            for shape in ((context, dim), (dim, context))
        )

    def store(self, layer: int, kind: int, head: int, first: int, new: F32) -> None:
        """As :meth:`PlainCaches.store`."""
        if kind == 0:
            for position, key in enumerate(new, first):
                self._pim.write_row(self._keys[layer][head], position, 0, to_bits("key", key))
        else:
            bits = to_bits("value", np.ascontiguousarray(new.T))
            for row, values in enumerate(bits):
                self._pim.write_row(self._values[layer][head], row, first, values)

    def scores(self, layer: int, head: int, query: F32, count: int) -> F32:
        """Products of a query [1, head dimension] and the first ``count`` keys: [1, count]."""
        return self._product(replace(self._keys[layer][head], rows=count), query)

    def context(self, layer: int, head: int, probabilities: F32) -> F32:
        """The first values weighted by as many probabilities [1, count]: [1, head dimension]."""
        columns = probabilities.shape[1]
        return self._product(replace(self._values[layer][head], columns=columns), probabilities)

    def _product(self, matrix: Matrix, x: F32) -> F32:
        bits: U16 = to_bits("x", np.ascontiguousarray(x))
        return from_bits(self._pim.matvec(matrix, bits))


def _bytes(values: F32) -> bytes:
    return to_bits("key or value", np.ascontiguousarray(values)).astype("<u2").tobytes()
