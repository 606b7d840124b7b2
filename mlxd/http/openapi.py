"""GET /openapi.json: what the API takes and gives, made from the types that parse and make it.

The format is OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from mlxd import __version__
from mlxd.api import chat_reply, completion_reply
from mlxd.api.chat import ChatBody
from mlxd.api.completions import CompletionBody
from mlxd.api.decode import EXACTLY
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
_BODY_ERRORS = (*_ERRORS, InvalidRequest, ModelNotFound, BodyTooLarge, UnsupportedMediaType)
_ANSWER_ERRORS = (*_BODY_ERRORS, QueueFull, EngineDied, Draining, LoadFailed)
_REQUEST_ID = {
    "description": "The request's own, or a new one.",
    "schema": {"type": "string"},
    "required": True,
}


@dataclass(frozen=True)
class _Operation:
    """One method of one path; `chunk` is what the events of a stream hold."""

    method: str
    path: str
    name: str
    summary: str
    reply: Any
    body: Any = None
    chunk: Any = None
    errors: tuple[type[MlxdError], ...] = _ERRORS


_OPERATIONS = (
    _Operation(
        "get", "/health", "health", "Whether the daemon can generate", Health, errors=(LoadFailed,)
    ),
    _Operation("get", "/v1/models", "listModels", "The models there are", ModelList),
    _Operation(
        "get",
        "/v1/models/{id}",
        "retrieveModel",
        "One model",
        ModelCard,
        errors=(*_ERRORS, ModelNotFound),
    ),
    _Operation(
        "post",
        "/v1/chat/completions",
        "createChatCompletion",
        "The answer to a conversation",
        Reply[chat_reply.ChatChoice],
        ChatBody,
        Reply[chat_reply.ChatChunkChoice],
        _ANSWER_ERRORS,
    ),
    _Operation(
        "post",
        "/chat/completions",
        "createChatCompletionAlias",
        "The same as /v1/chat/completions",
        Reply[chat_reply.ChatChoice],
        ChatBody,
        Reply[chat_reply.ChatChunkChoice],
        _ANSWER_ERRORS,
    ),
    _Operation(
        "post",
        "/v1/completions",
        "createCompletion",
        "What a text goes on with",
        Reply[completion_reply.CompletionChoice],
        CompletionBody,
        Reply[completion_reply.CompletionChoice],
        _ANSWER_ERRORS,
    ),
)


def document() -> Schema:
    """Give the description of the public API, ready to be written as JSON."""
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
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlxd",
            "summary": "MLX language models behind OpenAI's API.",
            "version": __version__,
        },
        "paths": paths,
        "components": {
            "schemas": _exact(components),
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "On TCP, where `server.api_key` is set.",
                }
            },
        },
        "security": [{}, {"key": []}],
    }


def _describe(operation: _Operation, schema_of: Mapping[Any, Schema]) -> Schema:
    content = {_JSON: {"schema": schema_of[operation.reply]}}
    if operation.chunk is not None:
        content["text/event-stream"] = {
            "schema": {
                "type": "object",
                "description": "With `stream`: one event of many. The last one's data is `[DONE]`, "
                "or an error.",
                "properties": {
                    "data": {
                        "anyOf": [
                            {"const": "[DONE]"},
                            {
                                "type": "string",
                                "contentMediaType": _JSON,
                                "contentSchema": {
                                    "anyOf": [schema_of[operation.chunk], schema_of[ErrorReply]]
                                },
                            },
                        ]
                    }
                },
                "required": ["data"],
            }
        }
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {
            "200": {
                "description": "It is done.",
                "headers": {"x-request-id": _REQUEST_ID},
                "content": content,
            },
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


def _refusals(errors: tuple[type[MlxdError], ...], schema: Schema) -> Schema:
    """Give a response for each status of `errors`, in their order."""
    meanings: dict[int, list[str]] = {}
    for error in sorted(errors, key=lambda error: error.status):
        meanings.setdefault(error.status, []).append((error.__doc__ or "").split("\n")[0])
    return {
        str(status): {
            "description": " ".join(texts),
            "headers": {"x-request-id": _REQUEST_ID},
            "content": {_JSON: {"schema": schema}},
        }
        for status, texts in meanings.items()
    }


def _exact(schema: Any) -> Any:
    """Put in the schemas that types cannot express, where fields bring them."""
    if isinstance(schema, list):
        return [_exact(inner) for inner in schema]
    if not isinstance(schema, dict):
        return schema
    if EXACTLY in schema:
        kept = {key: schema[key] for key in ("description", "default") if key in schema}
        return {**schema[EXACTLY], **kept}
    return {key: _exact(inner) for key, inner in schema.items()}
