"""The content of messages, in the many forms that programs send: to text, thoughts and calls."""

from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from mlxd.api.decode import check_free_form, doc
from mlxd.errors import InvalidRequest

Content = Annotated[
    str | list[str | dict[str, Any]],
    doc(
        "A text, or a list of parts: of the types `text`, `input_text`, `output_text` and "
        "`refusal`, and in answers `thinking` and `reasoning`."
    ),
]

_THOUGHTS = {
    "thinking",
    "reasoning",
    "reasoning_content",
    "reasoning_text",
    "summary_text",
    "reasoning.text",
}
_HIDDEN = {"redacted_thinking", "reasoning.encrypted"}
_CALLS = {"tool_use", "tool_call", "tool-call"}
_MEDIA = {
    f"{direction}{kind}{form}"
    for direction in ("", "input_")
    for kind in ("image", "audio", "video", "file", "document")
    for form in ("", "_url")
}
_MEDIA_DATA = {"data", "source", "file_id", "file_data", *_MEDIA}
"""What only a part with something else than text has, not a tool's own list of files."""
_TEXT_FIELDS = (
    "text",
    "refusal",
    "thinking",
    "reasoning",
    "reasoning_content",
    "summary",
    "content",
    "output",
    "result",
)
_NESTED = 4


@dataclass
class Said:
    """What a message says."""

    text: str = ""
    thoughts: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list)


def read_content(content: str | list[Any] | None, path: str | None) -> Said:
    """Return what the content of a message says.

    Without a `path`, the message is history, and of a part that is no text only its type is said.

    Raises:
        InvalidRequest: a part of the content, which is at `path`, is no text.
    """
    if not isinstance(content, list):
        return Said(content or "")
    texts: list[str] = []
    thoughts: list[str] = []
    calls: list[dict[str, Any]] = []
    for index, part in enumerate(content):
        if isinstance(part, str):
            texts.append(part)
            continue
        kind = part.get("type") or "text"
        if kind in _CALLS:
            calls.append(_call(part))
        elif kind in _THOUGHTS:
            thoughts.append(text_of(part))
        elif kind not in _HIDDEN:
            texts.append(_part_text(part, kind, path and f"{path}[{index}]"))
    return Said("".join(texts), "".join(thoughts), calls)


def result_text(content: Any) -> str:
    """Return a tool's result as text: what is neither text nor parts becomes JSON."""
    if content is None or isinstance(content, str):
        return content or ""
    parts = content if isinstance(content, list) else [content]
    if all(map(_is_part, parts)) and not all(isinstance(part, str) for part in parts):
        return read_content(parts, None).text
    return "" if content == [] else as_json(content)


def text_of(value: Any, levels: int = _NESTED) -> str:
    """Return the text in a thought, which may be a text, a part, or a list of them."""
    match value:
        case str():
            return value
        case list() if levels:
            return "".join(text_of(inner, levels - 1) for inner in value)
        case dict() if levels:
            found = (text_of(value.get(name), levels - 1) for name in _TEXT_FIELDS)
            return next(filter(None, found), "")
        case _:
            return ""


def as_object(arguments: Any) -> dict[str, Any]:
    """Return the arguments of a past call as the object that templates expect.

    What is not the JSON text of an object, or would be too much for what handles it later, becomes
    the only value of an object.
    """
    value = arguments
    if isinstance(arguments, str):
        try:
            value = msgspec.json.decode(arguments) if arguments.strip() else None
        except (msgspec.DecodeError, RecursionError):
            value = arguments
    if value is None:
        return {}
    if isinstance(value, str) and value != arguments:
        return as_object(value)  # JSON text as a JSON string
    try:
        check_free_form(value, "")
    except InvalidRequest:
        value = arguments if isinstance(arguments, str) else as_json(arguments)
    return value if isinstance(value, dict) else {"arguments": value}


def as_json(value: Any) -> str:
    """Return a value that was decoded from JSON as JSON text."""
    return msgspec.json.encode(value).decode()


def _part_text(part: dict[str, Any], kind: Any, path: str | None) -> str:
    """Return the text of a part; what is not text is refused if a `path` is given."""
    text = text_of(part)
    if path is None:
        return f"[{kind} left out]" if kind in _MEDIA else text
    if kind in ("text", "input_text", "output_text"):
        if isinstance(part.get("text"), str):
            return str(part["text"])
        found = "expected a string" if part.get("text") is not None else "missing"
        raise InvalidRequest(f"`{path}.text`: {found}", param=f"{path}.text")
    if kind in _MEDIA or not text:
        name = f', not "{kind}"' if kind in _MEDIA else ""
        raise InvalidRequest(
            f'`{path}.type`: expected "text": the model takes only text{name}', param=f"{path}.type"
        )
    return text


def _is_part(part: Any) -> bool:
    """Return whether an element of a tool's result is a part, not data of the tool's own."""
    if isinstance(part, str):
        return True
    kind = part.get("type") if isinstance(part, dict) else None
    if not isinstance(kind, str):
        return False
    if kind in _MEDIA:
        return not _MEDIA_DATA.isdisjoint(part)
    return isinstance(part.get("text"), str) or kind in {"refusal", *_THOUGHTS, *_HIDDEN}


def _call(part: dict[str, Any]) -> dict[str, Any]:
    names = (("id", "toolCallId"), ("name", "toolName"), ("input", "args", "arguments"))
    call_id, name, arguments = (
        next((part[each] for each in some if each in part), None) for some in names
    )
    function = {"name": name if isinstance(name, str) else "", "arguments": as_object(arguments)}
    return {"id": call_id if isinstance(call_id, str) else None, "function": function}
