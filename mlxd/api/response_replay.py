"""The events of a response that is already complete, for clients that ask for it as a stream."""

from typing import Any

import msgspec

from mlxd.api.response_items import custom_arguments, flat_name
from mlxd.api.response_resource import Response, settings_of
from mlxd.api.response_tools import Toolbox
from mlxd.api.responses_reply import ResponseReplyBuilder, as_sse
from mlxd.errors import GenerationFailed
from mlxd.messages import Delta, Event, Finished, Reasoning, Started, ToolCall, Usage

_REASONS: dict[str, Any] = {"completed": "stop", "incomplete": "length"}


def replay(stored: dict[str, Any]) -> list[bytes]:
    """Return the SSE events that end with the response `stored`. Each item is one delta."""
    response = msgspec.convert(_raw(stored), Response)
    toolbox = Toolbox(stored["tools"], None, parallel=True)
    builder = ResponseReplyBuilder(
        response.id,
        response.created_at,
        settings_of(response),
        toolbox,
        summarized=response.reasoning.summary is not None,
    )
    made = builder.take([(0, event) for event in _events(stored["output"])])
    if response.status in _REASONS:
        last = Finished(0, _REASONS[response.status], Usage(0, 0, 0))
        *more, end = builder.take([(0, last)])
    else:
        message = response.error.message if response.error else "cancelled"
        *more, end = builder.fail(GenerationFailed(message))
    whole = msgspec.structs.replace(end, response=response)
    return [as_sse(event) for event in (*made, *more, whole)]


def _raw(stored: dict[str, Any]) -> dict[str, Any]:
    encoded = {name: msgspec.Raw(msgspec.json.encode(stored[name])) for name in _RAW}
    return {**stored, **encoded}


_RAW = ("tools", "tool_choice")


def _events(output: list[dict[str, Any]]) -> list[Event]:
    """Return the engine's events that would make these items."""
    events: list[Event] = [Started(0, 0, 0)]
    for item in output:
        text = "".join(part.get("text", "") for part in item.get("content") or ())
        summary = "".join(part["text"] for part in item.get("summary") or ())
        match item["type"]:
            case "message":
                events.append(Delta(0, text))
            case "reasoning":
                events.append(Reasoning(0, text or summary))
            case "function_call":
                name = flat_name(item["name"], item.get("namespace"))
                events.append(ToolCall(0, name, item["arguments"], item["call_id"]))
            case "custom_tool_call":
                name = flat_name(item["name"], item.get("namespace"))
                call = custom_arguments(item["input"])
                events.append(ToolCall(0, name, call, item["call_id"]))
    return events
