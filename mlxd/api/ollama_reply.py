"""From the events of an answer to Ollama's reply, in lines or whole, and Ollama's errors."""

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import msgspec
from msgspec import UNSET, UnsetType

from mlxd import messages
from mlxd.api.reply import OverlookedKeyword, warnings_of
from mlxd.errors import MlxdError
from mlxd.messages import (
    ChoiceEvent,
    Delta,
    Event,
    Finished,
    Queued,
    Reasoning,
    Started,
    TokenLogprob,
    ToolCall,
)

_encode = msgspec.json.Encoder().encode


class OllamaFunction(msgspec.Struct, frozen=True):
    """The function that the model calls."""

    name: str
    arguments: Any


class OllamaToolCall(msgspec.Struct, frozen=True):
    """A call of a function."""

    id: str
    function: OllamaFunction


class SaidMessage(msgspec.Struct, frozen=True, kw_only=True):
    """What the model says, or a piece of it."""

    role: Literal["assistant"] = "assistant"
    content: str = ""
    thinking: str | UnsetType = UNSET
    tool_calls: list[OllamaToolCall] | UnsetType = UNSET


class OllamaTokenChance(msgspec.Struct, frozen=True):
    """A token and its log-probability."""

    token: str
    logprob: float
    bytes: list[int]


class OllamaChosenToken(OllamaTokenChance, frozen=True):
    """The token that was chosen, and the likeliest ones in its place."""

    top_logprobs: list[OllamaTokenChance] | UnsetType = UNSET


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """A reply or a piece of one. Durations are in nanoseconds; only the last piece has them."""

    model: str
    created_at: str
    done: bool
    done_reason: str | UnsetType = UNSET
    total_duration: int | UnsetType = UNSET
    load_duration: int | UnsetType = UNSET
    prompt_eval_count: int | UnsetType = UNSET
    prompt_eval_duration: int | UnsetType = UNSET
    eval_count: int | UnsetType = UNSET
    eval_duration: int | UnsetType = UNSET
    logprobs: list[OllamaChosenToken] | UnsetType = UNSET
    warnings: list[OverlookedKeyword] | UnsetType = UNSET


class ChatLine(Line, frozen=True, kw_only=True):
    """A reply of /api/chat."""

    message: SaidMessage


class TextLine(Line, frozen=True, kw_only=True):
    """A reply of /api/generate."""

    response: str
    thinking: str | UnsetType = UNSET
    context: list[int] | UnsetType = UNSET


class OllamaError(msgspec.Struct, frozen=True):
    """The reply to a request that failed, and the last line of a stream that did."""

    error: str


class OllamaErrors:
    """Writes errors as Ollama's API does."""

    def whole(self, error: MlxdError) -> bytes:
        """Return the body of a reply."""
        return _encode(OllamaError(error.message))

    def event(self, error: MlxdError) -> bytes:
        """Return the last line of a stream that had begun."""
        return self.whole(error) + b"\n"


class Lines(ABC):
    """Writes the lines of a dialect; the model is called as the request calls it."""

    def __init__(self, model: str) -> None:
        self._model = model

    def line(
        self,
        content: str = "",
        thinking: str = "",
        calls: list[OllamaToolCall] | None = None,
        **ending: Any,
    ) -> bytes:
        """Return one line: a piece of the answer, or with the fields of its `ending` the end."""
        ending |= {
            "model": self._model,
            "created_at": _now(),
            "done": bool(ending.get("done_reason")),
        }
        return _encode(self._make(content, thinking or UNSET, calls or UNSET, ending)) + b"\n"

    @abstractmethod
    def _make(
        self,
        content: str,
        thinking: str | UnsetType,
        calls: list[OllamaToolCall] | UnsetType,
        fields: dict[str, Any],
    ) -> Line:
        """Return the line; `fields` are those of `Line`."""


class ChatLines(Lines):
    """Writes the lines of /api/chat."""

    def _make(
        self,
        content: str,
        thinking: str | UnsetType,
        calls: list[OllamaToolCall] | UnsetType,
        fields: dict[str, Any],
    ) -> Line:
        message = SaidMessage(content=content, thinking=thinking, tool_calls=calls)
        return ChatLine(message=message, **fields)


class TextLines(Lines):
    """Writes the lines of /api/generate, whose answers have no calls."""

    def _make(
        self,
        content: str,
        thinking: str | UnsetType,
        _calls: list[OllamaToolCall] | UnsetType,
        fields: dict[str, Any],
    ) -> Line:
        return TextLine(response=content, thinking=thinking, **fields)


class OllamaBuilder:
    """Turns the events of one answer into its reply.

    `reason` is why the answer ended, if not as the model says. `on_end` returns from the text of
    the answer the context that the last line has.
    """

    def __init__(self, lines: Lines, reason: str | None) -> None:
        self.usage: messages.Usage | None = None
        self.on_end: Callable[[str], list[int]] | None = None
        self._lines = lines
        self._reason = reason
        self._accepted = time.monotonic_ns()
        self._restart()

    def _restart(self) -> None:
        self._started = self._first = 0
        self._text: list[str] = []
        self._thoughts: list[str] = []
        self._calls: list[OllamaToolCall] = []
        self._logprobs: list[TokenLogprob] = []
        self._ending: dict[str, Any] = {}
        self._overlooked: list[messages.Overlooked] = []

    def stream(self, events: list[ChoiceEvent]) -> bytes:
        """Return the lines that `events` make."""
        return b"".join(self._line(event) for _, event in events)

    def collect(self, events: list[ChoiceEvent]) -> None:
        """Add `events` to the reply. A second `Started` begins it again."""
        for _, event in events:
            if isinstance(event, Started):
                self._restart()
            self._add(event)

    def reply(self) -> bytes:
        """Return the whole reply as JSON, once the answer has finished."""
        if self._logprobs:
            self._ending["logprobs"] = _describe(self._logprobs)
        text, thoughts = "".join(self._text), "".join(self._thoughts)
        return self._lines.line(text, thoughts, self._calls, **self._ending)

    def _add(self, event: Event) -> None:
        if not isinstance(event, Started | Queued | messages.PrefillProgress):
            self._first = self._first or time.monotonic_ns()
        match event:
            case Started(overlooked=overlooked):
                self._overlooked = overlooked
                self._started = time.monotonic_ns()
            case Delta(text=text, logprobs=logprobs):
                self._text.append(text)
                self._logprobs += logprobs
            case Reasoning(text=text):
                self._thoughts.append(text)
            case ToolCall():
                self._calls.append(_tool_call(event))
            case Finished():
                self._finish(event)

    def _line(self, event: Event) -> bytes:
        self._add(event)
        match event:
            case Delta(text=text, logprobs=logprobs):
                extra: dict[str, Any] = {"logprobs": _describe(logprobs)} if logprobs else {}
                return self._lines.line(text, **extra)
            case Reasoning(text=text):
                return self._lines.line(thinking=text)
            case ToolCall():
                return self._lines.line(calls=self._calls[-1:])
            case Finished():
                return self._lines.line(**self._ending)
        return b""

    def _finish(self, finished: Finished) -> None:
        self.usage = usage = finished.usage
        now = time.monotonic_ns()
        started, first = self._started or now, self._first or now
        reason = "length" if finished.reason == "length" else "stop"
        self._ending = {"done_reason": self._reason or reason}
        if self.on_end is not None:
            self._ending["context"] = self.on_end("".join(self._text))
        self._ending["warnings"] = warnings_of(self._overlooked)
        if self._reason is None:
            self._ending |= {
                "total_duration": now - self._accepted,
                "load_duration": started - self._accepted,
                "prompt_eval_count": usage.prompt_tokens,
                "prompt_eval_duration": first - started,
                "eval_count": usage.completion_tokens,
                "eval_duration": now - first,
            }


def _tool_call(call: ToolCall) -> OllamaToolCall:
    arguments = msgspec.Raw(call.arguments.encode())
    call_id = call.call_id or f"call_{secrets.token_hex(12)}"
    return OllamaToolCall(call_id, OllamaFunction(call.name, arguments))


def _describe(logprobs: list[TokenLogprob]) -> list[OllamaChosenToken]:
    return [
        OllamaChosenToken(
            each.token.text,
            each.token.logprob,
            list(each.token.bytes),
            [OllamaTokenChance(top.text, top.logprob, list(top.bytes)) for top in each.top]
            or UNSET,
        )
        for each in logprobs
    ]


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
