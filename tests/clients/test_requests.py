"""Requests that programs send, by their source: each is answered, and holds what they read.

`requests/` has a file for each program. `$MODEL` is the model's name; `reads` are the values that
the program takes from a whole reply, `reads_streamed` those that it takes from some chunk.
"""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon
from tests.support.talkative_model import make_talkative_model

pytestmark = pytest.mark.slow

MODEL = "talkative"

REQUESTS = {
    f"{file.stem}: {request['name']}": request
    for file in sorted(Path(__file__).with_name("requests").glob("*.json"))
    for request in json.loads(file.read_text())["requests"]
}
POSTED = {name: request for name, request in REQUESTS.items() if "body" in request}


@pytest.fixture(scope="module")
def asked_daemon() -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        make_talkative_model(home / "models" / MODEL, context_length=2048)
        with running_daemon(home, "--model", MODEL, "--max-tokens", "8") as daemon:
            yield daemon


def send(daemon: DaemonProcess, request: dict[str, Any], **fields: Any) -> httpx.Response:
    body = request.get("body")
    if body is not None:
        body = {name: MODEL if value == "$MODEL" else value for name, value in body.items()}
        body |= fields
    url, headers = daemon.url + request["path"], request["headers"]
    response = httpx.request(
        request["method"], url, headers=headers, json=body, timeout=DEADLINE, trust_env=False
    )
    assert response.status_code == 200, response.text
    return response


def read(value: Any, path: str) -> Any:
    """Return what is at a path such as `choices.0.text`, None if there is nothing."""
    for step in path.split("."):
        if isinstance(value, list):
            value = value[int(step)] if int(step) < len(value) else None
        else:
            value = value.get(step) if isinstance(value, dict) else None
    return value


def parameters(requests: dict[str, Any]) -> list[Any]:
    """Return the requests for parametrize; those that are refused may fail."""
    return [
        pytest.param(
            request,
            id=name,
        )
        for name, request in requests.items()
    ]


@pytest.mark.parametrize("request_", parameters(REQUESTS))
def test_it_is_answered(asked_daemon: DaemonProcess, request_: dict[str, Any]) -> None:
    reply = send(asked_daemon, request_).json()
    assert not [path for path in request_["reads"] if read(reply, path) is None], reply


@pytest.mark.parametrize("request_", parameters(POSTED))
def test_it_is_answered_in_a_stream(asked_daemon: DaemonProcess, request_: dict[str, Any]) -> None:
    response = send(asked_daemon, request_, stream=True)
    assert response.headers["content-type"].startswith("text/event-stream")
    *lines, done = [line for line in response.text.split("\n") if line.startswith("data: ")]
    assert done == "data: [DONE]"
    chunks = [json.loads(line.removeprefix("data: ")) for line in lines]
    missing = [
        path
        for path in request_["reads_streamed"]
        if all(read(chunk, path) is None for chunk in chunks)
    ]
    assert not missing, chunks
