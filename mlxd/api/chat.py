"""The chat dialect: POST /v1/chat/completions."""

import re
from typing import Annotated, Any

from msgspec import Meta

from mlxd.api import unsupported
from mlxd.api.chat_reply import chat_reply_builder
from mlxd.api.conversation import (
    Message,
    Tool,
    ToolChoice,
    check_messages,
    for_template,
    tool_use,
)
from mlxd.api.decode import check_free, decode
from mlxd.api.fields import CommonFields
from mlxd.api.reply_builder import OpenAIReplyBuilder
from mlxd.api.response_format import ResponseFormat, grammar_of, only_one
from mlxd.config import ModelSettings
from mlxd.errors import InvalidRequest
from mlxd.messages import ChatPrompt, Draft, GenerateRequest, Grammar, Template, ToolUse

_PART_TYPE = re.compile(r"messages\[\d+\]\.content\[\d+\]\.type")


class ChatBody(CommonFields, frozen=True, kw_only=True):
    """The body of a chat request."""

    messages: Annotated[
        list[Message], Meta(min_length=1, description="The conversation up to the answer.")
    ]
    tools: Annotated[
        list[Tool] | None, Meta(description="The functions that the model may call.")
    ] = None
    tool_choice: Annotated[
        ToolChoice | None,
        Meta(description="Whether it may or has to call one, or which one it has to call."),
    ] = None
    parallel_tool_calls: Annotated[
        bool | None, Meta(description="Whether one answer may hold several calls.")
    ] = None
    response_format: Annotated[
        ResponseFormat | None, Meta(description="What the answer has to match.")
    ] = None
    chat_template: Annotated[
        str | None, Meta(description="A Jinja template to use instead of the model's own.")
    ] = None
    chat_template_args: Annotated[
        dict[str, Any] | None, Meta(description="Arguments for the chat template.")
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None, Meta(description="The same; these win where both name one.")
    ] = None
    use_default_chat_template: Annotated[
        bool | None, Meta(description="Use a common template if the model has none.")
    ] = None
    role_mapping: Annotated[
        dict[str, str] | None,
        Meta(description="A text to put before the messages of each role, instead of a template."),
    ] = None
    reasoning_effort: Annotated[
        str | None,
        Meta(description="An argument for templates that know it; `none` turns thinking off."),
    ] = None
    enable_thinking: Annotated[
        bool | None, Meta(description="An argument for templates that know it.")
    ] = None

    def check(self) -> None:
        """Check what the types cannot say.

        Raises:
            InvalidRequest: names the field at fault.
        """
        super().check()
        check_messages(self.messages)
        check_free(self.chat_template_args, "chat_template_args")
        check_free(self.chat_template_kwargs, "chat_template_kwargs")
        self._tool_use()
        self._grammar()

    def to_requests(self, settings: ModelSettings, draft: Draft | None) -> list[GenerateRequest]:
        """Give the engine's request for each choice; `settings` stand in for what was left out."""
        tools = self._tool_use()
        template = self._template(settings)
        prompt = ChatPrompt([for_template(m) for m in self.messages], template, tools)
        return self.asking([prompt], settings.generation, self._grammar(), draft)

    def reply_builder(self, model: str, created: int) -> OpenAIReplyBuilder:
        """Return the builder of the reply; `model` answers, `created` is in Unix seconds."""
        return chat_reply_builder(
            model,
            created,
            choices=self.choices_per_prompt,
            logprobs=self.wanted_logprobs is not None,
            include_usage=self.include_usage,
        )

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
        return Template(
            source=self.chat_template or settings.chat_template or None,
            default=bool(self.use_default_chat_template),
            role_mapping=self.role_mapping or None,
            arguments=arguments
            | (self.chat_template_args or {})
            | (self.chat_template_kwargs or {}),
        )


def decode_body(data: bytes) -> ChatBody:
    """Decode and check a chat request.

    Raises:
        InvalidRequest: a malformed body, or a bad value.
        UnsupportedParameter: a field we know and cannot honour.
    """
    try:
        body = decode(data, ChatBody)
    except InvalidRequest as error:
        if error.param and _PART_TYPE.fullmatch(error.param):
            raise InvalidRequest(
                f"`{error.param}`: the model takes only text", param=error.param
            ) from None
        raise
    unsupported.refuse_unsupported(data, unsupported.CHAT)
    body.check()
    return body
