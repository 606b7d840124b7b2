"""The chat dialect: POST /v1/chat/completions."""

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from mlxd.api.chat_reply import ChatChoiceBuilder
from mlxd.api.conversation import (
    Message,
    Tool,
    ToolChoice,
    for_templates,
    tool_use,
)
from mlxd.api.decode import check_free_form, decode, doc
from mlxd.api.field_types import INT32_MAX, ThoughtTokens
from mlxd.api.fields import CommonFields
from mlxd.api.other_servers import only
from mlxd.api.reply_builder import OpenAIReplyBuilder
from mlxd.api.response_format import only_one
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest
from mlxd.generate_request import ChatPrompt, Draft, GenerateRequest, Grammar, Template, ToolUse

_TEMPLATE_ARGUMENTS = (
    "verbosity",
    "documents",
    "continue_final_message",
    "add_generation_prompt",
)


class ReasoningOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the model reasons, as Ollama and SGLang spell it."""

    effort: Annotated[str | None, doc("As `reasoning_effort`.")] = None
    enabled: Annotated[bool | None, doc("As `enable_thinking`.")] = None
    max_tokens: Annotated[ThoughtTokens, doc("As `thinking_token_budget`.")] = None


class ThinkingOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How the model reasons, as GLM's, DeepSeek's and Kimi's own servers spell it."""

    type: Annotated[
        str | None, doc("`enabled` and `disabled` are as `enable_thinking`; others say nothing.")
    ] = None
    budget_tokens: Annotated[ThoughtTokens, doc("As `thinking_token_budget`.")] = None


class ChatBody(CommonFields, frozen=True, kw_only=True):
    """The body of a chat request."""

    messages: Annotated[list[Message], Meta(min_length=1, description="The conversation so far.")]
    tools: Annotated[list[Tool] | None, doc("The functions that the model may call.")] = None
    tool_choice: Annotated[
        ToolChoice | None,
        doc(
            "Whether the model may (`auto`), must (`required` or `any`) or must not (`none`) "
            "call a function, or which one it must call."
        ),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None, doc("Whether one answer may contain several function calls.")
    ] = None
    chat_template: Annotated[
        str | None, doc("A Jinja template to use instead of the model's own.")
    ] = None
    chat_template_args: Annotated[
        dict[str, Any] | None, doc("Arguments for the chat template.")
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None,
        doc("Another name for `chat_template_args`. Takes precedence over it."),
    ] = None
    use_default_chat_template: Annotated[
        bool | None, doc("Use a generic template if the model has none.")
    ] = None
    role_mapping: Annotated[
        dict[str, str] | None,
        doc("A prefix for the messages of each role, instead of a chat template."),
    ] = None
    reasoning_effort: Annotated[
        str | None, doc("Passed to the chat template. `none` turns reasoning off.")
    ] = None
    enable_thinking: Annotated[
        bool | None, doc("Passed to the chat template, where it turns reasoning on or off.")
    ] = None
    reasoning: Annotated[
        ReasoningOptions | None, doc("Another way to write `reasoning_effort`.")
    ] = None
    think: Annotated[
        bool | str | None,
        doc("As Ollama's own API has it: `enable_thinking`, or a `reasoning_effort`."),
    ] = None
    thinking: Annotated[
        bool | ThinkingOptions | None, doc("Another way to write `enable_thinking`.")
    ] = None
    verbosity: Annotated[str | None, doc("Passed to the chat template.")] = None
    documents: Annotated[
        list[dict[str, Any]] | None, doc("Passed to the chat template, which may quote them.")
    ] = None
    continue_final_message: Annotated[
        bool | None, doc("The answer continues the last message instead of beginning a new one.")
    ] = None
    add_generation_prompt: Annotated[
        bool | None,
        doc("Whether the chat template begins the message of the assistant (default: true)."),
    ] = None
    add_special_tokens: Annotated[Any, only(False)] = None
    audio: Annotated[Any, only()] = None
    best_of: Annotated[Any, only(1)] = None
    echo: Annotated[Any, only(False)] = None
    function_call: Annotated[Any, only("none", "auto")] = None
    functions: Annotated[Any, only()] = None
    modalities: Annotated[Any, only(["text"])] = None
    moderation: Annotated[Any, only()] = None
    web_search_options: Annotated[Any, only()] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        for_templates(self.messages)
        check_free_form(self.chat_template_args, "chat_template_args")
        check_free_form(self.chat_template_kwargs, "chat_template_kwargs")
        check_free_form(self.documents, "documents")
        if self.continue_final_message and self.add_generation_prompt:
            param = "continue_final_message"
            reason = "cannot be combined with `add_generation_prompt`"
            raise InvalidRequest(f"`{param}`: {reason}", param=param)
        self._tool_use()
        self._grammar()

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request for each choice; `settings` has the defaults."""
        tools = self._tool_use()
        template = self._template(settings)
        prompt = ChatPrompt(for_templates(self.messages), template, tools)
        return self.engine_requests(
            [prompt], settings.generation, self._grammar(), draft, self._thought_tokens()
        )

    def reply_builder(self, model: str, created: int) -> OpenAIReplyBuilder:
        """Return the builder of the reply; `model` answers, `created` is in Unix seconds."""
        return self.openai_reply_builder(ChatChoiceBuilder, model, created)

    def _thought_tokens(self) -> int | None:
        budget = self._value("thinking_token_budget")
        if budget is None and self.reasoning is not None:
            budget = self.reasoning.max_tokens
        if budget is None and isinstance(self.thinking, ThinkingOptions):
            budget = self.thinking.budget_tokens
        return None if budget is None or budget < 0 else min(budget, INT32_MAX)

    def _tool_use(self) -> ToolUse | None:
        parallel = self.parallel_tool_calls is not False
        return tool_use(self.tools, self.tool_choice, parallel=parallel)

    def _grammar(self) -> Grammar | None:
        return only_one(self.grammars())

    def _template(self, settings: ModelSettings) -> Template:
        arguments = dict(settings.chat_template_args)
        reasoning = self.reasoning or ReasoningOptions()
        named = self.think if isinstance(self.think, str) else None
        if effort := self.reasoning_effort or reasoning.effort or named:
            arguments["reasoning_effort"] = effort
            if effort == "none":
                arguments["enable_thinking"] = False
        said = (
            self.enable_thinking,
            reasoning.enabled,
            _thinks(self.think),
            _thinks(self.thinking),
        )
        for thinks in said:
            if thinks is not None:
                arguments["enable_thinking"] = thinks
                break
        for name in _TEMPLATE_ARGUMENTS:
            if (value := getattr(self, name)) not in (None, [], ""):
                arguments[name] = value
        arguments |= (self.chat_template_args or {}) | (self.chat_template_kwargs or {})
        return Template(
            source=self.chat_template or settings.chat_template or None,
            default=settings.use_default_chat_template
            if self.use_default_chat_template is None
            else self.use_default_chat_template,
            role_mapping=self.role_mapping or None,
            arguments=arguments,
            trusted=bool(settings.chat_template) and not self.chat_template,
        )


def _thinks(asked: bool | str | ThinkingOptions | None) -> bool | None:
    """Return whether the model should think, if a field of another server says so."""
    if isinstance(asked, ThinkingOptions):
        return {"enabled": True, "disabled": False}.get(asked.type or "")
    return bool(asked) if asked not in (None, "") else None


def decode_body(data: bytes) -> ChatBody:
    """Decode and check a chat request; raises what `decode` raises."""
    return decode(data, ChatBody)
