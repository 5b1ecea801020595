"""A checkpoint of random weights that is never on disk, for measurements."""

from __future__ import annotations

import zlib
from pathlib import Path

import numpy as np

from host_runtime.llm.checkpoint import Checkpoint
from host_runtime.llm.config import GPT2Config
from host_runtime.llm.layers import Array
from host_runtime.llm.rounding import round_bf16

__all__ = ["RandomCheckpoint"]


class RandomCheckpoint(Checkpoint):
    """Weights as a training starts from them: normal with deviation 0.02, layer norm scales around one."""

    def __init__(self, config: GPT2Config, seed: int):
        super().__init__(Path("random"), config, {name: name for name in config.tensor_shapes()})
        object.__setattr__(self, "_seed", seed)

    def tensor(self, name: str, *, bf16: bool = False) -> Array:
        """The tensor of that name, the same for the same seed."""
        rng = np.random.default_rng([self.__dict__["_seed"], zlib.crc32(name.encode())])
        values = rng.standard_normal(self.config.tensor_shapes()[name], np.float32) * np.float32(0.02)
        if ".ln_" in f".{name}" and name.endswith("weight"):
            values += np.float32(1)
        return round_bf16(values) if bf16 else values
