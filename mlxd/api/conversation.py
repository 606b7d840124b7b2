"""The messages and tools of a chat request, and how chat templates take them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from mlxd.api.decode import check_free_form, doc, read_schema
from mlxd.errors import InvalidRequest
from mlxd.messages import ToolUse


class TextPart(msgspec.Struct, frozen=True):
    """A part of a message's content."""

    type: Literal["text"]
    text: str


Content = str | list[TextPart]


class CalledFunction(msgspec.Struct, frozen=True):
    """The function that the assistant called."""

    name: str
    arguments: Annotated[str, doc("A JSON object as a string. Empty: no arguments.")]


class PastToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function call earlier in the conversation."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] | None = None


class _TextMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role"):
    content: Content
    name: str | None = None


class SystemMessage(_TextMessage, frozen=True, tag="system"):
    """Instructions for the assistant."""


class DeveloperMessage(_TextMessage, frozen=True, tag="developer"):
    """The newer name for a system message."""


class UserMessage(_TextMessage, frozen=True, tag="user"):
    """What the user said."""


class AssistantMessage(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="assistant"
):
    """An earlier answer of the assistant."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[PastToolCall] | None = None
    reasoning_content: Annotated[str | None, doc("The reasoning before the answer.")] = None
    reasoning: Annotated[str | None, doc("Another name for `reasoning_content`.")] = None


class ToolMessage(_TextMessage, frozen=True, kw_only=True, tag="tool"):
    """The result of a function call."""

    tool_call_id: Annotated[str | None, doc("The ID of the function call.")] = None


class FunctionMessage(_TextMessage, frozen=True, tag="function"):
    """The result of a function call, in the form that `tool` messages replaced."""


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)


class Function(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call."""

    name: Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]
    description: Annotated[str | None, doc("What the function does.")] = None
    parameters: Annotated[dict[str, Any] | None, doc("The JSON schema of its arguments.")] = None
    strict: Annotated[bool | None, doc("Whether the arguments must match the schema.")] = None


class Tool(msgspec.Struct, frozen=True):
    """A tool that the model may use. All tools are functions."""

    type: Literal["function"]
    function: Function


class ChosenFunction(msgspec.Struct, frozen=True):
    """The function that the model must call."""

    name: str


class ChosenTool(msgspec.Struct, frozen=True):
    """The tool that the model must use."""

    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Literal["none", "auto", "required"] | ChosenTool


def for_template(message: Message) -> dict[str, Any]:
    """Return `message` as chat templates expect it."""
    fields: dict[str, Any] = msgspec.to_builtins(message)
    content = message.content or ""
    fields["content"] = content if isinstance(content, str) else "".join(p.text for p in content)
    if isinstance(message, DeveloperMessage):
        fields["role"] = "system"
    if isinstance(message, AssistantMessage):
        reasoning = fields.pop("reasoning")
        fields["reasoning_content"] = message.reasoning_content or reasoning
        for call in fields["tool_calls"] or []:
            call["function"]["arguments"] = call["function"]["arguments"] or "{}"
    return {name: value for name, value in fields.items() if value not in (None, [])}


def check_messages(messages: list[Message]) -> None:
    """Check that the arguments of each function call are the text of a JSON object."""
    for index, message in enumerate(messages):
        calls = message.tool_calls if isinstance(message, AssistantMessage) else None
        for number, call in enumerate(calls or []):
            path = f"messages[{index}].tool_calls[{number}].function.arguments"
            try:
                arguments = msgspec.json.decode(call.function.arguments or "{}", type=dict)
            except (msgspec.DecodeError, RecursionError):
                raise InvalidRequest(
                    f"`{path}`: not the text of a JSON object", param=path
                ) from None
            check_free_form(arguments, path)


def tool_use(
    tools: list[Tool] | None, choice: ToolChoice | None, *, parallel: bool
) -> ToolUse | None:
    """Return which functions the model may call; None for none.

    Raises:
        InvalidRequest: `choice` names a function that is not in `tools`, or a schema is too deep.
    """
    schemas = [
        read_schema(tool.function.parameters, f"tools[{index}].function.parameters", rounded=True)
        for index, tool in enumerate(tools or [])
    ]
    name = choice.function.name if isinstance(choice, ChosenTool) else None
    if not tools:
        if name is not None or choice == "required":
            raise InvalidRequest("`tool_choice`: requires `tools`", param="tool_choice")
        return None
    if name is not None and name not in {tool.function.name for tool in tools}:
        raise InvalidRequest(
            "`tool_choice.function.name`: not in `tools`", param="tool_choice.function.name"
        )
    if choice == "none":
        return None
    functions = [
        msgspec.to_builtins(replace(tool, function=replace(tool.function, parameters=schema)))
        for tool, schema in zip(tools, schemas, strict=True)
    ]
    return ToolUse(functions, "required" if choice == "required" else "auto", name, parallel)
