"""The endpoints with a body, the types of these bodies, and requests that each of them answers."""

from dataclasses import dataclass
from typing import Any

from mlxd import control_api
from mlxd.api import anthropic, chat, completions, ollama, responses
from mlxd.http.ollama import Copy, NamedModel

_USER = [{"role": "user", "content": "Hi"}]


@dataclass(frozen=True)
class Dialect:
    """One endpoint: its path, the type of its body, and a short request.

    One that is `unix` is on the Unix socket only.
    """

    name: str
    path: str
    body: type[Any]
    request: dict[str, Any]
    method: str = "POST"
    unix: bool = False


GENERATING = [
    Dialect("chat", "/v1/chat/completions", chat.ChatBody, {"messages": _USER, "max_tokens": 4}),
    Dialect(
        "completions",
        "/v1/completions",
        completions.CompletionBody,
        {"prompt": "Once", "max_tokens": 4},
    ),
    Dialect(
        "messages", "/v1/messages", anthropic.MessagesBody, {"messages": _USER, "max_tokens": 4}
    ),
    Dialect(
        "responses",
        "/v1/responses",
        responses.ResponseBody,
        {"input": "Hi", "max_output_tokens": 4},
    ),
    Dialect(
        "ollama chat",
        "/api/chat",
        ollama.OllamaChatBody,
        {"messages": _USER, "options": {"num_predict": 4}},
    ),
    Dialect(
        "ollama generate",
        "/api/generate",
        ollama.OllamaGenerateBody,
        {"prompt": "Once", "options": {"num_predict": 4}},
    ),
]
OTHERS = [
    Dialect("count_tokens", "/v1/messages/count_tokens", anthropic.CountBody, {"messages": _USER}),
    Dialect("input_tokens", "/v1/responses/input_tokens", responses.ResponseBody, {"input": "Hi"}),
    Dialect(
        "compact",
        "/v1/responses/compact",
        responses.ResponseBody,
        {"input": "Hi", "max_output_tokens": 4},
    ),
    Dialect("ollama show", "/api/show", NamedModel, {"model": "tiny"}),
    Dialect("ollama pull", "/api/pull", NamedModel, {"model": "tiny"}),
    Dialect("ollama copy", "/api/copy", Copy, {"source": "tiny", "destination": "x"}),
    Dialect("ollama delete", "/api/delete", NamedModel, {"model": "nothing"}, "DELETE"),
]
CONTROL = [
    Dialect(
        endpoint.path.rsplit("/", 1)[1],
        endpoint.path,
        endpoint.request,
        {"model": "nothing", "name": "other"},
        unix=True,
    )
    for endpoint in (
        control_api.SET_ALIAS,
        control_api.LOAD,
        control_api.USE,
        control_api.CANCEL_PULL,
    )
    if endpoint.request is not None
]
READING = [
    "/",
    "/health",
    "/v1/models",
    "/v1/models/{}",
    "/v1/responses/{}",
    "/v1/responses/{}/input_items",
    "/api/v0/models",
    "/api/v0/models/{}",
    "/api/tags",
    "/api/ps",
    "/api/version",
    "/openapi.json",
    "/metrics",
    "/ui/v1/{}",
    "/ui/{}",
    "/control/v1/status",
    "/{}",
]
