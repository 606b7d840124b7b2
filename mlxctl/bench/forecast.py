"""How long a measurement will take, judging by earlier ones, so that a benchmark ends in time."""

import time
from collections.abc import Callable

from mlxctl.bench.runs import Run


class Deadline:
    """The time that a benchmark may take, from now on; `clock` is in seconds."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._seconds = seconds

    @property
    def left(self) -> float:
        """How many seconds are left, 0 at the end."""
        return max(0.0, self._seconds - self.taken)

    @property
    def taken(self) -> float:
        """How many seconds have passed."""
        return self._clock() - self._began


class Forecast:
    """What is known of one server's speed.

    It assumes that a prompt is read as slowly as the longest known one that is not longer, and that
    a number of streams that was not measured yet generates no more tokens a second than fewer
    streams. So a forecast is more often too long than too short.
    """

    def __init__(self) -> None:
        self._prompt_rates: dict[int, float] = {}
        self._rates: dict[int, float] = {}
        self._seen: dict[tuple[int, int], float] = {}

    def learn(self, prompt: int, run: Run) -> None:
        """Take in a run whose prompts were asked to have `prompt` tokens."""
        streams = len(run.prompt_tokens)
        self._prompt_rates[prompt] = min(
            self._prompt_rates.get(prompt, run.prompt_rate), run.prompt_rate
        )
        generating = run.wall_seconds - min(run.first_text)
        if generating > 0:
            rate = sum(run.completion_tokens) / generating
            self._rates[streams] = max(self._rates.get(streams, 0.0), rate)
        self._seen[prompt, streams] = run.wall_seconds

    def seconds(self, prompt: int, streams: int, tokens: int) -> float:
        """Return how long `streams` streams with such prompts and answers of `tokens` take."""
        if (seen := self._seen.get((prompt, streams))) is not None:
            return seen
        seconds = 0.0
        if shorter := [length for length in self._prompt_rates if length <= prompt]:
            seconds += prompt * streams / self._prompt_rates[max(shorter)]
        if fewer := [rate for count, rate in self._rates.items() if count <= streams]:
            seconds += tokens * streams / max(fewer)
        return seconds
