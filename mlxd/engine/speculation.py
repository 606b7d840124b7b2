"""Speculative decoding: a small model guesses some tokens ahead, the large one checks them at once.

What comes out is what the large model alone would have said: each token is chosen from its logits,
with the noise, penalties and grammar of that position; a guess only saves a pass where it is equal.
"""

from typing import Any

import mlx.core as mx
from mlx_lm.models.cache import can_trim_prompt_cache, make_prompt_cache, trim_prompt_cache

from mlxd.engine.batch import constrain
from mlxd.engine.logprobs import Scored, StepLogprobs
from mlxd.engine.sampling import Row, choose

Token = tuple[int, tuple[Scored, list[Scored]] | None]
"""A token id and what is told of it, where the row asks."""


class Runner:
    """One model and its cache, which covers the first `covered` tokens of a sequence."""

    def __init__(self, name: str, model: Any, cache: list[Any] | None, covered: int) -> None:
        """Take a model, what the prompt cache calls it, and what that has of the sequence."""
        self.name = name
        self.cache = cache or make_prompt_cache(model)
        self.covered = covered
        self._model = model

    def read(self, tokens: list[int]) -> None:
        """Take tokens of the prompt."""
        self._model(mx.array([tokens]), cache=self.cache)
        mx.eval([layer.state for layer in self.cache])
        self.covered += len(tokens)

    def predict(self, tokens: mx.array, count: int) -> mx.array:
        """Take tokens (n,), give the logits (count, vocabulary) after the last `count` of them."""
        logits: mx.array = self._model(tokens[None], cache=self.cache)[0, -count:, :]
        self.covered += tokens.shape[0]
        return logits

    def go_back_to(self, covered: int) -> None:
        """Forget the tokens after the first `covered`, which may be all there are."""
        if covered < self.covered:
            trim_prompt_cache(self.cache, self.covered - covered)
            self.covered = covered


class Speculation:
    """One sequence, computed by two models."""

    def __init__(
        self,
        prompt: list[int],
        row: Row,
        processors: list[Any],
        *,
        target: Runner,
        draft: Runner,
        guesses: int,
        max_tokens: int,
    ) -> None:
        """Begin after `prompt`; `processors` are mlx_lm's, `guesses` the tokens guessed a round."""
        self.tokens = list(prompt)
        self.target = target
        self.draft = draft
        self._prompt_tokens = len(prompt)
        self._row = row
        self._processors = processors
        self._guesses = guesses
        self._left = max_tokens

    @staticmethod
    def possible(model: Any) -> bool:
        """Whether a model's cache can forget a wrong guess."""
        return bool(can_trim_prompt_cache(make_prompt_cache(model)))

    def prefill(self, step_size: int) -> tuple[int, int] | None:
        """Process up to `step_size` tokens of the prompt with each model.

        Returns:
            How many of the prompt's tokens are processed and their number; None once all are.
        """
        last = self._prompt_tokens - 1  # it starts the answer
        if min(self.target.covered, self.draft.covered) >= last:
            return None
        for runner in (self.draft, self.target):
            if part := self.tokens[runner.covered : min(runner.covered + step_size, last)]:
                runner.read(part)
        return min(self.target.covered, self.draft.covered), self._prompt_tokens

    def round(self) -> list[Token]:
        """Guess and check; give the next tokens, at least one and never more than are left."""
        known = len(self.tokens)
        count = max(0, min(self._guesses, self._left - 1))
        guesses = self._guess(count)
        pending = mx.array(self.tokens[self.target.covered :], mx.uint32)
        logits = self.target.predict(mx.concatenate([pending, *guesses]), count + 1)
        guessed: list[int] = [guess.item() for guess in guesses]  # type: ignore[misc]
        chosen = self._check(logits, guessed)
        self.tokens += [token for token, _ in chosen]
        self._left -= len(chosen)
        right = known + len(chosen) - 1
        self.target.go_back_to(right)
        self.draft.go_back_to(right)
        return chosen

    def _guess(self, count: int) -> list[mx.array]:
        """Give the next `count` tokens as the draft model would have them, each of shape (1,)."""
        known = len(self.tokens)
        guesses: list[mx.array] = []
        fed = mx.array(self.tokens[self.draft.covered :], mx.uint32)
        for place in range(count):
            logits = self.draft.predict(fed, 1)
            fed = choose(logits, [self._row], [known - 1 + place]).astype(mx.uint32)
            mx.async_eval(fed)  # type: ignore[no-untyped-call]
            guesses.append(fed)
        return guesses

    def _check(self, logits: mx.array, guessed: list[int]) -> list[Token]:
        """Choose tokens from the logits (guesses + 1, vocabulary) while the guesses are right."""
        if self._processors or self._row.constraint is not None:
            return self._check_one_by_one(logits, guessed)
        first = len(self.tokens) - 1
        positions = range(first, first + len(guessed) + 1)
        chosen = choose(logits, [self._row] * len(positions), positions)
        tokens: list[int] = chosen.tolist()  # type: ignore[assignment]
        right = 0
        while right < len(guessed) and tokens[right] == guessed[right]:
            right += 1
        return self._tell(logits, tokens[: right + 1])

    def _check_one_by_one(self, logits: mx.array, guessed: list[int]) -> list[Token]:
        """As `_check`, where what is allowed depends on the tokens before."""
        chosen: list[Token] = []
        said = list(self.tokens)
        for place in range(len(guessed) + 1):
            row = logits[place : place + 1]
            for processor in self._processors:
                row = processor(mx.array(said), row)
            if self._row.constraint is not None:
                row = constrain(row, [self._row], [0])
            token: int = choose(row, [self._row], [len(said) - 1]).item()  # type: ignore[assignment]
            if self._row.constraint is not None:
                self._row.constraint.accept(token)
            chosen += self._tell(row, [token])
            said.append(token)
            if place < len(guessed) and token != guessed[place]:
                break
        return chosen

    def _tell(self, logits: mx.array, tokens: list[int]) -> list[Token]:
        """Add to the tokens what the row asks to be told of them."""
        top = self._row.logprobs
        if top is None:
            return [(token, None) for token in tokens]
        step = StepLogprobs(logits[: len(tokens)], mx.array(tokens), top)
        return [(token, step.read(place, top)) for place, token in enumerate(tokens)]
