"""Tokenizers in both layouts, and strict reading of text."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from host_runtime.llm.embedded import MODEL, evaluation_text
from host_runtime.llm.errors import LanguageModelError, TextError, TokenizerError
from host_runtime.llm.tokenizer import encode_file, load_tokenizer, read_text

#: What byte-level BPE must survive: spaces, line ends, digits, contractions, accents, emoji, special tokens.
SAMPLES = [
    "The king sees the river.",
    "  two  spaces\n\n\tand tabs \n",
    "It's 1984; we'll see 3.14159!",
    "naïve café — größer, 漢字, 🙂",
    "before<|endoftext|>after",
    "",
]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a byte-level BPE in both layouts, trained here."""
    directory = tmp_path_factory.mktemp("bpe")
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=["<|endoftext|>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([evaluation_text(2, 300)], trainer)
    tokenizer.save(str(directory / "tokenizer.json"))
    tokenizer.model.save(str(directory))
    return directory


def split_layout(directory: Path, to: Path) -> Path:
    for name in ("vocab.json", "merges.txt"):
        (to / name).write_bytes((directory / name).read_bytes())
    return to


@pytest.mark.parametrize("text", [*SAMPLES, evaluation_text(4, 20)])
def test_both_layouts_agree_and_decode_what_they_encode(text: str, trained: Path, tmp_path: Path) -> None:
    whole, parts = load_tokenizer(trained), load_tokenizer(split_layout(trained, tmp_path))
    assert (whole.source.name, parts.source.name) == ("tokenizer.json", "vocab.json")
    ids = whole.encode(text)
    assert ids.dtype == np.int32
    np.testing.assert_array_equal(ids, parts.encode(text))
    assert whole.decode(ids) == parts.decode(ids) == text
    assert whole.vocab_size == parts.vocab_size == 400


def test_special_token_is_one_token(trained: Path, tmp_path: Path) -> None:
    for tokenizer in (load_tokenizer(trained), load_tokenizer(split_layout(trained, tmp_path))):
        assert tokenizer.encode("<|endoftext|>").tolist() == [0]


def test_wikitext_model_s_layouts_agree_on_the_whole_text(shared: Path, tmp_path: Path) -> None:
    directory, text = shared / "data" / "gpt2-wikitext-mini", shared / "data" / "wikitext2" / "wiki.test.raw"
    whole = encode_file(load_tokenizer(directory), text)
    assert len(whole) == 392_834  # one more than the predictions its data sheet states
    np.testing.assert_array_equal(whole, encode_file(load_tokenizer(split_layout(directory, tmp_path)), text))


def test_gpt2_s_own_tokenizer(shared: Path) -> None:
    """Ids as OpenAI's encoder gives them."""
    tokenizer = load_tokenizer(shared / "data" / "gpt2-tokenizer")
    assert tokenizer.vocab_size == 50257
    assert tokenizer.encode("Hello world").tolist() == [15496, 995]
    assert tokenizer.encode("<|endoftext|>").tolist() == [50256]
    for text in SAMPLES:
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_tokenizer_never_truncates_or_pads(trained: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(trained / "tokenizer.json"))
    tokenizer.enable_truncation(4)
    tokenizer.enable_padding(length=64)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    text = evaluation_text(5, 20)
    np.testing.assert_array_equal(load_tokenizer(tmp_path).encode(text), load_tokenizer(trained).encode(text))
    assert len(load_tokenizer(tmp_path).encode(text)) > 64


def test_token_outside_vocabulary_is_refused(trained: Path) -> None:
    tokenizer = load_tokenizer(trained)
    for token in (-1, 400):
        with pytest.raises(ValueError, match=rf"token must be in 0\.\.399, not {token}"):
            tokenizer.decode([5, token])


def test_word_outside_vocabulary_is_refused(tmp_path: Path) -> None:
    message = (
        r"text must be made of the vocabulary of .*tokenizer\.json: 'reboots' at character 9 is no token"
    )
    with pytest.raises(TextError, match=message):
        load_tokenizer(MODEL).encode("The king reboots a computer.")
    path = tmp_path / "text"
    path.write_text("The king reboots a computer.")
    with pytest.raises(TextError, match=f"^{path}: {message}"):
        encode_file(load_tokenizer(MODEL), path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"must hold tokenizer\.json, or vocab\.json and merges\.txt"),
        ({"vocab.json": "{}"}, r"merges\.txt: file is missing \(there is no tokenizer\.json either\)"),
        ({"merges.txt": ""}, r"vocab\.json: file is missing"),
        ({"vocab.json": "{", "merges.txt": ""}, "must be a byte-level BPE"),
        ({"vocab.json": '{"a": 0}', "merges.txt": "#version: 0.2\na b\n"}, "must be a byte-level BPE"),
        ({"tokenizer.json": "{"}, r"tokenizer\.json: must be a tokenizer"),
        ({"tokenizer.json": json.dumps({"version": "1.0"})}, r"tokenizer\.json: must be a tokenizer"),
    ],
)
def test_damaged_tokenizer_is_refused(files: dict[str, str], message: str, tmp_path: Path) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(TokenizerError, match=message) as caught:
        load_tokenizer(tmp_path)
    assert str(tmp_path) in str(caught.value)
    assert isinstance(caught.value, LanguageModelError)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "file is missing"),
        (b"", "must hold text, but is empty"),
        (b"text\x00more", "byte 4 is NUL: the file is binary"),
        (b"caf\xe9", "must hold UTF-8, not byte 0xE9 at 3"),
        (b"a", "must have at least 2 tokens .*, not 1"),
        (b"<|endoftext|>", "must have at least 2 tokens .*, not 1"),
    ],
)
def test_unusable_text_is_refused(data: bytes | None, message: str, trained: Path, tmp_path: Path) -> None:
    path = tmp_path / "text"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(TextError, match=message) as caught:
        encode_file(load_tokenizer(trained), path)
    assert str(path) in str(caught.value)


def test_directory_is_no_text(tmp_path: Path) -> None:
    with pytest.raises(TextError, match="cannot be read"):
        read_text(tmp_path)


def test_line_ends_become_line_feeds(tmp_path: Path) -> None:
    path = tmp_path / "text"
    data = b"one\r\ntwo\rthree\nfour\r\n\r\nfive"
    path.write_bytes(data)
    assert read_text(path) == path.read_text(encoding="utf-8") == "one\ntwo\nthree\nfour\n\nfive"
