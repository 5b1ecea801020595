"""Perplexity: the protocol by plain arithmetic, stated figures, interruption without a trace."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from host_runtime.llm.checkpoint import load_checkpoint
from host_runtime.llm.config import GPT2Config
from host_runtime.llm.embedded import MODEL
from host_runtime.llm.errors import ResumeError
from host_runtime.llm.gpt2 import GPT2, reference_linear
from host_runtime.llm.layers import Precision
from host_runtime.llm.perplexity import Perplexity, Progress, negative_log_likelihoods
from host_runtime.llm.tokenizer import encode_file, load_tokenizer


class Bigrams:
    """A language model whose logits depend on the current token and its place in the window alone."""

    def __init__(self, rng: np.random.Generator, vocab_size: int = 13, context: int = 8) -> None:
        self.config = GPT2Config(vocab_size, context, 1, 1, 1, 1)
        self.table = rng.standard_normal((context, vocab_size, vocab_size), dtype=np.float32)
        self.seen: list[tuple[int, ...]] = []

    def forward(self, tokens: NDArray[np.integer], /) -> NDArray[np.float32]:
        self.seen.append(tokens.shape)
        return self.table[np.arange(tokens.shape[1]), tokens]

    def loss(self, tokens: NDArray[np.integer], index: int, length: int) -> float:
        """-ln P of the token after `index`, in float64."""
        row = self.table[index % length, tokens[index]].astype(np.float64)
        return float(np.log(np.exp(row).sum()) - row[tokens[index + 1]])


@pytest.fixture
def model(rng: np.random.Generator) -> Bigrams:
    return Bigrams(rng)


@pytest.fixture
def tokens(rng: np.random.Generator) -> NDArray[np.integer]:
    return rng.integers(13, size=60)


@pytest.mark.parametrize("batch", [1, 3, 100])
@pytest.mark.parametrize("limit", [None, 1, 7, 8, 9, 40, 1000])
@pytest.mark.parametrize("context", [None, 1, 5])
@pytest.mark.parametrize("count", [2, 8, 9, 10, 60])
def test_every_token_but_the_first_is_predicted_once(
    count: int,
    context: int | None,
    limit: int | None,
    batch: int,
    model: Bigrams,
    tokens: NDArray[np.integer],
) -> None:
    tokens = tokens[:count]
    length = 8 if context is None else context
    total = count - 1 if limit is None else min(limit, count - 1)
    expected = [model.loss(tokens, index, length) for index in range(total)]
    heard: list[int] = []

    def on_logits(first: int, logits: NDArray[np.float32]) -> None:
        for index, row in enumerate(logits, start=first):
            np.testing.assert_array_equal(row, model.table[index % length, tokens[index]])
            heard.append(index)

    steps = list(Perplexity(model, tokens, context, limit, batch, on_logits))
    assert heard == list(range(total))
    for step in steps:
        assert (step.total, step.windows) == (total, math.ceil(total / length))
        assert step.predictions == min(step.window * length, total)
        # The loss of each prediction is an FP32 number below 16: an error of some 2**-20 each.
        assert step.nll == pytest.approx(sum(expected[: step.predictions]), abs=step.predictions * 2.0**-19)
        assert step.perplexity == math.exp(step.nll / step.predictions)
    # And the sum over those FP32 losses is one in float64, 60 roundings of 2**-53 at most.
    rows = [
        (model.table[index % length, tokens[index]][None], tokens[index + 1][None]) for index in range(total)
    ]
    losses = [float(negative_log_likelihoods(*row)[0]) for row in rows]
    assert steps[-1].nll == pytest.approx(math.fsum(losses), rel=60 * 2.0**-53)
    assert (steps[-1].window, steps[-1].predictions) == (steps[-1].windows, total)
    assert max(rows for rows, _ in model.seen) == max(1, min(batch, total // length))
    assert Perplexity(model, tokens, context, limit, batch).run() == steps[-1]


@pytest.mark.parametrize("shape", [(1, 1), (3, 50257), (300, 300), (17, 4096)])
def test_negative_log_likelihood_is_that_of_float64(shape: tuple[int, int], rng: np.random.Generator) -> None:
    logits = (20 * rng.standard_normal(shape)).astype(np.float32)
    before = logits.copy()
    targets = rng.integers(shape[1], size=shape[0])
    wide = logits.astype(np.float64)
    wide -= wide.max(axis=1, keepdims=True)
    expected = np.log(np.exp(wide).sum(axis=1)) - wide[np.arange(shape[0]), targets]
    got = negative_log_likelihoods(logits, targets)
    assert got.dtype == np.float32
    # Differences of logits below 256 in FP32: 2**-17; the sum of exponentials errs less, relative to itself.
    np.testing.assert_allclose(got, expected, rtol=0, atol=2.0**-16)
    np.testing.assert_array_equal(logits, before)


def test_large_logits_do_not_overflow() -> None:
    logits = np.array([[1.5e38, -1.5e38, 0]], np.float32)
    np.testing.assert_array_equal(negative_log_likelihoods(logits, np.array([0])), [0])


class Interrupted(Exception):
    pass


def interrupt_at(window: int) -> Callable[[int, NDArray[np.float32]], None]:
    calls = 0

    def on_logits(first: int, logits: NDArray[np.float32]) -> None:
        nonlocal calls
        if calls == window:
            raise Interrupted
        calls += 1

    return on_logits


@pytest.mark.parametrize("batch", [1, 2])
@pytest.mark.parametrize("at", [0, 1, 5, 6])
def test_interrupted_evaluation_resumes_to_the_same_bits(at: int, batch: int, tmp_path: Path) -> None:
    """With the embedded model, whose last window is cut; interrupted in a window, not between two."""
    model = GPT2(load_checkpoint(MODEL), reference_linear("bf16"), "bf16")
    tokens = np.arange(128 * 6 + 50, dtype=np.int32) % 309
    whole = Perplexity(model, tokens, batch=batch).run()
    assert whole.windows == 7
    state = tmp_path / "below" / "state.json"
    with pytest.raises(Interrupted):
        Perplexity(model, tokens, batch=batch, state=state, on_logits=interrupt_at(at)).run()
    done = at // batch * batch
    assert state.exists() == (done > 0)
    heard: list[int] = []
    resumed = Perplexity(
        model, tokens, batch=batch, state=state, on_logits=lambda first, _: heard.append(first)
    )
    assert resumed.run() == whole  # the sum in nats, bit for bit
    assert heard == [128 * window for window in range(done, 7)]
    assert [path.name for path in state.parent.iterdir()] == ["state.json.lock"]


def test_every_step_may_be_the_last(model: Bigrams, tokens: NDArray[np.integer], tmp_path: Path) -> None:
    """A process that dies after each step still gets to the end."""
    state = tmp_path / "state.json"
    steps: list[Progress] = [next(iter(Perplexity(model, tokens, state=state))) for _ in range(8)]
    assert steps == list(Perplexity(model, tokens))
    assert not state.exists()


@pytest.mark.parametrize(
    ("change", "name"),
    [
        ({"context": 7}, "context must be '7', not '8'"),
        ({"limit": 50}, "predictions must be '50', not '59'"),
        ({"batch": 2}, "batch must be '2', not '1'"),
        ({"settings": {"digest": "other"}}, "digest must be 'other', not 'mine'"),
        ({"settings": {}}, "digest must be None, not 'mine'"),
        ({"settings": {"digest": "mine", "device": "x"}}, "device must be 'x', not None"),
    ],
)
def test_state_of_other_settings_is_refused(
    change: dict[str, Any], name: str, model: Bigrams, tokens: NDArray[np.integer], tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    own: dict[str, Any] = {"settings": {"digest": "mine"}, "state": state}
    next(iter(Perplexity(model, tokens, **own)))
    with pytest.raises(ResumeError, match=f"belongs to another evaluation: {name}; remove it"):
        Perplexity(model, tokens, **(own | change)).run()
    assert state.exists()


def test_state_of_another_text_or_model_is_refused(
    model: Bigrams, tokens: NDArray[np.integer], rng: np.random.Generator, tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    next(iter(Perplexity(model, tokens, state=state)))
    other = tokens.copy()
    other[-1] = (other[-1] + 1) % 13
    with pytest.raises(ResumeError, match=r"tokens must be '[0-9a-f]{64}', not '[0-9a-f]{64}'"):
        Perplexity(model, other, state=state).run()
    with pytest.raises(ResumeError, match=r"model must be .*vocab_size=14.*, not .*vocab_size=13"):
        Perplexity(Bigrams(rng, vocab_size=14), tokens, state=state).run()


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text[:30],
        lambda text: "",
        lambda text: "[]",
        lambda text: json.dumps({**json.loads(text), "window": 8}),
        lambda text: json.dumps({**json.loads(text), "window": -1}),
        lambda text: json.dumps({**json.loads(text), "predictions": 9}),
        lambda text: json.dumps({**json.loads(text), "nll": math.nan}),
        lambda text: json.dumps({**json.loads(text), "nll": None}),
        lambda text: json.dumps({**json.loads(text), "window": math.inf}),
        lambda text: json.dumps({**json.loads(text), "counts": {"heard": "1"}}),
        lambda text: json.dumps({**json.loads(text), "counts": {"heard": -1}}),
        lambda text: "[" * 100_000,
    ],
)
def test_damaged_state_is_refused(
    damage: Callable[[str], str], model: Bigrams, tokens: NDArray[np.integer], tmp_path: Path
) -> None:
    state = tmp_path / "state.json"
    next(iter(Perplexity(model, tokens, state=state)))
    state.write_text(damage(state.read_text()))
    with pytest.raises(ResumeError, match="remove it") as caught:
        Perplexity(model, tokens, state=state).run()
    assert str(state) in str(caught.value)


def test_state_is_one_runs_at_a_time(model: Bigrams, tokens: NDArray[np.integer], tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    whole = Perplexity(model, tokens).run()
    first = iter(Perplexity(model, tokens, state=state))
    next(first)
    saved = state.read_bytes()
    second = Perplexity(model, tokens, state=state)
    for attempt in (second.run, second.discard):
        with pytest.raises(ResumeError, match=r"another run is using this state: .*state\.json"):
            attempt()
    assert state.read_bytes() == saved
    assert list(first)[-1] == whole
    assert second.run() == whole
    with pytest.raises(ResumeError, match="must be a file this run may write"):
        Perplexity(model, tokens, state=Path("/proc/none/state.json")).run()


def test_counts_add_up_over_interrupts(model: Bigrams, tokens: NDArray[np.integer], tmp_path: Path) -> None:
    """Each of 8 processes makes one step of the evaluation and counts its windows."""
    state = tmp_path / "state.json"
    for step in range(1, 9):
        model.seen.clear()
        run = Perplexity(model, tokens, state=state)
        run.counts = partial(lambda at: {"windows": len(model.seen), f"only in {at}": at}, step)
        next(iter(run))
        assert run.totals() == {"windows": step} | {f"only in {at}": at for at in range(1, step + 1)}
    assert not state.exists()


def test_only_a_state_is_discarded(model: Bigrams, tokens: NDArray[np.integer], tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    run = Perplexity(model, tokens, state=state)
    run.discard()
    next(iter(run))
    run.discard()
    assert not state.exists()
    for text in ("my notes", "", "{}", '{"window": 1}', "5"):
        state.write_text(text)
        with pytest.raises(ResumeError, match="must be a saved evaluation state"):
            run.discard()
        assert state.read_text() == text


def test_perplexity_beyond_float64_is_an_error() -> None:
    assert Progress(1, 1, 2, 2, 1400.0).perplexity == math.exp(700)
    with pytest.raises(FloatingPointError, match="perplexity must be finite: exp of the mean loss, 710 nats"):
        _ = Progress(1, 1, 2, 2, 1420.0).perplexity


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_non_finite_logits_are_an_error(value: float, model: Bigrams, tokens: NDArray[np.integer]) -> None:
    model.table[3, tokens[11], 4] = value
    # inf - inf within the log-softmax is what is being caught.
    with (
        np.errstate(invalid="ignore"),
        pytest.raises(FloatingPointError, match=r"loss of prediction (3|11|19|27|35|43|51) must be finite"),
    ):
        Perplexity(model, tokens).run()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"context": 0}, r"context must be in 1\.\.8 tokens, not 0"),
        ({"context": 9}, r"context must be in 1\.\.8 tokens, not 9"),
        ({"batch": 0}, "batch must be a positive integer, not 0"),
        ({"limit": 0}, "limit must be a positive integer, not 0"),
        ({"tokens": np.array([1])}, r"tokens must be \[n\] with n at least 2, not \[1\]"),
        ({"tokens": np.array([1, 13])}, r"tokens must be in the model's vocabulary 0\.\.12, not 13"),
        ({"tokens": np.array([-2, 3])}, r"tokens must be in the model's vocabulary 0\.\.12, not -2"),
    ],
)
def test_wrong_arguments_are_refused(
    change: dict[str, Any], message: str, model: Bigrams, tokens: NDArray[np.integer]
) -> None:
    with pytest.raises(ValueError, match=message):
        Perplexity(model, **({"tokens": tokens} | change))


@pytest.mark.parametrize(
    ("precision", "published", "error"),
    [
        # Stated to three decimals. The other all-BF16 model rounds inside layer norm, softmax and GELU too,
        # where this one computes in FP32: that may move the mean loss by 1e-4.
        ("fp32", 172.668, 0.0006),
        ("bf16", 172.633, 0.02),
    ],
)
def test_first_4096_predictions_of_wikitext(
    precision: Precision, published: float, error: float, shared: Path
) -> None:
    checkpoint = load_checkpoint(shared / "data" / "gpt2-wikitext-mini")
    text = shared / "data" / "wikitext2" / "wiki.test.raw"
    tokens = encode_file(load_tokenizer(checkpoint.directory), text)
    model = GPT2(checkpoint, reference_linear(precision), precision)
    result = Perplexity(model, tokens, limit=4096).run()
    assert (result.predictions, result.windows) == (4096, 16)
    assert Perplexity(model, tokens).total == 392_833
    assert abs(result.perplexity - published) < error
