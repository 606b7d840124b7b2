"""The tools of a Responses request: how a model is told about them, and which it may call.

A tool in a namespace becomes a function named NAMESPACE__NAME. A custom tool becomes a function
with one argument, `input`, because models are trained to call functions.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlxd.api.decode import check_free_form, convert, doc
from mlxd.api.response_items import flat_name
from mlxd.errors import InvalidRequest, UnsupportedParameter
from mlxd.generate_request import ToolUse

_Name = Annotated[str, Meta(pattern=r"^[a-zA-Z0-9_.-]{1,128}$")]
_OFFERED_ONLY = frozenset(
    {
        "image_generation",
        "tool_search",
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
    }
)
"""Tools of OpenAI's that agents offer to every model. One that has no calls of it still works."""
_GRAMMAR = "\nThe input must match this {syntax}:\n{definition}"
_SYNTAX = {"lark": "Lark grammar", "regex": "regular expression"}


class FunctionTool(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="function"):
    """A function that the model may call."""

    name: _Name
    description: str | None = None
    parameters: Annotated[dict[str, Any] | None, doc("The JSON schema of its arguments.")] = None
    strict: Annotated[bool | None, doc("Whether the arguments must match the schema.")] = None


class AnyText(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="text"):
    """Any input."""


class InputGrammar(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="grammar"):
    """The grammar of an input. The model is told a Lark grammar, but not held to it."""

    syntax: Literal["lark", "regex"]
    definition: str


class CustomInputTool(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="custom"):
    """A tool whose input is a text."""

    name: _Name
    description: str | None = None
    format: AnyText | InputGrammar | None = None


class NamespaceTool(msgspec.Struct, frozen=True, kw_only=True, tag_field="type", tag="namespace"):
    """Tools that belong together."""

    name: _Name
    tools: list[FunctionTool | CustomInputTool]
    description: str | None = None


ResponseTool = FunctionTool | CustomInputTool | NamespaceTool
_KINDS = {"function": FunctionTool, "custom": CustomInputTool, "namespace": NamespaceTool}


class NamedTool(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a tool."""

    type: Literal["function", "custom"]
    name: str
    namespace: str | None = None


class ToolSubset(msgspec.Struct, frozen=True, kw_only=True):
    """The tools of which the model may (`auto`) or must (`required`) call one."""

    type: Literal["allowed_tools"]
    tools: Annotated[list[NamedTool], Meta(min_length=1, max_length=128)]
    mode: Literal["none", "auto", "required"] = "auto"


_CHOICES = ("none", "auto", "required")


@dataclass(frozen=True)
class OfferedTool:
    """One tool that a model may call, under the name that the model knows."""

    function: dict[str, Any]
    name: str
    namespace: str | None
    custom: bool


class Toolbox:
    """The tools of one request, and its `tool_choice`."""

    def __init__(self, tools: Sequence[Any] | None, choice: Any, *, parallel: bool) -> None:
        """Take the fields of a request as they are.

        Raises:
            InvalidRequest: a tool or the choice is not valid, or names a tool that is not there.
            UnsupportedParameter: a tool can only be run by OpenAI.
        """
        check_free_form(choice, "tool_choice")
        self.shown = _supported(tools or [])
        self._offered = _offered(self.shown)
        self.use = self._use(choice, parallel=parallel)
        names = set(self._offered) if self.use else set()
        if self.use and self.use.allowed is not None:
            names &= set(self.use.allowed)
        self._callable = names

    def called(self, name: str) -> OfferedTool | None:
        """Return the tool that a model's call means; None if it must not call it."""
        return self._offered[name] if name in self._callable else None

    def _use(self, choice: Any, *, parallel: bool) -> ToolUse | None:
        mode, allowed = self._choice(choice)
        if mode == "none" or not self._offered:
            return None
        functions = [{"type": "function", "function": t.function} for t in self._offered.values()]
        only = allowed[0] if mode == "required" and allowed and len(allowed) == 1 else None
        return ToolUse(functions, mode, only, parallel, allowed)

    def _choice(self, choice: Any) -> tuple[Literal["none", "auto", "required"], list[str] | None]:
        """Return how the model may call, and the names of what it may call; None for all."""
        mode: Any = "auto"
        named: list[NamedTool] = []
        match choice:
            case None:
                pass
            case str() if choice in _CHOICES:
                mode = choice
            case {"type": "allowed_tools"}:
                given = convert(choice, ToolSubset, "tool_choice")
                mode, named = given.mode, given.tools
            case {"type": "function" | "custom"}:
                mode, named = "required", [convert(choice, NamedTool, "tool_choice")]
            case {"type": str(kind)}:
                raise UnsupportedParameter(
                    f"`tool_choice.type`: {kind!r} is not supported", param="tool_choice.type"
                )
            case _:
                raise InvalidRequest(
                    "`tool_choice`: expected "
                    + " or ".join(f'"{text}"' for text in _CHOICES)
                    + " or an object",
                    param="tool_choice",
                )
        if mode == "required" and not self._offered:
            raise InvalidRequest("`tool_choice`: requires `tools`", param="tool_choice")
        return mode, [self._find(tool) for tool in named] or None

    def _find(self, tool: NamedTool) -> str:
        name = flat_name(tool.name, tool.namespace)
        if name in self._offered:
            return name
        for flat, offered in self._offered.items():
            if offered.name == tool.name and tool.namespace is None:
                return flat
        raise InvalidRequest("`tool_choice.name`: not in `tools`", param="tool_choice.name")


def _supported(tools: Sequence[Any]) -> list[ResponseTool]:
    """Return the tools that a local model can call."""
    supported: list[ResponseTool] = []
    for index, tool in enumerate(tools):
        path = f"tools[{index}]"
        kind = tool.get("type") if isinstance(tool, dict) else None
        if not isinstance(kind, str):
            raise InvalidRequest(f"`{path}.type`: missing", param=f"{path}.type")
        if kind in _OFFERED_ONLY:
            continue
        if kind not in _KINDS:
            raise UnsupportedParameter(
                f"`{path}.type`: tools of the type {kind!r} are not supported",
                param=f"{path}.type",
            )
        if isinstance(tool.get("function"), dict):  # as chat has it
            tool = {**tool["function"], "type": kind}
        kept: ResponseTool = convert(tool, _KINDS[kind], path)
        for one in kept.tools if isinstance(kept, NamespaceTool) else [kept]:
            if isinstance(one, FunctionTool):
                check_free_form(one.parameters, f"{path}.parameters")
        supported.append(kept)
    return supported


def _offered(tools: Sequence[ResponseTool]) -> dict[str, OfferedTool]:
    """Return what the model may call, by the name that it is told."""
    offered = {}
    for tool in tools:
        inner = tool.tools if isinstance(tool, NamespaceTool) else [tool]
        namespace = tool.name if isinstance(tool, NamespaceTool) else None
        for one in inner:
            function = _function(one, namespace)
            custom = isinstance(one, CustomInputTool)
            offered[function["name"]] = OfferedTool(function, one.name, namespace, custom)
    return offered


def _function(tool: FunctionTool | CustomInputTool, namespace: str | None) -> dict[str, Any]:
    """Return a tool as the function that the model is told."""
    description, parameters = tool.description, None
    strict = None
    if isinstance(tool, FunctionTool):
        parameters, strict = tool.parameters, tool.strict
    else:
        text: dict[str, Any] = {"type": "string"}
        strict = True
        if isinstance(tool.format, InputGrammar):
            if tool.format.syntax == "regex":
                text["pattern"] = f"^(?:{tool.format.definition})$"
            kind = _SYNTAX[tool.format.syntax]
            told = _GRAMMAR.format(syntax=kind, definition=tool.format.definition)
            description = f"{description or ''}{told}".strip()
        parameters = {"type": "object", "properties": {"input": text}, "required": ["input"]}
    function = {
        "name": flat_name(tool.name, namespace),
        "description": description,
        "parameters": parameters,
        "strict": strict,
    }
    return {name: value for name, value in function.items() if value is not None}
