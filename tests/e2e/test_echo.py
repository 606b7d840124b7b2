"""`echo`: the prompt comes back with the log-probabilities that mlx-lm's own logits have."""

import itertools
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlx.core as mx
import mlx_lm
import pytest

from tests.support.daemon_process import DaemonProcess, running_daemon

pytestmark = pytest.mark.slow

TEXT = "Hello, it is héllo again: " * 12  # longer than one part of a prompt


@pytest.fixture(scope="module")
def daemon(tiny_model: Path) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        (Path(folder) / "models").mkdir()
        (Path(folder) / "models" / "tiny").symlink_to(tiny_model)
        with running_daemon(Path(folder)) as daemon:
            yield daemon


def choices(daemon: DaemonProcess, **fields: Any) -> list[dict[str, Any]]:
    body = {"model": "tiny", "echo": True, "max_tokens": 0, "temperature": 0, **fields}
    response = daemon.local.post("/v1/completions", content=json.dumps(body))
    assert response.status_code == 200, response.text
    found: list[dict[str, Any]] = response.json()["choices"]
    return found


@pytest.fixture(scope="module")
def expected(tiny_model: Path) -> tuple[list[int], mx.array]:
    """The tokens of the text, and the log-probabilities of what follows each."""
    model, tokenizer, *_ = mlx_lm.load(str(tiny_model))
    tokens = tokenizer.encode(TEXT)
    logits = model(mx.array([tokens]))[0]
    return tokens, logits - mx.logsumexp(logits, axis=-1, keepdims=True)


def test_the_log_probabilities_are_those_of_the_logits(
    daemon: DaemonProcess, expected: tuple[list[int], mx.array]
) -> None:
    tokens, logprobs = expected
    wanted = [logprobs[place, token].item() for place, token in enumerate(tokens[1:])]
    (choice,) = choices(daemon, prompt=TEXT, logprobs=1)
    found = choice["logprobs"]
    assert choice["text"] == TEXT
    assert found["token_logprobs"][0] is None
    assert found["top_logprobs"][0] is None
    assert found["token_logprobs"][1:] == pytest.approx(wanted, abs=1e-3)
    best = mx.max(logprobs[:-1], axis=-1).tolist()
    likeliest = [max(top.values()) for top in found["top_logprobs"][1:]]
    assert likeliest == pytest.approx(best, abs=1e-3)
    for token, offset in zip(found["tokens"], found["text_offset"], strict=True):
        assert token == "�" or TEXT[offset] == token


def test_a_batch_of_token_ids(daemon: DaemonProcess, expected: tuple[list[int], mx.array]) -> None:
    tokens, logprobs = expected
    first, second = choices(daemon, prompt=[tokens[:1], tokens[:9]], logprobs=0, max_tokens=1)
    assert first["logprobs"]["token_logprobs"][0] is None
    assert len(first["logprobs"]["tokens"]) == 2
    wanted = [logprobs[place, token].item() for place, token in enumerate(tokens[1:9])]
    assert second["logprobs"]["token_logprobs"][1:-1] == pytest.approx(wanted, abs=1e-3)
    assert second["text"].startswith(TEXT[:9])


def test_without_log_probabilities_it_is_the_text(daemon: DaemonProcess) -> None:
    answer = choices(daemon, prompt=TEXT, max_tokens=3, echo=False)[0]["text"]
    assert choices(daemon, prompt=TEXT, max_tokens=3)[0]["text"] == TEXT + answer


def test_a_stream_begins_with_the_prompt(daemon: DaemonProcess) -> None:
    body = {"prompt": TEXT, "echo": True, "logprobs": 1, "max_tokens": 2, "stream": True}
    lines = daemon.local.post("/v1/completions", content=json.dumps(body)).text.split("\n")
    chunks = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    found = [chunk["choices"][0] for chunk in chunks]
    (whole,) = choices(daemon, prompt=TEXT, logprobs=1, max_tokens=2)
    assert "".join(choice["text"] for choice in found) == whole["text"]
    for name, values in whole["logprobs"].items():
        parts = [choice["logprobs"][name] or [] for choice in found if choice["logprobs"]]
        assert list(itertools.chain.from_iterable(parts)) == values


def test_the_token_that_ends_the_answer_counts(daemon: DaemonProcess) -> None:
    (choice,) = choices(daemon, prompt="ab", logprobs=1, max_tokens=1, logit_bias={"258": 100})
    assert (choice["text"], choice["finish_reason"]) == ("ab", "stop")
    assert len(choice["logprobs"]["token_logprobs"]) == 3
