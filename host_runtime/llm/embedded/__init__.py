"""A small GPT-2 trained by this project on text of its own grammar; see README.md beside this file."""

from __future__ import annotations

from pathlib import Path

from host_runtime.llm.embedded.grammar import source_perplexity
from host_runtime.llm.embedded.text import evaluation_text

__all__ = ["MODEL", "evaluation_text", "source_perplexity"]

#: Its directory, in the layout `load_checkpoint` and `load_tokenizer` read.
MODEL = Path(__file__).parent / "model"
