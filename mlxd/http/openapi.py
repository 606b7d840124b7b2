"""GET /openapi.json: the description of the API, made from the types that decode and encode it.

The format is OpenAPI 3.1: https://spec.openapis.org/oas/v3.1.1.html
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_args

import msgspec
from msgspec import Meta

from mlxd import __version__
from mlxd.api.anthropic import CountBody, MessagesBody
from mlxd.api.anthropic_types import (
    AnthropicErrorReply,
    AnthropicReply,
    StreamedEvent,
    TokenCount,
)
from mlxd.api.chat import ChatBody
from mlxd.api.chat_reply import ChatChoice, ChatChunkChoice
from mlxd.api.completion_reply import CompletionChoice
from mlxd.api.completions import CompletionBody
from mlxd.api.decode import EXACTLY
from mlxd.api.ollama import OllamaChatBody, OllamaGenerateBody
from mlxd.api.ollama_reply import ChatLine, OllamaError, TextLine
from mlxd.api.openai_errors import ErrorReply
from mlxd.api.reply import Health, ModelCard, ModelList, Reply
from mlxd.api.response_events import StreamEvent
from mlxd.api.response_resource import (
    Compaction,
    DeletedResponse,
    InputTokens,
    ItemList,
    Response,
)
from mlxd.api.responses import ResponseBody
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
    ResponseNotFound,
    Unauthorized,
    UnsupportedMediaType,
)
from mlxd.http.lm_studio import StudioModel, StudioModels
from mlxd.http.ollama import (
    Copy,
    NamedModel,
    PullLine,
    ShownModel,
    TaggedModels,
    VersionReply,
)

Schema = dict[str, Any]

_JSON = "application/json"
_SSE = "text/event-stream"
_LINES = "application/x-ndjson"
_REF = "#/components/schemas/{name}"
_DEFINED = "#/$defs/"
_ERRORS: tuple[type[MlxdError], ...] = (Unauthorized, Forbidden)
_BODY_ERRORS = (*_ERRORS, InvalidRequest, ModelNotFound, BodyTooLarge, UnsupportedMediaType)
_ANSWER_ERRORS = (*_BODY_ERRORS, QueueFull, EngineDied, Draining, LoadFailed)
_STORED_ERRORS = (*_ERRORS, InvalidRequest, ResponseNotFound)
_REQUEST_ID = {
    "description": "The request's own, or a new one.",
    "schema": {"type": "string"},
    "required": True,
}


@dataclass(frozen=True)
class _Operation:
    """A method of a path, POST if it takes a body and no other is named.

    `chunk` is what a stream's events may be. They are written as `events` says: OpenAI's have no
    names and end with `[DONE]`, Anthropic's have names, and Ollama's are lines of JSON. `query` has
    the type and the description of each parameter.
    """

    path: str
    name: str
    summary: str
    reply: Any
    errors: tuple[type[MlxdError], ...] = _ERRORS
    body: Any = None
    chunk: tuple[Any, ...] = ()
    failure: Any = ErrorReply
    events: Literal["unnamed", "named", "lines"] = "unnamed"
    method: Literal["get", "post", "delete"] | None = None
    query: Mapping[str, tuple[Any, str]] = field(default_factory=dict)

    @property
    def verb(self) -> str:
        """The method, as OpenAPI writes it."""
        return self.method or ("post" if self.body else "get")


def _chat(path: str, name: str, summary: str) -> _Operation:
    reply, chunk = Reply[ChatChoice], Reply[ChatChunkChoice]
    return _Operation(path, name, summary, reply, _ANSWER_ERRORS, ChatBody, (chunk,))


def _text(path: str, name: str, summary: str) -> _Operation:
    reply = Reply[CompletionChoice]
    return _Operation(path, name, summary, reply, _ANSWER_ERRORS, CompletionBody, (reply,))


def _ollama(
    path: str,
    name: str,
    summary: str,
    reply: Any,
    body: Any = None,
    *chunk: Any,
    method: Literal["delete"] | None = None,
) -> _Operation:
    errors = _ANSWER_ERRORS if body else _ERRORS
    summary = f"{summary}, as Ollama's API does"
    path = f"/api/{path}"
    return _Operation(path, name, summary, reply, errors, body, chunk, OllamaError, "lines", method)


_OPERATIONS = (
    _Operation("/health", "health", "Check the daemon", Health, (LoadFailed,)),
    _Operation("/v1/models", "listModels", "List the models", ModelList),
    _Operation(
        "/v1/models/{id}", "retrieveModel", "Show a model", ModelCard, (*_ERRORS, ModelNotFound)
    ),
    _chat("/v1/chat/completions", "createChatCompletion", "Answer a conversation"),
    _chat("/chat/completions", "createChatCompletionAlias", "The same as /v1/chat/completions"),
    _text("/v1/completions", "createCompletion", "Continue a text"),
    _Operation(
        "/v1/messages",
        "createMessage",
        "Answer a conversation, as Anthropic's API does",
        AnthropicReply,
        _ANSWER_ERRORS,
        MessagesBody,
        (StreamedEvent,),
        AnthropicErrorReply,
        events="named",
    ),
    _Operation(
        "/v1/messages/count_tokens",
        "countTokens",
        "Count the tokens of a conversation, as Anthropic's API does",
        TokenCount,
        _ANSWER_ERRORS,
        CountBody,
        failure=AnthropicErrorReply,
    ),
    _Operation(
        "/v1/responses",
        "createResponse",
        "Answer a conversation, and keep it",
        Response,
        _ANSWER_ERRORS,
        ResponseBody,
        get_args(StreamEvent),
    ),
    _Operation(
        "/v1/responses/input_tokens",
        "countInputTokens",
        "Count the tokens of a conversation",
        InputTokens,
        _ANSWER_ERRORS,
        ResponseBody,
    ),
    _Operation(
        "/v1/responses/compact",
        "compactResponse",
        "Make a short form of a conversation",
        Compaction,
        _ANSWER_ERRORS,
        ResponseBody,
    ),
    _Operation(
        "/v1/responses/{id}",
        "retrieveResponse",
        "Show a stored response, or stream it",
        Response,
        _STORED_ERRORS,
        chunk=get_args(StreamEvent),
        query={
            "stream": (bool, "Send its events."),
            "starting_after": (Annotated[int, Meta(ge=0)], "Only events after this number."),
        },
    ),
    _Operation(
        "/v1/responses/{id}",
        "deleteResponse",
        "Delete a stored response",
        DeletedResponse,
        _STORED_ERRORS,
        method="delete",
    ),
    _Operation(
        "/v1/responses/{id}/cancel",
        "cancelResponse",
        "End a response in the background",
        Response,
        _STORED_ERRORS,
        method="post",
    ),
    _Operation(
        "/v1/responses/{id}/input_items",
        "listInputItems",
        "Show what a stored response is the answer to",
        ItemList,
        _STORED_ERRORS,
        query={
            "limit": (Annotated[int, Meta(ge=1, le=100)], "How many (default: 20)."),
            "order": (Literal["asc", "desc"], "Oldest (`asc`) or newest first (default: `desc`)."),
            "after": (str, "The ID of the last item of the page before."),
        },
    ),
    _ollama("chat", "ollamaChat", "Answer a conversation", ChatLine, OllamaChatBody, ChatLine),
    _ollama(
        "generate", "ollamaGenerate", "Answer a prompt", TextLine, OllamaGenerateBody, TextLine
    ),
    _ollama("version", "ollamaVersion", "Show the version", VersionReply),
    _ollama("tags", "ollamaTags", "List the models", TaggedModels),
    _ollama("ps", "ollamaPs", "List the models in memory", TaggedModels),
    _ollama("show", "ollamaShow", "Show a model", ShownModel, NamedModel),
    _ollama("pull", "ollamaPull", "Download a model", PullLine, NamedModel, PullLine),
    _ollama("copy", "ollamaCopy", "Give a model another name", None, Copy),
    _ollama("delete", "ollamaDelete", "Delete a model", None, NamedModel, method="delete"),
    _chat("/api/v0/chat/completions", "studioChat", "Answer a conversation of LM Studio's clients"),
    _text("/api/v0/completions", "studioText", "Continue a text of LM Studio's clients"),
    _Operation("/api/v0/models", "studioModels", "List the models, as LM Studio", StudioModels),
    _Operation(
        "/api/v0/models/{id}",
        "studioModel",
        "Show a model, as LM Studio",
        StudioModel,
        (*_ERRORS, ModelNotFound),
    ),
)


def document() -> Schema:
    """Return the description of the public API, ready to be written as JSON."""
    kinds = [
        kind
        for one in _OPERATIONS
        for kind in (one.reply, one.body, *one.chunk, one.failure)
        if kind
    ]
    types = list(dict.fromkeys(kinds))
    references, components = msgspec.json.schema_components(types, ref_template=_REF)
    _use_exact_schemas(components)
    schema_of = dict(zip(types, references, strict=True))
    paths: Schema = {}
    for operation in _OPERATIONS:
        paths.setdefault(operation.path, {})[operation.verb] = _describe(operation, schema_of)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "mlxd",
            "summary": "MLX language models behind the APIs of OpenAI, Anthropic and Ollama.",
            "description": "Every path below /v1 works without it, too.",
            "version": __version__,
        },
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "key": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "On TCP, if `server.api_key` is set.",
                }
            },
        },
        "security": [{}, {"key": []}],
    }


def _describe(operation: _Operation, schema_of: Mapping[Any, Schema]) -> Schema:
    failure = schema_of[operation.failure]
    done = _response("It is done.", schema_of[operation.reply] if operation.reply else None)
    if operation.chunk:
        data = {"anyOf": [*(schema_of[chunk] for chunk in operation.chunk), failure]}
        media_type, schema = {
            "unnamed": (_SSE, _event(data)),
            "named": (_SSE, _named_event(data)),
            "lines": (_LINES, data),
        }[operation.events]
        done["content"][media_type] = {"schema": schema}
    meanings: dict[int, list[str]] = {}
    for error in sorted(operation.errors, key=lambda error: error.status):
        meanings.setdefault(error.status, []).append((error.__doc__ or "").split("\n")[0])
    failures = {
        str(status): _response(" ".join(texts), failure) for status, texts in meanings.items()
    }
    described: Schema = {
        "operationId": operation.name,
        "summary": operation.summary,
        "responses": {"200": done, **failures},
    }
    if operation.body:
        content = {_JSON: {"schema": schema_of[operation.body]}}
        described["requestBody"] = {"required": True, "content": content}
    parameters: list[Schema] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", operation.path)
    ]
    for name, (kind, text) in operation.query.items():
        schema = msgspec.json.schema(kind)
        parameters.append({"name": name, "in": "query", "description": text, "schema": schema})
    if parameters:
        described["parameters"] = parameters
    return described


def _response(description: str, schema: Schema | None) -> Schema:
    return {
        "description": description,
        "headers": {"x-request-id": _REQUEST_ID},
        "content": {_JSON: {"schema": schema}} if schema else {},
    }


def _event(schema: Schema) -> Schema:
    data = {"type": "string", "contentMediaType": _JSON, "contentSchema": schema}
    return {
        "type": "object",
        "description": "With `stream`: one event of many. The last one's data is `[DONE]`, "
        "or an error.",
        "properties": {"data": {"anyOf": [{"const": "[DONE]"}, data]}},
        "required": ["data"],
    }


def _named_event(schema: Schema) -> Schema:
    return {
        "type": "object",
        "description": "With `stream`: one event of many, whose name is the `type` of its data.",
        "properties": {
            "event": {"type": "string"},
            "data": {"type": "string", "contentMediaType": _JSON, "contentSchema": schema},
        },
        "required": ["event", "data"],
    }


def _use_exact_schemas(components: dict[str, Schema]) -> None:
    """Replace the schemas of fields whose type says too little by those that they bring."""
    for component in list(components.values()):
        fields = component.get("properties", {})
        for name, described in fields.items():
            if EXACTLY in described:
                kept = {k: described[k] for k in ("description", "default") if k in described}
                fields[name] = _hoisted(described[EXACTLY], components) | kept


def _hoisted(schema: Any, components: dict[str, Schema]) -> Any:
    """Return a schema whose definitions are among the components."""
    if isinstance(schema, list):
        return [_hoisted(inner, components) for inner in schema]
    if not isinstance(schema, dict):
        return schema.replace(_DEFINED, _REF.format(name="")) if isinstance(schema, str) else schema
    for name, defined in schema.get("$defs", {}).items():
        components.setdefault(name, _hoisted(defined, components))
    return {key: _hoisted(inner, components) for key, inner in schema.items() if key != "$defs"}
