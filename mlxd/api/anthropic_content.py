"""Anthropic's messages and tools, and the conversation that chat templates take.

The format is Anthropic's: https://platform.claude.com/docs/en/api/messages
"""

import base64
import binascii
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from mlxd.api.conversation import Function, Tool
from mlxd.api.decode import doc
from mlxd.errors import InvalidRequest

_SIGNED = "mlxd-"
"""How the signature of an answer's thoughts begins; the rest of it is the thoughts."""
_ERROR_MARK = "Error: "
_NESTED = 4


class ContentBlock(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a message; which fields count depends on its `type`."""

    type: str
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    id: str | None = None
    name: str | None = None
    input: Any = None
    tool_use_id: str | None = None
    content: Any = None
    is_error: bool | None = None
    source: Any = None
    title: str | None = None
    tool_name: str | None = None
    cache_control: Any = None


BlockContent = str | list[ContentBlock]


class AnthropicMessage(msgspec.Struct, frozen=True):
    """A turn of the conversation, or instructions between turns."""

    role: Literal["user", "assistant", "system"]
    content: BlockContent | None


class CustomTool(msgspec.Struct, frozen=True, kw_only=True):
    """A tool that the model may use.

    One without a schema is known to Anthropic's models only, and left out: `bash_20250124`.
    """

    name: Annotated[str, Meta(min_length=1, max_length=128)]
    type: str | None = None
    description: Annotated[str | None, doc("What the function does.")] = None
    input_schema: Annotated[dict[str, Any] | None, doc("The JSON schema of its input.")] = None
    strict: Annotated[bool | None, doc("Whether the input must match the schema.")] = None
    cache_control: Any = None

    @property
    def usable(self) -> bool:
        """Whether every model can use it."""
        return self.input_schema is not None or self.type in (None, "custom")

    def as_function(self) -> Tool:
        """Return the tool as OpenAI's API describes it."""
        function = Function(
            name=self.name,
            description=self.description,
            parameters=self.input_schema,
            strict=self.strict,
        )
        return Tool(function=function)


def has_breakpoint(content: BlockContent | None) -> bool:
    """Return whether a block of the content marks a place for Anthropic's prompt cache."""
    return isinstance(content, list) and any(block.cache_control for block in content)


def sign(thoughts: str) -> str:
    """Return a signature that carries the thoughts, for clients that do not keep their text."""
    return _SIGNED + base64.urlsafe_b64encode(thoughts.encode()).decode()


def system_text(system: BlockContent) -> str:
    """Return the system prompt as one text; a block that is not text is an InvalidRequest."""
    return _joined(system, "system")


def conversation(messages: list[AnthropicMessage]) -> list[dict[str, Any]]:
    """Return the messages as chat templates take them.

    What is neither text nor a tool's result is left out of earlier messages and of results.

    Raises:
        InvalidRequest: the last message has such a thing.
    """
    turns: list[dict[str, Any]] = []
    for index, message in enumerate(messages):
        path = f"messages[{index}].content" if index == len(messages) - 1 else None
        content = message.content or ""
        match message.role:
            case "assistant":
                turns.append(_answer(content))
            case "user":
                turns += _question(content, path)
            case "system":
                turns.append({"role": "system", "content": _joined(content, path)})
    return turns


def _answer(content: BlockContent) -> dict[str, Any]:
    """Return an earlier answer; what Anthropic's servers added to it is left out."""
    if isinstance(content, str):
        return {"role": "assistant", "content": content}
    turn: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(block.text or "" for block in content if block.type == "text"),
    }
    if thoughts := "".join(_thoughts(block) for block in content if block.type == "thinking"):
        turn["reasoning_content"] = thoughts
    if calls := [_call(block) for block in content if block.type == "tool_use"]:
        turn["tool_calls"] = calls
    return turn


def _thoughts(block: ContentBlock) -> str:
    signature = block.signature or ""
    if block.thinking or not signature.startswith(_SIGNED):
        return block.thinking or ""
    try:
        return base64.urlsafe_b64decode(signature.removeprefix(_SIGNED)).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _call(block: ContentBlock) -> dict[str, Any]:
    arguments = msgspec.json.encode(block.input if block.input is not None else {}).decode()
    function = {"name": block.name or "", "arguments": arguments}
    return {"id": block.id or "", "type": "function", "function": function}


def _question(content: BlockContent, path: str | None) -> Iterator[dict[str, Any]]:
    """Yield the results of tools as messages of their own, and the text between them as one."""
    if isinstance(content, str):
        yield {"role": "user", "content": content}
        return
    texts: list[str] = []
    for index, block in enumerate(content):
        if block.type != "tool_result":
            texts.append(_text(block, path and f"{path}[{index}]"))
            continue
        if texts:
            yield {"role": "user", "content": "\n".join(texts)}
            texts = []
        yield {
            "role": "tool",
            "tool_call_id": block.tool_use_id or "",
            "content": _result(block),
        }
    if texts or not content:
        yield {"role": "user", "content": "\n".join(texts)}


def _result(block: ContentBlock) -> str:
    try:
        content = msgspec.convert(block.content, BlockContent | None)
    except msgspec.ValidationError:
        content = msgspec.json.encode(block.content).decode()
    text = _joined(content or "", None)
    return _ERROR_MARK + text if block.is_error else text


def _joined(content: BlockContent, path: str | None, levels: int = _NESTED) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(
        _text(block, path and f"{path}[{index}]", levels) for index, block in enumerate(content)
    )


def _text(block: ContentBlock, path: str | None, levels: int = _NESTED) -> str:
    """Return the text of a block, with that of so many `levels` inside it.

    What is not text is refused if a `path` is given.
    """
    match block:
        case ContentBlock(type="text"):
            return block.text or ""
        case ContentBlock(type="document", source={"type": "text", "data": str(text)}):
            return f"{block.title}\n{text}" if block.title else text
        case ContentBlock(type="document", source={"type": "content", "content": inner}) if levels:
            return _joined(_blocks(inner), path, levels - 1)
        case ContentBlock(type="search_result") if levels:
            text = _joined(_blocks(block.content), path, levels - 1)
            return "\n".join([block.title or "", str(block.source or ""), text])
        case ContentBlock(type="tool_reference"):
            return block.tool_name or ""
    if path is None:
        return f"[{block.type} left out]"
    raise InvalidRequest(f'`{path}`: the model reads only text, not "{block.type}"', param=path)


def _blocks(content: Any) -> BlockContent:
    try:
        return msgspec.convert(content or "", str | list[ContentBlock])
    except msgspec.ValidationError:
        return ""
