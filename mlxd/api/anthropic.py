"""Anthropic's dialect: POST /v1/messages and POST /v1/messages/count_tokens."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from mlxd.api.anthropic_content import (
    AnthropicMessage,
    BlockContent,
    ContentBlock,
    CustomTool,
    conversation,
    has_breakpoint,
    system_text,
)
from mlxd.api.anthropic_reply import MessageBuilder, TokenCountBuilder
from mlxd.api.conversation import ChosenFunction, ChosenTool, ToolChoice, tool_use
from mlxd.api.decode import NOT_SUPPORTED, Nothing, check_free_form, decode, doc
from mlxd.api.dialect import SSE, StreamForm
from mlxd.api.field_types import INT32_MAX
from mlxd.api.fields import CommonFields
from mlxd.api.keep_alive import KEEP_ALIVE_KINDS, keep_alive_seconds
from mlxd.api.response_format import JsonSchemaFormat, NamedSchema, grammar_of
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest, ThreadUnsupported
from mlxd.messages import ChatPrompt, Draft, GenerateRequest, Grammar, Template, ToolUse

_CHOSEN_NAME = "tool_choice.name"


class AutoChoice(msgspec.Struct, frozen=True, tag_field="type", tag="auto"):
    """The model may use tools."""

    disable_parallel_tool_use: bool | None = None


class AnyChoice(msgspec.Struct, frozen=True, tag_field="type", tag="any"):
    """The model must use a tool."""

    disable_parallel_tool_use: bool | None = None


class NamedChoice(msgspec.Struct, frozen=True, tag_field="type", tag="tool"):
    """The model must use one tool."""

    name: str
    disable_parallel_tool_use: bool | None = None


class NoneChoice(msgspec.Struct, frozen=True, tag_field="type", tag="none"):
    """The model must not use tools."""

    disable_parallel_tool_use: bool | None = None


AnthropicToolChoice = AutoChoice | AnyChoice | NamedChoice | NoneChoice


class Thinking(msgspec.Struct, frozen=True, kw_only=True):
    """Whether the model thinks before it answers."""

    type: Literal["enabled", "adaptive", "between_tools", "disabled"]
    budget_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=INT32_MAX)] | None, doc("How long it may think, in tokens.")
    ] = None
    display: Annotated[
        Literal["summarized", "omitted"] | None, doc("`omitted` leaves the thoughts empty.")
    ] = None


class JsonOutput(msgspec.Struct, frozen=True, tag_field="type", tag="json_schema"):
    """JSON that matches a schema."""

    schema: dict[str, Any]


class OutputConfig(msgspec.Struct, frozen=True):
    """How the answer looks, and how much work the model does for it."""

    effort: Annotated[str | None, doc("Passed to the chat template as `reasoning_effort`.")] = None
    format: Annotated[JsonOutput | None, doc("The format that the answer must have.")] = None


class PromptFields(msgspec.Struct, frozen=True, kw_only=True):
    """What makes the prompt. Null is the same as leaving a field out."""

    messages: Annotated[
        list[AnthropicMessage], Meta(min_length=1, description="The conversation so far.")
    ]
    model: Annotated[str | None, doc("The model's ID or an alias.")] = None
    system: Annotated[BlockContent | None, doc("Instructions for the model.")] = None
    tools: Annotated[list[CustomTool] | None, doc("The tools that the model may use.")] = None
    tool_choice: Annotated[
        AnthropicToolChoice | None, doc("Whether the model may, must or must not use tools.")
    ] = None
    thinking: Annotated[Thinking | None, doc("Whether the model thinks before it answers.")] = None
    output_config: Annotated[OutputConfig | None, doc("How the answer looks.")] = None
    output_format: Annotated[
        JsonOutput | None, doc("The earlier name of `output_config.format`.")
    ] = None
    thread: Annotated[
        Any, doc("Refused, as mlxd holds no conversations; the SDKs then send all of it.")
    ] = None
    mcp_servers: Annotated[Nothing, NOT_SUPPORTED] = None
    cache_control: Annotated[
        Any, doc("Ignored, but for how `usage` counts: everything is cached by itself.")
    ] = None
    draft_model: Annotated[str | None, doc("As in chat completions.")] = None
    num_draft_tokens: Annotated[
        Annotated[int, Meta(ge=0, le=64)] | None, doc("As in chat completions.")
    ] = None
    adapters: Annotated[str | None, doc("As in chat completions.")] = None
    keep_alive: Annotated[float | str | None, doc("As in chat completions.", *KEEP_ALIVE_KINDS)] = (
        None
    )

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if self.thread is not None:
            raise ThreadUnsupported("`thread` is not supported: send the whole conversation")
        for index, tool in enumerate(self.tools or []):
            check_free_form(tool.input_schema, f"tools[{index}].input_schema")
        _ = self.kept_alive, self.tool_use, conversation(self.messages)

    @property
    def kept_alive(self) -> float | None:
        """How many seconds the model stays in memory, -1 forever; None as configured."""
        return keep_alive_seconds(self.keep_alive)

    @property
    def stream_form(self) -> StreamForm:
        """How the pieces look."""
        return SSE

    @property
    def marks_cache(self) -> bool:
        """Whether the request marks places for Anthropic's prompt cache."""
        return bool(
            self.cache_control
            or has_breakpoint(self.system)
            or any(tool.cache_control for tool in self.tools or [])
            or any(has_breakpoint(message.content) for message in self.messages)
        )

    @property
    def tool_use(self) -> ToolUse | None:
        """The tools that the model may use; None for none."""
        usable = [tool for tool in self.tools or [] if tool.usable]
        choice = self.tool_choice
        parallel = not (choice and choice.disable_parallel_tool_use)
        openai_choice: ToolChoice | None = None
        match choice:
            case AnyChoice():
                openai_choice = "required"
            case NamedChoice(name=name):
                if name not in {tool.name for tool in usable}:
                    raise InvalidRequest("`tool_choice.name`: not in `tools`", param=_CHOSEN_NAME)
                openai_choice = ChosenTool(ChosenFunction(name))
            case NoneChoice():
                openai_choice = "none"
        return tool_use([tool.as_function() for tool in usable], openai_choice, parallel=parallel)

    def prompt(self, settings: ModelSettings) -> ChatPrompt:
        """Return the prompt; `settings` has the template and its arguments."""
        turns = conversation(self.messages)
        if self.system:
            turns.insert(0, {"role": "system", "content": system_text(self.system)})
        arguments = dict(settings.chat_template_args)
        if self.thinking is not None:
            arguments["enable_thinking"] = self.thinking.type != "disabled"
        if self.output_config and self.output_config.effort:
            arguments["reasoning_effort"] = self.output_config.effort
        if turns[-1]["role"] == "assistant":
            arguments["continue_final_message"] = True
        template = Template(source=settings.chat_template or None, arguments=arguments)
        return ChatPrompt(turns, template, self.tool_use)


BodyT = TypeVar("BodyT", bound=PromptFields)


class MessagesBody(PromptFields, frozen=True, kw_only=True):
    """The body of a request for an answer."""

    max_tokens: Annotated[
        int, Meta(ge=1, description="Maximum number of tokens in the answer, thoughts included.")
    ]
    temperature: Annotated[
        Annotated[float, Meta(ge=0, le=2)] | None, doc("Randomness of the answer.")
    ] = None
    top_p: Annotated[
        Annotated[float, Meta(ge=0, le=1)] | None,
        doc("Sample from the most likely tokens up to this total probability."),
    ] = None
    top_k: Annotated[
        Annotated[int, Meta(ge=-1, le=INT32_MAX)] | None,
        doc("Sample from this many of the most likely tokens."),
    ] = None
    stop_sequences: Annotated[list[str] | None, doc("Strings that end the answer.")] = None
    stream: Annotated[bool | None, doc("Send the answer in pieces, as server-sent events.")] = None
    seed: Annotated[
        Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)] | None,
        doc("Makes random answers reproducible. An addition to Anthropic's API."),
    ] = None
    metadata: Annotated[dict[str, Any] | None, doc("Ignored.")] = None

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request; `settings` has the defaults."""
        common = CommonFields(
            max_tokens=min(self.max_tokens, INT32_MAX),
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            stop=[text for text in self.stop_sequences or [] if text] or None,
            seed=self.seed,
        )
        prompt = self.prompt(settings)
        thinking = self.thinking
        budget = thinking.budget_tokens if thinking and thinking.type == "enabled" else None
        return common.engine_requests(
            [prompt], settings.generation, self._grammar(), draft, thought_tokens=budget
        )

    def reply_builder(self, model: str, created: int) -> MessageBuilder:  # noqa: ARG002
        """Return the builder of the reply; `model` answers."""
        hides_thoughts = self.thinking is not None and self.thinking.display == "omitted"
        return MessageBuilder(
            model,
            self.max_tokens,
            hides_thoughts=hides_thoughts,
            marks_cache=self.marks_cache,
        )

    def _grammar(self) -> Grammar | None:
        wanted = self.output_config.format if self.output_config else None
        name = "output_config.format.schema"
        if wanted is None:
            wanted, name = self.output_format, "output_format.schema"
        if wanted is None:
            return None
        (grammar,) = grammar_of(JsonSchemaFormat(NamedSchema(schema=wanted.schema)))
        return msgspec.structs.replace(grammar, param=name)


class CountBody(PromptFields, frozen=True, kw_only=True):
    """The body of a request for the number of tokens that a prompt has."""

    stream = False

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:  # noqa: ARG002
        """Return the engine's request, which generates nothing."""
        common = CommonFields()
        (request,) = common.engine_requests(
            [self.prompt(settings)], settings.generation, None, None
        )
        return [msgspec.structs.replace(request, count_only=True)]

    def reply_builder(self, model: str, created: int) -> TokenCountBuilder:  # noqa: ARG002
        """Return the builder of the reply."""
        return TokenCountBuilder()


def decode_body(data: bytes, left_out: Sequence[str] = ()) -> MessagesBody:
    """Decode and check a request for an answer; raises what `decode` raises.

    Lines of the system prompt that begin with one of `left_out` are left out.
    """
    return _without(decode(data, MessagesBody), left_out)


def decode_count(data: bytes, left_out: Sequence[str] = ()) -> CountBody:
    """Decode and check a request for a number of tokens, as `decode_body` does."""
    return _without(decode(data, CountBody), left_out)


def _without(body: BodyT, left_out: Sequence[str]) -> BodyT:
    if not body.system:
        return body
    lines = system_text(body.system).split("\n")
    kept = [line for line in lines if not line.startswith(tuple(left_out))]
    text = "\n".join(kept).strip("\n")
    block = ContentBlock(type="text", text=text, cache_control=has_breakpoint(body.system))
    return msgspec.structs.replace(body, system=[block])
