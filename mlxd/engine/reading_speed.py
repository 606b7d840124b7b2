"""How fast prompts are read, and thus how many tokens to read between two tokens of others.

While nobody generates, a part is as large as a request that arrives meanwhile can wait for.

A part of n tokens takes `fixed + n / speed` seconds. On a GPU and with a large model, most of that
can be `fixed`: then smaller parts would make a prompt take many times as long, and others would
hardly wait less. It is measured by reading a part of half the size now and then.

The further into a prompt, the slower it is read. So the speed of each prompt is measured by itself,
and the first part of a new prompt is small.
"""

from dataclasses import dataclass

SMALLEST_PART = 32
_FIRST_PART = 128
_PART_SECONDS = 0.03
_PART_STEPS = 4.0
"""A part may take as long as this many steps of the running answers, if that is more than
_PART_SECONDS: a long prompt beside others then takes about 1.3 times as long as alone."""
_FIRST_PART_ALONE = 1024
_LEAST_ALONE = 256
_ALONE_SECONDS = 0.5
_NEWEST = 0.3
"""The weight of the newest measurement in a running average."""
_PARTS_BETWEEN_HALVES = 8


@dataclass(eq=False)
class PromptSpeed:
    """How fast one prompt is read, in tokens a second; 0 before its first part."""

    tokens_per_second: float = 0.0


class ReadingSpeed:
    """How fast prompts are read, alone or several together."""

    def __init__(self) -> None:
        self._tokens_per_second = 0.0
        self._fixed_seconds = 0.0
        self._last = (0, 0.0)  # the tokens and the seconds of the last part
        self._last_prompt: PromptSpeed | None = None
        self._most = _FIRST_PART
        self._until_half = 0

    def part(self, limit: int, step_seconds: float | None, prompt: PromptSpeed) -> int:
        """Return how many tokens the next part of a prompt has, `limit` at most.

        `step_seconds` is how long a step of the running answers takes, None without any.
        """
        own = prompt.tokens_per_second
        first = _FIRST_PART_ALONE if step_seconds is None else _FIRST_PART
        most = limit if own else min(limit, first)
        speed = own or self._tokens_per_second
        if not speed:
            return most
        if step_seconds is None:
            seconds = max(_ALONE_SECONDS, _PART_STEPS * self._fixed_seconds)
            return min(most, max(_LEAST_ALONE, self._within(seconds, speed, limit)))
        seconds = max(_PART_SECONDS, _PART_STEPS * (step_seconds + self._fixed_seconds))
        tokens = max(SMALLEST_PART, self._within(seconds, speed, self._most))
        if self._until_half <= 0 and prompt is self._last_prompt:
            tokens = min(tokens, max(1, self._last[0] // 2))
        return min(most, tokens)

    def _within(self, seconds: float, speed: float, most: int) -> int:
        tokens = min(int(speed * (seconds - self._fixed_seconds)), most)
        return tokens - tokens % SMALLEST_PART

    def add(
        self, tokens: int, seconds: float, step_seconds: float | None, prompt: PromptSpeed
    ) -> None:
        """Learn from a part of `tokens` that took `seconds`, including a step of running answers.

        A slower part counts at once and a faster one slowly: too large a part is worse than too
        small a one.
        """
        seconds = max(seconds - (step_seconds or 0.0), seconds / 4)
        if prompt is self._last_prompt:
            self._learn_fixed(tokens, seconds)
        self._last, self._last_prompt = (tokens, seconds), prompt
        if tokens < SMALLEST_PART:
            return  # too few to tell the speed
        speed = tokens / max(seconds - self._fixed_seconds, seconds / 4)
        self._tokens_per_second = _average(self._tokens_per_second or speed, speed)
        self._most = max(self._most, 2 * tokens)
        prompt.tokens_per_second = _average(prompt.tokens_per_second or speed, speed)

    def _learn_fixed(self, tokens: int, seconds: float) -> None:
        """Compare a part with the one before it, if one has at least twice the tokens."""
        (few, quick), (many, slow) = sorted((self._last, (tokens, seconds)))
        self._until_half -= 1
        if not few or many < 2 * few:
            return
        each = max(0.0, slow - quick) / (many - few)
        fixed = max(0.0, quick - few * each)
        self._fixed_seconds += (fixed - self._fixed_seconds) / 2
        self._until_half = _PARTS_BETWEEN_HALVES


def _average(last: float, newest: float) -> float:
    return min(newest, last + _NEWEST * (newest - last))
