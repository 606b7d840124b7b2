"""Ollama's dialect: POST /api/chat and POST /api/generate.

The format is Ollama's: https://docs.ollama.com/api
"""

import zlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from mlxd.api.conversation import Tool, tool_use
from mlxd.api.decode import NOT_SUPPORTED, Nothing, check_free_form, decode, doc
from mlxd.api.dialect import StreamForm
from mlxd.api.field_types import OllamaOptions
from mlxd.api.fields import CommonFields
from mlxd.api.keep_alive import KEEP_ALIVE_KINDS, keep_alive_seconds
from mlxd.api.ollama_reply import ChatLines, Lines, OllamaBuilder, TextLines
from mlxd.api.other_servers import check_refused
from mlxd.api.response_format import (
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedSchema,
    grammar_of,
)
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest
from mlxd.generate_request import (
    ChatPrompt,
    Draft,
    GenerateRequest,
    Grammar,
    Prompt,
    Template,
    TextPrompt,
    ToolUse,
)

_NDJSON = "application/x-ndjson"
_BYTE = 256
_LOAD = TextPrompt("-")
"""What loads a model without asking it anything."""


class CalledTool(msgspec.Struct, frozen=True):
    """The function of an earlier call; `arguments` is an object."""

    name: str
    arguments: Any = None


class OllamaCall(msgspec.Struct, frozen=True):
    """A call of a function, earlier in the conversation."""

    function: CalledTool
    id: str | None = None


class OllamaMessage(msgspec.Struct, frozen=True, kw_only=True):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: Annotated[Nothing, NOT_SUPPORTED] = None
    tool_calls: list[OllamaCall] | None = None
    tool_name: str | None = None
    tool_call_id: str | None = None

    def for_template(self) -> dict[str, Any]:
        """Return the message as chat templates take it."""
        message: dict[str, Any] = {"role": self.role, "content": self.content or ""}
        if self.thinking:
            message["reasoning_content"] = self.thinking
        if self.tool_calls:
            message["tool_calls"] = [_call(call) for call in self.tool_calls]
        if self.tool_name:
            message["name"] = self.tool_name
        if self.tool_call_id:
            message["tool_call_id"] = self.tool_call_id
        return message


class OllamaFields(msgspec.Struct, frozen=True, kw_only=True):
    """The fields that both bodies have. Null is the same as leaving a field out."""

    form: ClassVar[type[Lines]]
    draft_model: ClassVar[None] = None
    num_draft_tokens: ClassVar[None] = None
    adapters: ClassVar[None] = None

    model: Annotated[str | None, doc("The model's ID or an alias.")] = None
    stream: Annotated[bool | None, doc("Send the answer in pieces, one JSON object a line.")] = True
    format: Annotated[
        str | dict[str, Any] | None,
        doc("The format that the answer must have: `json`, or a JSON schema."),
    ] = None
    options: Annotated[OllamaOptions | None, doc("Sampling.")] = None
    think: Annotated[
        bool | str | None,
        doc("Whether the model thinks before it answers, or with which effort."),
    ] = None
    logprobs: Annotated[bool | None, doc("Return the log-probability of each token.")] = None
    top_logprobs: Annotated[
        Annotated[int, Meta(ge=0, le=20)] | None,
        doc("How many of the most likely tokens to return at each position."),
    ] = None
    keep_alive: Annotated[
        float | str | None,
        doc("How long the model stays in memory afterwards.", *KEEP_ALIVE_KINDS),
    ] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if self.stream is None:
            msgspec.structs.force_setattr(self, "stream", True)
        if self.options is not None:
            check_refused(self.options, "options.")
        _ = self.kept_alive, self._grammar()

    @property
    def kept_alive(self) -> float | None:
        """How many seconds the model stays in memory, -1 forever; None as configured."""
        return keep_alive_seconds(self.keep_alive)

    @property
    def stream_form(self) -> StreamForm:
        """How the pieces look; an empty one is a sign of life."""
        builder = self.form(self.model or "")
        return StreamForm(_NDJSON, lambda _progress: builder.line())

    @property
    def asks(self) -> bool:
        """Whether there is anything to answer; otherwise the model is only loaded."""
        raise NotImplementedError

    @property
    def unloads(self) -> bool:
        """Whether the request is for unloading its model."""
        return not self.asks and self.kept_alive == 0

    def prompt(self, settings: ModelSettings) -> Prompt:
        """Return the prompt; `settings` has the template and its arguments."""
        raise NotImplementedError

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request; `settings` has the defaults."""
        common = CommonFields(
            logprobs=self.logprobs, top_logprobs=self.top_logprobs, options=self.options
        )
        prompt = self.prompt(settings) if self.asks else _LOAD
        (request,) = common.engine_requests([prompt], settings.generation, self._grammar(), draft)
        return [request if self.asks else msgspec.structs.replace(request, count_only=True)]

    def reply_builder(self, model: str, created: int) -> OllamaBuilder:  # noqa: ARG002
        """Return the builder of the reply; the model is called as the request calls it."""
        return OllamaBuilder(self.form(self.model or model), None if self.asks else "load")

    def _grammar(self) -> Grammar | None:
        if not self.format:
            return None
        if self.format == "json":
            grammars = grammar_of(JsonObjectFormat())
        elif isinstance(self.format, dict):
            grammars = grammar_of(JsonSchemaFormat(NamedSchema(schema=self.format)))
        else:
            raise InvalidRequest('`format`: expected "json" or a JSON schema', param="format")
        return msgspec.structs.replace(grammars[0], param="format")

    def _template(self, settings: ModelSettings) -> Template:
        arguments = dict(settings.chat_template_args)
        if isinstance(self.think, str) and self.think:
            arguments["reasoning_effort"] = self.think
        if self.think is not None:
            arguments["enable_thinking"] = bool(self.think)
        source = settings.chat_template or None
        return Template(source=source, arguments=arguments, trusted=source is not None)


class OllamaChatBody(OllamaFields, frozen=True, kw_only=True):
    """The body of a request for the next message of a conversation."""

    form = ChatLines

    messages: Annotated[
        list[OllamaMessage] | None, doc("The conversation so far. Empty: only load the model.")
    ] = None
    tools: Annotated[list[Tool] | None, doc("The functions that the model may call.")] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        for index, message in enumerate(self.messages or []):
            for place, call in enumerate(message.tool_calls or []):
                path = f"messages[{index}].tool_calls[{place}].function.arguments"
                check_free_form(call.function.arguments, path)
        self._tool_use()

    @property
    def asks(self) -> bool:
        """Whether there is anything to answer."""
        return bool(self.messages)

    def prompt(self, settings: ModelSettings) -> Prompt:
        """Return the prompt; `settings` has the template and its arguments."""
        turns = [message.for_template() for message in self.messages or []]
        return ChatPrompt(turns, self._template(settings), self._tool_use())

    def _tool_use(self) -> ToolUse | None:
        return tool_use(self.tools, None, parallel=True)


class OllamaGenerateBody(OllamaFields, frozen=True, kw_only=True):
    """The body of a request for an answer to one prompt."""

    form = TextLines

    prompt_text: Annotated[str | None, doc("What to answer. Empty: only load the model.")] = (
        msgspec.field(default=None, name="prompt")
    )
    system: Annotated[str | None, doc("Instructions for the model.")] = None
    raw: Annotated[bool | None, doc("Take the prompt as it is, without a chat template.")] = None
    context: Annotated[
        list[int] | None, doc("What an earlier answer returned: the conversation so far.")
    ] = None
    suffix: Annotated[Nothing, NOT_SUPPORTED] = None
    template: Annotated[Nothing, NOT_SUPPORTED] = None
    images: Annotated[Nothing, NOT_SUPPORTED] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        self._turns()

    @property
    def asks(self) -> bool:
        """Whether there is anything to answer."""
        return bool(self.prompt_text)

    def prompt(self, settings: ModelSettings) -> Prompt:
        """Return the prompt; `settings` has the template and its arguments."""
        if self.raw:
            return TextPrompt(self.prompt_text or "")
        return ChatPrompt(self._turns(), self._template(settings))

    def reply_builder(self, model: str, created: int) -> OllamaBuilder:
        """Return the builder of the reply; the model is called as the request calls it."""
        builder = super().reply_builder(model, created)
        if self.asks and not self.raw:
            builder.on_end = partial(_pack, self._turns())
        return builder

    def _turns(self) -> list[dict[str, Any]]:
        turns = _unpack(self.context) if self.context else []
        if self.system:
            turns = [turn for turn in turns if turn["role"] != "system"]
            turns.insert(0, {"role": "system", "content": self.system})
        return [*turns, {"role": "user", "content": self.prompt_text or ""}]


def decode_chat(data: bytes) -> OllamaChatBody:
    """Decode and check a request for a message; raises what `decode` raises."""
    return decode(data, OllamaChatBody)


def decode_generate(data: bytes) -> OllamaGenerateBody:
    """Decode and check a request for an answer to a prompt; raises what `decode` raises."""
    return decode(data, OllamaGenerateBody)


def _call(call: OllamaCall) -> dict[str, Any]:
    arguments = call.function.arguments
    if not isinstance(arguments, str):
        arguments = msgspec.json.encode(arguments or {}).decode()
    function = {"name": call.function.name, "arguments": arguments}
    return {"id": call.id or "", "type": "function", "function": function}


def _pack(turns: Sequence[Mapping[str, Any]], answer: str) -> list[int]:
    """Return a conversation as numbers, which clients hold for tokens and send back."""
    whole = [*turns, {"role": "assistant", "content": answer}]
    return list(zlib.compress(msgspec.json.encode(whole)))


def _unpack(context: list[int]) -> list[dict[str, Any]]:
    fault = InvalidRequest("`context`: not from an answer of this server", param="context")
    if not all(0 <= number < _BYTE for number in context):
        raise fault
    unpacker = zlib.decompressobj()
    try:
        data = unpacker.decompress(bytes(context), _MOST_CONTEXT_BYTES)
        turns = msgspec.json.decode(data, type=_Turns)
    except (zlib.error, msgspec.DecodeError, RecursionError):
        raise fault from None
    return [turn.for_template() for turn in turns]


_MOST_CONTEXT_BYTES = 8_000_000
_Turns = Annotated[list[OllamaMessage], Meta(max_length=10_000)]
