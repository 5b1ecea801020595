"""GPT-2: the function, checked against a textbook version in float64; injection, cache, rounding, errors."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from host_runtime.llm import gpt2
from host_runtime.llm.checkpoint import Checkpoint, load_checkpoint
from host_runtime.llm.config import GPT2Config
from host_runtime.llm.embedded import MODEL
from host_runtime.llm.gpt2 import GPT2, Linear, reference_linear
from host_runtime.llm.layers import Array, Precision, Rounding, layer_norm
from host_runtime.llm.rounding import is_bf16
from host_runtime.llm.synthetic import write_random_checkpoint

F64 = NDArray[np.float64]
#: Head dimension 12 and inner width 50 are no powers of two; the head is not tied.
ODD = GPT2Config(
    vocab_size=61,
    n_positions=20,
    n_embd=36,
    n_layer=3,
    n_head=3,
    n_inner=50,
    layer_norm_epsilon=1e-3,
    tie_word_embeddings=False,
)
#: Error of FP32 against FP64, in units of the largest logit: the 12 to 16 sums and normalisations in a row
#: here each add up to about 100 roundings of 2**-24 = 6e-8. A wrong mask, offset or scale moves them by 1e-2.
FP32_ERROR = 2e-5


@pytest.fixture(scope="module")
def odd(tmp_path_factory: pytest.TempPathFactory, seed: int) -> Checkpoint:
    directory = tmp_path_factory.mktemp("odd")
    write_random_checkpoint(directory, ODD, seed, dtype="F32")
    return load_checkpoint(directory)


@pytest.fixture(scope="module")
def trained() -> Checkpoint:
    return load_checkpoint(MODEL)


def build(checkpoint: Checkpoint, precision: Precision) -> GPT2:
    return GPT2(checkpoint, reference_linear(precision), precision)


def textbook(checkpoint: Checkpoint, tokens: NDArray[np.integer]) -> F64:
    """GPT-2 in float64, written position by position and head by head from the paper's definition."""
    config = checkpoint.config

    def get(name: str) -> F64:
        return checkpoint.tensor(name).astype(np.float64)

    def norm(row: F64, name: str) -> F64:
        spread = math.sqrt(float(np.var(row)) + config.layer_norm_epsilon)
        return (row - np.mean(row)) / spread * get(f"{name}.weight") + get(f"{name}.bias")

    def fc(row: F64, name: str) -> F64:
        return row @ get(f"{name}.weight") + get(f"{name}.bias")

    def gelu(value: float) -> float:
        return 0.5 * value * (1 + math.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))

    rows = [get("wte.weight")[token] + get("wpe.weight")[at] for at, token in enumerate(tokens)]
    width, dim = config.n_embd, config.head_dim
    for layer in range(config.n_layer):
        qkv = [fc(norm(row, f"h.{layer}.ln_1"), f"h.{layer}.attn.c_attn") for row in rows]
        for at, row in enumerate(rows):
            mixed = np.zeros(width)
            for head in range(config.n_head):
                part = slice(head * dim, (head + 1) * dim)
                query = qkv[at][:width][part]
                scores = [query @ known[width : 2 * width][part] / math.sqrt(dim) for known in qkv[: at + 1]]
                weights = np.exp(np.array(scores) - max(scores))
                values = np.array([known[2 * width :][part] for known in qkv[: at + 1]])
                mixed[part] = weights / weights.sum() @ values
            after = row + fc(mixed, f"h.{layer}.attn.c_proj")
            inner = fc(norm(after, f"h.{layer}.ln_2"), f"h.{layer}.mlp.c_fc")
            rows[at] = after + fc(np.array([gelu(value) for value in inner]), f"h.{layer}.mlp.c_proj")
    head_weight = checkpoint.head().astype(np.float64)
    return np.array([head_weight @ norm(row, "ln_f") for row in rows])


@pytest.mark.parametrize("which", ["odd", "trained"])
def test_fp32_is_the_textbook_function(
    which: str, request: pytest.FixtureRequest, rng: np.random.Generator
) -> None:
    checkpoint: Checkpoint = request.getfixturevalue(which)
    tokens = rng.integers(checkpoint.config.vocab_size, size=17)
    expected = textbook(checkpoint, tokens)
    logits = build(checkpoint, "fp32").forward(tokens)
    assert logits.dtype == np.float32
    np.testing.assert_allclose(logits, expected, rtol=0, atol=FP32_ERROR * np.abs(expected).max())


def test_bf16_stays_near_fp32(trained: Checkpoint, rng: np.random.Generator) -> None:
    """Some 8 roundings a block, of 2**-9 each: independent, they add up to about 2**-7 of the largest."""
    tokens = rng.integers(trained.config.vocab_size, size=100)
    exact = build(trained, "fp32").forward(tokens)
    rounded = build(trained, "bf16").forward(tokens)
    error = np.abs(rounded - exact)
    assert 0 < np.sqrt(np.mean(error**2)) < 2**-7 * np.abs(exact).max()
    assert is_bf16(rounded)
    assert not is_bf16(exact)


def test_linear_layers_are_made_once_in_order_with_rows_of_outputs(odd: Checkpoint) -> None:
    made: list[tuple[str, Array, Array | None]] = []

    def make(name: str, weight: Array, bias: Array | None, /) -> Linear:
        made.append((name, weight, bias))
        return reference_linear("fp32")(name, weight, bias)

    GPT2(odd, make, "fp32")
    layers = ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")
    assert [name for name, _, _ in made] == [f"h.{i}.{name}" for i in range(3) for name in layers] + [
        "lm_head"
    ]
    for name, weight, bias in made[:-1]:
        np.testing.assert_array_equal(weight, odd.tensor(f"{name}.weight").T)
        assert bias is not None
        np.testing.assert_array_equal(bias, odd.tensor(f"{name}.bias"))
        assert weight.flags.c_contiguous
    np.testing.assert_array_equal(made[-1][1], odd.tensor("lm_head.weight"))
    assert made[-1][2] is None


def test_linear_layers_see_only_bf16_values(odd: Checkpoint, rng: np.random.Generator) -> None:
    shapes: list[tuple[str, tuple[int, ...]]] = []

    def make(name: str, weight: Array, bias: Array | None, /) -> Linear:
        assert is_bf16(weight)
        assert bias is None or is_bf16(bias)
        inner = reference_linear("bf16")(name, weight, bias)

        def linear(x: Array, /) -> Array:
            assert x.dtype == np.float32
            assert x.flags.c_contiguous
            assert is_bf16(x)
            shapes.append((name, x.shape))
            return inner(x)

        return linear

    model = GPT2(odd, make, "bf16")
    model.forward(rng.integers(61, size=(2, 7)))
    assert len(shapes) == 13
    assert dict(shapes)["h.1.mlp.c_proj"] == (14, 50)
    assert dict(shapes)["lm_head"] == (14, 36)
    shapes.clear()
    model.forward(rng.integers(61, size=7), model.cache(), last_only=True)
    assert dict(shapes)["h.1.mlp.c_proj"] == (7, 50)
    assert dict(shapes)["lm_head"] == (1, 36)


def test_residual_stream_is_rounded(
    trained: Checkpoint, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Array] = []

    def observed(x: Array, weight: Array, bias: Array, epsilon: float, rounded: Rounding) -> Array:
        seen.append(x)
        return layer_norm(x, weight, bias, epsilon, rounded)

    monkeypatch.setattr(gpt2, "layer_norm", observed)
    build(trained, "bf16").forward(rng.integers(309, size=50))
    assert len(seen) == 2 * 3 + 1
    assert all(is_bf16(x) for x in seen)


def test_linear_layer_in_another_memory_order_gives_the_same(odd: Checkpoint) -> None:
    def make(name: str, weight: Array, bias: Array | None, /) -> Linear:
        inner = reference_linear("bf16")(name, weight, bias)
        return lambda x, /: np.asfortranarray(inner(x))

    tokens = np.arange(9)
    np.testing.assert_array_equal(GPT2(odd, make, "bf16").forward(tokens), build(odd, "bf16").forward(tokens))


def test_linear_layer_of_wrong_shape_is_refused(odd: Checkpoint) -> None:
    def make(name: str, weight: Array, bias: Array | None, /) -> Linear:
        return lambda x, /: np.zeros((1, len(weight)), np.float32)

    with pytest.raises(ValueError, match=r"linear must return \[4, out_features\], not \[1, 108\]"):
        GPT2(odd, make, "fp32").forward(np.arange(4))


@pytest.mark.parametrize("steps", [[128], [1] * 128, [5, 1, 1, 60, 61], [127, 1]])
def test_cache_gives_the_window_s_logits(
    steps: list[int], trained: Checkpoint, rng: np.random.Generator
) -> None:
    model = build(trained, "fp32")
    tokens = rng.integers(trained.config.vocab_size, size=128)
    expected = model.forward(tokens)
    cache = model.cache()
    parts, start = [], 0
    for step in steps:
        parts.append(model.forward(tokens[start : start + step], cache))
        start += step
        assert cache.length == start
    # The same sums over the same numbers in another order: one FP32 error each.
    np.testing.assert_allclose(
        np.concatenate(parts), expected, rtol=0, atol=2 * FP32_ERROR * np.abs(expected).max()
    )


def test_logits_do_not_depend_on_later_tokens(trained: Checkpoint, rng: np.random.Generator) -> None:
    model = build(trained, "fp32")
    tokens = rng.integers(trained.config.vocab_size, size=40)
    changed = tokens.copy()
    changed[20:] = (changed[20:] + 1) % trained.config.vocab_size
    one, two = model.forward(tokens), model.forward(changed)
    np.testing.assert_array_equal(one[:20], two[:20])
    assert np.abs(one[20:] - two[20:]).max(axis=1).min() > 0.01


def test_windows_of_a_batch_are_separate(trained: Checkpoint, rng: np.random.Generator) -> None:
    model = build(trained, "fp32")
    tokens = rng.integers(trained.config.vocab_size, size=(3, 32))
    together = model.forward(tokens)
    assert together.shape == (3, 32, 309)
    for window, logits in zip(tokens, together, strict=True):
        alone = model.forward(window)
        np.testing.assert_allclose(logits, alone, rtol=0, atol=2 * FP32_ERROR * np.abs(alone).max())


def test_cleared_cache_starts_anew(trained: Checkpoint) -> None:
    model = build(trained, "bf16")
    cache = model.cache(10)
    first = model.forward(np.arange(10), cache)
    with pytest.raises(ValueError, match=r"context must hold at most 10 tokens, not 10 \+ 1"):
        model.forward(np.arange(1), cache)
    cache.clear()
    np.testing.assert_array_equal(model.forward(np.arange(10), cache), first)


def test_failed_pass_leaves_cache_as_it_was(trained: Checkpoint) -> None:
    fail = False

    def make(name: str, weight: Array, bias: Array | None, /) -> Linear:
        inner = reference_linear("bf16")(name, weight, bias)

        def linear(x: Array, /) -> Array:
            if fail and name == "h.2.attn.c_proj":
                raise KeyboardInterrupt
            return inner(x)

        return linear

    model = GPT2(trained, make, "bf16")
    expected, cache = model.cache(), model.cache()
    model.forward(np.arange(5), expected)
    model.forward(np.arange(5), cache)
    fail = True
    with pytest.raises(KeyboardInterrupt):
        model.forward(np.arange(9, 12), cache)
    fail = False
    assert cache.length == 5
    np.testing.assert_array_equal(model.forward(np.arange(3), cache), model.forward(np.arange(3), expected))


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_same_bits_in_another_process(precision: Precision, trained: Checkpoint) -> None:
    tokens = np.arange(128) % trained.config.vocab_size
    logits = build(trained, precision).forward(tokens)
    np.testing.assert_array_equal(build(trained, precision).forward(tokens), logits)
    program = (
        "import hashlib, numpy as np\n"
        "from host_runtime.llm.checkpoint import load_checkpoint\n"
        "from host_runtime.llm.embedded import MODEL\n"
        "from host_runtime.llm.gpt2 import GPT2, reference_linear\n"
        f"model = GPT2(load_checkpoint(MODEL), reference_linear({precision!r}), {precision!r})\n"
        "print(hashlib.sha256(model.forward(np.arange(128) % 309).tobytes()).hexdigest())\n"
    )
    root = Path(__file__).resolve().parents[2]
    # FP32 sums depend on how many threads BLAS splits them over, so both processes are given the same number.
    environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}
    first, second = (
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=root,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for _ in range(2)
    )
    assert first == second
    assert len(first.strip()) == 64
