"""From the events of an answer to a response, whole or as events."""

import json
import secrets
import time
from collections.abc import Sequence
from typing import Any, Literal, TypeVar

import msgspec
from msgspec import UNSET

from mlxd.api.open_items import OpenText, OpenThought
from mlxd.api.openai_errors import ErrorObject
from mlxd.api.response_events import (
    ArgumentsDone,
    CallDelta,
    ErrorEvent,
    InputDone,
    ItemEvent,
    OutputTextDelta,
    OutputTextDone,
    PartEvent,
    ResponseEvent,
    StreamEvent,
    SummaryDelta,
    SummaryDone,
    SummaryPartEvent,
    ThoughtDelta,
    ThoughtDone,
)
from mlxd.api.response_resource import (
    IncompleteDetails,
    ItemStatus,
    OutputCall,
    OutputCustomToolCall,
    OutputFunctionCall,
    OutputItem,
    OutputText,
    ReasoningText,
    Response,
    Settings,
    Status,
    SummaryText,
    error_of,
    logprobs_of,
    usage_of,
)
from mlxd.api.response_tools import OfferedTool, Toolbox
from mlxd.errors import MlxdError
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Event,
    Finished,
    Reasoning,
    Started,
    TokenLogprob,
    ToolCall,
    Usage,
)

E = TypeVar("E", bound=msgspec.Struct)

DONE = b"data: [DONE]\n\n"
_INCOMPLETE = {"length": "max_output_tokens", "abort": "aborted"}

encode = msgspec.json.Encoder().encode


class ResponseReplyBuilder:
    """Turns the events of one answer into a response and its events.

    `response` is what is known so far; `begun` says whether there were events. `most_calls` is how
    many calls are shown, None for all; a `silent` one shows nothing at all. `summarized` shows
    thoughts as a summary, `sealed_thoughts` adds their `encrypted_content`.
    """

    def __init__(
        self,
        response_id: str,
        created: int,
        settings: Settings,
        toolbox: Toolbox,
        *,
        most_calls: int | None = None,
        silent: bool = False,
        summarized: bool = False,
        sealed_thoughts: bool = False,
    ) -> None:
        self.usage: Usage | None = None
        self._id = response_id
        self._settings = settings
        self._created = created
        self._toolbox = toolbox
        self._most_calls = most_calls
        self._silent = silent
        self._summarized = summarized
        self._sealed_thoughts = sealed_thoughts
        self._number = 0
        self.begun = self._started = False
        self._output: list[OutputItem] = []
        self._open: OpenText | OpenThought | None = None
        self._calls = 0
        self.response = self._response("queued" if settings["background"] else "in_progress")

    @property
    def ended(self) -> bool:
        """Whether there is nothing to come."""
        return self.response.status not in ("queued", "in_progress")

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return the SSE events that `events` make, `[DONE]` included after the last one."""
        pieces = [as_sse(event) for event in self.take(events)]
        return b"".join([*pieces, DONE] if self.ended else pieces)

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Add `events` to the response. A second `Started` begins it again."""
        for event in events:
            if isinstance(event[1], Started):
                self._output, self._open, self._calls = [], None, 0
            self.take([event])

    def reply(self) -> bytes:
        """Return the response as JSON."""
        return encode(self.response)

    def begin(self) -> list[StreamEvent]:
        """Return the first events, which say that the request is accepted."""
        self.begun = True
        kinds: list[Any] = ["response.created"]
        if self.response.status == "queued":
            kinds.append("response.queued")
        return [self._event(ResponseEvent, type=kind, response=self.response) for kind in kinds]

    def take(self, events: Sequence[ChoiceEvent]) -> list[StreamEvent]:
        """Return the events that an engine's events make."""
        made: list[StreamEvent] = []
        for _, event in events:
            if not self._silent or isinstance(event, Started | Finished):
                made += self._take(event)
        return made

    def fail(self, error: MlxdError) -> list[StreamEvent]:
        """Return the events that end a response with an error."""
        self.response = self._response("failed", error=error_of(error))
        detail = ErrorObject(error.message, error.type, error.param, error.code)
        return [
            self._event(
                ErrorEvent,
                error=detail,
                code=error.code,
                message=error.message,
                param=error.param,
            ),
            self._event(ResponseEvent, type="response.failed", response=self.response),
        ]

    def cancel(self) -> None:
        """End a response that nobody wants any more."""
        self._close("incomplete")
        self.response = self._response("cancelled")

    def _take(self, event: Event) -> list[StreamEvent]:
        match event:
            case Delta(text=text, logprobs=tokens):
                return self._say(text, tokens)
            case Reasoning(text=text):
                return self._think(text)
            case ToolCall():
                return self._call(event)
            case Started():
                return self._start()
            case Finished():
                return self._finish(event)
            case _:
                return []

    def _start(self) -> list[StreamEvent]:
        if self._started:  # on an engine that died
            return []
        self._started = True
        made = [] if self.begun else self.begin()
        self.response = self._response("in_progress")
        made.append(self._event(ResponseEvent, type="response.in_progress", response=self.response))
        return made

    def _say(self, text: str, tokens: list[TokenLogprob]) -> list[StreamEvent]:
        made: list[StreamEvent] = []
        if not isinstance(self._open, OpenText):
            made = self._close("completed")
            self._open = item = OpenText(*self._place("msg"))
            made += [
                self._item("added", item.whole("in_progress")),
                self._part(item, "added", OutputText("")),
            ]
        item, logprobs = self._open, logprobs_of(tokens)
        item.add(text, logprobs)
        made.append(self._of(item, OutputTextDelta, delta=text, logprobs=logprobs))
        return made

    def _think(self, text: str) -> list[StreamEvent]:
        made: list[StreamEvent] = []
        if not isinstance(self._open, OpenThought):
            made = self._close("completed")
            sealed_too = self._sealed_thoughts
            self._open = item = OpenThought(*self._place("rs"), self._summarized, sealed_too)
            made.append(self._item("added", item.whole("in_progress")))
            if self._summarized:
                made.append(self._summary(item, "added", ""))
            else:
                made.append(self._part(item, "added", ReasoningText("")))
        item = self._open
        item.add(text)
        kind: Any = SummaryDelta if self._summarized else ThoughtDelta
        made.append(self._of(item, kind, delta=text))
        return made

    def _call(self, call: ToolCall) -> list[StreamEvent]:
        tool = self._toolbox.called(call.name)
        if tool is None or self._calls == self._most_calls:
            return []
        self._calls += 1
        made = self._close("completed")
        call_id = call.call_id or f"call_{secrets.token_hex(12)}"
        empty, whole, text = self._call_items(tool, call_id, call.arguments)
        place = {"item_id": whole.id, "output_index": len(self._output)}
        made.append(self._item("added", empty))
        if isinstance(whole, OutputCustomToolCall):
            kind = "response.custom_tool_call_input.delta"
            made.append(self._event(CallDelta, type=kind, delta=text, **place))
            made.append(self._event(InputDone, input=text, **place))
        else:
            kind = "response.function_call_arguments.delta"
            made.append(self._event(CallDelta, type=kind, delta=text, **place))
            made.append(self._event(ArgumentsDone, name=whole.name, arguments=text, **place))
        made.append(self._item("done", whole))
        self._output.append(whole)
        return made

    def _call_items(
        self, tool: OfferedTool, call_id: str, arguments: str
    ) -> tuple[OutputCall, OutputCall, str]:
        """Return a call without its text, with it, and the text."""
        item_id, _ = self._place("ctc" if tool.custom else "fc")
        namespace = tool.namespace or UNSET
        if tool.custom:
            text = _input(arguments)
            whole: OutputCall = OutputCustomToolCall(
                item_id, "completed", call_id, tool.name, text, namespace
            )
            changes = {"input": ""}
        else:
            text = arguments
            whole = OutputFunctionCall(item_id, "completed", call_id, tool.name, text, namespace)
            changes = {"arguments": ""}
        empty = msgspec.structs.replace(whole, status="in_progress", **changes)
        return empty, whole, text

    def _finish(self, event: Finished) -> list[StreamEvent]:
        reason = None if self._silent else _INCOMPLETE.get(event.reason)
        made: list[StreamEvent] = []
        if not self._silent and not self._output and self._open is None:
            made = self._say("", [])  # an answer without a word is an answer
        made += self._close("incomplete" if reason else "completed")
        self.usage = event.usage
        kind: Any = "response.incomplete" if reason else "response.completed"
        self.response = self._response(
            "incomplete" if reason else "completed",
            usage=usage_of(event.usage),
            incomplete_details=IncompleteDetails(reason) if reason else None,
            completed_at=None if reason else int(time.time()),
        )
        return [*made, self._event(ResponseEvent, type=kind, response=self.response)]

    def _close(self, status: ItemStatus) -> list[StreamEvent]:
        """Return the events that finish the open item, if there is one."""
        item, self._open = self._open, None
        if item is None:
            return []
        whole, text = item.whole(status), item.text
        made: list[StreamEvent]
        if isinstance(item, OpenText):
            made = [
                self._of(item, OutputTextDone, text=text, logprobs=item.logprobs),
                self._part(item, "done", OutputText(text, [], item.logprobs)),
            ]
        elif self._summarized:
            made = [self._of(item, SummaryDone, text=text), self._summary(item, "done", text)]
        else:
            made = [
                self._of(item, ThoughtDone, text=text),
                self._part(item, "done", ReasoningText(text)),
            ]
        made.append(self._item("done", whole))
        self._output.append(whole)
        return made

    def _response(self, status: Status, **changes: Any) -> Response:
        output = list(self._output)
        return Response(
            **self._settings,
            id=self._id,
            created_at=self._created,
            status=status,
            output=output,
            **changes,
        )

    def _place(self, prefix: str) -> tuple[str, int]:
        """Return the id and the index of the next item. The id has the response's in it."""
        index = len(self._output)
        return f"{prefix}_{self._id.removeprefix('resp_')}_{index}", index

    def _event(self, kind: type[E], **fields: Any) -> E:
        self._number += 1
        return kind(sequence_number=self._number - 1, **fields)

    def _of(self, item: OpenText | OpenThought, kind: type[E], **fields: Any) -> E:
        return self._event(kind, item_id=item.id, output_index=item.index, **fields)

    def _item(self, what: Literal["added", "done"], item: OutputItem) -> ItemEvent:
        kind: Any = f"response.output_item.{what}"
        return self._event(ItemEvent, type=kind, output_index=len(self._output), item=item)

    def _part(
        self,
        item: OpenText | OpenThought,
        what: Literal["added", "done"],
        part: OutputText | ReasoningText,
    ) -> PartEvent:
        return self._of(item, PartEvent, type=f"response.content_part.{what}", part=part)

    def _summary(
        self, item: OpenText | OpenThought, what: Literal["added", "done"], text: str
    ) -> SummaryPartEvent:
        kind = f"response.reasoning_summary_part.{what}"
        return self._of(item, SummaryPartEvent, type=kind, part=SummaryText(text))


def as_sse(event: StreamEvent) -> bytes:
    """Return an event as one of a stream."""
    return b"event: %b\ndata: %b\n\n" % (event.type.encode(), encode(event))


def _input(arguments: str) -> str:
    """Return the input of a custom tool from the arguments that the model wrote."""
    try:
        given = json.loads(arguments)
    except ValueError:
        return arguments
    text = given.get("input") if isinstance(given, dict) else None
    return text if isinstance(text, str) else arguments
