"""The schemas of the Open Responses specification (2026-04-24): of its events and its response."""

import json
from typing import Any

import openresponses_types.types as specification
from openresponses_types.types import ResponseResource

EVENTS = {
    str(next(iter(event.model_fields["type"].annotation))): event
    for name, event in vars(specification).items()
    if name.endswith("StreamingEvent")
}
"""The schema of each event, by its type."""


def checked_response(response: dict[str, Any]) -> dict[str, Any]:
    """Return a response that the specification allows."""
    ResponseResource.model_validate(response)
    return response


def checked_stream(data: bytes) -> list[dict[str, Any]]:
    """Return the events of a whole stream that the specification allows."""
    *events, done, rest = data.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    return [checked_event(event) for event in events if not event.startswith(":")]


def checked_event(text: str) -> dict[str, Any]:
    """Return one event that the specification allows."""
    name, _, data = text.removeprefix("event: ").partition("\ndata: ")
    event = json.loads(data)
    assert event["type"] == name
    EVENTS[name].model_validate(event)
    return event
