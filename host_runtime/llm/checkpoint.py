# Ref: Hugging Face transformers, GPT2LMHeadModel (tensor names); safetensors, "Format"
"""A GPT-2 directory as published: config.json and model.safetensors.

Names, shapes and types of all tensors are checked when the directory is opened, without reading their data;
each tensor is read when asked for, so a large model never lies in memory twice. Pickled weights are
refused.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from host_runtime.llm.config import GPT2Config, read_config
from host_runtime.llm.errors import CheckpointError
from host_runtime.llm.rounding import round_bf16

__all__ = ["WEIGHTS", "Checkpoint", "load_checkpoint"]

CONFIG = "config.json"
WEIGHTS = "model.safetensors"
PREFIX = "transformer."
#: Causal masks that some published files carry as tensors: implied by the architecture.
MASK_BUFFER = re.compile(r"h\.\d+\.attn\.(masked_)?bias")
DTYPES = ("F32", "F16", "BF16")


@dataclass(frozen=True)
class Checkpoint:
    """An opened model directory. `names` maps a tensor's name without prefix to its name in the file."""

    directory: Path
    config: GPT2Config
    names: dict[str, str]

    @property
    def weights(self) -> Path:
        return self.directory / WEIGHTS

    def tensor(self, name: str, *, bf16: bool = False) -> NDArray[np.float32]:
        """Read one tensor as float32, by its name without prefix; rounded to BF16 when asked.

        Raises CheckpointError when the file changed since it was opened, or a value is not finite (also
        when it is too large for BF16).
        """
        if name not in self.names:
            raise ValueError(f"name must be a tensor of {self.weights}, not {name!r}")
        with _opened(self.weights) as file:
            stored = file.get_tensor(self.names[name])
        values = np.array(stored, dtype=np.float32, order="C")
        expected = self.config.tensor_shapes().get(name, (self.config.vocab_size, self.config.n_embd))
        if values.shape != expected:
            raise CheckpointError(_wrong_shape(self.weights, name, expected, values.shape))
        if bf16:
            round_bf16(values)
        if not np.isfinite(values).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(values))[0])
            raise CheckpointError(
                f"{self.weights}: tensor {name} must be finite, not {values[where]} at {where}"
            )
        return values

    def head(self, *, bf16: bool = False) -> NDArray[np.float32]:
        """Read the language-model head [vocab_size, n_embd]: the token embedding when it is tied."""
        return self.tensor("wte.weight" if self.config.tie_word_embeddings else "lm_head.weight", bf16=bf16)

    def digest(self) -> str:
        """Return the SHA-256 of configuration and weights, as hexadecimal digits. Reads the whole file."""
        with self.weights.open("rb") as file:
            weights = hashlib.file_digest(file, "sha256").digest()
        return hashlib.sha256(repr(self.config).encode() + weights).hexdigest()


def load_checkpoint(directory: Path | str) -> Checkpoint:
    """Open a Hugging Face GPT-2 directory.

    Tensor names may carry the prefix `transformer.`; causal-mask buffers are ignored. Raises
    CheckpointError, naming file, tensor, expected and found shape, when anything is missing, superfluous,
    damaged or unsupported.
    """
    directory = Path(directory)
    if not directory.is_dir():
        raise CheckpointError(f"{directory}: must be a model directory")
    config = read_config(directory / CONFIG)
    path = directory / WEIGHTS
    if not path.is_file():
        raise CheckpointError(_missing_weights(directory))
    with _opened(path) as file:
        names = _canonical(path, list(file.keys()))
        _check_names(path, config, names)
        shapes = config.tensor_shapes()
        for name, stored in names.items():
            part = file.get_slice(stored)
            expected = shapes.get(name, shapes["wte.weight"])
            if tuple(part.get_shape()) != expected:
                raise CheckpointError(_wrong_shape(path, name, expected, tuple(part.get_shape())))
            if part.get_dtype() not in DTYPES:
                raise CheckpointError(
                    f"{path}: type of tensor {name} must be one of {', '.join(DTYPES)}, "
                    f"not {part.get_dtype()}"
                )
    checkpoint = Checkpoint(directory, config, names)
    twice_stored = config.tie_word_embeddings and "lm_head.weight" in names
    if twice_stored and not np.array_equal(
        checkpoint.tensor("lm_head.weight"), checkpoint.tensor("wte.weight")
    ):
        raise CheckpointError(
            f"{path}: tensor lm_head.weight must equal wte.weight, or {CONFIG} say tie_word_embeddings: false"
        )
    return checkpoint


@contextmanager
def _opened(path: Path) -> Iterator[safe_open]:
    try:
        with safe_open(path, framework="numpy") as file:
            yield file
    except SafetensorError as error:
        raise CheckpointError(f"{path}: must be a whole safetensors file: {error}") from error
    except OSError as error:
        raise CheckpointError(f"{path}: cannot be read: {error}") from error


def _missing_weights(directory: Path) -> str:
    path = directory / WEIGHTS
    if (directory / f"{WEIGHTS}.index.json").exists():
        return f"{path}: file is missing; weights in several files ({WEIGHTS}.index.json) are not supported"
    pickled = sorted(
        p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in directory.glob(pattern)
    )
    if pickled:
        return (
            f"{path}: file is missing; {pickled[0]} is there, but pickled weights can run code and are never "
            f"read: use a directory with {WEIGHTS}"
        )
    return f"{path}: file is missing"


def _wrong_shape(path: Path, name: str, expected: tuple[int, ...], found: tuple[int, ...]) -> str:
    return f"{path}: shape of tensor {name} must be {list(expected)} ({CONFIG} says so), not {list(found)}"


def _canonical(path: Path, stored: list[str]) -> dict[str, str]:
    """Map names without prefix to names in the file, leaving out mask buffers."""
    names: dict[str, str] = {}
    for name in stored:
        short = name.removeprefix(PREFIX)
        if MASK_BUFFER.fullmatch(short):
            continue
        if short in names:
            raise CheckpointError(
                f"{path}: tensor {short} must be stored once, not as {names[short]} and {name}"
            )
        names[short] = name
    return names


def _check_names(path: Path, config: GPT2Config, names: dict[str, str]) -> None:
    shapes = config.tensor_shapes()
    missing = [name for name in shapes if name not in names]
    if missing:
        name = missing[0]
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise CheckpointError(f"{path}: tensor {name} of shape {list(shapes[name])} is missing{more}")
    unexpected = sorted(names.keys() - shapes.keys() - {"lm_head.weight"})
    if unexpected:
        more = f" (and {len(unexpected) - 1} more)" if len(unexpected) > 1 else ""
        raise CheckpointError(
            f"{path}: tensor {names[unexpected[0]]} is unexpected for {config.n_layer} blocks{more}"
        )
