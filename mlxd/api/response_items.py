"""The items of a Responses conversation: what a request may hold, and how chat templates take it.

An item is kept as the JSON object that it is, with an `id`, because it is stored and shown again.
"""

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from mlxd.api.decode import check_free_form, convert, doc
from mlxd.errors import InvalidRequest, UnsupportedParameter

Item = dict[str, Any]

_COMPACTED = "Summary of the conversation so far:\n"
_SEALED = "mlxd:"
_HOSTED = frozenset(
    {
        "code_interpreter_call",
        "file_search_call",
        "image_generation_call",
        "mcp_approval_request",
        "mcp_approval_response",
        "mcp_list_tools",
        "tool_search_call",
        "tool_search_output",
        "web_search_call",
    }
)
"""What a tool of another server did earlier: nothing that a local model needs to read."""


class ContentPart(msgspec.Struct, frozen=True):
    """A part of an item's content. Only text is supported."""

    type: Literal["input_text", "output_text", "text", "summary_text", "reasoning_text", "refusal"]
    text: str = ""
    refusal: str = ""


Parts = str | list[ContentPart]


class _Item(msgspec.Struct, frozen=True, kw_only=True, tag_field="type"):
    id: str | None = None


class MessageItem(_Item, frozen=True, kw_only=True, tag="message"):
    """What somebody said. `type` may be left out."""

    role: Literal["user", "assistant", "system", "developer"]
    content: Parts


class FunctionCallItem(_Item, frozen=True, kw_only=True, tag="function_call"):
    """A function call of the assistant."""

    call_id: str
    name: str
    arguments: Annotated[str, doc("A JSON object as a string. Empty: no arguments.")]
    namespace: str | None = None


class FunctionCallOutputItem(_Item, frozen=True, kw_only=True, tag="function_call_output"):
    """The result of a function call."""

    call_id: str
    output: Parts


class CustomToolCallItem(_Item, frozen=True, kw_only=True, tag="custom_tool_call"):
    """A call of a custom tool."""

    call_id: str
    name: str
    input: str
    namespace: str | None = None


class CustomToolCallOutputItem(_Item, frozen=True, kw_only=True, tag="custom_tool_call_output"):
    """The result of a call of a custom tool."""

    call_id: str
    output: Parts


class ReasoningItem(_Item, frozen=True, kw_only=True, tag="reasoning"):
    """The reasoning before an answer. Of its texts the first counts that there is.

    They are `content`, `encrypted_content` if it is from mlxd, and `summary`.
    """

    content: list[ContentPart] | None = None
    encrypted_content: str | None = None
    summary: list[ContentPart] | None = None


class CompactionItem(_Item, frozen=True, kw_only=True, tag="compaction"):
    """What `POST /v1/responses/compact` made of a conversation."""

    encrypted_content: str


class ItemReference(_Item, frozen=True, kw_only=True, tag="item_reference"):
    """An item of a stored response, by its `id`."""

    id: str


InputItem = (
    MessageItem
    | FunctionCallItem
    | FunctionCallOutputItem
    | CustomToolCallItem
    | CustomToolCallOutputItem
    | ReasoningItem
    | CompactionItem
    | ItemReference
)

_TEXTS = ("content", "reasoning_content")
_CALLS = ("function_call", "custom_tool_call")
_OUTPUTS = ("function_call_output", "custom_tool_call_output")


def items_of(given: str | list[Any] | None, found: Mapping[str, Item]) -> list[Item]:
    """Return `input` as items with a `type`; a text is a message of the user.

    `found` has the items that it refers to.

    Raises:
        InvalidRequest: an item is not one, and `param` names it.
        UnsupportedParameter: an item is of a kind that is not supported.
    """
    if given is None:
        return []
    if isinstance(given, str):
        given = [{"type": "message", "role": "user", "content": given}]
    items = [_with_type(item, f"input[{index}]") for index, item in enumerate(given)]
    for index, item in enumerate(items):
        check_free_form(item, f"input[{index}]")  # for what its type does not know is kept, too
        typed(item, f"input[{index}]")
    return [
        found[item["id"]]
        if item["type"] == "item_reference" and item["id"] in found
        else _with_parts(item)
        for item in items
    ]


def references(given: str | list[Any] | None) -> list[str]:
    """Return the ids of the items that `input` refers to."""
    items = [_with_type(one, "input") for one in given] if isinstance(given, list) else []
    ids = (item.get("id") for item in items if item["type"] == "item_reference")
    return [one for one in ids if isinstance(one, str)]


def reference_owner(item_id: str) -> str:
    """Return the id of the response that an item of ours belongs to."""
    return f"resp_{item_id.partition('_')[2].partition('_')[0]}"


def typed(item: Item, path: str) -> InputItem | None:
    """Return an item, found at `path`, as its type; None if it says nothing to a model."""
    if item["type"] in _HOSTED:
        return None
    if item["type"] not in _KINDS:
        param = f"{path}.type"
        raise UnsupportedParameter(
            f"`{param}`: not supported; expected " + " or ".join(f'"{kind}"' for kind in _KINDS),
            param=param,
        )
    kept: InputItem = convert(item, _KINDS[item["type"]], path)
    return kept


def _with_type(item: Any, path: str) -> Item:
    if not isinstance(item, dict):
        raise InvalidRequest(f"`{path}`: expected an object", param=path)
    kind = item.get("type")
    if kind is None:
        refers = "id" in item and not item.keys() & {"role", "content"}
        return {**item, "type": "item_reference" if refers else "message"}
    if not isinstance(kind, str):
        raise InvalidRequest(f"`{path}.type`: expected a string", param=f"{path}.type")
    return item


def _with_parts(item: Item) -> Item:
    """Return a message whose content is a list, as it is shown again."""
    if item["type"] != "message" or not isinstance(item["content"], str):
        return item
    part: Item = {"type": "input_text", "text": item["content"]}
    if item["role"] == "assistant":
        part = {"type": "output_text", "text": item["content"], "annotations": []}
    return {**item, "content": [part]}


def sealed(text: str) -> str:
    """Return text as an `encrypted_content`. It is opaque, but no secret: it stays with its owner.

    A client sends it back as it is; `unsealed` reads it.
    """
    return _SEALED + base64.b64encode(text.encode()).decode()


def unsealed(content: str) -> str | None:
    """Return the text of an `encrypted_content`, None if another server made it."""
    if not content.startswith(_SEALED):
        return None
    try:
        return base64.b64decode(content.removeprefix(_SEALED), validate=True).decode()
    except (binascii.Error, UnicodeDecodeError):
        return None


def flat_name(name: str, namespace: str | None) -> str:
    """Return how a model is told the name of a tool in a namespace."""
    return f"{namespace}__{name}" if namespace else name


def custom_arguments(text: str) -> str:
    """Return the input of a custom tool as the arguments of the function that stands for it."""
    return json.dumps({"input": text}, ensure_ascii=False)


def chat_messages(items: Sequence[Item]) -> list[dict[str, Any]]:
    """Return items as the messages of a chat. What the assistant did in a row is one message."""
    messages: list[dict[str, Any]] = []
    for index, item in enumerate(items):
        match typed(item, f"input[{index}]"):
            case MessageItem(role="assistant", content=content):
                _add_to_answer(messages, "content", text_of(content))
            case MessageItem(role=role, content=content):
                role = "system" if role == "developer" else role
                messages.append({"role": role, "content": text_of(content)})
            case ReasoningItem() as reasoning:
                _add_to_answer(messages, "reasoning_content", _thoughts(reasoning))
            case FunctionCallItem(call_id=call, name=name, arguments=text, namespace=space):
                _add_call(messages, call, flat_name(name, space), text or "{}")
            case CustomToolCallItem(call_id=call, name=name, input=text, namespace=space):
                _add_call(messages, call, flat_name(name, space), custom_arguments(text))
            case FunctionCallOutputItem(call_id=call, output=output):
                messages.append({"role": "tool", "tool_call_id": call, "content": text_of(output)})
            case CustomToolCallOutputItem(call_id=call, output=output):
                messages.append({"role": "tool", "tool_call_id": call, "content": text_of(output)})
            case CompactionItem(encrypted_content=content):
                messages.append({"role": "user", "content": _COMPACTED + _summary(content, index)})
            case ItemReference(id=reference):
                raise InvalidRequest(
                    f"`input[{index}].id`: no stored item {reference!r}", param=f"input[{index}].id"
                )
    return [_with_whole_texts(message) for message in messages]


def check_outputs(items: Sequence[Item]) -> None:
    """Check that each result belongs to a call before it.

    Raises:
        InvalidRequest: a result belongs to none.
    """
    calls = set()
    for item in items:
        if item["type"] in _CALLS:
            calls.add(item["call_id"])
        elif item["type"] in _OUTPUTS and item["call_id"] not in calls:
            raise InvalidRequest(
                f"`input`: there is no call {item['call_id']!r} for a result", param="input"
            )


def text_of(parts: Parts) -> str:
    """Return the text of a content."""
    return parts if isinstance(parts, str) else "".join(p.text or p.refusal for p in parts)


def _thoughts(item: ReasoningItem) -> str:
    own = unsealed(item.encrypted_content or "")
    return text_of(item.content or []) or own or text_of(item.summary or [])


def _summary(content: str, index: int) -> str:
    summary = unsealed(content)
    if summary is None:
        param = f"input[{index}].encrypted_content"
        raise InvalidRequest(f"`{param}`: another server made it", param=param)
    return summary


def _add_to_answer(messages: list[dict[str, Any]], field: str, text: str) -> None:
    answer = _last_answer(messages)
    if answer is None or "tool_calls" in answer or (field != "content" and answer["content"]):
        answer = {"role": "assistant", "content": []}
        messages.append(answer)
    if text:
        answer.setdefault(field, []).append(text)


def _add_call(messages: list[dict[str, Any]], call_id: str, name: str, arguments: str) -> None:
    answer = _last_answer(messages)
    if answer is None:
        answer = {"role": "assistant", "content": []}
        messages.append(answer)
    function = {"name": name, "arguments": arguments}
    call = {"id": call_id, "type": "function", "function": function}
    answer.setdefault("tool_calls", []).append(call)


def _with_whole_texts(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message whose texts, which were collected in lists, are joined."""
    texts = {name: value for name in _TEXTS if isinstance(value := message.get(name), list)}
    return message | {name: "\n\n".join(texts) for name, texts in texts.items()}


def _last_answer(messages: list[dict[str, Any]]) -> dict[str, Any] | None:
    return messages[-1] if messages and messages[-1]["role"] == "assistant" else None


_KINDS: dict[str, type[InputItem]] = {
    kind.__struct_config__.tag: kind for kind in InputItem.__args__
}
