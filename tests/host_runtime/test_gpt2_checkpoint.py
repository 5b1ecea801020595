"""Model directories: what is published loads, and everything else is refused by name."""

from __future__ import annotations

import json
import pickle
import tracemalloc
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from host_runtime.llm.checkpoint import WEIGHTS, load_checkpoint
from host_runtime.llm.config import GPT2_BASE, GPT2Config, read_config
from host_runtime.llm.errors import CheckpointError
from host_runtime.llm.gpt2 import GPT2, reference_linear
from host_runtime.llm.synthetic import write_random_checkpoint
from host_runtime.llm.tokenizer import load_tokenizer

SMALL = GPT2Config(vocab_size=50, n_positions=16, n_embd=24, n_layer=2, n_head=3, n_inner=96)

#: Fields of the published config.json files, as Hugging Face serves them.
PUBLISHED = {
    "activation_function": "gelu_new",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 50256,
    "embd_pdrop": 0.1,
    "eos_token_id": 50256,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_ctx": 1024,
    "n_positions": 1024,
    "resid_pdrop": 0.1,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "task_specific_params": {"text-generation": {"do_sample": True, "max_length": 50}},
    "vocab_size": 50257,
}
SIZES = {
    "gpt2": {"n_embd": 768, "n_head": 12, "n_layer": 12},
    "gpt2-medium": {
        "n_embd": 1024,
        "n_head": 16,
        "n_layer": 24,
        "n_special": 0,
        "predict_special_tokens": True,
    },
    "gpt2-large": {
        "n_embd": 1280,
        "n_head": 20,
        "n_layer": 36,
        "n_special": 0,
        "predict_special_tokens": True,
    },
    "gpt2-xl": {"n_embd": 1600, "n_head": 25, "n_layer": 48, "output_past": True},
}
#: Parameters of each, the tied head counted once, as published (124M, 355M, 774M, 1558M).
PARAMETERS = {
    "gpt2": 124_439_808,
    "gpt2-medium": 354_823_168,
    "gpt2-large": 774_030_080,
    "gpt2-xl": 1_557_611_200,
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    write_random_checkpoint(tmp_path, SMALL, seed=1, dtype="F32")
    return tmp_path


def rewrite(directory: Path, **changes: np.ndarray | None) -> None:
    """Store the checkpoint's tensors with some replaced, added, or (None) taken out."""
    tensors: dict[str, Any] = load_file(directory / WEIGHTS)
    tensors |= changes
    save_file({name: value for name, value in tensors.items() if value is not None}, directory / WEIGHTS)


def reconfigure(directory: Path, **changes: object) -> None:
    fields = json.loads((directory / "config.json").read_text())
    (directory / "config.json").write_text(json.dumps(fields | changes))


@pytest.mark.parametrize("name", SIZES)
def test_published_config_is_accepted(name: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | SIZES[name]))
    config = read_config(tmp_path / "config.json")
    assert sum(int(np.prod(shape)) for shape in config.tensor_shapes().values()) == PARAMETERS[name]
    assert (config.head_dim, config.n_inner, config.n_positions) == (64, 4 * config.n_embd, 1024)
    if name == "gpt2":
        assert config == GPT2_BASE


@pytest.mark.parametrize(
    "extra",
    [
        {"n_inner": None, "scale_attn_weights": True, "use_cache": True, "torch_dtype": "float32"},
        {"reorder_and_upcast_attn": False, "scale_attn_by_inverse_layer_idx": False},
        {"add_cross_attention": False, "tie_word_embeddings": True, "transformers_version": "4.40.0"},
    ],
)
def test_later_fields_are_accepted(extra: dict[str, object], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | SIZES["gpt2"] | extra))
    assert read_config(tmp_path / "config.json") == GPT2_BASE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"activation_function": "relu"}, "activation_function must be one of gelu_new.*, not 'relu'"),
        ({"model_type": "llama"}, "model_type must be 'gpt2', not 'llama'"),
        ({"architectures": ["GPT2ForSequenceClassification"]}, "architectures must be"),
        ({"architectures": "GPT2LMHeadModel"}, "architectures must be"),
        ({"scale_attn_weights": False}, "scale_attn_weights must be True .*, not False"),
        ({"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx must be False"),
        ({"reorder_and_upcast_attn": True}, "reorder_and_upcast_attn must be False"),
        ({"add_cross_attention": True}, "add_cross_attention must be False"),
        ({"quantization_config": {"bits": 4}}, "quantization_config must be None"),
        ({"n_ctx": 8}, "n_ctx must equal n_positions 16, not 8"),
        ({"n_layer": 0}, "n_layer must be a positive integer, not 0"),
        ({"n_layer": 2.0}, "n_layer must be a positive integer, not 2.0"),
        ({"n_embd": "24"}, "n_embd must be a positive integer, not '24'"),
        ({"n_inner": -1}, "n_inner must be a positive integer, not -1"),
        ({"n_head": 5}, "n_embd must be a multiple of n_head 5, not 24"),
        ({"layer_norm_epsilon": 0}, "layer_norm_epsilon must be a positive number, not 0"),
        ({"layer_norm_epsilon": "small"}, "layer_norm_epsilon must be a positive number"),
        ({"tie_word_embeddings": None}, "tie_word_embeddings must be true or false, not None"),
    ],
)
def test_unsupported_config_is_refused(change: dict[str, object], message: str, directory: Path) -> None:
    reconfigure(directory, **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(directory)
    assert str(directory / "config.json") in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "must be a JSON file"),
        ("[]", "must hold a JSON object, not list"),
        ("{}", "field 'model_type' is missing"),
        ('{"model_type": "gpt2", "n_ctx": 16, "n_embd": 24}', "field 'vocab_size' is missing"),
        (b"\xff\xfe", "must be a JSON file"),
        (None, "file is missing"),
    ],
)
def test_damaged_config_is_refused(text: str | bytes | None, message: str, directory: Path) -> None:
    path = directory / "config.json"
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CheckpointError, match=message):
        load_checkpoint(directory)


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
@pytest.mark.parametrize("tied", [True, False])
def test_every_published_layout_gives_the_same_numbers(
    dtype: Any, prefix: str, tied: bool, tmp_path: Path, seed: int
) -> None:
    config = GPT2Config(50, 16, 24, 2, 3, 96, tie_word_embeddings=tied)
    write_random_checkpoint(tmp_path / "plain", config, seed, dtype="F32")
    write_random_checkpoint(tmp_path / "other", config, seed, dtype=dtype, prefix=prefix, masks=True)
    plain, other = load_checkpoint(tmp_path / "plain"), load_checkpoint(tmp_path / "other")
    stored = load_file(tmp_path / "plain" / WEIGHTS)
    assert set(other.names) == set(config.tensor_shapes()) == set(stored)
    for name in config.tensor_shapes():
        assert other.tensor(name).dtype == np.float32
        np.testing.assert_array_equal(other.tensor(name), stored[name])
        np.testing.assert_array_equal(plain.tensor(name), stored[name])
    np.testing.assert_array_equal(other.head(), stored["wte.weight" if tied else "lm_head.weight"])


def test_rounding_to_bf16_is_to_nearest_even(directory: Path, rng: np.random.Generator) -> None:
    exact = rng.standard_normal((50, 24), dtype=np.float32)
    rewrite(directory, **{"wte.weight": exact})
    checkpoint = load_checkpoint(directory)
    np.testing.assert_array_equal(checkpoint.tensor("wte.weight"), exact)
    rounded = exact.astype(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(checkpoint.tensor("wte.weight", bf16=True), rounded)
    assert not np.array_equal(exact, rounded)


def test_explicit_head_may_repeat_a_tied_embedding(directory: Path) -> None:
    embedding = load_file(directory / WEIGHTS)["wte.weight"]
    rewrite(directory, **{"lm_head.weight": embedding})
    np.testing.assert_array_equal(load_checkpoint(directory).head(), embedding)
    rewrite(directory, **{"lm_head.weight": embedding + 1})
    with pytest.raises(CheckpointError, match=r"tensor lm_head\.weight must equal wte.weight"):
        load_checkpoint(directory)
    reconfigure(directory, tie_word_embeddings=False)
    np.testing.assert_array_equal(load_checkpoint(directory).head(), embedding + 1)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"h.1.mlp.c_fc.bias": None}, r"tensor h\.1\.mlp\.c_fc\.bias of shape \[96\] is missing$"),
        (
            {"wte.weight": None, "ln_f.bias": None},
            r"wte\.weight of shape \[50, 24\] is missing \(and 1 more\)",
        ),
        (
            {"h.2.ln_1.weight": np.ones(24, np.float32)},
            r"tensor h\.2\.ln_1\.weight is unexpected for 2 blocks",
        ),
        (
            {"h.0.attn.c_attn.weight": np.ones((72, 24), np.float32)},
            r"shape of tensor h\.0\.attn\.c_attn\.weight must be \[24, 72\] .*, not \[72, 24\]",
        ),
        (
            {"lm_head.weight": np.ones((50, 12), np.float32)},
            r"lm_head.weight must be \[50, 24\] .*\[50, 12\]",
        ),
        ({"ln_f.bias": np.ones(24, np.int32)}, "type of tensor ln_f.bias must be one of F32, .*, not I32"),
        ({"ln_f.bias": np.ones(24, np.float64)}, "type of tensor ln_f.bias must be one of F32, .*, not F64"),
        (
            {"transformer.ln_f.bias": np.ones(24, np.float32)},
            r"tensor ln_f\.bias must be stored once, not as .*transformer\.ln_f\.bias",
        ),
    ],
)
def test_wrong_tensors_are_refused(change: dict[str, Any], message: str, directory: Path) -> None:
    rewrite(directory, **change)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_checkpoint(directory)
    assert str(directory / WEIGHTS) in str(caught.value)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_non_finite_value_is_refused_with_its_place(value: float, directory: Path) -> None:
    bias = np.zeros(72, np.float32)
    bias[5] = value
    rewrite(directory, **{"h.1.attn.c_attn.bias": bias})
    checkpoint = load_checkpoint(directory)
    with pytest.raises(
        CheckpointError, match=rf"h\.1\.attn\.c_attn\.bias must be finite, not {value} at \(5,\)"
    ):
        GPT2(checkpoint, reference_linear("fp32"), "fp32")


def test_value_too_large_for_bf16_is_refused(directory: Path) -> None:
    rewrite(directory, **{"ln_f.bias": np.full(24, np.finfo(np.float32).max)})
    checkpoint = load_checkpoint(directory)
    assert np.isfinite(checkpoint.tensor("ln_f.bias")).all()
    with pytest.raises(CheckpointError, match=r"tensor ln_f\.bias must be finite, not inf"):
        checkpoint.tensor("ln_f.bias", bf16=True)


@pytest.mark.parametrize("size", [0, 5, 8, 100, 2000, -1])
def test_truncated_weights_are_refused(size: int, directory: Path) -> None:
    path = directory / WEIGHTS
    path.write_bytes(path.read_bytes()[:size])
    with pytest.raises(CheckpointError, match="must be a whole safetensors file") as caught:
        load_checkpoint(directory)
    assert str(path) in str(caught.value)


def test_missing_weights_are_named(directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    with pytest.raises(CheckpointError, match=r"model\.safetensors: file is missing$"):
        load_checkpoint(directory)
    with pytest.raises(CheckpointError, match="must be a model directory"):
        load_checkpoint(directory / "nowhere")


def test_weights_in_several_files_are_refused(directory: Path) -> None:
    (directory / WEIGHTS).rename(directory / "model-00001-of-00002.safetensors")
    (directory / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"several files .* are not supported"):
        load_checkpoint(directory)


class _Trap:
    """Unpickling this would leave a file behind."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.mark,)


def test_pickled_weights_are_never_read(directory: Path) -> None:
    (directory / WEIGHTS).unlink()
    mark = directory / "unpickled"
    (directory / "pytorch_model.bin").write_bytes(pickle.dumps(_Trap(mark)))
    with pytest.raises(
        CheckpointError, match=r"pytorch_model\.bin is there, but pickled weights can run code"
    ):
        load_checkpoint(directory)
    (directory / WEIGHTS).write_bytes(pickle.dumps(_Trap(mark)))
    with pytest.raises(CheckpointError, match="must be a whole safetensors file"):
        load_checkpoint(directory)
    assert not mark.exists()


def test_digest_depends_on_weights_and_configuration(directory: Path) -> None:
    first = load_checkpoint(directory).digest()
    assert first == load_checkpoint(directory).digest()
    reconfigure(directory, layer_norm_epsilon=1e-6)
    second = load_checkpoint(directory).digest()
    rewrite(directory, **{"ln_f.bias": np.ones(24, np.float32)})
    assert len({first, second, load_checkpoint(directory).digest()}) == 3


@pytest.mark.slow
def test_published_gpt2_directory_loads_and_runs(shared: Path, tmp_path: Path, seed: int) -> None:
    """Names, shapes and configuration of the published base model, its own tokenizer, random weights."""
    write_random_checkpoint(tmp_path, GPT2_BASE, seed, dtype="BF16", masks=True)
    (tmp_path / "config.json").write_text(json.dumps(PUBLISHED | SIZES["gpt2"]))
    for name in ("vocab.json", "merges.txt"):
        (tmp_path / name).symlink_to(shared / "data" / "gpt2-tokenizer" / name)
    tracemalloc.start()
    checkpoint, tokenizer = load_checkpoint(tmp_path), load_tokenizer(tmp_path)
    assert sum(int(np.prod(shape)) for shape in checkpoint.config.tensor_shapes().values()) == 124_439_808
    assert tokenizer.vocab_size == checkpoint.config.vocab_size
    prompt = tokenizer.encode("Processing in memory")
    assert prompt.tolist() == [18709, 278, 287, 4088]
    model = GPT2(checkpoint, reference_linear("bf16"), "bf16")
    logits = model.forward(prompt)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The parameters as float32, once, and the largest tensor on its way in: never the model twice.
    assert peak < 4 * (124_439_808 + 2 * 50257 * 768)
    assert logits.shape == (4, 50257)
    # With random weights nothing is preferred by much: the logits of n_embd products have a small deviation.
    assert 0.1 < logits.std() < 2
    assert list(model.generate(prompt, 3)) == list(model.generate(prompt, 3))
