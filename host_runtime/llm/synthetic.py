"""Random checkpoints in the published layout: the shape of a model without its weights."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import ml_dtypes
import numpy as np
from safetensors.numpy import save_file

from host_runtime.llm.checkpoint import PREFIX, WEIGHTS
from host_runtime.llm.config import GPT2Config

__all__ = ["write_random_checkpoint"]

DTYPES = {"F32": np.dtype(np.float32), "F16": np.dtype(np.float16), "BF16": np.dtype(ml_dtypes.bfloat16)}
#: Below it, a float16 no longer holds all eight significant bits of a BF16.
SMALLEST = 2.0**-17


def write_random_checkpoint(
    directory: Path,
    config: GPT2Config,
    seed: int,
    *,
    deviation: float = 0.02,
    dtype: Literal["F32", "F16", "BF16"] = "BF16",
    prefix: str = "",
    masks: bool = False,
) -> None:
    """Write config.json and model.safetensors (no tokenizer) into `directory`, creating it.

    Values are those a training starts from: normal with `deviation`, layer norm scales around 1. With 0.02 all
    attention scores are near zero; with 0.3 they tell tokens apart. They are the same numbers, which BF16 holds,
    whatever `dtype`. `prefix` goes before each name but the head's; `masks` adds the causal-mask buffers some
    published files carry.
    """
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, not {dtype!r}")
    if prefix not in ("", PREFIX):
        raise ValueError(f"prefix must be '' or {PREFIX!r}, not {prefix!r}")
    rng = np.random.default_rng(seed)
    tensors = {}
    for name, shape in config.tensor_shapes().items():
        values = rng.standard_normal(shape, dtype=np.float32)
        values *= np.float32(deviation)
        if ".ln_" in f".{name}" and name.endswith("weight"):
            values += np.float32(1)
        values[np.abs(values) < SMALLEST] = 0
        stored = values.astype(DTYPES["BF16"]).astype(DTYPES[dtype])
        tensors[name if name.startswith("lm_head") else prefix + name] = stored
    if masks:
        size = config.n_positions
        for layer in range(config.n_layer):
            mask = np.tril(np.ones((1, 1, size, size), dtype=np.bool_))
            tensors[f"{prefix}h.{layer}.attn.bias"] = mask
            tensors[f"{prefix}h.{layer}.attn.masked_bias"] = np.array(-1e4, dtype=np.float32)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "config.json").write_text(config.to_json(), encoding="utf-8")
    save_file(tensors, directory / WEIGHTS, metadata={"format": "pt"})
