"""The chat dialect: POST /v1/chat/completions."""

from typing import Annotated, Any, Literal

from msgspec import Meta

from mlxd.api.chat_reply import ChatChoiceBuilder
from mlxd.api.conversation import (
    Message,
    Tool,
    ToolChoice,
    for_templates,
    tool_use,
)
from mlxd.api.decode import NOT_SUPPORTED, Nothing, check_free_form, decode, doc
from mlxd.api.fields import CommonFields
from mlxd.api.reply_builder import OpenAIReplyBuilder
from mlxd.api.response_format import ResponseFormat, grammar_of, only_one
from mlxd.config import ModelSettings
from mlxd.messages import ChatPrompt, Draft, GenerateRequest, Grammar, Template, ToolUse


class ChatBody(CommonFields, frozen=True, kw_only=True):
    """The body of a chat request."""

    messages: Annotated[list[Message], Meta(min_length=1, description="The conversation so far.")]
    tools: Annotated[list[Tool] | None, doc("The functions that the model may call.")] = None
    tool_choice: Annotated[
        ToolChoice | None,
        doc(
            "Whether the model may (`auto`), must (`required`) or must not (`none`) "
            "call a function, or which one it must call."
        ),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None, doc("Whether one answer may contain several function calls.")
    ] = None
    response_format: Annotated[
        ResponseFormat | None, doc("The format that the answer must have.")
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
    audio: Annotated[Nothing, NOT_SUPPORTED] = None
    function_call: Annotated[Literal["none", "auto"] | None, NOT_SUPPORTED] = None
    functions: Annotated[Nothing, NOT_SUPPORTED] = None
    modalities: Annotated[list[Literal["text"]] | None, NOT_SUPPORTED] = None
    prediction: Annotated[Nothing, NOT_SUPPORTED] = None
    verbosity: Annotated[Literal["medium"] | None, NOT_SUPPORTED] = None
    web_search_options: Annotated[Nothing, NOT_SUPPORTED] = None

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        super().__post_init__()
        for_templates(self.messages)
        check_free_form(self.chat_template_args, "chat_template_args")
        check_free_form(self.chat_template_kwargs, "chat_template_kwargs")
        self._tool_use()
        self._grammar()

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Return the engine's request for each choice; `settings` has the defaults."""
        tools = self._tool_use()
        template = self._template(settings)
        prompt = ChatPrompt(for_templates(self.messages), template, tools)
        return self.engine_requests([prompt], settings.generation, self._grammar(), draft)

    def reply_builder(self, model: str, created: int) -> OpenAIReplyBuilder:
        """Return the builder of the reply; `model` answers, `created` is in Unix seconds."""
        return self.openai_reply_builder(ChatChoiceBuilder, model, created)

    def _tool_use(self) -> ToolUse | None:
        parallel = self.parallel_tool_calls is not False
        return tool_use(self.tools, self.tool_choice, parallel=parallel)

    def _grammar(self) -> Grammar | None:
        return only_one(grammar_of(self.response_format) + self.grammars())

    def _template(self, settings: ModelSettings) -> Template:
        arguments = dict(settings.chat_template_args)
        if self.reasoning_effort:
            arguments["reasoning_effort"] = self.reasoning_effort
            if self.reasoning_effort == "none":
                arguments["enable_thinking"] = False
        if self.enable_thinking is not None:
            arguments["enable_thinking"] = self.enable_thinking
        arguments |= (self.chat_template_args or {}) | (self.chat_template_kwargs or {})
        return Template(
            source=self.chat_template or settings.chat_template or None,
            default=bool(self.use_default_chat_template),
            role_mapping=self.role_mapping or None,
            arguments=arguments,
        )


def decode_body(data: bytes) -> ChatBody:
    """Decode and check a chat request; raises what `decode` raises."""
    return decode(data, ChatBody)
