"""What /openapi.json promises, tried with requests that schemathesis makes up from it.

MLXD_EXAMPLES says how many, in all (200).
"""

import json
import os
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings, strategies
from schemathesis import checks
from schemathesis.generation import GenerationMode

from mlxd.http.app import public_app
from tests.support.daemon_process import DEADLINE, DaemonProcess, running_daemon
from tests.support.http_fakes import FakePool, make_dependencies

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("MLXD_EXAMPLES", "200"))
VALID, INVALID = GenerationMode.POSITIVE, GenerationMode.NEGATIVE
SHARES = {
    ("POST", "/v1/chat/completions", VALID): 0.35,
    ("POST", "/v1/chat/completions", INVALID): 0.2,
    ("POST", "/v1/completions", VALID): 0.2,
    ("POST", "/v1/completions", INVALID): 0.1,
    ("POST", "/chat/completions", VALID): 0.03,
    ("POST", "/chat/completions", INVALID): 0.02,
    ("POST", "/v1/responses", VALID): 0.15,
    ("GET", "/v1/responses/{id}", VALID): 0.02,
    ("GET", "/v1/models/{id}", VALID): 0.06,
    ("GET", "/v1/models", VALID): 0.02,
    ("GET", "/health", VALID): 0.02,
}
CHECKS = [
    checks.not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def daemon(marked_model: Path) -> Iterator[DaemonProcess]:
    with tempfile.TemporaryDirectory(prefix="mlxd") as folder:
        home = Path(folder)
        (home / "models").mkdir()
        (home / "models" / "marked").symlink_to(marked_model)
        with running_daemon(home, "--model", "marked") as daemon:
            daemon.local.post("/v1/completions", json={"prompt": "x", "max_tokens": 1})
            yield daemon


def soon_answered(body: Any, *, streamed: bool) -> Any:
    """Give a body that is more often answered, and soon; what is not valid stays as it is.

    With so many fields to choose from, hardly any made-up body asks for a stream: `streamed` does.
    """
    if not isinstance(body, dict):
        return body
    body = dict(body)
    for name in ("max_tokens", "max_completion_tokens", "max_output_tokens"):
        if name in body and isinstance(body[name], int | float) and 8 < body[name] < 2**31:
            body[name] = 8
    body.setdefault("max_tokens", 8)
    if not {"messages", "prompt"} & set(body):
        body.setdefault("input", "Hello")
    if streamed:
        body.setdefault("stream", True)
    if isinstance(choices := body.get("n"), int | float) and 3 < choices <= 128:
        body["n"] = 3
    if "prompt" in body:
        body["prompt"] = in_vocabulary(body["prompt"])
    for name in ("model", "draft_model", "adapters"):
        if isinstance(body.get(name), str) and len(body[name]) % 8 != 1:
            body[name] = "default_model"  # others do not exist
    return body


def in_vocabulary(prompt: Any) -> Any:
    if isinstance(prompt, list):
        return [in_vocabulary(part) for part in prompt]
    is_number = isinstance(prompt, int | float) and not isinstance(prompt, bool)
    return prompt % 256 if is_number and 0 <= prompt < 2**31 else prompt


def check_stream(text: str, document: dict[str, Any], path: str) -> None:
    """Check what HTTP's status does not tell: each event, and that no fault of ours ended it.

    A refusal is no fault, though it comes late where only the second of two prompts is bad.
    """
    reply = document["paths"][path]["post"]["responses"]["200"]
    data = reply["content"]["text/event-stream"]["schema"]["properties"]["data"]
    schema = {**data["anyOf"][1]["contentSchema"], "components": document["components"]}
    *events, end = [line[6:] for line in text.split("\n") if line.startswith("data: ")]
    if end != "[DONE]":
        events.append(end)
        assert json.loads(end)["error"]["type"] == "invalid_request_error", end
    validator = jsonschema_rs.validator_for(schema)
    for event in events:
        validator.validate(json.loads(event))


@pytest.mark.parametrize(("method", "path", "mode"), SHARES)
def test_whatever_is_asked_is_answered_as_described(
    daemon: DaemonProcess, method: str, path: str, mode: GenerationMode
) -> None:
    api = schemathesis.openapi.from_url(f"{daemon.url}/openapi.json")
    api.config.max_stream_events = 10**6  # it goes away after 20, else
    operation = api[path][method]
    statuses: Counter[int] = Counter()
    streams: list[str] = []

    @settings(
        max_examples=max(1, round(EXAMPLES * SHARES[method, path, mode])),
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Phase.generate],
        database=None,
        derandomize=True,
    )
    @given(case=operation.as_strategy(generation_mode=mode), streamed=strategies.booleans())
    def ask(case: schemathesis.Case, streamed: bool) -> None:
        case.body = soon_answered(case.body, streamed=streamed)
        if len(case.path_parameters.get("id", "")) % 8 == 1:
            case.path_parameters["id"] = "marked"  # others do not exist
        response = case.call(timeout=DEADLINE)
        case.validate_response(response, checks=CHECKS)
        if response.headers["content-type"][0].startswith("text/event-stream"):
            check_stream(response.text, api.raw_schema, path)
            streams.append(path)
        statuses[response.status_code] += 1

    ask()
    print(method, path, mode.value, dict(statuses), len(streams), "streams")
    assert statuses[200] or mode is not VALID or "responses/" in path
    assert streams or mode is not VALID or SHARES[method, path, mode] < 0.1  # too few to tell
    assert [model["crashes"] for model in daemon.status()["models"]] == [0]
    assert daemon.local.get("/health").status_code == 200


def test_every_public_route_is_described(daemon: DaemonProcess) -> None:
    document = httpx.get(f"{daemon.url}/openapi.json").json()
    routes = public_app(make_dependencies(FakePool())).routes
    paths = {route.path.replace("{id:path}", "{id}") for route in routes}
    short = {path for path in paths if f"/v1{path}" in paths}
    others = {"/", "/metrics", "/openapi.json"}
    others |= {path for path in paths if path.startswith(("/page/", "/ui/"))}
    assert set(document["paths"]) - short == paths - short - others


def test_fields_are_described_as_they_are_decoded(daemon: DaemonProcess) -> None:
    document = httpx.get(f"{daemon.url}/openapi.json").json()
    fields = document["components"]["schemas"]["ChatBody"]["properties"]
    assert all("description" in field for field in fields.values())
    biases, _ = fields["logit_bias"]["anyOf"]
    assert biases["propertyNames"] == {"pattern": "^[0-9]{1,9}$"}
    assert fields["audio"]["description"].startswith("Not supported")
    assert "x-exactly" not in str(document)
