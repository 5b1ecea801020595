# Ref: Radford et al. 2019 (GPT-2); Hugging Face transformers, GPT2LMHeadModel; IANUS restated, "Schedules"
"""GPT-2 on numpy, with every linear layer injected: by PIM memory, or by a matrix multiplication.

Precision "bf16": parameters are rounded to BF16 and so is every value passed from one operation to the
next; inside an operation the arithmetic is FP32 (see `layers`). A linear layer gets, and must return,
BF16-representable float32. Precision "fp32" rounds nowhere: the reference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from host_runtime.llm.cache import Cache
from host_runtime.llm.checkpoint import Checkpoint
from host_runtime.llm.layers import Array, Precision, add, attend, gelu_new, layer_norm, rounding_of

__all__ = ["GPT2", "Cache", "Linear", "MakeLinear", "Tokens", "reference_linear"]

Tokens = NDArray[np.integer] | Sequence[int]


class Linear(Protocol):
    """A linear layer that holds its weights: x [tokens, in_features] to [tokens, out_features], float32."""

    def __call__(self, x: Array, /) -> Array:
        """Return x times the weights, plus the bias."""


class MakeLinear(Protocol):
    """Called once for each linear layer, in order, while a model is built."""

    def __call__(self, name: str, weight: Array, bias: Array | None, /) -> Linear:
        """Return the layer: weight [out_features, in_features], bias [out_features], both C-contiguous."""


def reference_linear(precision: Precision) -> MakeLinear:
    """Return a maker of linear layers on numpy: FP32 multiplication, its result rounded to BF16 if asked."""
    rounded = rounding_of(precision)

    def make(_name: str, weight: Array, bias: Array | None, /) -> Linear:
        transposed = weight.T

        def linear(x: Array, /) -> Array:
            out = np.matmul(x, transposed)
            if bias is not None:
                out += bias
            return rounded(out)

        return linear

    return make


class _Block:
    """One transformer block: its layer norm parameters and four linear layers."""

    def __init__(self, checkpoint: Checkpoint, index: int, make_linear: MakeLinear, bf16: bool) -> None:
        def tensor(name: str) -> Array:
            return checkpoint.tensor(f"h.{index}.{name}", bf16=bf16)

        def linear(name: str) -> Linear:
            # Published weights are [in, out]; rows of outputs are what a memory bank stores.
            weight = np.ascontiguousarray(tensor(f"{name}.weight").T)
            return make_linear(f"h.{index}.{name}", weight, tensor(f"{name}.bias"))

        self.ln_1 = tensor("ln_1.weight"), tensor("ln_1.bias")
        self.c_attn, self.attn_proj = linear("attn.c_attn"), linear("attn.c_proj")
        self.ln_2 = tensor("ln_2.weight"), tensor("ln_2.bias")
        self.c_fc, self.mlp_proj = linear("mlp.c_fc"), linear("mlp.c_proj")


class GPT2:
    """A GPT-2 language model over a checkpoint's parameters.

    `make_linear` is called for `h.{i}.attn.c_attn`, `h.{i}.attn.c_proj`, `h.{i}.mlp.c_fc`,
    `h.{i}.mlp.c_proj` of each block, then for `lm_head` (no bias). Raises CheckpointError if a tensor
    cannot be read.
    """

    def __init__(
        self, checkpoint: Checkpoint, make_linear: MakeLinear, precision: Precision = "bf16"
    ) -> None:
        self.config = checkpoint.config
        self.precision = precision
        self._rounded = rounding_of(precision)
        bf16 = precision == "bf16"
        self._wte = checkpoint.tensor("wte.weight", bf16=bf16)
        self._wpe = checkpoint.tensor("wpe.weight", bf16=bf16)
        self._blocks = [_Block(checkpoint, i, make_linear, bf16) for i in range(self.config.n_layer)]
        self._ln_f = checkpoint.tensor("ln_f.weight", bf16=bf16), checkpoint.tensor("ln_f.bias", bf16=bf16)
        head = self._wte if self.config.tie_word_embeddings else checkpoint.head(bf16=bf16)
        self._lm_head = make_linear("lm_head", head, None)

    def cache(self, capacity: int | None = None) -> Cache:
        """Return an empty key/value cache for this model (capacity in tokens; None: the whole context)."""
        return Cache(self.config, capacity)

    def forward(self, tokens: Tokens, cache: Cache | None = None, *, last_only: bool = False) -> Array:
        """Return logits [n, vocab_size] of tokens [n], or [b, n, vocab_size] of b separate windows [b, n].

        Row i predicts the token after tokens[i]. With a cache, tokens [n] continue the tokens it holds, and
        are added to it. `last_only` computes the head for the last token of each window alone (n is 1 in
        the result's shape). Raises ValueError when a token is outside the vocabulary or the context
        overflows.
        """
        ids = self._checked(tokens, cache)
        windows = ids[None] if ids.ndim == 1 else ids
        n = windows.shape[1]
        offset = 0 if cache is None else cache.length
        x = add(self._wte[windows], self._wpe[offset : offset + n], self._rounded)
        for index, block in enumerate(self._blocks):
            x = add(x, self._attention(block, index, x, cache), self._rounded)
            x = add(x, self._feed_forward(block, x), self._rounded)
        if cache is not None:
            cache.advance(n)
        if last_only:
            x = np.ascontiguousarray(x[:, -1:])
        logits = self._linear(self._lm_head, self._norm(x, self._ln_f))
        return logits[0] if ids.ndim == 1 else logits

    def generate(
        self,
        prompt: Tokens,
        count: int,
        *,
        temperature: float = 0.0,
        seed: int = 0,
        stop: int | None = None,
    ) -> Iterator[int]:
        """Return an iterator over up to `count` tokens after the prompt [n], each computed when asked for.

        Temperature 0 takes the likeliest token (the lowest id among equals); otherwise a token is drawn,
        reproducibly from `seed`. Ends early after the token `stop`. Raises ValueError when prompt and count
        exceed the context.
        """
        ids = self._checked(prompt, None)
        if ids.ndim != 1:
            raise ValueError(f"prompt must be one sequence, not of shape {ids.shape}")
        if count < 1:
            raise ValueError(f"count must be a positive integer, not {count!r}")
        if not (np.isfinite(temperature) and temperature >= 0):
            raise ValueError(f"temperature must be 0 or a positive number, not {temperature!r}")
        # The last token generated is never fed back, so it needs no position.
        needed = len(ids) + count - 1
        if needed > self.config.n_positions:
            raise ValueError(
                f"prompt and count must fit the context of {self.config.n_positions}, not need {needed}"
            )
        return self._generate(ids, count, temperature, np.random.default_rng(seed), stop)

    def _generate(
        self,
        ids: NDArray[np.integer],
        count: int,
        temperature: float,
        rng: np.random.Generator,
        stop: int | None,
    ) -> Iterator[int]:
        cache = self.cache(len(ids) + count - 1)
        for _ in range(count):
            logits = self.forward(ids, cache, last_only=True)[-1]
            token = int(logits.argmax()) if temperature == 0 else _draw(logits, temperature, rng)
            yield token
            if token == stop:
                return
            ids = np.array([token])

    def _checked(self, tokens: Tokens, cache: Cache | None) -> NDArray[np.integer]:
        ids = np.asarray(tokens)
        if ids.ndim not in (1, 2) or ids.size == 0 or not np.issubdtype(ids.dtype, np.integer):
            raise ValueError(
                f"tokens must be integers [n] or [b, n], not empty, not {ids.dtype} {list(ids.shape)}"
            )
        if ids.min() < 0 or ids.max() >= self.config.vocab_size:
            bad = ids[(ids < 0) | (ids >= self.config.vocab_size)].flat[0]
            raise ValueError(f"token must be in 0..{self.config.vocab_size - 1}, not {bad}")
        known, room = 0, self.config.n_positions
        if cache is not None:
            if not cache.fits(self.config):
                raise ValueError("cache must be made for this model's shape")
            if ids.ndim == 2:
                raise ValueError(f"tokens must be [n] when a cache is used, not {list(ids.shape)}")
            known, room = cache.length, cache.capacity
        if known + ids.shape[-1] > room:
            raise ValueError(f"context must hold at most {room} tokens, not {known} + {ids.shape[-1]}")
        return ids

    def _linear(self, linear: Linear, x: Array) -> Array:
        """Apply a linear layer to x [b, n, in]."""
        batch, n, width = x.shape
        out = np.ascontiguousarray(linear(x.reshape(batch * n, width)), dtype=np.float32)
        if out.ndim != 2 or len(out) != batch * n:
            raise ValueError(f"linear must return [{batch * n}, out_features], not {list(out.shape)}")
        return out.reshape(batch, n, -1)

    def _norm(self, x: Array, parameters: tuple[Array, Array]) -> Array:
        return layer_norm(x, *parameters, self.config.layer_norm_epsilon, self._rounded)

    def _attention(self, block: _Block, index: int, x: Array, cache: Cache | None) -> Array:
        batch, n, width = x.shape
        merged = self._linear(block.c_attn, self._norm(x, block.ln_1))
        # [b, n, (q, k, v), heads, dim] -> three of [b, heads, n, dim]
        query, key, value = merged.reshape(batch, n, 3, self.config.n_head, -1).transpose(2, 0, 3, 1, 4)
        if cache is not None:
            keys, values = cache.extend(index, key[0], value[0])
            key, value = keys[None], values[None]
        mixed = attend(query, key, value, self._rounded)
        return self._linear(block.attn_proj, mixed.transpose(0, 2, 1, 3).reshape(batch, n, width))

    def _feed_forward(self, block: _Block, x: Array) -> Array:
        inner = gelu_new(self._linear(block.c_fc, self._norm(x, block.ln_2)), self._rounded)
        return self._linear(block.mlp_proj, inner)


def _draw(logits: Array, temperature: float, rng: np.random.Generator) -> int:
    weights = np.exp((logits.astype(np.float64) - logits.max()) / temperature)
    return int(
        min(np.searchsorted(np.cumsum(weights), rng.random() * weights.sum(), side="right"), len(logits) - 1)
    )
