"""Errors a language-model user can cause with files; each message is a whole sentence naming the file."""

from __future__ import annotations

__all__ = ["CheckpointError", "LanguageModelError", "ResumeError", "TextError", "TokenizerError"]


class LanguageModelError(ValueError):
    """Base of all errors of `host_runtime.llm` that come from files."""


class CheckpointError(LanguageModelError):
    """A model directory that cannot be loaded as GPT-2."""


class TokenizerError(LanguageModelError):
    """Tokenizer files that are missing, damaged or do not fit the model."""


class TextError(LanguageModelError):
    """A text that cannot be read or encoded."""


class ResumeError(LanguageModelError):
    """A saved evaluation state that does not belong to this evaluation."""
