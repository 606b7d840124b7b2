"""The `ollama` client, unchanged, on a real model."""

from collections.abc import Iterator

import httpx
import ollama
import pytest

from tests.support.daemon_process import DaemonProcess

pytestmark = pytest.mark.slow

MODEL = "smollm2-135m"
QUESTION = {"role": "user", "content": "What is the capital of France?"}
SHORT = {"num_predict": 20}


@pytest.fixture
def client(daemon: DaemonProcess) -> Iterator[ollama.Client]:
    client = ollama.Client(host=daemon.url)
    yield client
    client.close()


def test_it_lists_and_shows_models(client: ollama.Client) -> None:
    (model,) = client.list().models
    assert model.model == MODEL
    shown = client.show(MODEL)
    assert "completion" in (shown.capabilities or [])
    assert shown.details is not None
    assert shown.details.parameter_size == "134.5M"


def test_it_chats_streamed_and_not(client: ollama.Client) -> None:
    whole = client.chat(MODEL, messages=[QUESTION], options=SHORT)
    assert "Paris" in (whole.message.content or "")
    assert (whole.done, whole.done_reason) == (True, "stop")
    pieces = list(client.chat(MODEL, messages=[QUESTION], options=SHORT, stream=True))
    assert "".join(piece.message.content or "" for piece in pieces) == whole.message.content
    assert pieces[-1].eval_count == whole.eval_count


def test_it_generates_and_goes_on(client: ollama.Client) -> None:
    first = client.generate(MODEL, prompt=QUESTION["content"], options=SHORT)
    assert "Paris" in (first.response or "")
    again = client.generate(MODEL, prompt="Sure?", context=first.context, options=SHORT)
    assert (again.prompt_eval_count or 0) > (first.prompt_eval_count or 0)


def test_a_schema_holds(client: ollama.Client) -> None:
    schema = {
        "type": "object",
        "properties": {"capital": {"type": "boolean"}},
        "required": ["capital"],
        "additionalProperties": False,
    }
    answer = client.chat(MODEL, messages=[QUESTION], format=schema)
    assert answer.message.content is not None
    assert '"capital"' in answer.message.content


def test_it_sees_what_is_in_memory(client: ollama.Client) -> None:
    client.generate(MODEL)
    (loaded,) = client.ps().models
    assert loaded.model == MODEL
    assert (loaded.size_vram or 0) > 0


def test_what_changes_the_disk_needs_a_key_or_the_socket(
    client: ollama.Client, daemon: DaemonProcess
) -> None:
    for change in (client.delete, client.pull):
        with pytest.raises(ollama.ResponseError, match="needs the Unix socket, or an API key"):
            change(MODEL)
    transport = httpx.HTTPTransport(uds=str(daemon.socket))
    with httpx.Client(transport=transport, base_url="http://localhost") as http:
        copied = http.post("/api/copy", json={"source": MODEL, "destination": "other"})
        assert copied.status_code == 200
        assert client.show("other").modelinfo == client.show(MODEL).modelinfo
        deleted = http.request("DELETE", "/api/delete", json={"model": "other"})
        assert deleted.status_code == 200
    with pytest.raises(ollama.ResponseError, match="does not exist"):
        client.show("other")
