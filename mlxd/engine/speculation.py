"""Speculative decoding: a draft model guesses tokens ahead, the target model checks them at once.

The answer is the one that the target alone would give: each token is chosen from its logits, with
the noise, penalties and grammar of that position. Each guess that equals the token saves a pass of
the target.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.generate import StopSequences
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache

from mlxd.engine.batch import constrain
from mlxd.engine.cache_layers import Cache, CacheSnapshot, forget, put_back
from mlxd.engine.logprobs import Scored, StepLogprobs
from mlxd.engine.output import FinishReason
from mlxd.engine.prompt_cache import PromptCache
from mlxd.engine.reading_speed import PromptSpeed
from mlxd.engine.sampling import choose
from mlxd.engine.sequence import Sequence
from mlxd.messages import Event, PrefillProgress

Token = tuple[int, tuple[Scored, list[Scored]] | None]
"""A token id and its log-probabilities, if the row asks for them."""


class Runner:
    """The target or the draft model, with a cache of the first `covered` tokens of a sequence."""

    def __init__(
        self, model: Any, cache: Cache | None, covered: int, prompt_cache: PromptCache
    ) -> None:
        """Take a model, what its `prompt_cache` has of the sequence, and that prompt cache."""
        self.cache = cache or make_prompt_cache(model)
        self.covered = covered
        self._mark: tuple[int, Cache] | None = None
        self._model = model
        self._prompt_cache = prompt_cache

    def read(self, tokens: list[int]) -> None:
        """Process tokens of the prompt."""
        self._model(mx.array([tokens]), cache=self.cache)
        mx.eval([layer.state for layer in self.cache])
        self.covered += len(tokens)

    def predict(self, tokens: mx.array, count: int) -> mx.array:
        """Process tokens (n,); return the logits (count, vocabulary) of the last `count`."""
        logits: mx.array = self._model(tokens[None], cache=self.cache)[0, -count:, :]
        self.covered += tokens.shape[0]
        return logits

    def mark(self) -> None:
        """Remember the cache as it is, before tokens are processed one by one.

        In a full sliding window, each of them replaces an older one, which could not be put back.
        """
        self._mark = self.covered, CacheSnapshot(self.cache).checkpoint()

    def go_back_to(self, covered: int) -> None:
        """Forget the tokens after the first `covered`, or, if that is impossible, after the mark.

        Without a mark, they must have been processed together with the token before them.
        """
        if covered >= self.covered:
            return
        if self._mark is not None and not can_trim_prompt_cache(self.cache):
            covered, windows = self._mark
            put_back(self.cache, windows, self.covered - covered)
        else:
            forget(self.cache, self.covered - covered)
        self.covered = covered

    def keep(self, tokens: list[int], salt: str = "") -> None:
        """Put the cache of a sequence into the prompt cache."""
        self._prompt_cache.keep(tokens[: self.covered], CacheSnapshot(self.cache), salt=salt)


class Speculation:
    """One sequence, computed by two models."""

    def __init__(
        self, sequence: Sequence, *, target: Runner, draft: Runner, end: StopSequences.Matcher
    ) -> None:
        """Begin with a sequence that has a draft model; `end` recognizes its last token."""
        self.tokens = list(sequence.prompt)
        self.target = target
        self.draft = draft
        self._sequence = sequence
        self._end = end
        self._row = sequence.row
        self.prompt_speed = PromptSpeed()

    @staticmethod
    def possible(model: Any) -> bool:
        """Return whether a model's cache can forget a wrong guess."""
        return bool(can_trim_prompt_cache(make_prompt_cache(model)))

    @property
    def covered(self) -> int:
        """How many tokens of the prompt both models have read."""
        return min(self.target.covered, self.draft.covered)

    @property
    def reading(self) -> bool:
        """Whether there is still something to read: the last token starts the answer."""
        return self.covered < len(self._sequence.prompt) - 1

    def read(self, limit: int) -> list[Event]:
        """Read up to `limit` tokens of the prompt with each model."""
        prompt = self._sequence.prompt
        last = len(prompt) - 1
        for runner in (self.draft, self.target):
            if part := prompt[runner.covered : min(runner.covered + limit, last)]:
                runner.read(part)
        if not self.reading:
            return []
        return [PrefillProgress(self._sequence.request_id, self.covered, len(prompt))]

    def advance(self) -> list[Event]:
        """Guess and check, and pass the next tokens to the sequence, up to its end."""
        sequence = self._sequence
        events: list[Event] = []
        for token, scored in self._next_tokens():
            reason: FinishReason | None = None
            if self._end.advance(token):
                reason = "stop"
            elif sequence.completion_tokens + 1 >= sequence.max_tokens:
                reason = "length"
            events += sequence.advance(token, reason, scored)
            if sequence.ended:
                break
        return events

    def _next_tokens(self) -> list[Token]:
        """Guess and check; return the next tokens, at least one and at most those that are left."""
        known = len(self.tokens)
        left = self._sequence.max_tokens - self._sequence.completion_tokens
        count = max(0, min(self._sequence.draft.tokens, left - 1))
        guesses = self._guess(count)
        pending = mx.array(self.tokens[self.target.covered :], mx.uint32)
        logits = self.target.predict(mx.concatenate([pending, *guesses]), count + 1)
        guessed: list[int] = [guess.item() for guess in guesses]  # type: ignore[misc]
        chosen = self._check(logits, guessed)
        self.tokens += [token for token, _ in chosen]
        right = known + len(chosen) - 1
        self.target.go_back_to(right)
        self.draft.go_back_to(right)
        return chosen

    def _guess(self, count: int) -> list[mx.array]:
        """Return the next `count` tokens that the draft model chooses, each of shape (1,)."""
        known = len(self.tokens)
        guesses: list[mx.array] = []
        fed = mx.array(self.tokens[self.draft.covered :], mx.uint32)
        for place in range(count):
            logits = self.draft.predict(fed, 1)
            if place == 0:
                self.draft.mark()
            fed = choose(logits, [self._row], [known - 1 + place]).astype(mx.uint32)
            mx.async_eval(fed)  # type: ignore[no-untyped-call]
            guesses.append(fed)
        return guesses

    def _check(self, logits: mx.array, guessed: list[int]) -> list[Token]:
        """Choose tokens from the logits (guesses + 1, vocabulary), up to the first wrong guess."""
        if self._sequence.logits_processors or self._row.constraint is not None:
            return self._check_one_by_one(logits, guessed)
        first = len(self.tokens) - 1
        positions = range(first, first + len(guessed) + 1)
        chosen = choose(logits, [self._row] * len(positions), positions)
        tokens: list[int] = chosen.tolist()  # type: ignore[assignment]
        right = 0
        while right < len(guessed) and tokens[right] == guessed[right]:
            right += 1
        return self._with_logprobs(logits, tokens[: right + 1])

    def _check_one_by_one(self, logits: mx.array, guessed: list[int]) -> list[Token]:
        """Do the same as `_check` where logits depend on the tokens chosen before them."""
        chosen: list[Token] = []
        known = list(self.tokens)
        for place in range(len(guessed) + 1):
            row = logits[place : place + 1]
            for processor in self._sequence.logits_processors:
                row = processor(mx.array(known), row)
            if self._row.constraint is not None:
                row = constrain(row, [self._row], [0])
            token: int = choose(row, [self._row], [len(known) - 1]).item()  # type: ignore[assignment]
            if self._row.constraint is not None:
                self._row.constraint.accept(token)
            chosen += self._with_logprobs(row, [token])
            known.append(token)
            if place < len(guessed) and token != guessed[place]:
                break
        return chosen

    def _with_logprobs(self, logits: mx.array, tokens: list[int]) -> list[Token]:
        top = self._row.logprobs
        if top is None:
            return [(token, None) for token in tokens]
        step = StepLogprobs(logits[: len(tokens)], mx.array(tokens), top)
        return [(token, step.read(place, top)) for place, token in enumerate(tokens)]
