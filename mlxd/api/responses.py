"""The dialect of OpenAI's Responses API: POST /v1/responses.

The specification is https://openresponses.org, of 2026-04-24.
"""

import secrets
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlxd.api.decode import check_free_form, decode, doc
from mlxd.api.dialect import SSE, StreamForm
from mlxd.api.field_types import INT32_MAX
from mlxd.api.fields import CommonFields
from mlxd.api.other_servers import only
from mlxd.api.response_format import (
    JsonObjectFormat,
    TextFormat,
    only_one,
)
from mlxd.api.response_items import InputItem, Item, chat_messages, check_outputs, items_of
from mlxd.api.response_resource import ReasoningSettings, Settings
from mlxd.api.response_tools import NamedTool, ResponseTool, Toolbox, ToolSubset
from mlxd.api.responses_reply import ResponseReplyBuilder, encode
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest
from mlxd.generate_request import ChatPrompt, Draft, GenerateRequest, Grammar, Sampling, Template

_INCLUDABLE = Literal[
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
    "message.input_image.image_url",
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
]
_NO_EFFECT = doc("Has no effect.")


class SchemaFormat(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema. It always does, `strict` or not."""

    schema: Annotated[dict[str, Any], doc("The JSON schema.")]
    name: str = "schema"
    description: str | None = None
    strict: bool | None = None


class TextSettings(msgspec.Struct, frozen=True):
    """What the answer has to be."""

    format: Annotated[
        TextFormat | JsonObjectFormat | SchemaFormat | None,
        doc("The format that the answer must have."),
    ] = None
    verbosity: Annotated[
        Literal["low", "medium", "high"] | None, doc("Passed to the chat template.")
    ] = None


class ReasoningParameters(msgspec.Struct, frozen=True):
    """How the model thinks."""

    effort: Annotated[
        str | None,
        doc("Passed to the chat template as `reasoning_effort`. `none` turns reasoning off."),
    ] = None
    summary: Annotated[
        Literal["auto", "concise", "detailed"] | None,
        doc("Show the reasoning as `summary`, in full, instead of as `content`."),
    ] = None
    generate_summary: Annotated[
        Literal["auto", "concise", "detailed"] | None, doc("Older name for `summary`.")
    ] = None


class ResponseStreamOptions(msgspec.Struct, frozen=True):
    """Options for streaming."""

    include_obfuscation: Annotated[bool | None, _NO_EFFECT] = None


_StreamOptions = Annotated[ResponseStreamOptions | None, doc("Options for streaming.")]


class ResponseBody(CommonFields, frozen=True, kw_only=True):
    """The body of a request for a response."""

    input: Annotated[
        str | list[Any] | None,
        doc("The conversation: a message of the user, or items.", str, list[InputItem], None),
    ] = None
    instructions: Annotated[
        str | None, doc("A system message at the beginning. It is not carried over.")
    ] = None
    previous_response_id: Annotated[
        str | None, doc("A stored response, whose conversation goes on.")
    ] = None
    prompt_cache_key: Annotated[
        str | None, doc("Has no effect: all prompts share the prompt cache.")
    ] = None
    text: Annotated[TextSettings | None, doc("What the answer has to be.")] = None
    reasoning: Annotated[ReasoningParameters | None, doc("How the model thinks.")] = None
    tools: Annotated[
        list[Any] | None, doc("The tools that the model may call.", list[ResponseTool], None)
    ] = None
    tool_choice: Annotated[
        Any,
        doc(
            "Whether the model may (`auto`), must (`required`) or must not (`none`) call a tool, "
            "which one it must call, or which ones it may call.",
            Literal["none", "auto", "required"] | None,
            NamedTool,
            ToolSubset,
        ),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None, doc("Whether one answer may contain several calls.")
    ] = None
    max_output_tokens: Annotated[
        Annotated[int, Meta(ge=1, le=INT32_MAX)] | None,
        doc("Maximum number of tokens in the answer, reasoning included."),
    ] = None
    max_tool_calls: Annotated[
        Annotated[int, Meta(ge=1, le=INT32_MAX)] | None,
        doc("How many calls one answer may contain. More are left out."),
    ] = None
    include: Annotated[
        list[_INCLUDABLE] | None,
        doc(
            "What else the response shows: `reasoning.encrypted_content`, "
            "`message.output_text.logprobs`. The others belong to tools that mlxd does not have."
        ),
    ] = None
    store: Annotated[
        bool | None, doc("Whether to keep the response (default: true). See `[responses]`.")
    ] = None
    background: Annotated[
        bool | None, doc("Answer at once, and generate in the background. Requires `store`.")
    ] = None
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        doc("With `auto`, the oldest turns are left out if the context has no room for all."),
    ] = None
    metadata: Annotated[
        Annotated[dict[str, Annotated[str, Meta(max_length=512)]], Meta(max_length=16)] | None,
        doc("Kept with the response."),
    ] = None
    user: Annotated[str | None, doc("Kept with the response.")] = None
    safety_identifier: Annotated[str | None, doc("Kept with the response.")] = None
    service_tier: Annotated[str | None, _NO_EFFECT] = None
    prompt_cache_retention: Annotated[str | None, _NO_EFFECT] = None
    client_metadata: Annotated[Any, _NO_EFFECT] = None
    stream_options: _StreamOptions | None = None  # type: ignore[assignment]
    n: Annotated[Any, only(1)] = None
    n_cmpl: Annotated[Any, only(1)] = None
    conversation: Annotated[Any, only()] = None
    context_management: Annotated[Any, only()] = None
    moderation: Annotated[Any, only()] = None
    prompt: Annotated[Any, only()] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        if self.background and self.store is False:
            raise InvalidRequest("`background`: requires `store`", param="background")
        if isinstance(self.text_format, SchemaFormat):
            check_free_form(self.text_format.schema, "text.format.schema")

    @property
    def text_format(self) -> TextFormat | JsonObjectFormat | SchemaFormat | None:
        """The format that the answer must have."""
        return self.text.format if self.text else None

    @property
    def summary(self) -> str | None:
        """How the reasoning is summarized, if it is."""
        options = self.reasoning or ReasoningParameters()
        return options.summary or options.generate_summary

    @property
    def wanted_logprobs(self) -> int | None:
        """How many tokens to return at each position; None if no log-probabilities are wanted."""
        wanted = super().wanted_logprobs
        if wanted is None and "message.output_text.logprobs" in (self.include or []):
            return 0
        return wanted


class ResponseTurn:
    """One turn of a conversation: a request, and the items before it.

    It is the `Body` that the endpoint runs; `builder` has the response as soon as it runs. A
    turn that `warms_up` only reads its prompt, for the prompt cache; one that `counts` only has its
    tokens counted.
    """

    def __init__(
        self,
        body: ResponseBody,
        history: Sequence[Item] = (),
        found: Mapping[str, Item] = MappingProxyType({}),
        *,
        store: bool = False,
        owner: str = "",
    ) -> None:
        """Take a request, the items of the conversation so far, and those that it refers to.

        `store` says whether the response is kept, `owner` for whom.

        Raises:
            InvalidRequest: the request is not valid, as `param` says.
            UnsupportedParameter: the request wants what mlxd does not have.
        """
        self.body = body
        self.id = f"resp_{secrets.token_hex(24)}"
        self.store = store
        self.owner = owner
        self.warms_up = self.counts = False
        given = items_of(body.input, found)
        self.items = [*history, *(self._with_id(i, n) for n, i in enumerate(given, len(history)))]
        if not self.items and body.instructions is None:
            raise InvalidRequest("`input`: missing", param="input")
        if history:
            check_outputs(self.items)
        parallel = body.parallel_tool_calls is not False and body.max_tool_calls != 1
        self._toolbox = Toolbox(body.tools, body.tool_choice, parallel=parallel)
        self._grammar = only_one([*_grammars(body.text_format), *body.grammars()])
        self._messages = chat_messages(self.items)
        if body.instructions is not None:
            self._messages.insert(0, {"role": "system", "content": body.instructions})
        self._request: GenerateRequest | None = None
        self.builder: ResponseReplyBuilder | None = None

    @property
    def built(self) -> ResponseReplyBuilder:
        """The builder of a turn that runs."""
        if self.builder is None:
            raise RuntimeError("the turn does not run yet")
        return self.builder

    @property
    def model(self) -> str | None:
        """The requested model; None for the default."""
        return self.body.model

    @property
    def draft_model(self) -> str | None:
        """The draft model; None for the configured one."""
        return self.body.draft_model

    @property
    def num_draft_tokens(self) -> int | None:
        """How many tokens it proposes at a time; None for the configured number."""
        return self.body.num_draft_tokens

    @property
    def adapters(self) -> str | None:
        """The adapter to apply; None for the configured one, "" for none."""
        return self.body.adapters

    @property
    def kept_alive(self) -> float | None:
        """How many seconds the model stays in memory, -1 forever; None as configured."""
        return self.body.kept_alive

    @property
    def stream(self) -> bool | None:
        """Whether the reply comes in pieces."""
        return self.body.stream

    @property
    def stream_form(self) -> StreamForm:
        """How the pieces look."""
        return SSE

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request; `settings` has the defaults."""
        body = self.body
        truncate = body.truncation == "auto"
        prompt = ChatPrompt(
            self._messages, self._template(settings), self._toolbox.use, truncate=truncate
        )
        (request,) = body.engine_requests([prompt], settings.generation, self._grammar, draft)
        if body.max_output_tokens is not None:
            request = msgspec.structs.replace(request, max_tokens=body.max_output_tokens)
        if self.warms_up:
            request = msgspec.structs.replace(request, max_tokens=0)
        self._request = msgspec.structs.replace(request, count_only=self.counts)
        return [self._request]

    def reply_builder(self, model: str, created: int) -> ResponseReplyBuilder:
        """Return the builder of the reply; `model` answers, `created` is in Unix seconds."""
        body = self.body
        self.builder = ResponseReplyBuilder(
            self.id,
            created,
            self._settings(model),
            self._toolbox,
            most_calls=body.max_tool_calls,
            silent=self.warms_up,
            summarized=body.summary is not None,
            sealed_thoughts="reasoning.encrypted_content" in (body.include or []),
        )
        return self.builder

    def _settings(self, model: str) -> Settings:
        body = self.body
        sampling = self._request.sampling if self._request else Sampling(temperature=0)
        text: dict[str, Any] = {"format": _shown(body.text_format)}
        if body.text and body.text.verbosity:
            text["verbosity"] = body.text.verbosity
        reasoning = ReasoningSettings(
            body.reasoning.effort if body.reasoning else None, body.summary
        )
        return {
            "model": model,
            "previous_response_id": body.previous_response_id,
            "instructions": body.instructions,
            "tools": msgspec.Raw(encode(self._toolbox.shown)),
            "tool_choice": msgspec.Raw(encode(body.tool_choice or "auto")),
            "truncation": body.truncation or "disabled",
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "text": text,
            "top_p": sampling.top_p,
            "presence_penalty": body.presence_penalty or 0.0,
            "frequency_penalty": body.frequency_penalty or 0.0,
            "top_logprobs": max(0, body.top_logprobs or 0),
            "temperature": sampling.temperature,
            "reasoning": reasoning,
            "max_output_tokens": body.max_output_tokens,
            "max_tool_calls": body.max_tool_calls,
            "store": self.store,
            "background": bool(body.background),
            "metadata": body.metadata or {},
            "safety_identifier": body.safety_identifier,
            "prompt_cache_key": body.prompt_cache_key,
            "user": body.user,
        }

    def _template(self, settings: ModelSettings) -> Template:
        arguments = dict(settings.chat_template_args)
        effort = self.body.reasoning.effort if self.body.reasoning else None
        if effort:
            arguments["reasoning_effort"] = effort
            if effort == "none":
                arguments["enable_thinking"] = False
        if self.body.text and self.body.text.verbosity:
            arguments["verbosity"] = self.body.text.verbosity
        return Template(
            source=settings.chat_template or None,
            default=settings.use_default_chat_template,
            arguments=arguments,
            trusted=bool(settings.chat_template),
        )

    def _with_id(self, item: Item, number: int) -> Item:
        """Return an item with an id; one of ours says which response it belongs to."""
        return item if item.get("id") else {**item, "id": f"item_{self.id[5:]}_{number}"}


def decode_body(data: bytes) -> ResponseBody:
    """Decode and check a request for a response; raises what `decode` raises."""
    return decode(data, ResponseBody)


def _grammars(given: TextFormat | JsonObjectFormat | SchemaFormat | None) -> list[Grammar]:
    match given:
        case JsonObjectFormat():
            return [Grammar("json_schema", '{"type":"object"}', "text.format")]
        case SchemaFormat(schema=schema):
            return [Grammar("json_schema", encode(schema).decode(), "text.format.schema")]
        case _:
            return []


def _shown(given: TextFormat | JsonObjectFormat | SchemaFormat | None) -> dict[str, Any]:
    shown: dict[str, Any] = msgspec.to_builtins(given or TextFormat())
    if isinstance(given, SchemaFormat):
        shown["strict"] = bool(given.strict)
    return shown
