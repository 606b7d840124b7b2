"""One running request."""

from collections.abc import Callable, Iterable
from typing import Any

import mlx.core as mx
from mlx_lm.sample_utils import make_logits_processors
from msgspec import structs

from mlxd.engine.echo import PromptEcho, ScoredToken, describe
from mlxd.engine.logprobs import Scored
from mlxd.engine.output import FinishReason, Output
from mlxd.engine.preprocessing import Prepared
from mlxd.engine.sampling import Row
from mlxd.generate_request import Draft, GenerateRequest, TextPrompt
from mlxd.messages import Delta, Event, Failed, Finished, Started, TokenLogprob, Usage


class Sequence:
    """A request that is being computed: its prompt, how its tokens are chosen, its output.

    `tokens` are those of its prompt and of its answer so far. `draft` says which draft model
    guesses how many tokens ahead; 0 tokens is none. `boundaries` are the numbers of tokens after
    which a conversation may part from this one, or go on. `ends` are tokens that end it besides
    those that end every answer; `scores_prompt` is how many of the likeliest tokens are still to be
    told of each place in the prompt, None if nothing is.
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
        end_tokens: tuple[int, ...] = (),
        processors: Iterable[Any] = (),
    ) -> None:
        """Begin a sequence of a request; `end_tokens` end every answer of the model.

        With 0 `max_tokens` one token is computed and not told. `processors` are logits processors
        besides those for the fields of the request.
        """
        request = prepared.message.request
        self.request_id = prepared.message.id
        self.salt = request.salt
        self.prompt = prepared.tokens
        self.tokens = list(self.prompt)
        self.cached_tokens = cached_tokens
        self.disk_tokens = min(prepared.disk_tokens, cached_tokens)
        self.boundaries = [common_tokens, *prepared.boundaries]
        self.max_tokens = max(1, max_tokens)
        self.row = row
        self.ends = (*request.stop_tokens, *prepared.end_tokens)
        self.logits_processors = _logits_processors(request)
        if request.min_tokens:
            start = len(self.prompt) + request.min_tokens
            self.logits_processors.append(_endless({*end_tokens, *self.ends}, start))
        self.logits_processors += processors
        self._silent = max_tokens == 0
        self._echo = None
        if request.echo:
            text = request.prompt.text if isinstance(request.prompt, TextPrompt) else None
            self._echo = PromptEcho(self.request_id, self.prompt, text, token_bytes)
        self.draft = request.draft or Draft("", 0)
        if self.scores_prompt is not None:
            self.draft = Draft("", 0)  # only one model reads the prompt then, token by token
        self.completion_tokens = 0
        self.ended = False
        self._grammar_param = request.grammar.param if request.grammar else "tools"
        self._output = output
        self._token_bytes = token_bytes

    @property
    def length(self) -> int:
        """How many tokens it has, those of its prompt and of its answer so far."""
        return len(self.prompt) + self.completion_tokens

    @property
    def scores_prompt(self) -> int | None:
        """How many of the likeliest tokens are to be told for each place in the prompt, if any."""
        return self.row.logprobs if self._echo is not None and not self._echo.done else None

    def read(self, first: int, scored: list[ScoredToken]) -> list[Event]:
        """Take the log-probabilities of tokens of the prompt, from the number `first`."""
        return [*self._echo.part(first, scored)] if self._echo is not None else []

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
        events: list[Event] = []
        if self._echo is not None:
            events += self._echo.rest(scored=self.row.logprobs is not None)
        if self._silent:
            self.ended = True
            return [*events, self.finished("length")]
        self.completion_tokens += 1
        self.tokens.append(token)
        if reason != "stop":
            events += self._output.add(token, self._logprob(scored))
        if self._output.stopped:
            reason = "stop"
        elif reason is not None:
            events += self._output.finish(ended=reason == "stop")
            if reason == "stop" and self._echo is not None and (last := self._logprob(scored)):
                events.append(Delta(self.request_id, "", [last]))  # evaluations count the tokens
        if reason is not None:
            self.ended = True
            events.append(self._ended(self._output.finish_reason(reason)))
        return events

    def started(self) -> Started:
        """Return the first event."""
        constraint = self.row.constraint
        overlooked = list(constraint.overlooked) if constraint else []
        counts = len(self.prompt), self.cached_tokens
        return Started(self.request_id, *counts, overlooked, self.disk_tokens)

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
        if constraint.too_complex:
            return Failed(self.request_id, "invalid_request", message, self._grammar_param)
        return Failed(self.request_id, "generation_failed", message)

    def _logprob(self, scored: tuple[Scored, list[Scored]] | None) -> TokenLogprob | None:
        if scored is None:
            return None
        chosen, top = scored
        others = [describe(other, self._token_bytes) for other in top]
        return TokenLogprob(describe(chosen, self._token_bytes), others)


def _logits_processors(request: GenerateRequest) -> list[Any]:
    penalties = structs.asdict(request.penalties)  # with the names of mlx_lm's parameters
    if penalties["repetition_penalty"] == 1:
        penalties["repetition_penalty"] = None
    processors: list[Any] = make_logits_processors(request.logit_bias, **penalties)
    return [*processors, _finite] if processors else []


def _finite(_tokens: mx.array, logits: Any) -> Any:
    """Return logits without what an extreme penalty makes of them: infinite, or no numbers."""
    limits = mx.finfo(logits.dtype)
    return mx.nan_to_num(logits, posinf=limits.max, neginf=limits.min)


def _endless(ends: set[int], length: int) -> Any:
    """Return a logits processor that keeps a sequence from ending before it has `length` tokens.

    A token that ends it stays possible where a grammar allows no other.
    """

    def process(tokens: mx.array, logits: Any) -> Any:
        if tokens.size >= length:
            return logits
        here = mx.array([end for end in ends if end < logits.shape[-1]], mx.uint32)
        if here.size:
            logits[:, here] = mx.finfo(logits.dtype).min
        return logits

    return process
