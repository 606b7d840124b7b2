"""One running request."""

from collections.abc import Callable

from mlxd.engine.logprobs import Scored
from mlxd.engine.output import FinishReason, Output
from mlxd.engine.structured_output import Constraint
from mlxd.messages import Event, Failed, Finished, TokenLogprob, TopLogprob, Usage


class Sequence:
    """A request that is being computed: what came in, what has come out, whether it has ended."""

    def __init__(
        self,
        request_id: int,
        output: Output,
        token_bytes: Callable[[int], bytes],
        *,
        prompt_tokens: int,
        cached_tokens: int,
        constraint: Constraint | None = None,
    ) -> None:
        self.request_id = request_id
        self._output = output
        self._token_bytes = token_bytes
        self._prompt_tokens = prompt_tokens
        self._cached_tokens = cached_tokens
        self._constraint = constraint
        self.completion_tokens = 0
        self.ended = False

    def advance(
        self,
        token: int,
        reason: FinishReason | None,
        scored: tuple[Scored, list[Scored]] | None = None,
    ) -> list[Event]:
        """Take the next token; the last event is terminal when the sequence has ended.

        Args:
            token: its id; with `reason` "stop" an end token that is not part of the text.
            reason: why the computation ended, None while it goes on.
            scored: the log-probability of the token and of others in its place, where asked for.
        """
        self.completion_tokens += 1
        events: list[Event] = []
        if reason != "stop":
            events = self._output.add(token, self._logprob(scored))
        if self._output.stopped:
            reason = "stop"
        elif reason is not None:
            events += self._output.finish()
        if reason is not None:
            self.ended = True
            events.append(self._ended(self._output.finish_reason(reason)))
        return events

    def _ended(self, reason: FinishReason) -> Finished | Failed:
        failure = self._constraint.failure if self._constraint else None
        if failure is None:
            return self.finished(reason)
        message = f"the answer could not be held to its grammar: {failure}"
        return Failed(self.request_id, "generation_failed", message)

    def finished(self, reason: FinishReason) -> Finished:
        """Give the terminal event."""
        usage = Usage(
            self._prompt_tokens,
            self._cached_tokens,
            self.completion_tokens,
            self._output.reasoning_tokens,
        )
        return Finished(self.request_id, reason, usage)

    def _logprob(self, scored: tuple[Scored, list[Scored]] | None) -> TokenLogprob | None:
        if scored is None:
            return None
        chosen, top = scored
        return TokenLogprob(self._describe(chosen), [self._describe(other) for other in top])

    def _describe(self, scored: Scored) -> TopLogprob:
        token, logprob = scored
        raw = self._token_bytes(token)
        return TopLogprob(token, raw.decode(errors="replace"), raw, logprob)
