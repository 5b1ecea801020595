"""Text and tokenizer of the embedded model: one token a word or punctuation mark."""

from __future__ import annotations

from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from host_runtime.llm.embedded.grammar import generate, vocabulary

__all__ = ["END_OF_TEXT", "EVALUATION_SEED", "TRAINING_SEEDS", "build_tokenizer", "evaluation_text"]

END_OF_TEXT = "<|endoftext|>"
TRAINING_SEEDS = range(1, 1_000_000)
#: Seeds from here on are never trained on.
EVALUATION_SEED = 1_000_000


def evaluation_text(seed: int = 0, sentences: int = 1000) -> str:
    """Return held-out text (about 10.7 tokens a sentence); equal arguments give equal texts."""
    if seed < 0:
        raise ValueError(f"seed must be a non-negative integer, not {seed!r}")
    return generate(EVALUATION_SEED + seed, sentences)


def build_tokenizer() -> Tokenizer:
    """Make the tokenizer from the grammar's vocabulary; id 0 is `END_OF_TEXT`, which no text contains.

    It has no unknown token: a word outside the vocabulary is an error, not a guess.
    """
    words = [END_OF_TEXT, *vocabulary()]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.decoder = decoders.WordPiece(prefix="##", cleanup=True)
    return tokenizer
