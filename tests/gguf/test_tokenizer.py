"""Imported tokenizers against llama.cpp: data/README.md says where the ids come from."""

import json
from pathlib import Path

import pytest
from mlx_lm.utils import load_tokenizer

from mlxd.errors import InvalidRequest
from mlxd.gguf import tokenizer
from mlxd.gguf.importer import import_gguf
from mlxd.gguf.tokenizer import build_tokenizer
from tests.support.gguf_files import (
    DATA,
    byte_level_metadata,
    random_model,
    sentence_piece_metadata,
    vocabulary,
    write_model,
)

VECTORS = json.loads((DATA / "vectors.json").read_text(encoding="utf-8"))
TEXTS: list[str] = VECTORS["texts"]


def load_imported(folder: Path, tokenizer: dict[str, object], architecture: str = "llama"):
    """Return the tokenizer of an imported model, as the engine loads it."""
    folder.mkdir(exist_ok=True)
    file = write_model(
        folder / "small.gguf",
        architecture,
        random_model(architecture, vocab_size=len(tokenizer["tokenizer.ggml.tokens"])),
        tokenizer=tokenizer,
    )
    return load_tokenizer(import_gguf(file, folder / "models").folder)


def ids_of(tokenizer) -> list[list[int]]:
    return [tokenizer.encode(text, add_special_tokens=False) for text in TEXTS]


def test_smollm2(smollm2: Path) -> None:
    assert ids_of(load_tokenizer(smollm2)) == VECTORS["ids"]["smollm2"]


@pytest.mark.parametrize("pre", ["smollm", "gpt-2", "default", "llama-bpe", "qwen2"])
def test_byte_level(tmp_path: Path, pre: str) -> None:
    metadata = byte_level_metadata(pre, vocabulary("byte_level"))

    assert ids_of(load_imported(tmp_path, metadata)) == VECTORS["ids"][pre]


@pytest.mark.parametrize("architecture", ["qwen2", "qwen3"])
def test_qwen_models(tmp_path: Path, architecture: str) -> None:
    """transformers builds the tokenizer of some architectures anew."""
    metadata = byte_level_metadata("qwen2", vocabulary("byte_level"))

    assert ids_of(load_imported(tmp_path, metadata, architecture)) == VECTORS["ids"]["qwen2"]


@pytest.mark.parametrize(
    ("name", "prefix"), [("sentence-piece", True), ("sentence-piece-no-prefix", False)]
)
def test_sentence_piece(tmp_path: Path, name: str, prefix: bool) -> None:
    metadata = sentence_piece_metadata(vocabulary("sentence_piece"), add_space_prefix=prefix)

    assert ids_of(load_imported(tmp_path, metadata)) == VECTORS["ids"][name]


def test_decoding_gives_the_text_back(tmp_path: Path) -> None:
    byte_level = byte_level_metadata("llama-bpe", vocabulary("byte_level"))
    sentence_piece = sentence_piece_metadata(vocabulary("sentence_piece"), add_space_prefix=True)
    for folder, metadata in ((tmp_path / "a", byte_level), (tmp_path / "b", sentence_piece)):
        tokenizer = load_imported(folder, metadata)
        for text in TEXTS:
            if not set("<") & set(text):  # a special token takes a prefix of its own
                assert tokenizer.decode(tokenizer.encode(text, add_special_tokens=False)) == text


def test_text_starts_with_bos_if_the_file_says_so(tmp_path: Path) -> None:
    plain = byte_level_metadata("gpt-2", vocabulary("byte_level"))
    bos = plain["tokenizer.ggml.bos_token_id"]

    without = load_imported(tmp_path / "a", plain)
    begun = load_imported(tmp_path / "b", plain | {"tokenizer.ggml.add_bos_token": True})

    assert begun.encode("Hello") == [bos, *without.encode("Hello")]


def test_llama_3_text_starts_with_bos_unless_the_file_says_otherwise(tmp_path: Path) -> None:
    plain = byte_level_metadata("llama-bpe", vocabulary("byte_level"))

    begun = load_imported(tmp_path / "a", plain)
    without = load_imported(tmp_path / "b", plain | {"tokenizer.ggml.add_bos_token": False})

    assert begun.encode("Hello")[1:] == without.encode("Hello")


def test_all_end_tokens_are_found() -> None:
    metadata = byte_level_metadata("gpt-2", vocabulary("byte_level"))
    tokens = vocabulary("byte_level")["tokens"]

    built = build_tokenizer(metadata, "llama")

    assert [tokens[index] for index in built.eos_ids] == ["<|im_end|>", "<|endoftext|>"]


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("model", "bert", "tokenizer.ggml.model is 'bert'; gpt2 or llama can be imported"),
        ("pre", "tekken", "tokenizer.ggml.pre is 'tekken'; smollm, gpt-2, "),
        ("eos_token_id", 10_000, "tokenizer.ggml.eos_token_id is 10000; a token below 498"),
        ("token_type", [1, 1], "tokenizer.ggml.token_type is a list of 2 values; one value for"),
        ("merges", ["a b c"], "tokenizer.ggml.merges has 'a b c', which is not a token"),
        ("merges", [], "tokenizer.ggml.merges is a list of 0 values; one or more"),
        ("merges", "a b", "the keys tokenizer.* of the file are not valid: Expected `array`, got"),
        (
            "tokens",
            [],
            "the keys tokenizer.* of the file are not valid: Expected `array` of length",
        ),
        ("eos_token_id", -1, "the keys tokenizer.* of the file are not valid: Expected `int` >= 0"),
    ],
)
def test_an_unsupported_value_is_named(key: str, value: object, message: str) -> None:
    metadata = byte_level_metadata("gpt-2", vocabulary("byte_level"))
    metadata[f"tokenizer.ggml.{key}"] = value

    with pytest.raises(InvalidRequest) as error:
        build_tokenizer(metadata, "llama")

    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [0.5]}, "tokenizer.ggml.scores is a list of 1 values; one value for each of"),
        ({"tokens": ["a", "a"], "token_type": [1, 1]}, "tokenizer.ggml.tokens is a list of 2"),
        ({"eos_token_id": None}, "the file lacks the key tokenizer.ggml.eos_token_id"),
    ],
)
def test_a_damaged_sentence_piece_vocabulary_is_refused(
    change: dict[str, object], message: str
) -> None:
    metadata = sentence_piece_metadata(vocabulary("sentence_piece"), add_space_prefix=True)
    metadata |= {f"tokenizer.ggml.{key}": value for key, value in change.items()}

    with pytest.raises(InvalidRequest) as error:
        build_tokenizer(metadata, "llama")

    assert error.value.message.startswith(message)


@pytest.mark.parametrize(
    ("limit", "token", "message"),
    [
        ({}, "x" * 5000, "tokens has a token of 5,000 characters; 1,024 can be imported"),
        ({"_MOST_CHARACTERS": 2000}, "x" * 1000, r"tokens has [\d,]+ characters; 2,000 can be"),
        ({"_MOST_MERGES": 50}, "xx", "tokens make each other in more than 50 ways"),
    ],
)
def test_a_vocabulary_that_takes_all_memory_is_refused(
    monkeypatch: pytest.MonkeyPatch, limit: dict[str, int], token: str, message: str
) -> None:
    """SentencePiece's tokens are tried in all halves."""
    for name, value in limit.items():
        monkeypatch.setattr(tokenizer, name, value)
    words = vocabulary("sentence_piece")
    metadata = sentence_piece_metadata(words, add_space_prefix=True)
    new = {"tokens": token, "token_type": 1, "scores": 0.0}
    metadata |= {f"tokenizer.ggml.{key}": [*words[key], value] for key, value in new.items()}

    with pytest.raises(InvalidRequest, match=message):
        build_tokenizer(metadata, "llama")


def test_qwen2_models_have_the_pre_tokenizer_that_transformers_gives_them() -> None:
    metadata = byte_level_metadata("gpt-2", vocabulary("byte_level"))

    with pytest.raises(InvalidRequest, match=r"tokenizer\.ggml\.pre is 'gpt-2'; qwen2 with this"):
        build_tokenizer(metadata, "qwen2")
