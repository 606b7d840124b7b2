"""Addresses of models, as people copy them, and what is told of others."""

import time

import pytest

from mlxd.models.hub_address import NoModelAddress, read_address

HUB = "https://huggingface.co"


@pytest.mark.parametrize(
    "text",
    [
        *("acme/tiny", "acme/tiny/", " acme/tiny\n", "acme/tiny:latest", "acme/tiny?library=mlx"),
        *("huggingface.co/acme/tiny", "hf.co/acme/tiny", "HTTPS://HF.co/acme/tiny/"),
        *(f"{HUB}/acme/tiny", f"{HUB}/acme/tiny?library=mlx", f"{HUB}/acme/tiny#usage"),
        *(f"{HUB}/acme/tiny/discussions/3", f"{HUB}/api/models/acme/tiny"),
        *("hf://acme/tiny", "hf://models/acme/tiny", "hf.co/acme/tiny:latest"),
        *("git@hf.co:acme/tiny", f"{HUB}/acme/tiny.git", "https://me:secret@hf.co/acme/tiny"),
    ],
)
def test_an_address_names_a_repository(text: str) -> None:
    """ramalama#612 and LocalAI take some of these, a browser and git show the others."""
    assert read_address(text) == ("acme/tiny", "")


@pytest.mark.parametrize(
    ("text", "revision"),
    [
        ("acme/tiny@v1", "v1"),
        ("hf://acme/tiny@v1/config.json", "v1"),
        (f"{HUB}/acme/tiny/tree/main", "main"),
        (f"{HUB}/acme/tiny/blob/main/model.safetensors", "main"),
        (f"{HUB}/acme/tiny/resolve/v1/config.json?download=true", "v1"),
        (f"{HUB}/acme/tiny/commit/0a1b2c3", "0a1b2c3"),
        (f"{HUB}/acme/tiny/tree/refs%2Fpr%2F1", "refs/pr/1"),
        (f"{HUB}/acme/tiny/tree/refs/pr/1", "refs/pr/1"),
    ],
)
def test_an_address_may_have_a_revision(text: str, revision: str) -> None:
    assert read_address(text) == ("acme/tiny", revision)


def test_an_old_repository_has_no_owner() -> None:
    assert read_address(f"{HUB}/gpt2/tree/main") == ("gpt2", "main")


def test_the_hub_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://localhost:8080/hub/")
    for text in ("http://localhost:8080/hub/acme/tiny", "localhost:8080/hub/acme/tiny/tree/main"):
        assert read_address(text)[0] == "acme/tiny"
    assert read_address(f"{HUB}/acme/tiny")[0] == "acme/tiny"


def test_a_long_name_is_read_at_once() -> None:
    """A search from each of its letters to its end takes minutes."""
    began = time.perf_counter()
    assert read_address("a" * 300_000) == ("a" * 300_000, "")
    assert time.perf_counter() - began < 10


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HUB}/datasets/acme/words", "is a data set, not a model"),
        (f"{HUB}/spaces/acme/demo", "is a space, not a model"),
        (f"{HUB}/models?library=mlx", "names no model; use OWNER/NAME"),
        (HUB, "names no model"),
        ("hf://", "names no model"),
        ("https://github.com/acme/tiny", "is not on the hub; use OWNER/NAME or https://hugging"),
        ("git@github.com:acme/tiny", "is not on the hub"),
        ("https://me:secret@github.com/acme/tiny", "'https://github.com/acme/tiny' is not on"),
        ("ollama://llama3", "is not an address"),
        ("https://[::1/acme", "is not an address"),
    ],
)
def test_any_other_address_is_refused_with_a_hint(text: str, message: str) -> None:
    with pytest.raises(NoModelAddress, match=message):
        read_address(text)
