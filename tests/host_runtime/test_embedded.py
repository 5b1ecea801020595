"""The embedded model: its grammar's probabilities are exact, and it has learned what there is to learn."""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest

from host_runtime.llm.checkpoint import load_checkpoint
from host_runtime.llm.embedded import MODEL, evaluation_text, source_perplexity
from host_runtime.llm.embedded.grammar import (
    GrammarError,
    expansions,
    generate,
    negative_log_likelihoods,
    split_words,
    unigram_perplexity,
    vocabulary,
)
from host_runtime.llm.embedded.lexicon import ADJECTIVES, TOPICS
from host_runtime.llm.embedded.rules import START, Production, Stack
from host_runtime.llm.embedded.text import build_tokenizer
from host_runtime.llm.gpt2 import GPT2, reference_linear
from host_runtime.llm.layers import Precision
from host_runtime.llm.perplexity import Perplexity
from host_runtime.llm.tokenizer import load_tokenizer


def reachable() -> set[Stack]:
    seen, queue = {START}, [START]
    while queue:
        for _, after in expansions(queue.pop()).values():
            if after not in seen:
                seen.add(after)
                queue.append(after)
    return seen


def test_next_token_probabilities_add_up_to_one_in_every_state() -> None:
    stacks = reachable()
    assert len(stacks) > 100
    for stack in stacks:
        # Each is a sum of at most some hundred products of a few factors: a few thousand roundings of 2**-53.
        assert math.fsum(p for p, _ in expansions(stack).values()) == pytest.approx(1, abs=1e-12)


def test_ambiguous_grammar_is_refused() -> None:
    @dataclass(frozen=True)
    class Twice:
        def productions(self) -> list[Production]:
            return [(0.5, ("the", "king")), (0.5, ("the", "queen"))]

    with pytest.raises(GrammarError, match="token 'the' must come from one derivation"):
        expansions((Twice(),))


def test_probability_of_text_by_hand() -> None:
    """The first sentence's tokens, multiplied out on paper from the rules."""
    harmonic = {n: sum(1 / k for k in range(1, n + 1)) for n in (4, 5, 6)}
    expected = [
        0.85 * 0.5,  # no opening, "The"
        0.75 * 0.65 / 8 / harmonic[4],  # no adjective, singular, topic, first of four subjects
        0.65 * 0.85 / harmonic[5],  # nothing between, no adverb, first of five verbs
        0.25,  # "a"
        0.8 / harmonic[6],  # no adjective, first of six objects
        0.6 * 0.85,  # no second clause, no time
        0.2,  # "Elsewhere"
        1.0,  # ","
        0.1,  # "every"
        0.25 / sum(1 / k for k in range(1, len(ADJECTIVES) + 1)),  # first adjective
        1 / 7 / 2 / harmonic[4],  # another topic, second of four subjects
    ]
    losses = negative_log_likelihoods("The sailor pulls a boat. Elsewhere, every little baker")
    np.testing.assert_allclose(np.exp(-losses), expected, rtol=1e-12)


def test_stated_probabilities_are_those_of_generated_text(seed: int) -> None:
    """Frequencies after "The" in much generated text agree with the probabilities stated for it."""
    words = split_words(generate(seed, 20_000))
    stated = {token: p for token, (p, _) in expansions(expansions(START)["The"][1]).items()}
    first = [word for before, word in pairwise(words) if before == "The"]
    adjectives = sum(count for word, count in Counter(first).items() if word in ADJECTIVES)
    expected = sum(stated[word] for word in ADJECTIVES)
    deviation = math.sqrt(expected * (1 - expected) / len(first))
    assert abs(adjectives / len(first) - expected) < 5 * deviation  # once in two million seeds by chance
    # The mean of -ln P over a text estimates the source's entropy: two texts must agree.
    again = split_words(generate(seed + 1, 20_000))
    one, two = (negative_log_likelihoods(" ".join(text)) for text in (words, again))
    error = math.hypot(one.std() / math.sqrt(len(one)), two.std() / math.sqrt(len(two)))
    assert abs(one.mean() - two.mean()) < 5 * error


@pytest.mark.parametrize(
    ("text", "token"),
    [
        ("The sailor pull a boat.", "token 2 .* not 'pull'"),  # agreement
        ("The sailor pulls a boats.", "token 4 .* not 'boats'"),
        ("The sailor near the stove pulls", "token 4 .* not 'stove'"),  # topic
        ("The sailor pulls a boat. The cook", "token 7 .* not 'cook'"),  # topic stays
        ("The sailor pulls a boat because they", "token 6 .* not 'they'"),  # pronoun
        ("the sailor", "token 0 .* not 'the'"),
    ],
)
def test_text_outside_grammar_is_refused(text: str, token: str) -> None:
    with pytest.raises(GrammarError, match=token):
        negative_log_likelihoods(text)


def test_text_is_reproducible_and_has_the_length_asked() -> None:
    assert generate(7, 50) == generate(7, 50) != generate(8, 50)
    assert generate(7, 50).count(".") == 50
    with pytest.raises(ValueError, match="sentences must be a positive integer, not 0"):
        generate(7, 0)
    with pytest.raises(ValueError, match="seed must be a non-negative integer, not -1"):
        evaluation_text(-1)


def test_articles_fit_their_nouns() -> None:
    nouns = [form for topic in TOPICS for pair in topic.subjects + topic.objects for form in pair]
    assert not [word for word in (*nouns, *ADJECTIVES) if re.match("[aeiou]", word)]
    verbs = [form for topic in TOPICS for pair in topic.verbs for form in pair]
    everything = [*nouns, *verbs, *ADJECTIVES, *(place for topic in TOPICS for place in topic.places)]
    assert not [word for word, count in Counter(everything).items() if count > 1]


def test_committed_tokenizer_is_the_grammar_s() -> None:
    committed, text = load_tokenizer(MODEL), evaluation_text(3, 200)
    made = build_tokenizer()
    ids = committed.encode(text)
    assert ids.tolist() == made.encode(text).ids
    assert [made.id_to_token(int(i)) for i in ids] == split_words(text)
    assert committed.vocab_size == len(vocabulary()) + 1
    assert committed.decode(ids) == text.replace("\n", " ").strip()


def test_committed_files_are_small() -> None:
    assert sum(path.stat().st_size for path in MODEL.iterdir()) <= 1_600_000
    assert {path.name for path in MODEL.iterdir()} == {"config.json", "model.safetensors", "tokenizer.json"}


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_model_comes_close_to_its_source(precision: Precision) -> None:
    """Below one tenth of the unigrams' perplexity, within 5 % of the source's, and never better than it."""
    text = evaluation_text(1)
    tokens = load_tokenizer(MODEL).encode(text)
    model = GPT2(load_checkpoint(MODEL), reference_linear(precision), precision)
    reached = Perplexity(model, tokens, batch=8).run()
    source = source_perplexity(text)
    assert reached.predictions == len(tokens) - 1 == len(split_words(text)) - 1
    assert source < reached.perplexity < 1.05 * source
    assert reached.perplexity < unigram_perplexity(text) / 10
