"""The messages of a conversation and the functions it may call, as OpenAI's chat API has them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlxd.api.decode import check_free
from mlxd.errors import InvalidRequest
from mlxd.messages import ToolUse

_FUNCTION_NAME = r"^[a-zA-Z0-9_-]{1,64}$"
_FunctionName = Annotated[str, Meta(pattern=_FUNCTION_NAME)]


class TextPart(msgspec.Struct, frozen=True):
    """A piece of a message's content."""

    type: Literal["text"]
    text: str


Content = str | list[TextPart]


class CalledFunction(msgspec.Struct, frozen=True):
    """A function that the assistant called."""

    name: str
    arguments: Annotated[
        str, Meta(description="The text of a JSON object; an empty text is an empty object.")
    ]


class PastToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A call the assistant made earlier in the conversation."""

    function: CalledFunction
    id: str | None = None
    type: Literal["function"] | None = None


class SystemMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="system"):
    """What the assistant is told before everything else."""

    content: Content
    name: str | None = None


class DeveloperMessage(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="developer"
):
    """The newer name of a system message."""

    content: Content
    name: str | None = None


class UserMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="user"):
    """What the user said."""

    content: Content
    name: str | None = None


class AssistantMessage(
    msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="assistant"
):
    """What the assistant answered earlier."""

    content: Content | None = None
    name: str | None = None
    tool_calls: list[PastToolCall] | None = None
    reasoning_content: Annotated[
        str | None, Meta(description="What it thought before it answered.")
    ] = None
    reasoning: Annotated[str | None, Meta(description="Another name of `reasoning_content`.")] = (
        None
    )


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="tool"):
    """What a function returned."""

    content: Content
    tool_call_id: Annotated[str | None, Meta(description="The id of the call.")] = None
    name: str | None = None


class FunctionMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="function"):
    """What a function returned, as it was said before there were tools."""

    content: Content
    name: str | None = None


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)


class Function(msgspec.Struct, frozen=True, kw_only=True):
    """A function that the model may call."""

    name: _FunctionName
    description: Annotated[str | None, Meta(description="What it does.")] = None
    parameters: Annotated[
        dict[str, Any] | None, Meta(description="A JSON schema of its arguments.")
    ] = None
    strict: Annotated[
        bool | None, Meta(description="Whether the arguments have to match the schema.")
    ] = None


class Tool(msgspec.Struct, frozen=True):
    """Something that the model may use; there are only functions."""

    type: Literal["function"]
    function: Function


class ChosenFunction(msgspec.Struct, frozen=True):
    """The function that has to be called."""

    name: str


class ChosenTool(msgspec.Struct, frozen=True):
    """The tool that has to be used."""

    type: Literal["function"]
    function: ChosenFunction


ToolChoice = Literal["none", "auto", "required"] | ChosenTool


def for_template(message: Message) -> dict[str, Any]:
    """Give `message` as chat templates know it."""
    fields: dict[str, Any] = {"role": _role(message), "content": _text(message.content)}
    if message.name is not None:
        fields["name"] = message.name
    if isinstance(message, ToolMessage) and message.tool_call_id is not None:
        fields["tool_call_id"] = message.tool_call_id
    if isinstance(message, AssistantMessage):
        reasoning = message.reasoning_content or message.reasoning
        if reasoning is not None:
            fields["reasoning_content"] = reasoning
        if message.tool_calls:
            fields["tool_calls"] = [_call_for_template(call) for call in message.tool_calls]
    return fields


def check_messages(messages: list[Message]) -> None:
    """Check the calls of functions in `messages`.

    Raises:
        InvalidRequest: the arguments of one are no text of a JSON object.
    """
    for index, message in enumerate(messages):
        calls = message.tool_calls if isinstance(message, AssistantMessage) else None
        for number, call in enumerate(calls or []):
            path = f"messages[{index}].tool_calls[{number}].function.arguments"
            _check_arguments(call.function.arguments, path)


def tool_use(
    tools: list[Tool] | None, choice: ToolChoice | None, *, parallel: bool
) -> ToolUse | None:
    """Give which functions may be called; None for none.

    Raises:
        InvalidRequest: `choice` asks for a function that there is not, or a schema is too deep.
    """
    for index, tool in enumerate(tools or []):
        check_free(tool.function.parameters, f"tools[{index}].function.parameters")
    name = choice.function.name if isinstance(choice, ChosenTool) else None
    if not tools:
        if name is not None or choice == "required":
            raise InvalidRequest("`tool_choice`: there are no `tools`", param="tool_choice")
        return None
    if name is not None and name not in {tool.function.name for tool in tools}:
        raise InvalidRequest(
            "`tool_choice.function.name`: names none of `tools`", param="tool_choice.function.name"
        )
    if choice == "none":
        return None
    functions = [_without_nulls(msgspec.to_builtins(tool)) for tool in tools]
    return ToolUse(functions, "required" if choice == "required" else "auto", name, parallel)


def _role(message: Message) -> str:
    if isinstance(message, DeveloperMessage):
        return "system"
    return str(message.__struct_config__.tag)


def _text(content: Content | None) -> str:
    if isinstance(content, list):
        return "".join(part.text for part in content)
    return content or ""


def _call_for_template(call: PastToolCall) -> dict[str, Any]:
    fields: dict[str, Any] = msgspec.to_builtins(call)
    fields["function"]["arguments"] = call.function.arguments or "{}"
    return fields


def _check_arguments(text: str, path: str) -> None:
    try:
        arguments = msgspec.json.decode(text or "{}", type=dict[str, Any])
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest(f"`{path}`: not the text of a JSON object", param=path) from None
    check_free(arguments, path)


def _without_nulls(tool: dict[str, Any]) -> dict[str, Any]:
    function = {name: value for name, value in tool["function"].items() if value is not None}
    return tool | {"function": function}
