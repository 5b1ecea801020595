# Ref: IANUS (ASPLOS 2024), sections 5.1 to 5.3
"""A GPT-2 in the memory of a device as the NPU's programs want it: heads of all cores side by side, caches,
embeddings."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from host_runtime.bits import F32, from_bits, to_bits
from host_runtime.llm.checkpoint import Checkpoint
from host_runtime.npu.caches import MatrixCaches, PlainCaches
from host_runtime.ops import Matrix, Pim
from pim_model.spec.models import Transformer
from pim_model.spec.npu import ELEMENT_BYTES

__all__ = ["PlacedBlock", "PlacedModel", "shape_of"]


def shape_of(checkpoint: Checkpoint) -> Transformer:
    """The checkpoint's shape; ``ValueError`` if its feed-forward network is not four times as wide."""
    config = checkpoint.config
    if config.n_inner != 4 * config.n_embd:
        raise ValueError(
            f"the model's inner width must be four times its width {config.n_embd}, not {config.n_inner}"
        )
    return Transformer(
        name=checkpoint.directory.name,
        width=config.n_embd,
        head_dim=config.head_dim,
        heads=config.n_head,
        blocks=config.n_layer,
        vocabulary=config.vocab_size,
        context=config.n_positions,
    )


@dataclass(frozen=True)
class PlacedBlock:
    """One block: layer norms on the host, weights on the device."""

    norms: tuple[tuple[F32, F32], tuple[F32, F32]]
    heads: dict[str, tuple[Matrix, ...]]
    """``query``, ``key`` and ``value``: a matrix for each head of a core, with that head of every core."""
    projection: Matrix
    expand: Matrix
    contract: Matrix


class PlacedModel:
    """Weights, embeddings and room for keys and values on one device.

    Parameters
    ----------
    checkpoint : Checkpoint
        Parameters, rounded to BF16.
    pim : Pim
        The device, whose memory must hold all of it.
    cores : int
        NPU cores, among which the heads divide.
    attention_in_pim : bool
        Keys and values are kept as matrices that PIM multiplies by.
    """

    def __init__(self, checkpoint: Checkpoint, pim: Pim, cores: int, *, attention_in_pim: bool = False):
        if attention_in_pim and cores > 1:
            raise ValueError(
                f"attention in PIM must be executed on one core, not {cores}: a macro has one input for all "
                "channels, and each core's head a query of its own"
            )
        self.pim = pim
        self.cores = cores
        self.model = shape_of(checkpoint)
        self.epsilon = checkpoint.config.layer_norm_epsilon
        self.blocks = [self._block(checkpoint, index) for index in range(self.model.blocks)]
        self.final_norm = self._norm(checkpoint, "ln_f")
        self._head_weights = checkpoint.head(bf16=True)
        self.head = pim.upload(self._head_weights)
        self._tied = checkpoint.config.tie_word_embeddings
        self._tokens = 0 if self._tied else self._stored(checkpoint.tensor("wte.weight", bf16=True))
        self._positions = self._stored(checkpoint.tensor("wpe.weight", bf16=True))
        self.caches = (MatrixCaches if attention_in_pim else PlainCaches)(self.model, pim)

    def heads_of(self, head: int) -> list[int]:
        """The model's heads that are head ``head`` of each core."""
        own = self.model.heads // self.cores
        return [core * own + head for core in range(self.cores)]

    def embeddings(self, tokens: list[int], first: int) -> tuple[F32, F32]:
        """Read token and position embeddings [n, width] from the device.

        Those of tokens are the rows of the head, if they are tied: the bytes that it multiplies by.
        """
        width = self.model.width
        words = np.stack([self._row(token) for token in tokens])
        read = self.pim.driver.transport.read_memory(
            self._positions + first * width * ELEMENT_BYTES, len(tokens) * width * ELEMENT_BYTES
        )
        return words, from_bits(np.frombuffer(read, dtype="<u2").reshape(len(tokens), width))

    def _row(self, token: int) -> F32:
        """A token's embedding [width]."""
        if self._tied:
            return from_bits(self.pim.read_row(self.head, token))
        width = self.model.width
        read = self.pim.driver.transport.read_memory(
            self._tokens + token * width * ELEMENT_BYTES, width * ELEMENT_BYTES
        )
        return from_bits(np.frombuffer(read, dtype="<u2"))

    def _stored(self, values: F32) -> int:
        """A table in rows of its own; its address."""
        data = to_bits("table", values).astype("<u2").tobytes()
        address = self.pim.reserve(len(data))
        self.pim.driver.transport.preload(address, data)
        return address

    def _norm(self, checkpoint: Checkpoint, name: str) -> tuple[F32, F32]:
        return checkpoint.tensor(f"{name}.weight", bf16=True), checkpoint.tensor(f"{name}.bias", bf16=True)

    def _block(self, checkpoint: Checkpoint, index: int) -> PlacedBlock:
        def layer(name: str) -> tuple[F32, F32]:
            weight = checkpoint.tensor(f"h.{index}.{name}.weight", bf16=True)
            return np.ascontiguousarray(weight.T), checkpoint.tensor(f"h.{index}.{name}.bias", bf16=True)

        def whole(name: str) -> Matrix:
            return self.pim.upload(*layer(name))

        weights, bias = layer("attn.c_attn")
        dim, width = self.model.head_dim, self.model.width
        heads: dict[str, tuple[Matrix, ...]] = {}
        for part, kind in enumerate(("query", "key", "value")):
            made = []
            for head in range(self.model.heads // self.cores):
                rows = np.concatenate(
                    [part * width + each * dim + np.arange(dim) for each in self.heads_of(head)]
                )
                made.append(self.pim.upload(np.ascontiguousarray(weights[rows]), bias[rows]))
            heads[kind] = tuple(made)
        norms = self._norm(checkpoint, f"h.{index}.ln_1"), self._norm(checkpoint, f"h.{index}.ln_2")
        return PlacedBlock(norms, heads, whole("attn.c_proj"), whole("mlp.c_fc"), whole("mlp.c_proj"))
