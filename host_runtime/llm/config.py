# Ref: Hugging Face transformers, GPT2Config (fields of config.json)
"""GPT-2's config.json, read strictly: a field that would change the computation is understood or refused."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host_runtime.llm.errors import CheckpointError

__all__ = ["GPT2_BASE", "GPT2Config", "read_config"]

#: 0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3))) by either of its published names.
ACTIVATIONS = ("gelu_new", "gelu_pytorch_tanh")
#: Layers beyond which a config.json is taken for damaged (the largest GPT-2 has 48).
MAX_LAYERS = 1000
#: Fields with one supported value (the default when absent); any other value means other arithmetic.
FIXED = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
    "quantization_config": None,
}


@dataclass(frozen=True)
class GPT2Config:
    """Shape of a GPT-2, in elements; `n_inner` is the width inside the feed-forward network."""

    vocab_size: int
    n_positions: int
    n_embd: int
    n_layer: int
    n_head: int
    n_inner: int
    layer_norm_epsilon: float = 1e-5
    tie_word_embeddings: bool = True
    eos_token_id: int | None = None

    def __post_init__(self) -> None:
        for name in ("vocab_size", "n_positions", "n_embd", "n_layer", "n_head", "n_inner"):
            value = getattr(self, name)
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} must be a positive integer, not {value!r}")
        if self.n_layer > MAX_LAYERS:
            raise ValueError(f"n_layer must be at most {MAX_LAYERS}, not {self.n_layer}")
        if self.n_embd % self.n_head:
            raise ValueError(f"n_embd must be a multiple of n_head {self.n_head}, not {self.n_embd}")
        epsilon = self.layer_norm_epsilon
        # Compared, not converted: an integer beyond float64 is refused as infinity is.
        if type(epsilon) not in (int, float) or not 0 < epsilon <= sys.float_info.max:
            raise ValueError(f"layer_norm_epsilon must be a positive number, not {epsilon!r}")
        if type(self.tie_word_embeddings) is not bool:
            raise ValueError(f"tie_word_embeddings must be true or false, not {self.tie_word_embeddings!r}")

    @property
    def head_dim(self) -> int:
        return self.n_embd // self.n_head

    def tensor_shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the shape of every tensor, by its name without prefix; FC weights are [in, out]."""
        width, inner = self.n_embd, self.n_inner
        shapes: dict[str, tuple[int, ...]] = {
            "wte.weight": (self.vocab_size, width),
            "wpe.weight": (self.n_positions, width),
        }
        for layer in range(self.n_layer):
            block: dict[str, tuple[int, ...]] = {
                "ln_1.weight": (width,),
                "ln_1.bias": (width,),
                "attn.c_attn.weight": (width, 3 * width),
                "attn.c_attn.bias": (3 * width,),
                "attn.c_proj.weight": (width, width),
                "attn.c_proj.bias": (width,),
                "ln_2.weight": (width,),
                "ln_2.bias": (width,),
                "mlp.c_fc.weight": (width, inner),
                "mlp.c_fc.bias": (inner,),
                "mlp.c_proj.weight": (inner, width),
                "mlp.c_proj.bias": (width,),
            }
            shapes |= {f"h.{layer}.{name}": shape for name, shape in block.items()}
        shapes |= {"ln_f.weight": (width,), "ln_f.bias": (width,)}
        if not self.tie_word_embeddings:
            shapes["lm_head.weight"] = (self.vocab_size, width)
        return shapes

    def to_json(self) -> str:
        """Return the text of a config.json that `read_config` reads back."""
        fields = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_ctx": self.n_positions}
        return json.dumps(fields | asdict(self) | {"activation_function": ACTIVATIONS[0]}, indent=2) + "\n"


GPT2_BASE = GPT2Config(50257, 1024, 768, 12, 12, 3072, eos_token_id=50256)


def read_config(path: Path) -> GPT2Config:
    """Read a config.json.

    Raises CheckpointError when the file is missing or no JSON object, when a size is missing or impossible,
    and when architecture, activation or another field asks for arithmetic this implementation does not do.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"{path}: file is missing") from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path}: must be a JSON file: {error}") from error
    if not isinstance(fields, dict):
        raise CheckpointError(f"{path}: must hold a JSON object, not {type(fields).__name__}")
    try:
        return _from_fields(fields)
    except KeyError as error:
        raise CheckpointError(f"{path}: field {error.args[0]!r} is missing") from None
    except ValueError as error:
        raise CheckpointError(f"{path}: {error}") from error


def _from_fields(fields: dict[str, Any]) -> GPT2Config:
    if fields["model_type"] != "gpt2":
        raise ValueError(f"model_type must be 'gpt2', not {fields['model_type']!r}")
    architectures = fields.get("architectures") or ["GPT2LMHeadModel"]
    known = ("GPT2LMHeadModel", "GPT2Model")
    if not isinstance(architectures, list) or not all(name in known for name in architectures):
        raise ValueError(f"architectures must be ['GPT2LMHeadModel'], not {architectures!r}")
    activation = fields.get("activation_function", ACTIVATIONS[0])
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation_function must be one of {', '.join(ACTIVATIONS)}, not {activation!r}")
    for name, value in FIXED.items():
        if fields.get(name, value) != value:
            raise ValueError(f"{name} must be {value!r} (nothing else is supported), not {fields[name]!r}")
    positions = fields["n_positions"] if "n_positions" in fields else fields["n_ctx"]
    if fields.get("n_ctx", positions) != positions:
        raise ValueError(f"n_ctx must equal n_positions {positions!r}, not {fields['n_ctx']!r}")
    width, inner = fields["n_embd"], fields.get("n_inner")
    if type(width) is not int:
        raise ValueError(f"n_embd must be a positive integer, not {width!r}")
    return GPT2Config(
        vocab_size=fields["vocab_size"],
        n_positions=positions,
        n_embd=width,
        n_layer=fields["n_layer"],
        n_head=fields["n_head"],
        n_inner=4 * width if inner is None else inner,
        layer_norm_epsilon=fields.get("layer_norm_epsilon", 1e-5),
        tie_word_embeddings=fields.get("tie_word_embeddings", True),
        eos_token_id=fields.get("eos_token_id"),
    )
