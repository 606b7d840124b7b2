"""One running request."""

from typing import Literal

from mlxd.engine.output import TextOutput
from mlxd.messages import Delta, Event, Finished, Usage


class Sequence:
    """A request in the batch: what came in, what has come out."""

    def __init__(
        self, request_id: int, output: TextOutput, *, prompt_tokens: int, cached_tokens: int
    ) -> None:
        self.request_id = request_id
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._completion_tokens = 0
        self._output = output

    def advance(self, token: int, finish_reason: Literal["stop", "length"] | None) -> list[Event]:
        """Take the batch's next token; the events end with `Finished` when the sequence has ended.

        Args:
            token: its id; with `finish_reason` "stop" an end token that is not part of the text.
            finish_reason: why the batch ended the sequence, None while it goes on.
        """
        self._completion_tokens += 1
        text = "" if finish_reason == "stop" else self._output.add(token)
        if finish_reason is not None and not self._output.stopped:
            text += self._output.finish()
        events: list[Event] = [Delta(self.request_id, text)] if text else []
        if self._output.stopped:
            finish_reason = "stop"
        if finish_reason is not None:
            events.append(self.finished(finish_reason))
        return events

    def finished(self, reason: Literal["stop", "length", "abort"]) -> Finished:
        """Give the terminal event."""
        usage = Usage(self._prompt_tokens, self._cached_tokens, self._completion_tokens)
        return Finished(self.request_id, reason, usage)
