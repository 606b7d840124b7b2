"""One streamed answer: what arrives and when, parsed once it has ended."""

import contextlib
import json
import socket
import time
from dataclasses import dataclass, field
from typing import Any

import httptools

from mlxctl.errors import BenchmarkError, BenchmarkRefused

_TEXT_KEYS = ("text", "content", "reasoning", "reasoning_content")
_SHOWN_CHARACTERS = 300
_NOTHING, _OK = 0, 200  # the parser's status before the first line, and the only good one


@dataclass(slots=True)
class TimedReply:
    """One streamed answer. Times are in seconds after the request was sent, connecting included.

    Its text includes the reasoning. `cached_tokens` is None if the server does not tell.
    """

    text: str
    text_times: list[float]  # when each event that carries text was complete
    prompt_tokens: int
    completion_tokens: int
    finish_reason: str | None
    cached_tokens: int | None = None

    @property
    def cached_of_prompt(self) -> str:
        """How much of the prompt was cached, for a table."""
        cached = "?" if self.cached_tokens is None else self.cached_tokens
        return f"{cached} of {self.prompt_tokens}"


@dataclass(eq=False, slots=True)
class Stream:
    """One request, and what has arrived of its answer."""

    request: bytes
    connection: socket.socket
    started: float
    times: list[float] = field(default_factory=list)
    pieces: list[bytes] = field(default_factory=list)
    ended: bool = False

    def take(self, piece: bytes) -> None:
        """Add what has just arrived."""
        self.times.append(time.perf_counter())
        self.pieces.append(piece)

    def reply(self, *, tokens: int | None = None, text: bool = True) -> TimedReply:
        """Parse a stream that has ended by itself.

        `tokens` is the number of tokens the answer must have; None accepts an early end. With
        `text` False an answer may be empty.

        Raises:
            BenchmarkError: the status is not 200 (BenchmarkRefused), the stream has an error,
                lacks its usage or its `[DONE]`, or has another number of tokens.
        """
        reader = _Reader(self)
        reply = reader.reply
        if not reader.done:
            raise BenchmarkError(
                f"a stream ended without [DONE], after {reply.text[-80:]!r} and {reader.rest!r}"
            )
        if reply.completion_tokens == 0 or (text and not reply.text_times):
            raise BenchmarkError("a stream has no text or no usage")
        if tokens is not None and reply.completion_tokens != tokens:
            raise BenchmarkError(
                f"a stream has {reply.completion_tokens} tokens instead of {tokens} "
                f"(finish reason {reply.finish_reason})"
            )
        return reply

    def reply_so_far(self) -> TimedReply:
        """Parse what has arrived; raise BenchmarkError if it is an error."""
        return _Reader(self).reply


class _Reader:
    """Replays the arrivals of a stream through an HTTP parser, with the time of each."""

    def __init__(self, stream: Stream) -> None:
        self.reply = TimedReply("", [], 0, 0, None)
        self.done = False
        self.rest = b""
        self._fault: str | None = None  # raised at the end: the parser wraps what a callback raises
        self._now = 0.0
        self._parser: Any = httptools.HttpResponseParser(self)
        for arrived, piece in zip(stream.times, stream.pieces, strict=True):
            self._now = arrived - stream.started
            try:
                self._parser.feed_data(piece)
            except httptools.HttpParserError as error:
                reason = error.__context__ or error
                raise BenchmarkError(f"the answer is not as OpenAI's: {reason!r}") from error
        status = self._parser.get_status_code()
        if status not in (_NOTHING, _OK):
            raise BenchmarkRefused(f"status {status}: {_said(self.rest)}", status)
        if self._fault is not None:
            raise BenchmarkError(self._fault)

    def on_body(self, data: bytes) -> None:
        """Take more of the body from the parser, without the transfer coding."""
        self.rest += data
        if self._parser.get_status_code() != _OK:
            return
        *lines, self.rest = self.rest.split(b"\n")
        for line in lines:
            name, _, value = line.partition(b":")
            if name == b"data":
                self._on_data(value.strip())

    def _on_data(self, data: bytes) -> None:
        if data == b"[DONE]":
            self.done = True
            return
        event = json.loads(data)
        if error := event.get("error"):
            self._fault = self._fault or f"an error within a stream: {error}"
            return
        if usage := event.get("usage"):
            self.reply.prompt_tokens = usage["prompt_tokens"]
            self.reply.completion_tokens = usage["completion_tokens"]
            details = usage.get("prompt_tokens_details") or {}
            self.reply.cached_tokens = details.get("cached_tokens")
        for choice in event["choices"]:
            delta = choice if "text" in choice else choice["delta"]
            if text := next((delta[key] for key in _TEXT_KEYS if delta.get(key)), None):
                self.reply.text += text
                self.reply.text_times.append(self._now)
            if reason := choice.get("finish_reason"):
                self.reply.finish_reason = reason


def _said(body: bytes) -> str:
    """Return the message in the body of an error, or else its beginning."""
    text = body.decode(errors="replace")
    with contextlib.suppress(ValueError, TypeError, LookupError):
        text = str(json.loads(text)["error"]["message"])
    return " ".join(text.split())[:_SHOWN_CHARACTERS] or "no reason given"
