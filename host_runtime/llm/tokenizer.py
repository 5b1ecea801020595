# Ref: Hugging Face tokenizers (tokenizer.json); Radford et al. 2019, section 2.2 (byte-level BPE)
"""Tokenizer of a model directory, and strict reading of the text to encode."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from host_runtime.llm.errors import TextError, TokenizerError

__all__ = ["TextTokenizer", "encode_file", "load_tokenizer", "read_text"]


class TextTokenizer:
    """Text to token ids and back."""

    def __init__(self, tokenizer: Tokenizer, source: Path) -> None:
        self._tokenizer = tokenizer
        self.source = source

    @property
    def vocab_size(self) -> int:
        """Count of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size(with_added_tokens=True))

    def encode(self, text: str) -> NDArray[np.int32]:
        """Return the token ids [n], nothing added. Raises TextError for a word outside the vocabulary."""
        try:
            encoding = self._tokenizer.encode(text, add_special_tokens=False)
        except Exception as error:  # the library raises plain Exception
            reason = self._unknown(text) or error
            raise TextError(f"text must be made of the vocabulary of {self.source}: {reason}") from error
        return np.array(encoding.ids, dtype=np.int32)

    def _unknown(self, text: str) -> str | None:
        """Name the first word that is no token, for a tokenizer of whole words."""
        splitter = self._tokenizer.pre_tokenizer
        for word, (start, _) in splitter.pre_tokenize_str(text) if splitter else ():
            if self._tokenizer.token_to_id(word) is None:
                return f"{word!r} at character {start} is no token"
        return None

    def decode(self, tokens: Sequence[int] | NDArray[np.integer]) -> str:
        """Return the text of token ids; each must lie in the vocabulary."""
        ids = [int(token) for token in tokens]
        for token in ids:
            if not 0 <= token < self.vocab_size:
                raise ValueError(f"token must be in 0..{self.vocab_size - 1}, not {token}")
        return str(self._tokenizer.decode(ids, skip_special_tokens=False))


def load_tokenizer(directory: Path | str) -> TextTokenizer:
    """Load tokenizer.json, or else vocab.json with merges.txt. Raises TokenizerError naming the file."""
    directory = Path(directory)
    whole, vocabulary, merges = (directory / name for name in ("tokenizer.json", "vocab.json", "merges.txt"))
    if whole.is_file():
        try:
            tokenizer = Tokenizer.from_file(str(whole))
        except Exception as error:  # the library raises plain Exception
            raise TokenizerError(
                f"{whole}: must be a tokenizer of the tokenizers library: {error}"
            ) from error
        tokenizer.no_truncation()
        tokenizer.no_padding()
        return TextTokenizer(tokenizer, whole)
    if not vocabulary.exists() and not merges.exists():
        raise TokenizerError(f"{directory}: must hold tokenizer.json, or vocab.json and merges.txt")
    for path in (vocabulary, merges):
        if not path.is_file():
            raise TokenizerError(f"{path}: file is missing (there is no tokenizer.json either)")
    try:
        model = models.BPE.from_file(str(vocabulary), str(merges))
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(f"{vocabulary} and {merges}: must be a byte-level BPE: {error}") from error
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    if tokenizer.token_to_id("<|endoftext|>") is not None:
        tokenizer.add_special_tokens(["<|endoftext|>"])
    return TextTokenizer(tokenizer, vocabulary)


def read_text(path: Path | str) -> str:
    """Read a UTF-8 text file; every line end (CR LF, CR or LF) becomes LF, as Python reads text.

    Raises TextError when it is missing, empty or binary.
    """
    path = Path(path)
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise TextError(f"{path}: file is missing") from None
    except OSError as error:
        raise TextError(f"{path}: cannot be read: {error}") from error
    if not data:
        raise TextError(f"{path}: must hold text, but is empty")
    if b"\x00" in data:
        raise TextError(f"{path}: must hold text, but byte {data.index(0)} is NUL: the file is binary")
    try:
        return data.decode("utf-8").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        raise TextError(
            f"{path}: must hold UTF-8, not byte 0x{data[error.start]:02X} at {error.start}: {error.reason}"
        ) from error


def encode_file(tokenizer: TextTokenizer, path: Path | str) -> NDArray[np.int32]:
    """Read and encode a text file. Raises TextError as `read_text`, and for fewer than two tokens."""
    text = read_text(path)
    try:
        tokens = tokenizer.encode(text)
    except TextError as error:
        raise TextError(f"{path}: {error}") from error
    if len(tokens) < 2:
        raise TextError(
            f"{path}: must have at least 2 tokens to predict one from the other, not {len(tokens)}"
        )
    return tokens
