"""GET /openapi.json: the description of the API, made from the types that decode and encode it.

The format is OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from mlxd import __version__
from mlxd.api import chat_reply, completion_reply
from mlxd.api.chat import ChatBody
from mlxd.api.completions import CompletionBody
from mlxd.api.fields import EXACTLY
from mlxd.api.reply import Health, ModelCard, ModelList, Reply
from mlxd.errors import (
    BodyTooLarge,
    Draining,
    EngineDied,
    Forbidden,
    InvalidRequest,
    LoadFailed,
    MlxdError,
    ModelNotFound,
    QueueFull,
    Unauthorized,
    UnsupportedMediaType,
)
from mlxd.http.error_replies import ErrorReply

Schema = dict[str, Any]

_JSON = "application/json"
_REF = "#/components/schemas/{name}"
_ERRORS: tuple[type[MlxdError], ...] = (Unauthorized, Forbidden)
_MODEL_ERRORS = (*_ERRORS, ModelNotFound)
_BODY_ERRORS = (*_MODEL_ERRORS, InvalidRequest, BodyTooLarge, UnsupportedMediaType)
_ANSWER_ERRORS = (*_BODY_ERRORS, QueueFull, EngineDied, Draining, LoadFailed)
_REQUEST_ID = {
    "description": "The id that the request gave, or a new one.",
    "schema": {"type": "string"},
    "required": True,
}


@dataclass(frozen=True)
class _Operation:
    """One method of one path; `chunk` is the type of a stream's events."""

    method: str
    path: str
    name: str
    summary: str
    reply: Any
    body: Any = None
    chunk: Any = None
    errors: tuple[type[MlxdError], ...] = _ERRORS


_CHAT = _Operation(
    "post",
    "/v1/chat/completions",
    "createChatCompletion",
    "Answer a conversation",
    reply=Reply[chat_reply.ChatChoice],
    body=ChatBody,
    chunk=Reply[chat_reply.ChatChunkChoice],
    errors=_ANSWER_ERRORS,
)
_COMPLETION = _Operation(
    "post",
    "/v1/completions",
    "createCompletion",
    "Continue a text",
    reply=Reply[completion_reply.CompletionChoice],
    body=CompletionBody,
    chunk=Reply[completion_reply.CompletionChoice],
    errors=_ANSWER_ERRORS,
)
_OPERATIONS = (
    _Operation("get", "/health", "health", "Check the daemon", Health, errors=(LoadFailed,)),
    _Operation("get", "/v1/models", "listModels", "List the models", ModelList),
    _Operation(
        "get", "/v1/models/{id}", "retrieveModel", "Show a model", ModelCard, errors=_MODEL_ERRORS
    ),
    _CHAT,
    replace(
        _CHAT,
        path="/chat/completions",
        name="createChatCompletionAlias",
        summary="The same as /v1/chat/completions",
    ),
    _COMPLETION,
)


def document() -> Schema:
    """Return the description of the public API, ready to be encoded as JSON."""
    types = [
        kind
        for operation in _OPERATIONS
        for kind in (operation.reply, operation.body, operation.chunk)
        if kind is not None
    ]
    types = list(dict.fromkeys([*types, ErrorReply]))
    references, components = msgspec.json.schema_components(types, ref_template=_REF)
    schema_of = dict(zip(types, references, strict=True))
    paths: dict[str, Schema] = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _describe(operation, schema_of)
    key = {
        "type": "http",
        "scheme": "bearer",
        "description": "On TCP, if `server.api_key` is set.",
    }
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlxd",
            "summary": "MLX language models behind OpenAI's API.",
            "version": __version__,
        },
        "paths": paths,
        "components": {"schemas": _exact(components), "securitySchemes": {"key": key}},
        "security": [{}, {"key": []}],
    }


def _describe(operation: _Operation, schema_of: Mapping[Any, Schema]) -> Schema:
    content = {_JSON: {"schema": schema_of[operation.reply]}}
    if operation.chunk is not None:
        event = {"anyOf": [schema_of[operation.chunk], schema_of[ErrorReply]]}
        content["text/event-stream"] = {"schema": _event_stream(event)}
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": _response("The reply.", content),
            **_refusals(operation.errors, schema_of[ErrorReply]),
        },
    }
    if operation.body is not None:
        content = {_JSON: {"schema": schema_of[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    if names := re.findall(r"{(\w+)}", operation.path):
        described["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in names
        ]
    return described


def _event_stream(event: Schema) -> Schema:
    data = {"type": "string", "contentMediaType": _JSON, "contentSchema": event}
    return {
        "type": "object",
        "description": "With `stream`: one of many events. The data of the last one is `[DONE]`, "
        "or an error.",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}},
        "required": ["data"],
    }


def _response(description: str, content: Schema) -> Schema:
    return {
        "description": description,
        "headers": {"x-request-id": _REQUEST_ID},
        "content": content,
    }


def _refusals(errors: tuple[type[MlxdError], ...], schema: Schema) -> Schema:
    """Return a response for each status of `errors`, in their order."""
    meanings: dict[int, list[str]] = {}
    for error in sorted(errors, key=lambda error: error.status):
        meanings.setdefault(error.status, []).append((error.__doc__ or "").split("\n")[0])
    return {
        str(status): _response(" ".join(texts), {_JSON: {"schema": schema}})
        for status, texts in meanings.items()
    }


def _exact(schema: Any) -> Any:
    """Replace schemas by those that fields bring because types cannot express them."""
    if isinstance(schema, list):
        return [_exact(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    if EXACTLY in schema:
        kept = {key: schema[key] for key in ("description", "default") if key in schema}
        return {**schema[EXACTLY], **kept}
    return {key: _exact(inner) for key, inner in schema.items()}
