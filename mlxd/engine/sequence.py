"""One running request."""

from collections.abc import Callable
from typing import Any

from mlx_lm.sample_utils import make_logits_processors
from msgspec import structs

from mlxd.engine.logprobs import Scored
from mlxd.engine.output import FinishReason, Output
from mlxd.engine.preprocessing import Prepared
from mlxd.engine.sampling import Row
from mlxd.messages import (
    Draft,
    Event,
    Failed,
    Finished,
    GenerateRequest,
    Started,
    TokenLogprob,
    TopLogprob,
    Usage,
)


class Sequence:
    """A request that is being computed: its prompt, how its tokens are chosen, its output.

    `tokens` are those of its prompt and of its answer so far. `draft` says which draft model
    guesses how many tokens ahead; 0 tokens is none. `boundaries` are the numbers of tokens after
    which a conversation may part from this one, or go on.
    """

    def __init__(
        self,
        prepared: Prepared,
        row: Row,
        output: Output,
        token_bytes: Callable[[int], bytes],
        *,
        cached_tokens: int,
        max_tokens: int,
        common_tokens: int = 0,
    ) -> None:
        request = prepared.message.request
        self.request_id = prepared.message.id
        self.prompt = prepared.tokens
        self.tokens = list(self.prompt)
        self.cached_tokens = cached_tokens
        self.boundaries = [common_tokens, *prepared.boundaries]
        self.max_tokens = max_tokens
        self.row = row
        self.logits_processors = _logits_processors(request)
        self.draft = request.draft or Draft("", 0)
        self.completion_tokens = 0
        self.ended = False
        self._output = output
        self._token_bytes = token_bytes

    @property
    def length(self) -> int:
        """How many tokens it has, those of its prompt and of its answer so far."""
        return len(self.prompt) + self.completion_tokens

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
        self.tokens.append(token)
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

    def started(self) -> Started:
        """Return the first event."""
        return Started(self.request_id, len(self.prompt), self.cached_tokens)

    def finished(self, reason: FinishReason) -> Finished:
        """Return the terminal event of a sequence that has not failed."""
        usage = Usage(
            len(self.prompt),
            self.cached_tokens,
            self.completion_tokens,
            self._output.reasoning_tokens,
        )
        return Finished(self.request_id, reason, usage, self._output.stop_text)

    def _ended(self, reason: FinishReason) -> Finished | Failed:
        constraint = self.row.constraint
        if constraint is None or constraint.failure is None:
            return self.finished(reason)
        message = f"the answer could not be constrained to its grammar: {constraint.failure}"
        return Failed(self.request_id, "generation_failed", message)

    def _logprob(self, scored: tuple[Scored, list[Scored]] | None) -> TokenLogprob | None:
        if scored is None:
            return None
        chosen, top = scored
        return TokenLogprob(self._describe(chosen), [self._describe(other) for other in top])

    def _describe(self, scored: Scored) -> TopLogprob:
        token, logprob = scored
        raw = self._token_bytes(token)
        return TopLogprob(token, raw.decode(errors="replace"), raw, logprob)


def _logits_processors(request: GenerateRequest) -> list[Any]:
    penalties = structs.asdict(request.penalties)  # with the names of mlx_lm's parameters
    if penalties["repetition_penalty"] == 1:
        penalties["repetition_penalty"] = None
    processors: list[Any] = make_logits_processors(request.logit_bias, **penalties)
    return processors
