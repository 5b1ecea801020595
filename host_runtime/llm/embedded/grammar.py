"""A probabilistic grammar of English-like text whose every token has an exactly known probability.

`expansions` gives, for a stack of symbols, every possible next token with its probability and the stack
that remains; it refuses a grammar in which one token could come from two derivations. So the derivation of
a text is unique, the stack after a prefix is a function of that prefix, and the probability found for a
token is P(token | all tokens before it): exact, not an estimate.

What a model can learn: a paragraph stays with one topic until "Elsewhere,"; verb and pronoun agree with the
number of the subject, also across a phrase in between; each verb has favourite objects of its own.

>>> text = generate(seed=1, sentences=2)
>>> source_perplexity(text) < unigram_perplexity(text)
True
"""

from __future__ import annotations

import random
import re
from collections import Counter
from functools import cache

import numpy as np
from numpy.typing import NDArray

from host_runtime.llm.embedded.rules import START, Stack

__all__ = [
    "GrammarError",
    "expansions",
    "generate",
    "negative_log_likelihoods",
    "source_perplexity",
    "split_words",
    "unigram_perplexity",
    "vocabulary",
]

Expansions = dict[str, tuple[float, Stack]]


class GrammarError(ValueError):
    """A text the grammar cannot derive, or a grammar that is ambiguous."""


@cache
def expansions(stack: Stack) -> Expansions:
    """Map each token that may come next to its probability and the stack after it.

    Raises GrammarError when two derivations begin with the same token.
    """
    if not stack:
        raise GrammarError("stack must hold a symbol, not ()")
    head, rest = stack[0], stack[1:]
    if isinstance(head, str):
        return {head: (1.0, rest)}
    found: Expansions = {}
    for probability, replacement in head.productions():
        for token, (inner, remaining) in expansions(replacement + rest).items():
            if token in found:
                raise GrammarError(f"token {token!r} must come from one derivation of {head!r}, not from two")
            found[token] = (probability * inner, remaining)
    return found


def generate(seed: int, sentences: int) -> str:
    """Return a text of that many sentences, one paragraph a line. Equal seeds give equal texts."""
    if sentences < 1:
        raise ValueError(f"sentences must be a positive integer, not {sentences!r}")
    rng = random.Random(seed)
    stack, words = START, list[str]()
    while sentences:
        choices = expansions(stack)
        (token,) = rng.choices(list(choices), [probability for probability, _ in choices.values()])
        stack = choices[token][1]
        words.append(token)
        sentences -= token == "."
    text = re.sub(r" ([.,])", r"\1", " ".join(words))
    return text.replace(" Elsewhere", "\nElsewhere") + "\n"


def split_words(text: str) -> list[str]:
    """Split a text into the grammar's tokens, exactly as the embedded model's tokenizer does."""
    return re.findall(r"\w+|[^\w\s]+", text)


def vocabulary() -> list[str]:
    """Return every token the grammar can produce, sorted."""
    seen, queue = {START}, [START]
    words: set[str] = set()
    while queue:
        for token, (_, after) in expansions(queue.pop()).items():
            words.add(token)
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return sorted(words)


def negative_log_likelihoods(text: str) -> NDArray[np.float64]:
    """Return -ln P(token | all tokens before it, from the start of the text) of each token.

    The text must start as a generated text does, at the head of a sentence; it may stop anywhere.
    Raises GrammarError at the first token the grammar cannot produce there.
    """
    stack, probabilities = START, list[float]()
    for index, token in enumerate(split_words(text)):
        choices = expansions(stack)
        if token not in choices:
            raise GrammarError(f"token {index} must be one of {sorted(choices)[:8]}..., not {token!r}")
        probability, stack = choices[token]
        probabilities.append(probability)
    return -np.log(np.array(probabilities, dtype=np.float64))


def source_perplexity(text: str) -> float:
    """Return the grammar's own perplexity over the tokens that an evaluation predicts: all but the first.

    Each token's probability is given the whole text before it. A model sees only its window, so at a
    window's start it lacks the topic, number and place in the sentence that the source knows: this number
    is a lower bound (in expectation) of any model's perplexity, and the gap it leaves is a few tokens in
    each window.
    """
    return float(np.exp(negative_log_likelihoods(text)[1:].mean()))


def unigram_perplexity(text: str) -> float:
    """Return the perplexity, over the same tokens, of the best predictor of this text that ignores order."""
    words = split_words(text)
    counts = Counter(words)
    return float(np.exp(np.mean([-np.log(counts[word] / len(words)) for word in words[1:]])))
