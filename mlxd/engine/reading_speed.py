"""How fast prompts are read, and so how many tokens of one are read between two tokens of others.

Where nobody generates, a part is as large as those who come meanwhile can wait for.

A part of n tokens takes `fixed + n / speed` seconds. What is fixed can be most of it, on a GPU and
with a large model: then smaller parts would make a prompt take many times as long, and nobody would
wait less. It is measured with parts of half the size, which cost less than larger ones would.
"""

SMALLEST_PART = 32
_FIRST_PART = 128
_PART_SECONDS = 0.03
_PART_STEPS = 4.0
"""A part takes as long as so many steps of the running answers, with what is fixed, if that is
more: a long prompt beside others then takes about 1.3 times as long as alone."""
_FIRST_PART_ALONE = 1024
_LEAST_ALONE = 256
_ALONE_SECONDS = 0.5
_NEWEST = 0.3
"""The weight of the newest measurement in a running average."""
_PARTS_BETWEEN_HALVES = 8


class ReadingSpeed:
    """How fast prompts are read, alone or several together."""

    def __init__(self) -> None:
        self._tokens_per_second = 0.0
        self._fixed_seconds = 0.0
        self._last = (0, 0.0)  # the tokens and the seconds of the last part
        self._most = _FIRST_PART
        self._until_half = 1

    def part(self, limit: int, step_seconds: float | None) -> int:
        """Return how many tokens the next part has, `limit` at most.

        `step_seconds` is how long a step of the running answers takes, None without any.
        """
        if step_seconds is None:
            return min(limit, self._alone())
        if not self._tokens_per_second:
            return min(limit, self._most)
        seconds = max(_PART_SECONDS, _PART_STEPS * (step_seconds + self._fixed_seconds))
        tokens = min(int(self._tokens_per_second * (seconds - self._fixed_seconds)), self._most)
        tokens = max(SMALLEST_PART, tokens - tokens % SMALLEST_PART)
        if self._until_half <= 0:
            tokens = min(tokens, max(1, self._last[0] // 2))
        return min(limit, tokens)

    def _alone(self) -> int:
        if not self._tokens_per_second:
            return _FIRST_PART_ALONE
        seconds = max(_ALONE_SECONDS, _PART_STEPS * self._fixed_seconds)
        tokens = int(self._tokens_per_second * (seconds - self._fixed_seconds))
        return max(_LEAST_ALONE, tokens - tokens % SMALLEST_PART)

    def add(self, tokens: int, seconds: float, step_seconds: float | None) -> None:
        """Learn from a part that took `seconds`, a step of the running answers included.

        A slower part counts at once and a faster one slowly: to be late is worse than to be early.
        """
        seconds = max(seconds - (step_seconds or 0.0), seconds / 4)
        self._learn_fixed(tokens, seconds)
        if tokens < SMALLEST_PART:
            return  # which says how much is fixed, but not how fast the rest is
        speed = tokens / max(seconds - self._fixed_seconds, seconds / 4)
        last = self._tokens_per_second or speed
        self._tokens_per_second = min(speed, last + _NEWEST * (speed - last))
        self._most = max(self._most, 2 * tokens)

    def _learn_fixed(self, tokens: int, seconds: float) -> None:
        """Compare a part with the one before it, if one has at least twice the tokens."""
        (few, quick), (many, slow) = sorted((self._last, (tokens, seconds)))
        self._last = (tokens, seconds)
        self._until_half -= 1
        if not few or many < 2 * few:
            return
        each = max(0.0, slow - quick) / (many - few)
        fixed = max(0.0, quick - few * each)
        self._fixed_seconds += (fixed - self._fixed_seconds) / 2
        self._until_half = _PARTS_BETWEEN_HALVES
