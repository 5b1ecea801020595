"""Keys and values of the tokens a model has seen, preallocated for each block."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from host_runtime.llm.config import GPT2Config

__all__ = ["Cache"]


class Cache:
    """Room for `capacity` tokens (None: the context), float32 [2, heads, capacity, head dim] a block.

    `length` tokens are stored. A forward pass appends to every block and advances `length` once, at its
    end, so a pass that fails half-way leaves the cache as it was.
    """

    def __init__(self, config: GPT2Config, capacity: int | None = None) -> None:
        capacity = config.n_positions if capacity is None else capacity
        if not 1 <= capacity <= config.n_positions:
            raise ValueError(f"capacity must be in 1..{config.n_positions} tokens, not {capacity!r}")
        shape = (config.n_layer, 2, config.n_head, capacity, config.head_dim)
        self._store = np.zeros(shape, dtype=np.float32)
        self.length = 0

    @property
    def capacity(self) -> int:
        return int(self._store.shape[3])

    def clear(self) -> None:
        """Forget all tokens."""
        self.length = 0

    def fits(self, config: GPT2Config) -> bool:
        """Tell whether the cache was made for a model of that shape."""
        layers, _, heads, capacity, dim = self._store.shape
        return (layers, heads, dim) == (config.n_layer, config.n_head, config.head_dim) and (
            capacity <= config.n_positions
        )

    def extend(
        self, layer: int, key: NDArray[np.float32], value: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Store keys and values [heads, n, dim] of one block behind those it has; return all of them."""
        end = self.length + key.shape[1]
        keys, values = self._store[layer]
        keys[:, self.length : end] = key
        values[:, self.length : end] = value
        return keys[:, :end], values[:, :end]

    def advance(self, tokens: int) -> None:
        """Count `tokens` more as stored."""
        self.length += tokens
