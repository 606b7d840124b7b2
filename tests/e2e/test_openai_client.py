"""The `openai` client, unchanged, on a real model through both doors."""

import tempfile
from collections.abc import Iterator
from pathlib import Path

import httpx
import openai
import pytest

from tests.daemon_process import DaemonProcess, running_daemon

QUESTION = "What is the capital of France?"


@pytest.fixture(scope="module")
def daemon(smollm2: Path) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / smollm2.name).symlink_to(smollm2)
        with running_daemon(home) as daemon:
            yield daemon


@pytest.fixture(params=["tcp", "unix"])
def client(request: pytest.FixtureRequest, daemon: DaemonProcess) -> Iterator[openai.OpenAI]:
    if request.param == "tcp":
        with openai.OpenAI(base_url=f"{daemon.url}/v1", api_key="unused") as client:
            yield client
    else:
        transport = httpx.HTTPTransport(uds=str(daemon.socket))
        with (
            httpx.Client(transport=transport) as http_client,
            openai.OpenAI(
                base_url="http://localhost/v1", api_key="unused", http_client=http_client
            ) as client,
        ):
            yield client


def test_it_lists_models(client: openai.OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["smollm2-135m"]
    assert client.models.retrieve("smollm2-135m").owned_by == "mlxd"


def test_it_chats(client: openai.OpenAI) -> None:
    reply = client.chat.completions.create(
        model="smollm2-135m", messages=[{"role": "user", "content": QUESTION}], max_tokens=20
    )
    assert "Paris" in (reply.choices[0].message.content or "")
    assert reply.choices[0].finish_reason == "stop"
    assert reply.usage
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + reply.usage.completion_tokens


def test_it_streams(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="smollm2-135m",
            messages=[{"role": "user", "content": [{"type": "text", "text": QUESTION}]}],
            max_completion_tokens=20,
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    *pieces, last, usage = chunks
    text = "".join(chunk.choices[0].delta.content or "" for chunk in pieces)
    assert "Paris" in text
    assert last.choices[0].finish_reason == "stop"
    assert usage.choices == []
    assert usage.usage
    assert usage.usage.completion_tokens > 1


def test_it_completes_text_and_stops_where_told(client: openai.OpenAI) -> None:
    reply = client.completions.create(
        model="smollm2-135m", prompt="one, two, three, four,", max_tokens=12, stop="seven"
    )
    assert reply.choices[0].text.startswith(" five, six")
    assert "seven" not in reply.choices[0].text
    assert reply.choices[0].finish_reason == "stop"


def test_a_seed_repeats_a_hot_answer(client: openai.OpenAI) -> None:
    texts = {
        client.completions.create(
            model="smollm2-135m", prompt="Once", max_tokens=8, temperature=1.5, seed=seed
        )
        .choices[0]
        .text
        for seed in (7, 7, 8)
    }
    assert len(texts) == 2


def test_its_mistakes_come_back_as_its_own_exceptions(client: openai.OpenAI) -> None:
    user = {"role": "user", "content": "hi"}
    with pytest.raises(openai.NotFoundError) as unknown:
        client.chat.completions.create(model="smollm3", messages=[user])
    assert unknown.value.param == "model"
    assert "smollm2-135m" in unknown.value.message
    with pytest.raises(openai.BadRequestError) as empty:
        client.chat.completions.create(model="smollm2-135m", messages=[])
    assert empty.value.param == "messages"
    with pytest.raises(openai.BadRequestError) as too_long:
        client.completions.create(model="smollm2-135m", prompt="word " * 9000)
    assert too_long.value.code == "context_length_exceeded"
