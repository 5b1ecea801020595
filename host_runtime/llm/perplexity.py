# Ref: Radford et al. 2019, section 3.1; Hugging Face transformers, "Perplexity of fixed-length models"
"""Perplexity of a model on a text, window by window, interruptible.

The text's tokens are read in consecutive windows of the context length T, without overlap; each of a
window's T tokens predicts the one after it (for the last, that is the first of the next window) from the
tokens of the window up to itself. So every token of the text but the first is predicted once; the last
window may be shorter. The perplexity is exp of the mean negative log likelihood over all predictions: FP32
log-softmax of the logits, summed in float64.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from host_runtime.llm.config import GPT2Config
from host_runtime.llm.errors import ResumeError

__all__ = ["LanguageModel", "Perplexity", "Progress", "negative_log_likelihoods"]

#: Called with the index of a window's first prediction and its logits [predictions, vocab_size].
OnLogits = Callable[[int, NDArray[np.float32]], None]
#: Logits handled at a time: a block of rows that stays in the level-2 cache.
BLOCK = 1 << 16


class LanguageModel(Protocol):
    """What is evaluated; `gpt2.GPT2` is one."""

    @property
    def config(self) -> GPT2Config: ...

    def forward(self, tokens: NDArray[np.integer], /) -> NDArray[np.float32]:
        """Return logits [b, n, vocab_size] of windows [b, n]."""


@dataclass(frozen=True)
class Progress:
    """Windows and predictions done, of all; `nll` in nats, summed over the predictions."""

    window: int
    windows: int
    predictions: int
    total: int
    nll: float

    @property
    def perplexity(self) -> float:
        """Perplexity over the predictions so far; FloatingPointError if a float64 cannot hold it."""
        mean = self.nll / self.predictions
        try:
            return math.exp(mean)
        except OverflowError:
            raise FloatingPointError(
                f"perplexity must be finite: exp of the mean loss, {mean:.6g} nats, is beyond float64"
            ) from None


def negative_log_likelihoods(
    logits: NDArray[np.float32], targets: NDArray[np.integer]
) -> NDArray[np.float32]:
    """Return -log softmax(logits)[target] in FP32: logits [n, vocab_size], targets [n], to [n]."""
    count, width = logits.shape
    rows = max(1, BLOCK // width)
    out = np.empty(count, dtype=np.float32)
    scratch = np.empty((min(rows, count), width), dtype=np.float32)
    for start in range(0, count, rows):
        block = logits[start : start + rows]
        peak = block.max(axis=1)
        shifted = np.subtract(block, peak[:, None], out=scratch[: len(block)])
        chosen = shifted[np.arange(len(block)), targets[start : start + rows]]
        np.exp(shifted, out=shifted)
        out[start : start + rows] = np.log(shifted.sum(axis=1)) - chosen
    return out


@dataclass
class Perplexity:
    """An evaluation of `model` on `tokens` [n]: iterate for a `Progress` after each step, or call `run`.

    context     window length in tokens (None: the model's)
    limit       stop after exactly that many predictions: the last window is cut (None: all)
    batch       windows a step
    on_logits   hears each window's logits before they are scored; a resumed run hears only what is left
    state       file that holds the sums after each step, so that an interrupted evaluation goes on from there
                with the same bits; removed at the end
    settings    whatever else decides the result, compared on resuming: checkpoint digest, precision, device
    counts      what this run alone has counted so far, by name; kept in `state`, so that `totals` also has
                what was counted before an interrupt

    Raises ResumeError, when iterated, if `state` belongs to another evaluation or another run is using it, and
    FloatingPointError if a logit is not finite.
    """

    model: LanguageModel
    tokens: NDArray[np.integer]
    context: int | None = None
    limit: int | None = None
    batch: int = 1
    on_logits: OnLogits | None = None
    state: Path | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    counts: Callable[[], Mapping[str, int]] = dict

    def __post_init__(self) -> None:
        longest = self.model.config.n_positions
        self.length = longest if self.context is None else self.context
        if not 1 <= self.length <= longest:
            raise ValueError(f"context must be in 1..{longest} tokens, not {self.length!r}")
        if self.batch < 1:
            raise ValueError(f"batch must be a positive integer, not {self.batch!r}")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be a positive integer, not {self.limit!r}")
        if self.tokens.ndim != 1 or len(self.tokens) < 2:
            raise ValueError(f"tokens must be [n] with n at least 2, not {list(self.tokens.shape)}")
        vocabulary = self.model.config.vocab_size
        if self.tokens.min() < 0 or self.tokens.max() >= vocabulary:
            worst = int(self.tokens.max() if self.tokens.min() >= 0 else self.tokens.min())
            raise ValueError(f"tokens must be in the model's vocabulary 0..{vocabulary - 1}, not {worst}")
        self.total = len(self.tokens) - 1 if self.limit is None else min(self.limit, len(self.tokens) - 1)
        self.windows = -(-self.total // self.length)
        self._carried: dict[str, int] = {}
        self._locked = False

    def run(self) -> Progress:
        """Evaluate to the end and return the result."""
        for last in self:  # noqa: B007 (the last value is the result)
            pass
        return last

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other runs from `state`; iterating does so too. ResumeError if another run is using it.

        The lock is of `<state>.lock`, which stays: a run that removed it could let in two others.
        """
        if self.state is None or self._locked:
            yield
            return
        path = self.state.with_name(self.state.name + ".lock")
        try:
            self.state.parent.mkdir(parents=True, exist_ok=True)
            lock = path.open("a")
        except OSError as error:
            raise ResumeError(f"{path}: must be a file this run may write: {error.strerror}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ResumeError(
                    f"another run is using this state: {self.state}; wait for it or use another --state"
                ) from None
            self._locked = True
            try:
                yield
            finally:
                self._locked = False

    def discard(self) -> None:
        """Remove the saved state, if any; ResumeError if the file is no such state or another run's."""
        with self.locked():
            if self.state is not None and self.state.exists():
                self._read(self.state)
                self.state.unlink()

    def totals(self) -> dict[str, int]:
        """Return `counts` and what was counted before the interrupts this run went on from."""
        own = self.counts()
        return {name: self._carried.get(name, 0) + own.get(name, 0) for name in self._carried | dict(own)}

    def __iter__(self) -> Iterator[Progress]:
        with self.locked():
            yield from self._steps()

    def _steps(self) -> Iterator[Progress]:
        identity = self.identity() if self.state is not None else {}
        window, predictions, nll = self._load(identity)
        while window < self.windows:
            count = self._together(window)
            losses = self._losses(window, count)
            window += count
            predictions += losses.size
            nll += float(losses.sum(dtype=np.float64))
            if self.state is not None:
                if window < self.windows:
                    self._save(self.state, identity, window, predictions, nll)
                else:
                    self.state.unlink(missing_ok=True)
            yield Progress(window, self.windows, predictions, self.total, nll)

    def _together(self, window: int) -> int:
        """Return how many windows the step takes: only windows of equal length go together."""
        return max(1, min(self.batch, self.total // self.length - window))

    def _losses(self, window: int, count: int) -> NDArray[np.float32]:
        """Return the losses of `count` windows [count, n]."""
        start = window * self.length
        end = min(start + count * self.length, self.total)
        targets = self.tokens[start + 1 : end + 1].reshape(count, -1)
        logits = self.model.forward(self.tokens[start:end].reshape(count, -1))
        out = np.empty(targets.shape, dtype=np.float32)
        for index, rows in enumerate(logits):
            if self.on_logits is not None:
                self.on_logits(start + index * self.length, rows)
            out[index] = negative_log_likelihoods(rows, targets[index])
        if not np.isfinite(out).all():
            bad = start + int(np.argmin(np.isfinite(out).ravel()))
            raise FloatingPointError(
                f"loss of prediction {bad} must be finite: the logits hold infinities or NaN"
            )
        return out

    def identity(self) -> dict[str, str]:
        """Return everything that decides the result, by name."""
        tokens = hashlib.sha256(
            np.ascontiguousarray(self.tokens[: self.total + 1], dtype=np.int64).tobytes()
        ).hexdigest()
        own = {
            "tokens": tokens,
            "context": str(self.length),
            "predictions": str(self.total),
            "batch": str(self.batch),
        }
        return {**own, "model": repr(self.model.config), **self.settings}

    def _save(self, path: Path, identity: dict[str, str], window: int, predictions: int, nll: float) -> None:
        # JSON keeps a float's shortest exact decimal, so the sum comes back bit for bit.
        record = {"identity": identity, "window": window, "predictions": predictions, "nll": nll}
        record["counts"] = self.totals()
        fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
        fresh.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        os.replace(fresh, path)

    @staticmethod
    def _read(path: Path) -> tuple[dict[str, str], int, int, float, dict[str, int]]:
        """Return identity, windows, predictions, sum and counts of a state file."""
        try:
            record: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            counts = dict(record.get("counts", {}))
            if not all(type(count) is int and count >= 0 for count in counts.values()):
                raise ValueError(f"counts must be non-negative integers, not {counts!r}")
            numbers = int(record["window"]), int(record["predictions"]), float(record["nll"])
            return dict(record["identity"]), *numbers, counts
        except (
            OSError,
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            raise ResumeError(
                f"{path}: must be a saved evaluation state: {error!r}; remove it to start anew"
            ) from error

    def _load(self, identity: dict[str, str]) -> tuple[int, int, float]:
        self._carried = {}
        if self.state is None or not self.state.exists():
            return 0, 0, 0.0
        saved, window, predictions, nll, counts = self._read(self.state)
        for name in sorted(identity.keys() | saved.keys()):
            if saved.get(name) != identity.get(name):
                raise ResumeError(
                    f"{self.state}: belongs to another evaluation: {name} must be {identity.get(name)!r}, "
                    f"not {saved.get(name)!r}; remove it to start anew"
                )
        if not 0 < window < self.windows or predictions != window * self.length or not math.isfinite(nll):
            raise ResumeError(
                f"{self.state}: must lie inside the evaluation, not at window {window}; remove it to restart"
            )
        self._carried = counts
        return window, predictions, nll
