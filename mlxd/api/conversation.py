"""The messages and tools of a chat request, and how chat templates take them."""

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from mlxd.api.content import Content, Said, as_object, read_content, result_text, text_of
from mlxd.api.decode import doc, read_schema
from mlxd.errors import InvalidRequest
from mlxd.generate_request import ToolUse

_NO_FUNCTION = "Object missing required field `function`"  # as msgspec says it


class CalledFunction(msgspec.Struct, frozen=True):
    """The function that the assistant called."""

    name: str | None = None
    arguments: Annotated[
        Any,
        doc("A JSON object, also as a string. Anything else is shown to the model as it is.", Any),
    ] = None


class PastToolCall(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function call earlier in the conversation."""

    function: CalledFunction = CalledFunction()
    id: str | int | None = None
    type: str | None = None


class _TextMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role"):
    content: Content | None
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
    function_call: Annotated[CalledFunction | None, doc("The form that `tool_calls` replaced.")] = (
        None
    )
    refusal: Annotated[Any, doc("Taken for `content` if that is empty.", str)] = None
    reasoning_content: Annotated[Any, doc("The reasoning before the answer.", str)] = None
    reasoning: Annotated[Any, doc("Another name for `reasoning_content`.", str)] = None
    reasoning_details: Annotated[Any, doc("Another name for `reasoning_content`.", list)] = None
    thinking: Annotated[Any, doc("Another name for `reasoning_content`.", str)] = None


class ToolMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="tool"):
    """The result of a function call."""

    content: Annotated[
        Any, doc("A text or a list of parts. Anything else is shown to the model as JSON.", Any)
    ] = None
    name: str | None = None
    tool_call_id: Annotated[str | int | None, doc("The ID of the function call.")] = None


class FunctionMessage(msgspec.Struct, frozen=True, kw_only=True, tag_field="role", tag="function"):
    """The result of a function call, in the form that `tool` messages replaced."""

    content: Annotated[Any, doc("As in `tool` messages.", Any)] = None
    name: str | None = None


Message = (
    SystemMessage
    | DeveloperMessage
    | UserMessage
    | AssistantMessage
    | ToolMessage
    | FunctionMessage
)


_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_./:@-]{1,128}$")]  # more than MCP allows


class Function(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A function that the model may call."""

    name: _Name
    description: Annotated[str | None, doc("What the function does.")] = None
    parameters: Annotated[dict[str, Any] | None, doc("The JSON schema of its arguments.")] = None
    strict: Annotated[bool | None, doc("Whether the arguments must match the schema.")] = None


class Tool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may use. All tools are functions.

    Cursor and others put what `function` has beside `type`, as other APIs do.
    """

    type: Literal["function"] = "function"
    function: Function | None = None
    name: Annotated[_Name | None, doc("As in `function`.")] = None
    description: Annotated[str | None, doc("As in `function`.")] = None
    parameters: Annotated[dict[str, Any] | None, doc("As in `function`.")] = None
    input_schema: Annotated[dict[str, Any] | None, doc("Another name for `parameters`.")] = None
    strict: Annotated[bool | None, doc("As in `function`.")] = None

    def __post_init__(self) -> None:
        """Check that there is a function."""
        if self.function is None and self.name is None:
            raise ValueError(_NO_FUNCTION)

    @property
    def offered(self) -> Function:
        """The function, wherever it was."""
        return self.function or Function(
            name=self.name or "",
            description=self.description,
            parameters=self.input_schema if self.parameters is None else self.parameters,
            strict=self.strict,
        )


class ChosenFunction(msgspec.Struct, frozen=True):
    """The function that the model must call."""

    name: str


class ChosenTool(msgspec.Struct, frozen=True, tag_field="type", tag="function"):
    """The tool that the model must use; its name may be beside `type` too."""

    function: ChosenFunction | None = None
    name: Annotated[str | None, doc("As in `function`.")] = None

    def __post_init__(self) -> None:
        """Check that there is a name."""
        if self.function is None and self.name is None:
            raise ValueError(_NO_FUNCTION)

    @property
    def chosen(self) -> str:
        """The name of the function, wherever it was."""
        return self.function.name if self.function else self.name or ""


class AllowedTools(msgspec.Struct, frozen=True):
    """Some of the tools, of which the model may (`auto`) or must (`required`) use one."""

    mode: Literal["auto", "required"]
    tools: Annotated[list[ChosenTool], Meta(min_length=1)]


class AllowedToolsChoice(msgspec.Struct, frozen=True, tag_field="type", tag="allowed_tools"):
    """Which of the tools count for this answer."""

    allowed_tools: AllowedTools


ToolChoice = Literal["none", "auto", "required", "any"] | ChosenTool | AllowedToolsChoice


def for_templates(messages: list[Message]) -> list[dict[str, Any]]:
    """Return a conversation as chat templates expect it; the arguments of calls are objects.

    Raises:
        InvalidRequest: a part of what the user says now, or of the system, is no text.
    """
    answers = (n for n, message in enumerate(messages) if isinstance(message, AssistantMessage))
    asked = max(answers, default=-1) + 1
    return [
        _for_template(
            message,
            None
            if index < asked and isinstance(message, UserMessage)
            else f"messages[{index}].content",
        )
        for index, message in enumerate(messages)
    ]


def _for_template(message: Message, path: str | None) -> dict[str, Any]:
    fields: dict[str, Any] = {"name": message.name}
    match message:
        case AssistantMessage():
            role = "assistant"
            said = read_content(message.content, None)
            fields |= _answer(message, said)
            text = said.text or text_of(message.refusal)
        case ToolMessage():
            role, text = "tool", result_text(message.content)
            fields["tool_call_id"] = _id(message.tool_call_id)
        case FunctionMessage():
            role, text = "tool", result_text(message.content)
        case _:
            role = "user" if isinstance(message, UserMessage) else "system"
            said = read_content(message.content, path)
            text = said.thoughts + said.text
    filled = {name: value for name, value in fields.items() if value not in (None, "", [])}
    return {"role": role, "content": text, **filled}


def _answer(message: AssistantMessage, said: Said) -> dict[str, Any]:
    """Return what an answer has beside its text."""
    thoughts = (
        message.reasoning_content,
        message.reasoning,
        message.thinking,
        message.reasoning_details,
        said.thoughts,
    )
    calls = [_call(call.function, call.id) for call in message.tool_calls or []]
    if message.function_call and not calls:
        calls = [_call(message.function_call, None)]
    return {
        "reasoning_content": next(filter(None, map(text_of, thoughts)), None),
        "tool_calls": calls or [{"type": "function", **call} for call in said.calls],
    }


def _call(function: CalledFunction, call_id: str | int | None) -> dict[str, Any]:
    arguments = as_object(function.arguments)
    call = {
        "type": "function",
        "function": {"name": function.name or "", "arguments": arguments},
    }
    return call if call_id in (None, "") else {"id": _id(call_id), **call}


def _id(call_id: str | int | None) -> str | None:
    return None if call_id is None else str(call_id)


def tool_use(
    tools: list[Tool] | None, choice: ToolChoice | None, *, parallel: bool
) -> ToolUse | None:
    """Return which functions the model may call; None for none.

    Raises:
        InvalidRequest: `choice` names a function that is not in `tools`, or a schema is too deep.
    """
    if isinstance(choice, AllowedToolsChoice):
        tools, choice = _allowed(tools or [], choice.allowed_tools), choice.allowed_tools.mode
    offered = [tool.offered for tool in tools or []]
    schemas = [
        read_schema(function.parameters, f"tools[{index}].function.parameters", rounded=True)
        for index, function in enumerate(offered)
    ]
    must = choice in ("required", "any")
    name = choice.chosen if isinstance(choice, ChosenTool) else None
    if not tools:
        if name is not None or must:
            raise InvalidRequest("`tool_choice`: requires `tools`", param="tool_choice")
        return None
    if name is not None and name not in {function.name for function in offered}:
        raise InvalidRequest(
            "`tool_choice.function.name`: not in `tools`", param="tool_choice.function.name"
        )
    if choice == "none":
        return None
    functions = [
        {"type": "function", "function": msgspec.to_builtins(replace(function, parameters=schema))}
        for function, schema in zip(offered, schemas, strict=True)
    ]
    return ToolUse(functions, "required" if must else "auto", name, parallel)


def _allowed(tools: list[Tool], allowed: AllowedTools) -> list[Tool]:
    names = {tool.offered.name for tool in tools}
    for index, tool in enumerate(allowed.tools):
        if tool.chosen not in names:
            param = f"tool_choice.allowed_tools.tools[{index}].function.name"
            raise InvalidRequest(f"`{param}`: not in `tools`", param=param)
    wanted = {tool.chosen for tool in allowed.tools}
    return [tool for tool in tools if tool.offered.name in wanted]
